/** Drivers for `pg` and `postgres`. The objects are the caller's; nothing of these packages is loaded from here. */

import { EvidentError } from '@evident/core/errors.ts';
import { isPreparedLost } from './outbox/database-error.ts';
import type { OutboxDriver, OutboxStatement } from './outbox/driver.ts';

export interface DriverOptions {
  /**
   * Whether the insert of one event is a named prepared statement, which PostgreSQL parses and plans once per
   * connection; default true. Two names on a connection, beginning with `evident_` in `pg`; batches are not prepared.
   *
   * Say false behind a pooler that gives each transaction another connection and does not carry prepared statements
   * over: PgBouncer in transaction mode before 1.21, or with `max_prepared_statements = 0`. A pooler in session mode
   * needs nothing. Where it is forgotten, and where something runs DISCARD ALL or DEALLOCATE on a connection that
   * stays in use, the insert fails with SQLSTATE 26000 or 42P05, and the caller's transaction with it: nothing can be
   * tried again inside it. `log` rejects with outbox-unavailable, which may be tried again as a whole, and the driver
   * prepares nothing any more from then on. So it costs each process the transactions that are under way at that
   * moment, and never an event without its change.
   *
   * `postgres` prepares what the application sends, and COMMIT: behind such a pooler make `sql` itself with
   * `prepare: false`, and nothing needs to be said here. Otherwise, without this SDK as with it, a COMMIT that has
   * vanished aborts the transaction, and its repetition is reported as done while it rolls back (a run with 3.4.9):
   * neither the change nor its event is there.
   */
  readonly prepare?: boolean;
}

/** Sends the insert under its name until that has failed once for being named. */
function createSender(prepare: boolean) {
  let isPrepared = prepare;
  return async (statement: OutboxStatement, send: (name: string | undefined) => PromiseLike<unknown>) => {
    const name = isPrepared ? statement.name : undefined;
    try {
      return await send(name);
    } catch (error) {
      if (name !== undefined && isPreparedLost(error)) isPrepared = false;
      throw error;
    }
  };
}

/** What is used of a client of `pg`. */
export interface PgClient {
  query(
    query: string | { readonly name?: string; readonly text: string; values?: unknown[] },
    values?: unknown[],
  ): PromiseLike<unknown>;
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
export function pgDriver(pool: PgPool, { prepare = true }: DriverOptions = {}): OutboxDriver<PgClient> {
  const sender = createSender(prepare);
  return {
    query(tx, statement) {
      requireTransaction(tx === pool || isIdle(tx));
      const { text } = statement;
      const values = statement.values as unknown[];
      return sender(statement, (name) =>
        name === undefined ? tx.query(text, values) : tx.query({ name, text, values }),
      );
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
export interface PostgresTransaction {
  // biome-ignore lint/suspicious/noExplicitAny: the parameters of postgres are generic over the caller's types
  (strings: TemplateStringsArray, ...values: any[]): PromiseLike<unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: the parameters of postgres are generic over the caller's types
  unsafe(text: string, values?: any[], options?: { prepare?: boolean }): PromiseLike<unknown>;
}

export interface PostgresSql extends PostgresTransaction {
  // biome-ignore lint/suspicious/noExplicitAny: begin is overloaded and generic over the caller's types
  begin(fn: (tx: any) => Promise<unknown>): PromiseLike<unknown>;
}

/**
 * For `postgres`: the transaction is what `sql.begin` gives. `sql` itself is refused, as a pool is.
 *
 * Of a `sql` that was made with `prepare: false` nothing is prepared either. A statement that is not prepared costs
 * this library a second round trip, to ask for the types of the parameters.
 */
export function postgresDriver(
  sql: PostgresSql,
  { prepare = true }: DriverOptions = {},
): OutboxDriver<PostgresTransaction> {
  const sender = createSender(prepare);
  return {
    query(tx, statement) {
      requireTransaction(tx === sql);
      const { text, values } = statement;
      // The library makes up the name itself, once per text.
      return sender(statement, (name) => tx.unsafe(text, [...values], { prepare: name !== undefined }));
    },
    transaction: async <T>(fn: (tx: PostgresTransaction) => Promise<T>) => (await sql.begin(fn)) as T,
    read: async ({ text }) => (await sql.unsafe(text)) as object[],
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
