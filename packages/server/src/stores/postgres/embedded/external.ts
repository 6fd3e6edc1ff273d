/** A PostgreSQL that somebody else runs (mode external). */

import { EvidentError } from '@evident/core/errors.ts';
import pg from 'pg';

/** xid8 functions and the replication options that the relay uses are all there from 16 on. */
const VERSION_NUM_MIN = 160_000;
const CONNECT_MS_MAX = 10_000;

export interface ExternalPostgres {
  /** `server_version_num`, such as 160009. */
  versionNum: number;
}

/**
 * Logs in once and looks at the version. Changes nothing. Errors never carry the connection string: it holds a password.
 *
 * @throws EvidentError log-unavailable when it cannot be reached or refuses the login, postgres-version below 16
 */
export async function checkExternal(connectionString: string): Promise<ExternalPostgres> {
  let where = 'the given address';
  let client: pg.Client | undefined;
  let versionNum: number;
  try {
    client = new pg.Client({ connectionString, connectionTimeoutMillis: CONNECT_MS_MAX });
    client.on('error', () => undefined);
    where = `${client.host}:${client.port}`;
    await client.connect();
    const result = await client.query<{ server_version_num: string }>('SHOW server_version_num');
    versionNum = Number(result.rows[0]!.server_version_num);
  } catch (cause) {
    const reason = describe(cause);
    throw new EvidentError('log-unavailable', `PostgreSQL at ${where} cannot be used: ${reason}.`, { cause });
  } finally {
    await client?.end().catch(() => undefined);
  }
  requireVersion(versionNum, where);
  return { versionNum };
}

/** @throws EvidentError postgres-version */
export function requireVersion(versionNum: number, where: string): void {
  if (versionNum >= VERSION_NUM_MIN) return;
  throw new EvidentError(
    'postgres-version',
    `PostgreSQL at ${where} is ${Math.floor(versionNum / 10_000)}; Evident needs ${VERSION_NUM_MIN / 10_000} or later.`,
    { context: { versionNum } },
  );
}

/** A refused connection to a name with several addresses is an AggregateError without a message. */
function describe(cause: unknown): string {
  const error = cause as Error & { code?: string };
  return error.message || error.code || 'it does not answer';
}
