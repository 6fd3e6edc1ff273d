/**
 * An action and its audit event as one: success in the action's own transaction, failure and denial in another.
 *
 *   critical only   own transaction   intent                          not written: fn is not run
 *                   transaction       fn … success event … COMMIT     both or neither
 *   fn threw        own transaction   failure or denied event         best effort, never hides fn's error
 *
 * What a crash leaves: before COMMIT nothing, and of a critical action its intent; after it, both. A crash between
 * the rollback and the failure event loses the failure event; of a critical action the intent stands without an
 * outcome, and that is reported.
 */

import { type Changes, type ChangesOptions, changesBetween, type State } from './events/changes.ts';
import {
  type BoundEvent,
  type Ending,
  type EventBuilder,
  namedChanges,
  RESOURCE_ID_UNKNOWN,
} from './events/event-builder.ts';
import { leavesCommitOpen } from './outbox/database-error.ts';
import type { OutboxRow } from './outbox/driver.ts';
import type { Pause } from './outbox/pause.ts';
import type { OnProblem } from './outbox/problems.ts';
import type { OutboxWriter } from './outbox/writer.ts';

/** What the function of a capture may tell of its event while it runs. */
export interface Outcome<Details = Record<string, unknown>> {
  /** Identity of the event. */
  readonly id: string;
  /** Records what changed. A failure does not show it: it was rolled back. */
  changes(before: State, after: State, options?: ChangesOptions): void;
  /** Adds to details. */
  details(more: Partial<Details>): void;
  /** Completes the resource: the id of what was just created. */
  resource(more: { readonly id?: string; readonly name?: string; readonly section?: string }): void;
  reason(text: string): void;
}

export interface CaptureDeps<Tx> {
  readonly builder: EventBuilder;
  readonly writer: OutboxWriter<Tx>;
  readonly pause: Pause;
  readonly onProblem: OnProblem;
  isDenied(error: unknown): boolean;
  errorText(error: unknown): string;
}

/** How the event of a capture ended up. */
export interface Captured<T> {
  readonly value: T;
  readonly id: string;
  readonly tenant: string;
  /** False when capture was paused. */
  readonly isCaptured: boolean;
}

/**
 * Runs `fn` in a transaction of the driver.
 * @throws what `fn` throws, unchanged; field-invalid and its like before `fn` runs, if the event is bad already;
 *   outbox-* when the event could not be written: then nothing of `fn` is committed
 */
export async function captureAlone<Tx, T>(
  deps: CaptureDeps<Tx>,
  input: unknown,
  fn: (tx: Tx, outcome: Outcome) => T | PromiseLike<T>,
): Promise<Captured<T>> {
  const { event, intentId } = await begin(deps, input);
  // A driver may run the function again after a serialisation failure: each run tells its own story.
  let facts: Facts = {};
  let isWritten = false;
  let isCaptured = false;
  try {
    const value = await deps.writer.transaction(async (tx) => {
      facts = {};
      isWritten = false;
      const result = await fn(tx, outcomeOf(event, facts));
      isCaptured = await writeSuccess(deps, tx, event, { ...facts, intentId });
      isWritten = true;
      return result;
    });
    deps.pause.poke();
    return { value, id: event.id, tenant: String(event.tenant), isCaptured };
  } catch (error) {
    if (isWritten && leavesCommitOpen(error)) {
      // The COMMIT was sent and its answer lost. If it happened, the success event stands; a failure event beside
      // it would be a lie.
      deps.onProblem({ what: `whether ${event.input.action} (${event.id}) committed is not known`, error });
    } else {
      await writeEnd(deps, event, { ...facts, intentId }, error);
    }
    throw error;
  }
}

/**
 * Runs `fn` in the caller's transaction, which the caller commits or, when this rejects, rolls back.
 *
 * A failure is written on another connection while the caller's is still open; so it is started and not waited for
 * (with a pool of one connection, waiting would never end), and it may be seen before the rollback. A caller that
 * commits in spite of the error has both: what it wrote, and the record that the action failed.
 */
export async function captureWithin<Tx, T>(
  deps: CaptureDeps<Tx>,
  tx: Tx,
  input: unknown,
  fn: (tx: Tx, outcome: Outcome) => T | PromiseLike<T>,
): Promise<Captured<T>> {
  const { event, intentId } = await begin(deps, input);
  const facts: Facts = {};
  try {
    const value = await fn(tx, outcomeOf(event, facts));
    const isCaptured = await writeSuccess(deps, tx, event, { ...facts, intentId });
    deps.pause.poke();
    return { value, id: event.id, tenant: String(event.tenant), isCaptured };
  } catch (error) {
    void writeEnd(deps, event, { ...facts, intentId }, error);
    throw error;
  }
}

/** What the function told so far. */
interface Facts {
  resource?: object;
  details?: object;
  changes?: Changes;
  reason?: string;
}

/** A bad event is refused, and an intent committed, before anything is done. */
async function begin<Tx>(
  deps: CaptureDeps<Tx>,
  input: unknown,
): Promise<{ event: BoundEvent; intentId: string | undefined }> {
  deps.writer.requireTransaction();
  const event = deps.builder.bind(input, 'event');
  const ending: Ending = { result: 'success', detailsComplete: false, ...knownResource(event) };
  if (!event.isCritical) {
    deps.builder.eventRow(event, ending);
    return { event, intentId: undefined };
  }
  const intent = deps.builder.intentRow(event, ending);
  await deps.writer.writeAlone([intent]);
  return { event, intentId: intent.eventId };
}

async function writeSuccess<Tx>(
  deps: CaptureDeps<Tx>,
  tx: Tx,
  event: BoundEvent,
  facts: Partial<Ending>,
): Promise<boolean> {
  const row = deps.builder.eventRow(event, { ...facts, result: 'success', detailsComplete: true });
  if (!deps.pause.admits(row.tenant, String(event.input.action), event.isCritical)) return false;
  await deps.writer.write(tx, [row]);
  return true;
}

/** Failure or denial. Never rejects: the caller is about to throw the error that matters. */
async function writeEnd<Tx>(
  deps: CaptureDeps<Tx>,
  event: BoundEvent,
  facts: Partial<Ending>,
  error: unknown,
): Promise<void> {
  const makeRow = (): OutboxRow =>
    deps.builder.eventRow(event, {
      ...facts,
      ...knownResource(event, facts.resource),
      changes: null,
      result: deps.isDenied(error) ? 'denied' : 'failure',
      error: deps.errorText(error),
      detailsComplete: false,
    });
  const action = String(event.input.action);
  if (deps.pause.admits(String(event.tenant), action, event.isCritical)) {
    await deps.writer.attempt(`a failed ${action} could not be recorded`, makeRow);
  }
  deps.pause.poke();
}

/** A resource that is yet to be created has no id. */
function knownResource(event: BoundEvent, told?: object): { resource?: object } {
  const given = event.input.resource;
  if (typeof given !== 'object' || given === null) return told === undefined ? {} : { resource: told };
  const resource = { ...given, ...told } as { id?: unknown };
  return { resource: resource.id === undefined ? { ...resource, id: RESOURCE_ID_UNKNOWN } : resource };
}

function outcomeOf(event: BoundEvent, facts: Facts): Outcome {
  return {
    id: event.id,
    changes(before, after, options) {
      const declared = event.declared.changes;
      const both = {
        ignore: [...(declared?.ignore ?? []), ...(options?.ignore ?? [])],
        mask: [...(declared?.mask ?? []), ...(options?.mask ?? [])],
      };
      const found = namedChanges(event, () => changesBetween(before, after, both));
      facts.changes = { ...facts.changes, ...found };
    },
    details(more) {
      facts.details = { ...facts.details, ...more };
    },
    resource(more) {
      facts.resource = { ...facts.resource, ...more };
    },
    reason(text) {
      facts.reason = text;
    },
  };
}

const ERROR_TEXT_MAX = 1_000;

/** The default text of `error`: name and message of what was thrown, cut, and never empty. */
export function describeError(error: unknown): string {
  let text: string;
  try {
    text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    text = 'an error that cannot be shown';
  }
  return text.slice(0, ERROR_TEXT_MAX).toWellFormed() || 'an error without a text';
}
