/**
 * Who did what, in the transaction of the business change.
 *
 *     const audit = createAudit({ service: 'bank', driver: pgDriver(pool) });
 *     await audit.log(tx, { action: 'transfer.create', resource: { type: 'transfer', id } });
 *
 * The event is one more row of the caller's transaction: it commits with the change or not at all, and nothing waits
 * for the log. A relay brings it there.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { checkKey, checkTenant, checkText } from '@evident/core/record.ts';
import { isAccessDenied } from './access-denied.ts';
import { type CaptureDeps, captureAlone, captureWithin, describeError, type Outcome } from './capture.ts';
import { withoutContext } from './context/context.ts';
import { createEventBuilder, type EventBuilder } from './events/event-builder.ts';
import type {
  ActionName,
  Actions,
  CaptureInput,
  DetailsOf,
  EventInput,
  Undeclared,
} from './events/event-input.ts';
import { type InLog, type ServerOptions, waitInLog } from './in-log.ts';
import type { OutboxDriver, OutboxRow } from './outbox/driver.ts';
import type { PauseAction } from './outbox/missed-events.ts';
import { createPause, type GrowthOptions, type Pause } from './outbox/pause.ts';
import { guarded, type OnProblem, type OnWarning, warn, warnOfProblem } from './outbox/problems.ts';
import { createWriter, type OutboxWriter } from './outbox/writer.ts';

/** Events in one call of logMany. */
export const LOG_MANY_MAX = 100_000;
const SERVICE_BYTES_MAX = 128;

export interface AuditOptions<Tx, A extends Actions = Actions, U extends Undeclared = Undeclared> {
  /** Name of the producer: stands in the meta of every record, and is the actor of what the SDK itself records. */
  readonly service: string;
  /** How statements reach the application's database. */
  readonly driver: OutboxDriver<Tx>;
  /** For a service of one tenant. An event that names another wins; the context does not. */
  readonly tenant?: string;
  /** What the service does, declared once: gives types, validation, criticality, personal fields. */
  readonly actions?: A;
  /** Whether an action may be used that is not declared; default allow. */
  readonly undeclaredActions?: U;
  /** What happens to an actor.id that looks like an e-mail address; default warn, once per process and service. */
  readonly emailLikeIds?: 'warn' | 'refuse' | 'allow';
  /** Pauses capture of what is not critical when the outbox grows past a limit; default never. */
  readonly growth?: GrowthOptions;
  /** Where `sync` and `inLog` ask; needed for these alone. */
  readonly server?: ServerOptions;
  /** Whether an error means that the actor may not; default AccessDenied, or a status of 401 or 403. */
  readonly isDenied?: (error: unknown) => boolean;
  /** The text of `error` in a failure; default name and message. Keep secrets and personal data out of it. */
  readonly errorText?: (error: unknown) => string;
  /** Best-effort writes that failed and the like; default a warning of the process. */
  readonly onProblem?: OnProblem;
  /** Hints for the developer; default a warning of the process. */
  readonly onWarning?: OnWarning;
  /** Longest wait for an intent or a failure event to commit, milliseconds; default 5,000. */
  readonly ownTransactionMsMax?: number;
  /** Milliseconds since the Unix epoch; default Date.now. */
  readonly now?: () => number;
}

export type Receipt =
  | {
      readonly captured: true;
      /** Identity of the event. */
      readonly id: string;
      /**
       * Waits until the log holds the event; call it after the commit. Default 10,000 ms.
       * @throws sync-timeout
       */
      inLog(options?: { readonly timeoutMs?: number }): Promise<InLog>;
    }
  | { readonly captured: false; readonly reason: 'paused' };

export interface CaptureOptions {
  /** Also wait, after the commit, until the log holds the event; `true` means 10,000 ms. */
  readonly sync?: boolean | { readonly timeoutMs: number };
}

export interface AuditMetrics {
  /** Events that were written into a transaction; how many of them committed, the log knows. */
  readonly captured: number;
  readonly paused: boolean;
  /** Events that were not captured because of a pause, since the start. */
  readonly notCaptured: number;
  readonly notCapturedByAction: Readonly<Record<string, number>>;
  /** Failure events, and records of a pause, that could not be written. */
  readonly failedBestEffort: number;
  readonly bestEffortUnderWay: number;
  /** Size of the outbox when it was last read; null without `growth`. */
  readonly outboxBytes: number | null;
}

export interface Audit<Tx, A extends Actions = Actions, U extends Undeclared = Undeclared> {
  /**
   * Writes an event in the caller's transaction.
   * @throws context-missing, context-ended, field-invalid, field-unknown, body-too-large before anything is sent;
   *   outbox-refused, outbox-missing, outbox-unavailable, disk-full from the database: the transaction is lost then
   */
  log<N extends ActionName<A, U>>(tx: Tx, event: EventInput<A, U, N>): Promise<Receipt>;
  /** The same for many, at most 100,000, all or none; errors name the event: `events[3].resource.id`. */
  logMany<const N extends readonly ActionName<A, U>[]>(
    tx: Tx,
    events: readonly [...{ [I in keyof N]: EventInput<A, U, N[I]> }],
  ): Promise<Receipt[]>;
  /** Writes an event where there is no business change, such as a read, in a transaction of its own. */
  logAlone<N extends ActionName<A, U>>(event: EventInput<A, U, N>): Promise<Receipt>;
  /**
   * Runs `fn` in a new transaction and records how it ended: success in that transaction; failure or denied, when it
   * throws, in another. Rethrows unchanged. A critical action commits an intent first. Not for use inside another
   * transaction: it takes a connection of its own.
   */
  capture<N extends ActionName<A, U>, T>(
    event: CaptureInput<A, U, N>,
    fn: (tx: Tx, outcome: Outcome<DetailsOf<A, N>>) => T | PromiseLike<T>,
    options?: CaptureOptions,
  ): Promise<T>;
  /**
   * The same in a transaction that the caller has: roll it back when this rejects. The failure event, and the intent
   * of a critical action, need a second connection; see `captureWithin` for who sees what when.
   */
  captureIn<N extends ActionName<A, U>, T>(
    tx: Tx,
    event: CaptureInput<A, U, N>,
    fn: (tx: Tx, outcome: Outcome<DetailsOf<A, N>>) => T | PromiseLike<T>,
  ): Promise<T>;
  metrics(): AuditMetrics;
  /** Waits for best-effort writes, at most so long (default 5,000 ms), and records a pause that lasts. */
  close(options?: { readonly timeoutMs?: number }): Promise<{ readonly unfinished: number }>;
}

/** What the SDK records itself; declared, so that a service that refuses undeclared actions records it too. */
const OWN_ACTIONS: Actions & Record<PauseAction, { critical: true }> = {
  'audit.capture_paused': { critical: true },
  'audit.capture_resumed': { critical: true },
};
const SYNC_MS = 10_000;
const OWN_TRANSACTION_MS = 5_000;

/** @throws usage-invalid, field-invalid when the options contradict themselves */
export function createAudit<
  Tx,
  const A extends Actions = Record<never, never>,
  U extends Undeclared = 'allow',
>(options: AuditOptions<Tx, A, U>): Audit<Tx, A, U> {
  const service = checkService(options);
  const onProblem = guarded(options.onProblem ?? warnOfProblem);
  const now = options.now ?? Date.now;
  const builder = createEventBuilder({
    ...options,
    actions: { ...options.actions, ...OWN_ACTIONS },
    now,
    warn: guarded(options.onWarning ?? warn),
  });
  const ownTransactionMsMax = options.ownTransactionMsMax ?? OWN_TRANSACTION_MS;
  const writer = createWriter({ driver: options.driver, onProblem, ownTransactionMsMax });
  const pause = createPause(options.growth ?? null, {
    driver: options.driver,
    now,
    onProblem,
    // The request that meets the pause is not who acts here.
    record: (tenant, action, details) =>
      withoutContext(() =>
        writer.attempt(`${action} of tenant ${tenant} could not be recorded`, () => {
          const actor = { id: service, type: 'system' };
          const event = { action, tenant, actor, resource: { type: 'outbox', id: service }, details };
          return builder.eventRow(builder.bind(event, 'event'), { detailsComplete: true });
        }),
      ),
  });
  const { isDenied = isAccessDenied, errorText = describeError, server } = options;
  const deps: CaptureDeps<Tx> = {
    builder,
    writer,
    pause,
    onProblem,
    ...guardedJudgement(isDenied, errorText),
  };
  return auditOf(deps, server);
}

function auditOf<Tx, A extends Actions, U extends Undeclared>(
  deps: CaptureDeps<Tx>,
  server: ServerOptions | undefined,
): Audit<Tx, A, U> {
  const { writer, pause } = deps;
  // The types end here: below, an event is whatever a program without types may have passed.
  const audit: Audit<Tx> = {
    async log(tx, event) {
      return (
        await logAll(
          deps,
          server,
          [event],
          () => 'event',
          (rows) => writer.write(tx, rows),
        )
      )[0];
    },
    async logMany(tx, events) {
      if (!Array.isArray(events) || events.length > LOG_MANY_MAX) {
        throw new EvidentError('batch-too-large', `events: a list of at most ${LOG_MANY_MAX}`, {
          context: { field: 'events', limit: LOG_MANY_MAX },
        });
      }
      return logAll(
        deps,
        server,
        events,
        (index) => `events[${index}]`,
        (rows) => writer.write(tx, rows),
      );
    },
    async logAlone(event) {
      return (
        await logAll(
          deps,
          server,
          [event],
          () => 'event',
          (rows) => writer.writeAlone(rows),
        )
      )[0];
    },
    async capture(event, fn, options = {}) {
      const { sync = false } = options;
      if (sync !== false) requireServer(server);
      const done = await captureAlone(deps, event, fn as CaptureFunction<Tx, Awaited<ReturnType<typeof fn>>>);
      if (sync !== false && done.isCaptured) {
        await waitInLog(requireServer(server), done, sync === true ? SYNC_MS : sync.timeoutMs);
      }
      return done.value;
    },
    async captureIn(tx, event, fn) {
      return (await captureWithin(deps, tx, event, fn as CaptureFunction<Tx, Awaited<ReturnType<typeof fn>>>))
        .value;
    },
    metrics() {
      const { captured, failedBestEffort, underWay } = writer.counts;
      return { captured, failedBestEffort, bestEffortUnderWay: underWay, ...pause.state() };
    },
    async close({ timeoutMs = OWN_TRANSACTION_MS } = {}) {
      await pause.close();
      return { unfinished: await writer.settle(timeoutMs) };
    },
  };
  return audit as unknown as Audit<Tx, A, U>;
}

type CaptureFunction<Tx, T> = (tx: Tx, outcome: Outcome) => T | PromiseLike<T>;

/** All are built before one is sent: a bad event costs the caller an error, not a transaction. */
async function logAll<Tx>(
  deps: { builder: EventBuilder; writer: OutboxWriter<Tx>; pause: Pause },
  server: ServerOptions | undefined,
  inputs: readonly unknown[],
  pathOf: (index: number) => string,
  write: (rows: OutboxRow[]) => Promise<void>,
): Promise<Receipt[]> {
  const built = inputs.map((input, index) => {
    const event = deps.builder.bind(input, pathOf(index));
    return { event, row: deps.builder.eventRow(event, { detailsComplete: true }) };
  });
  const rows: OutboxRow[] = [];
  const receipts = built.map(({ event, row }): Receipt => {
    if (!deps.pause.admits(row.tenant, String(event.input.action), event.isCritical)) return PAUSED;
    rows.push(row);
    return receiptOf(row, server);
  });
  if (rows.length > 0) await write(rows);
  deps.pause.poke();
  return receipts;
}

const PAUSED = { captured: false, reason: 'paused' } as const;

function receiptOf({ eventId: id, tenant }: OutboxRow, server: ServerOptions | undefined): Receipt {
  return {
    captured: true,
    id,
    inLog: async ({ timeoutMs = SYNC_MS } = {}) =>
      waitInLog(requireServer(server), { id, tenant }, timeoutMs),
  };
}

function requireServer(server: ServerOptions | undefined): ServerOptions {
  if (server !== undefined) return server;
  throw new EvidentError(
    'usage-invalid',
    'server: to wait for the log, createAudit needs its url and a key',
    {
      context: { field: 'server' },
    },
  );
}

function checkService({ service, tenant }: { service: string; tenant?: string }): string {
  checkText(service, 'service', SERVICE_BYTES_MAX);
  // It is the actor of what the SDK records itself, and with the tenant its key.
  checkKey(`t/${service}`, 'service');
  if (tenant !== undefined) checkTenant(tenant);
  return service;
}

/** The application's own judgement of an error; when it throws, the error it was asked about still counts. */
function guardedJudgement(
  isDenied: (error: unknown) => boolean,
  errorText: (error: unknown) => string,
): Pick<CaptureDeps<unknown>, 'isDenied' | 'errorText'> {
  return {
    isDenied(error) {
      try {
        return isDenied(error);
      } catch {
        return false;
      }
    },
    errorText(error) {
      try {
        return errorText(error).slice(0, 4_096).toWellFormed() || describeError(error);
      } catch {
        return describeError(error);
      }
    },
  };
}
