import pg from 'pg';

/**
 * A pool whose connections act as `role`: the server's own has neither INSERT nor UPDATE nor DELETE on what is
 * recorded (design §8), and sees rows of the tenant that is set alone. `tenant: '*'`, for stages, is all of them; without
 * it a connection sees none before a transaction sets one. `name`: what pg_stat_activity calls them, so that the time
 * that a backend takes can be told apart.
 */
export function openPool(
  connection: pg.ClientConfig,
  options: { role: string | null; max: number; tenant?: '*'; name?: string },
): pg.Pool {
  const tenant = options.tenant === undefined ? '' : ` -c evident.tenant=${options.tenant}`;
  const pool = new pg.Pool({
    ...connection,
    max: options.max,
    ...(options.name === undefined ? {} : { application_name: options.name }),
    ...(options.role === null ? {} : { options: `-c role=${options.role}${tenant}` }),
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
  });
  // An idle connection that breaks is replaced at the next use; without a listener it would end the process.
  pool.on('error', () => undefined);
  return pool;
}
