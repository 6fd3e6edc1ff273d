/** Writes rows: in the caller's transaction, in one of their own, or there as well as can be. */

import { EvidentError } from '@evident/core/errors.ts';
import { outboxError } from './database-error.ts';
import type { OutboxDriver, OutboxRow } from './driver.ts';
import type { OnProblem } from './problems.ts';
import { insertStatements } from './statement.ts';

/** Best-effort writes that may wait at once: a database that is down must not fill the memory of the application. */
export const UNDER_WAY_MAX = 1_000;

export interface WriterOptions<Tx> {
  readonly driver: OutboxDriver<Tx>;
  readonly onProblem: OnProblem;
  /** Longest that anybody waits for a transaction of our own, milliseconds. */
  readonly ownTransactionMsMax: number;
}

export interface OutboxWriter<Tx> {
  /** @throws outbox-refused, outbox-missing, outbox-unavailable, disk-full */
  write(tx: Tx, rows: readonly OutboxRow[]): Promise<void>;
  /** @throws usage-invalid when the driver has no transactions of its own */
  requireTransaction(): void;
  /** Runs `fn` in a transaction of its own, for as long as it takes. */
  transaction<T>(fn: (tx: Tx) => Promise<T>): Promise<T>;
  /** Writes in a transaction of its own and waits for its commit, bounded. */
  writeAlone(rows: readonly OutboxRow[]): Promise<void>;
  /**
   * The same, best effort: never rejects, tells onProblem. Resolves when it is decided, or when the bound is over;
   * then it goes on unwatched, and `settle` still waits for it.
   */
  attempt(what: string, makeRow: () => OutboxRow): Promise<boolean>;
  /** Waits for the attempts under way, at most so long; how many are left. */
  settle(timeoutMs: number): Promise<number>;
  readonly counts: { captured: number; failedBestEffort: number; underWay: number };
}

export function createWriter<Tx>(options: WriterOptions<Tx>): OutboxWriter<Tx> {
  const { driver, onProblem, ownTransactionMsMax } = options;
  const counts = { captured: 0, failedBestEffort: 0, underWay: 0 };
  const underWay = new Set<Promise<unknown>>();

  async function write(tx: Tx, rows: readonly OutboxRow[]): Promise<void> {
    try {
      for (const statement of insertStatements(rows)) await driver.query(tx, statement);
    } catch (error) {
      throw outboxError(error);
    }
    counts.captured += rows.length;
  }

  function requireTransaction(): NonNullable<OutboxDriver<Tx>['transaction']> {
    if (driver.transaction !== undefined) return driver.transaction.bind(driver);
    throw new EvidentError('usage-invalid', 'driver.transaction: this call needs a driver that has it', {
      context: { field: 'driver.transaction' },
    });
  }

  const transaction = async <T>(fn: (tx: Tx) => Promise<T>): Promise<T> => await requireTransaction()(fn);

  async function commitAlone(rows: readonly OutboxRow[]): Promise<void> {
    try {
      await transaction((tx) => write(tx, rows));
    } catch (error) {
      throw outboxError(error);
    }
  }

  async function attemptNow(what: string, makeRow: () => OutboxRow): Promise<boolean> {
    let row: OutboxRow | undefined;
    try {
      if (counts.underWay >= UNDER_WAY_MAX) {
        throw new EvidentError('outbox-unavailable', `${UNDER_WAY_MAX} best-effort writes wait already`);
      }
      counts.underWay += 1;
      try {
        row = makeRow();
        await commitAlone([row]);
      } finally {
        counts.underWay -= 1;
      }
      return true;
    } catch (error) {
      counts.failedBestEffort += 1;
      const event = row === undefined ? undefined : { id: row.eventId, tenant: row.tenant, body: row.body };
      onProblem({ what, error, event });
      return false;
    }
  }

  return {
    write,
    transaction,
    requireTransaction() {
      requireTransaction();
    },
    counts,
    async writeAlone(rows) {
      const done = await within(ownTransactionMsMax, commitAlone(rows));
      if (done === TOO_LATE) {
        throw new EvidentError(
          'outbox-unavailable',
          `the event did not commit within ${ownTransactionMsMax} ms; is a connection free?`,
        );
      }
    },
    async attempt(what, makeRow) {
      const work = attemptNow(what, makeRow);
      underWay.add(work);
      void work.finally(() => underWay.delete(work));
      return (await within(ownTransactionMsMax, work)) === true;
    },
    async settle(timeoutMs) {
      await within(timeoutMs, Promise.all(underWay));
      return underWay.size;
    },
  };
}

const TOO_LATE = Symbol('too late');

/** The work's own end, or TOO_LATE; a rejection that comes after the bound is nobody's any more. */
async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T | typeof TOO_LATE> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof TOO_LATE>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, TOO_LATE);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
