/**
 * Dead letters as operators meet them: listed, shown, replayed, discarded, resolved by hand (design §4 Project).
 *
 * A resolution and the audit event that tells of it are one transaction of the store: neither is ever there without the
 * other. If the process dies before the commit, the letter is open as before; if it dies after, both are there, and
 * doing it again answers with the resolution that stands. A log on Kafka could not share the transaction: there the
 * event would be appended first, as an intent with the id that the letter then keeps.
 */

import { hash } from 'node:crypto';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import { checkText, type LogRecord } from '@evident/core/record.ts';
import { type OwnActor, type OwnEventDeps, ownEventRecord } from '../audit/own-event.ts';
import type { Log, Proposal } from '../log/log.ts';
import { type BodyReader, type DeadLetterClass, OutputRefused, type ViewStore } from './ports.ts';
import type { Projection } from './projection.ts';
import { type Resolution, showPlace, type ViewPlace } from './view-snapshot.ts';

/** The log that holds the audit events of resolutions. */
export const RESOLUTION_LOG = 'audit';
/** How the error begins of a record whose row the store did not take. */
export const REFUSED_ROW = 'the view refuses it';
/** Most letters of one page. */
export const DEAD_LETTERS_PAGE_MAX = 1_000;
const REASON_BYTES_MAX = 2_000;
/** Bytes of a body that are shown with a letter. */
export const BODY_HEAD_BYTES = 4_096;
/** A view that is promoted while a letter is resolved shows another generation: the letter is looked up again. */
const LOOKS_MAX = 5;

export interface DeadLetterPlace extends ViewPlace {
  readonly view: string;
}

/** A dead letter of the generation that is shown. */
export interface DeadLetterEntry extends DeadLetterPlace {
  readonly generation: number;
  readonly tenant: string;
  readonly id: string;
  readonly type: string;
  readonly class: DeadLetterClass;
  readonly error: string;
  readonly stack: string | null;
  readonly attempts: number;
  /** Microseconds since the Unix epoch. */
  readonly firstAt: bigint;
  readonly lastAt: bigint;
  /** Null while it is open. */
  readonly resolution: Resolution | null;
  readonly resolvedAt: bigint | null;
  readonly resolvedBy: string | null;
  readonly reason: string | null;
  /** The audit event that records the resolution. */
  readonly eventId: string | null;
}

export interface DeadLetterFilter {
  readonly view: string;
  readonly log?: string;
  readonly tenant?: string;
  readonly type?: string;
  readonly class?: DeadLetterClass;
  readonly state: 'open' | 'resolved' | 'all';
}

export interface OpenLetters {
  readonly validation: number;
  readonly poison: number;
}

export interface Settlement {
  readonly resolution: Resolution;
  readonly by: string;
  readonly reason: string | null;
  readonly event: Proposal;
}

/** What became of a resolution: `changed` when the letter, or the generation that is shown, is no longer as it was read. */
export type SettleOutcome = 'resolved' | 'changed';

/** What became of a replay: `reused` when another body is shown under its identity; the letter stays, with that error. */
export type ReplayOutcome = 'shown' | 'repeat' | 'reused' | 'changed';

/** Where dead letters are kept. Each method is one transaction. */
export interface DeadLetterStore {
  /** Letters of the generation that is shown, in (log, partition, position) order, behind `after`. */
  list(filter: DeadLetterFilter, after: ViewPlace | null, limit: number): Promise<readonly DeadLetterEntry[]>;
  find(place: DeadLetterPlace): Promise<DeadLetterEntry | null>;
  /** Open letters of the generation that is shown. @param tenant whose; null: everybody's */
  countOpen(view: string, tenant: string | null): Promise<OpenLetters>;
  /** Resolves an open letter and appends the event. */
  resolve(letter: DeadLetterEntry, settlement: Settlement): Promise<SettleOutcome>;
  /**
   * Stores the row of an open letter by the rules of identities (null: the record has none by rule), resolves it and
   * appends the event.
   * @throws OutputRefused when the row can't be stored
   */
  replay(
    letter: DeadLetterEntry,
    record: LogRecord,
    row: EventRow | null,
    settlement: Settlement,
  ): Promise<ReplayOutcome>;
  /** An attempt more, with its error. */
  noteFailure(letter: DeadLetterEntry, error: string, stack: string | null): Promise<SettleOutcome>;
}

export interface DeadLetterDeps extends OwnEventDeps {
  readonly letters: DeadLetterStore;
  readonly views: Pick<ViewStore, 'continueWith'>;
  readonly logs: ReadonlyMap<string, Log>;
  readonly bodies: BodyReader;
  readonly projections: ReadonlyMap<string, Projection>;
  /** Whether this process may die of a record: poison ended or stalled a worker before. */
  readonly mayMapPoison: boolean;
}

export interface ShownDeadLetter {
  readonly letter: DeadLetterEntry;
  /** Null when the log no longer holds the record. */
  readonly record: LogRecord | null;
  /** The record's leaf: the line that its tree holds. */
  readonly leaf: Uint8Array | null;
  /** The first `BODY_HEAD_BYTES` of the body, or why they can't be read. */
  readonly bodyHead: Uint8Array | { readonly missing: string } | null;
  readonly bodyBytes: bigint | null;
}

/** What became of one letter. */
export type Resolved =
  | { readonly kind: 'resolved'; readonly letter: DeadLetterEntry }
  /** It was resolved before, perhaps otherwise: nothing was done, and the letter says how. */
  | { readonly kind: 'already'; readonly letter: DeadLetterEntry }
  /** Mapping it failed again: the letter stays, with the new error. */
  | { readonly kind: 'failed'; readonly letter: DeadLetterEntry; readonly error: string };

/** The name of a dead letter in audit events and on the command line: `hot/audit/3/1234`. */
export function deadLetterName(place: DeadLetterPlace): string {
  return `${place.view}/${showPlace(place)}`;
}

/** The action of the audit event that records a resolution. */
export function actionOf(resolution: Resolution): string {
  return `dead_letter.${{ replayed: 'replay', discarded: 'discard', manual: 'resolve' }[resolution]}`;
}

/** @throws field-invalid when the reason is empty or too long */
export function checkReason(reason: unknown): string {
  return checkText(typeof reason === 'string' ? reason.trim() : reason, 'reason', REASON_BYTES_MAX);
}

export async function showDeadLetter(
  { letters, logs, bodies }: Pick<DeadLetterDeps, 'letters' | 'logs' | 'bodies'>,
  place: DeadLetterPlace,
): Promise<ShownDeadLetter | null> {
  const letter = await letters.find(place);
  if (letter === null) return null;
  const record = await readRecord(logs, letter);
  if (record === null) return { letter, record, leaf: null, bodyHead: null, bodyBytes: null };
  const { body } = record;
  const bodyBytes = body.form === 'object' ? body.size : BigInt(body.bytes.length);
  return { letter, record, leaf: leafOf(record), bodyHead: await headOf(bodies, record), bodyBytes };
}

async function headOf(
  bodies: BodyReader,
  { tenant, body }: LogRecord,
): Promise<Uint8Array | { missing: string }> {
  if (body.form !== 'object') return body.bytes.subarray(0, BODY_HEAD_BYTES);
  try {
    const bytes = await bodies.get(tenant, body.sha256);
    return bytes === null ? { missing: 'it is not in the object store' } : bytes.subarray(0, BODY_HEAD_BYTES);
  } catch (error) {
    return { missing: (error as Error).message };
  }
}

/**
 * Discards a letter for good, or notes that it was dealt with by hand.
 * @throws field-invalid for the reason, not-found when there is no such letter
 */
export async function resolveDeadLetter(
  deps: DeadLetterDeps,
  place: DeadLetterPlace,
  how: {
    readonly resolution: 'discarded' | 'manual';
    readonly reason: string;
    readonly actor: OwnActor;
    readonly requestId?: string;
  },
): Promise<Resolved> {
  const reason = checkReason(how.reason);
  return settle(deps, place, (letter) =>
    deps.letters.resolve(letter, settlementOf(deps, letter, { ...how, reason })),
  );
}

/**
 * Maps the record of a letter with today's mapper. A row goes into the view by the same rules as any other; otherwise
 * the letter stays, with the new error and an attempt more.
 * @throws not-found; replay-refused for poison where the process must not die of it
 */
export async function replayDeadLetter(
  deps: DeadLetterDeps,
  place: DeadLetterPlace,
  how: { readonly actor: OwnActor; readonly requestId?: string },
): Promise<Resolved> {
  let failure: string | null = null;
  const resolved = await settle(deps, place, async (letter) => {
    failure = null;
    if (letter.class === 'poison' && !deps.mayMapPoison) {
      const detail = `${deadLetterName(letter)} ended or stalled a worker: it is not mapped inside the server`;
      throw new EvidentError('replay-refused', detail);
    }
    const made = await mapAgain(deps, letter);
    if (made.kind === 'failed') {
      failure = made.error.message;
      return deps.letters.noteFailure(letter, failure, made.error.stack ?? null);
    }
    const settlement = settlementOf(deps, letter, { ...how, resolution: 'replayed', reason: null });
    try {
      const outcome = await deps.letters.replay(letter, made.record, made.row, settlement);
      if (outcome === 'reused') failure = 'another body is shown under its identity';
      return outcome === 'changed' ? 'changed' : 'resolved';
    } catch (error) {
      if (!(error instanceof OutputRefused)) throw error;
      failure = error.message;
      return deps.letters.noteFailure(letter, failure, null);
    }
  });
  if (failure === null || resolved.kind !== 'resolved') return resolved;
  return { kind: 'failed', letter: resolved.letter, error: resolved.letter.error };
}

export interface ReplayCounts {
  replayed: number;
  failed: number;
  /** Resolved meanwhile by somebody else. */
  already: number;
}

/**
 * Replays the open letters that a filter finds, each in a transaction of its own; what was done stays when it ends early.
 * Poison is passed over where the process must not die of it.
 * @param after where to go on, from the answer before
 * @returns the counts, and where to go on; null at the end
 */
export async function replayDeadLetters(
  deps: DeadLetterDeps,
  filter: Omit<DeadLetterFilter, 'state'>,
  after: ViewPlace | null,
  limit: number,
  how: { readonly actor: OwnActor; readonly requestId?: string },
): Promise<{ counts: ReplayCounts; next: ViewPlace | null }> {
  const counts: ReplayCounts = { replayed: 0, failed: 0, already: 0 };
  const bounded = Math.min(limit, DEAD_LETTERS_PAGE_MAX);
  const page = await deps.letters.list({ ...filter, state: 'open' }, after, bounded);
  for (const letter of page) {
    if (letter.class === 'poison' && !deps.mayMapPoison) continue;
    const { kind } = await replayDeadLetter(deps, letter, how);
    counts[kind === 'resolved' ? 'replayed' : kind]++;
  }
  const last = page.at(-1);
  if (last === undefined || page.length < bounded) return { counts, next: null };
  return { counts, next: { log: last.log, partition: last.partition, position: last.position } };
}

/** Tries until the letter is as it was read: a promotion or another operator may come in between. */
async function settle(
  deps: DeadLetterDeps,
  place: DeadLetterPlace,
  attempt: (letter: DeadLetterEntry) => Promise<SettleOutcome>,
): Promise<Resolved> {
  for (let look = 0; look < LOOKS_MAX; look++) {
    const letter = await deps.letters.find(place);
    if (letter === null)
      throw new EvidentError('not-found', `there is no dead letter ${deadLetterName(place)}`);
    if (letter.resolution !== null) return { kind: 'already', letter };
    if ((await attempt(letter)) === 'resolved')
      return { kind: 'resolved', letter: (await deps.letters.find(place)) ?? letter };
  }
  throw new EvidentError(
    'log-unavailable',
    `the dead letter ${deadLetterName(place)} changes faster than it can be resolved`,
  );
}

async function readRecord(logs: ReadonlyMap<string, Log>, place: ViewPlace): Promise<LogRecord | null> {
  const [record] = (await logs.get(place.log)?.read(place.partition, place.position, 1)) ?? [];
  return record !== undefined && record.position === place.position ? record : null;
}

type MadeAgain =
  | { readonly kind: 'made'; readonly record: LogRecord; readonly row: EventRow | null }
  | { readonly kind: 'failed'; readonly error: Error };

async function mapAgain(deps: DeadLetterDeps, letter: DeadLetterEntry): Promise<MadeAgain> {
  const projection = deps.projections.get(letter.view);
  if (projection === undefined)
    throw new EvidentError('not-found', `this program has no view ${letter.view}`);
  const record = await readRecord(deps.logs, letter);
  if (record === null) return { kind: 'failed', error: new Error('the log no longer holds the record') };
  const body = record.body.form === 'object' ? await readObject(deps.bodies, record) : record.body.bytes;
  if (body instanceof Error) return { kind: 'failed', error: body };
  let row: EventRow | null;
  try {
    row = projection.map(record, body);
  } catch (error) {
    return { kind: 'failed', error: error instanceof Error ? error : new Error(String(error)) };
  }
  // Rows by another definition than the generation's are said to be there before there is one.
  await deps.views.continueWith(letter, projection.definition);
  return { kind: 'made', record, row };
}

async function readObject(bodies: BodyReader, { tenant, body }: LogRecord): Promise<Uint8Array | Error> {
  if (body.form !== 'object') return body.bytes;
  const bytes = await bodies.get(tenant, body.sha256);
  if (bytes === null) return new Error('body: it is not in the object store');
  return hash('sha256', bytes, 'buffer').equals(body.sha256)
    ? bytes
    : new Error('body: what the object store holds has another SHA-256');
}

function settlementOf(
  deps: OwnEventDeps,
  letter: DeadLetterEntry,
  how: { resolution: Resolution; reason: string | null; actor: OwnActor; requestId?: string },
): Settlement {
  const { generation, id, type, class: kind, error, attempts } = letter;
  const record = ownEventRecord(deps, {
    actor: how.actor,
    action: actionOf(how.resolution),
    resource: { type: 'dead_letter', id: deadLetterName(letter) },
    result: 'success',
    tenant: letter.tenant.startsWith('_') ? null : letter.tenant,
    details: { generation, record: id, type, class: kind, error, attempts },
    ...(how.reason === null ? {} : { reason: how.reason }),
    ...(how.requestId === undefined ? {} : { requestId: how.requestId }),
  });
  const bytes = record.body.form === 'json' ? record.body.bytes : encodeUtf8('');
  return {
    resolution: how.resolution,
    by: how.actor.id,
    reason: how.reason,
    event: { record, bodyHash: hash('sha256', bytes, 'buffer'), reused: 'refuse' },
  };
}
