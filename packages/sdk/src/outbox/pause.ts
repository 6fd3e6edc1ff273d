/**
 * When the outbox grows past a limit (the relay is away, the log is full), capture of what is not critical pauses,
 * so that auditing does not fill the disk that the business runs on.
 *
 *   running ── bytes > bytesMax ──► paused ── bytes < 80 % of bytesMax ──► running
 *
 * That is never silent. A tenant's first event that is not captured writes `audit.capture_paused` for the tenant;
 * the end writes `audit.capture_resumed` with the counts by action. Both are critical, and best effort: the second
 * is written again until it is taken. If the process dies in between, the counts are lost and the first one stands
 * without the second.
 *
 * The size is read in the background of a capture, at most every checkMs, and by a timer while paused.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { withoutContext } from '../context/context.ts';
import type { OutboxDriver } from './driver.ts';
import { createMissedEvents, type RecordPause } from './missed-events.ts';
import type { OnProblem } from './problems.ts';
import { plainStatement } from './statement.ts';

export interface GrowthOptions {
  /**
   * Bytes on disk of all slots of the outbox, indexes included, past which capture pauses. Slots that are empty take
   * 16 KiB each, so a limit under some megabytes might never be fallen short of again.
   */
  readonly bytesMax: number;
  /** At most so often the size is read, milliseconds; default 1,000. */
  readonly checkMs?: number;
}

const RESUME_SHARE = 0.8;

const PRESSURE = plainStatement('SELECT bytes::text AS bytes FROM evident_outbox.pressure()');

export interface PauseDeps<Tx> {
  readonly driver: OutboxDriver<Tx>;
  readonly now: () => number;
  readonly onProblem: OnProblem;
  readonly record: RecordPause;
}

export interface PauseState {
  readonly paused: boolean;
  readonly notCaptured: number;
  readonly notCapturedByAction: Readonly<Record<string, number>>;
  /** Last size that was read; null before the first. */
  readonly outboxBytes: number | null;
}

export interface Pause {
  /** Whether an event may be written now; one that may not is counted. */
  admits(tenant: string, action: string, isCritical: boolean): boolean;
  /** Reads the size, if it is time to; returns at once. */
  poke(): void;
  state(): PauseState;
  /** Stops looking, and records what was missed so far. */
  close(): Promise<void>;
}

/** Capture that never pauses. */
const NEVER: Pause = {
  admits: () => true,
  poke: () => undefined,
  state: () => ({ paused: false, notCaptured: 0, notCapturedByAction: {}, outboxBytes: null }),
  close: async () => undefined,
};

/** @param growth null: capture never pauses */
export function createPause<Tx>(growth: GrowthOptions | null, deps: PauseDeps<Tx>): Pause {
  if (growth === null) return NEVER;
  const { bytesMax, checkMs } = checkGrowth(growth, deps.driver);
  const missed = createMissedEvents(deps);
  let pausedFrom: number | null = null;
  let bytes: number | null = null;
  let isReading = false;
  let isFailing = false;
  let isClosed = false;
  let lastReadAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  async function look(): Promise<void> {
    try {
      bytes = await readBytes(deps.driver);
      isFailing = false;
    } catch (error) {
      // Told once, not with every check; whether capture pauses stays as it was.
      if (!isFailing) deps.onProblem({ what: 'the size of the outbox could not be read', error });
      isFailing = true;
      return;
    }
    if (isClosed) return;
    if (pausedFrom === null && bytes > bytesMax) pausedFrom = deps.now();
    else if (pausedFrom !== null && bytes < bytesMax * RESUME_SHARE) {
      pausedFrom = null;
      missed.end(deps.now());
    }
    await missed.recordEnds();
  }

  function poke(): void {
    if (isReading || isClosed || deps.now() - lastReadAt < checkMs) return;
    isReading = true;
    lastReadAt = deps.now();
    // The request that happens to start this is not who acts here, and must be free to end.
    void withoutContext(async () => {
      await look();
      isReading = false;
      schedule();
    });
  }

  /** While something waits for a look, traffic is not needed to get one. Never keeps a process alive. */
  function schedule(): void {
    clearTimeout(timer);
    if (isClosed || (pausedFrom === null && missed.unrecorded() === 0)) return;
    timer = setTimeout(() => {
      poke();
      // The clock of the service may be behind the timer's.
      if (!isReading) schedule();
    }, checkMs);
    timer.unref();
  }

  return {
    poke,
    admits(tenant, action, isCritical) {
      if (pausedFrom === null || isCritical) return true;
      missed.count(tenant, action, { from: pausedFrom, bytes, bytesMax });
      return false;
    },
    state: () => ({ paused: pausedFrom !== null, outboxBytes: bytes, ...missed.totals() }),
    async close() {
      isClosed = true;
      clearTimeout(timer);
      missed.end(deps.now());
      await missed.recordEnds();
    },
  };
}

function checkGrowth<Tx>(growth: GrowthOptions, driver: OutboxDriver<Tx>): Required<GrowthOptions> {
  const { bytesMax, checkMs = 1_000 } = growth;
  const refuse = (field: string, reason: string): never => {
    throw new EvidentError('usage-invalid', `${field}: ${reason}`, { context: { field } });
  };
  if (!Number.isSafeInteger(bytesMax) || bytesMax < 1)
    refuse('growth.bytesMax', 'a positive number of bytes');
  if (!Number.isSafeInteger(checkMs) || checkMs < 1)
    refuse('growth.checkMs', 'a positive number of milliseconds');
  if (driver.read === undefined && driver.transaction === undefined) {
    refuse('growth', 'the driver can read the size of the outbox neither by read nor in a transaction');
  }
  return { bytesMax, checkMs };
}

async function readBytes<Tx>(driver: OutboxDriver<Tx>): Promise<number> {
  const rows =
    driver.read !== undefined
      ? await driver.read(PRESSURE)
      : rowsOf(await driver.transaction!(async (tx) => await driver.query(tx, PRESSURE)));
  const found = (rows?.[0] as { bytes?: unknown } | undefined)?.bytes;
  const bytes = typeof found === 'string' || typeof found === 'number' ? Number(found) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new EvidentError('usage-invalid', 'driver.query gives no rows of a SELECT: give the driver read', {
      context: { field: 'driver.read' },
    });
  }
  return bytes;
}

/** pg, Kysely and Drizzle answer an object with rows; postgres an array. */
function rowsOf(result: unknown): readonly object[] | undefined {
  if (Array.isArray(result)) return result as object[];
  const rows = (result as { rows?: unknown } | null | undefined)?.rows;
  return Array.isArray(rows) ? (rows as object[]) : undefined;
}
