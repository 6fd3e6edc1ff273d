/** Ready means: a client logs in to the database `evident`, which is made when it is missing. */

import { EvidentError } from '@evident/core/errors.ts';
import pg from 'pg';

const CONNECT_MS_MAX = 10_000;
const INVALID_CATALOG_NAME = '3D000';
const DUPLICATE_DATABASE = '42P04';
/** A wrong password, a refused role: trying again changes nothing. */
const REFUSED = ['28P01', '28000'];

export interface EngineConnection {
  /** The directory of a Unix socket, or 127.0.0.1. */
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
}

/** @returns ready, or not yet with what stands in the way */
export async function tryReady(connection: EngineConnection): Promise<{ ready: boolean; cause?: unknown }> {
  try {
    try {
      await query(connection, 'SELECT 1');
    } catch (error) {
      if (sqlState(error) !== INVALID_CATALOG_NAME) throw error;
      await createDatabase(connection);
      await query(connection, 'SELECT 1');
    }
    return { ready: true };
  } catch (cause) {
    if (!REFUSED.includes(sqlState(cause))) return { ready: false, cause };
    const detail = `PostgreSQL refuses the credentials of this data directory: ${(cause as Error).message}.`;
    throw new EvidentError('engine-failed', detail, { cause });
  }
}

/** Crash window: dying before the commit leaves no database, and the next start makes it. */
async function createDatabase(connection: EngineConnection): Promise<void> {
  try {
    await query({ ...connection, database: 'postgres' }, `CREATE DATABASE ${connection.database}`);
  } catch (error) {
    if (sqlState(error) !== DUPLICATE_DATABASE) throw error;
  }
}

async function query(connection: EngineConnection, text: string): Promise<void> {
  const client = new pg.Client({ ...connection, ssl: false, connectionTimeoutMillis: CONNECT_MS_MAX });
  // A connection that breaks between two calls reports here; the next call fails with it.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(text);
  } finally {
    await client.end().catch(() => undefined);
  }
}

function sqlState(error: unknown): string {
  return (error as { code?: string }).code ?? '';
}
