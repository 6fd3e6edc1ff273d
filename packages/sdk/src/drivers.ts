/** Drivers for `pg` and `postgres`. The objects are the caller's; nothing of these packages is loaded from here. */

import { EvidentError } from '@evident/core/errors.ts';
import type { OutboxDriver } from './outbox/driver.ts';

/** What is used of a client of `pg`. */
export interface PgClient {
  query(text: string, values?: unknown[]): PromiseLike<unknown>;
  on?(event: 'error', listener: (error: Error) => void): unknown;
  off?(event: 'error', listener: (error: Error) => void): unknown;
}

/** What is used of a pool of `pg`. */
export interface PgPool extends PgClient {
  connect(done: (error: Error | undefined, client?: PooledClient) => void): void;
}

type PooledClient = PgClient & { release(error?: Error | boolean): void };

/**
 * For `pg`: the transaction is the client on which the caller has sent BEGIN.
 *
 * A pool, or a client without a transaction, is refused: the event would commit on its own, before and without the
 * change that it tells of.
 */
export function pgDriver(pool: PgPool): OutboxDriver<PgClient> {
  return {
    query(tx, { text, values }) {
      requireTransaction(tx === pool || isIdle(tx));
      return tx.query(text, values as unknown[]);
    },
    async transaction(fn) {
      const client = await takeClient(pool);
      // A connection whose state nobody knows goes out of the pool: the next user must not inherit a transaction.
      let isBroken = false;
      try {
        await client.query('BEGIN');
        const value = await fn(client);
        const done = (await client.query('COMMIT')) as { command?: string } | undefined;
        if (done?.command === 'ROLLBACK') {
          throw new EvidentError(
            'outbox-unavailable',
            'COMMIT was answered with ROLLBACK: a statement of the transaction had failed, and its error was swallowed',
            // The server's own word: nothing is left open.
            { context: { sqlstate: '25P02' }, cause: { code: '25P02' } },
          );
        }
        return value;
      } catch (error) {
        isBroken = await rollBack(client);
        throw error;
      } finally {
        client.off?.('error', ignore);
        client.release(isBroken);
      }
    },
    async read({ text }) {
      return ((await pool.query(text)) as { rows: object[] }).rows;
    },
  };
}

/**
 * A client that is taken out of the pool and loses its server emits an error that would end the process; the statement
 * under way rejects all the same. Its listener is there before the pool has let go of it: by a promise it would come a
 * moment later, and the server's last word may lie in the same piece of the stream.
 */
function takeClient(pool: PgPool): Promise<PooledClient> {
  return new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (client === undefined) {
        reject(error);
        return;
      }
      client.on?.('error', ignore);
      resolve(client);
    });
  });
}

const ignore = (): void => undefined;

/** True when even that failed. */
async function rollBack(client: PgClient): Promise<boolean> {
  try {
    await client.query('ROLLBACK');
    return false;
  } catch {
    return true;
  }
}

/** Newer clients know whether they are in a transaction; of others nothing is known. */
function isIdle(client: PgClient): boolean {
  const { getTransactionStatus } = client as { getTransactionStatus?: unknown };
  return typeof getTransactionStatus === 'function' && getTransactionStatus.call(client) === 'I';
}

/** What is used of `sql` of `postgres`, and of the one that `sql.begin` gives. */
export type PostgresTransaction = (
  strings: TemplateStringsArray,
  // biome-ignore lint/suspicious/noExplicitAny: the parameters of postgres are generic over the caller's types
  ...values: any[]
) => PromiseLike<unknown>;

export interface PostgresSql extends PostgresTransaction {
  // biome-ignore lint/suspicious/noExplicitAny: begin is overloaded and generic over the caller's types
  begin(fn: (tx: any) => Promise<unknown>): PromiseLike<unknown>;
}

/** For `postgres`: the transaction is what `sql.begin` gives. `sql` itself is refused, as a pool is. */
export function postgresDriver(sql: PostgresSql): OutboxDriver<PostgresTransaction> {
  return {
    query(tx, { strings, values }) {
      requireTransaction(tx === sql);
      return tx(strings, ...values);
    },
    transaction: async <T>(fn: (tx: PostgresTransaction) => Promise<T>) => (await sql.begin(fn)) as T,
    read: async ({ strings }) => (await sql(strings)) as object[],
  };
}

function requireTransaction(isMissing: boolean): void {
  if (!isMissing) return;
  throw new EvidentError(
    'usage-invalid',
    'tx: no transaction is open on it (was BEGIN awaited?), so the event would not share the fate of the change. Pass the client or transaction in which the change is made, or use capture or logAlone',
    { context: { field: 'tx' } },
  );
}
