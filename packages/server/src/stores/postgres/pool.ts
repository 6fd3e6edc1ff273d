import pg from 'pg';

/**
 * A pool whose connections act as `role`: the server's own has neither INSERT nor UPDATE nor DELETE on what is
 * recorded (design §8).
 */
export function openPool(
  connection: pg.ClientConfig,
  options: { role: string | null; max: number },
): pg.Pool {
  const pool = new pg.Pool({
    ...connection,
    max: options.max,
    ...(options.role === null ? {} : { options: `-c role=${options.role}` }),
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
  });
  // An idle connection that breaks is replaced at the next use; without a listener it would end the process.
  pool.on('error', () => undefined);
  return pool;
}
