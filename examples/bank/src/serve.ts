/** A running bank: its address, its end. */

import type { PgClient } from '@evident/sdk/drivers';
import pg from 'pg';
import { buildApp } from './app.ts';
import type { BankAudit } from './audit.ts';
import type { User } from './books.ts';
import { postgresBooks } from './postgres-books.ts';

const CONNECTIONS = 10;
/** Shorter than the SDK waits for a failure event: its fate is known before the client is answered. */
const CONNECT_MS_MAX = 2_000;
const PORT_DEFAULT = 3000;

export function openPool(settings: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ max: CONNECTIONS, connectionTimeoutMillis: CONNECT_MS_MAX, ...settings });
  // An idle connection that breaks is replaced by the pool.
  pool.on('error', () => undefined);
  // Each connection needs a listener of its own, always: when its server dies while the pool hands it from one user to
  // the next, nobody else listens, and an `error` that nobody hears ends the process.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

export async function userOfToken(pool: pg.Pool, token: string): Promise<User | null> {
  const { rows } = await pool.query('SELECT user_id AS id, organisation, role FROM tokens WHERE token = $1', [
    token,
  ]);
  return rows[0] ?? null;
}

/** Listens until SIGINT or SIGTERM; then what was begun is ended, and what is to be recorded is written. */
export async function serveBank(
  pool: pg.Pool,
  audit: BankAudit<PgClient>,
  port = PORT_DEFAULT,
): Promise<void> {
  const app = await buildApp({
    bank: { audit, books: postgresBooks(pool) },
    authenticate: (token) => userOfToken(pool, token),
  });
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve());
  });
  const address = await app.listen({ host: '127.0.0.1', port });
  process.stdout.write(`The bank listens on ${address}\n`);
  await stopped;
  await app.close();
  await audit.close();
  await pool.end();
}

/** What could not be recorded goes to standard error, whole: best effort must not mean silence. */
export function reportProblem(problem: { what: string; error?: unknown; event?: unknown }): void {
  const { what, error, event } = problem;
  process.stderr.write(`${JSON.stringify({ problem: what, error: String(error), event })}\n`);
}
