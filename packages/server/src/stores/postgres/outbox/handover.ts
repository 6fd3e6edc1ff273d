/** A new replication slot with the snapshot that it begins behind. */

import pg from 'pg';
import type { Handover, OutboxRow, ReadBounds, RowPlace } from '../../../relay/ports.ts';
import { parseLsn } from './lsn.ts';
import { readOutboxRows, visibleRows } from './rows.ts';
import { sourceFault } from './source-fault.ts';

/**
 * Makes a slot. PostgreSQL waits for every transaction that is open; `signal` ends the wait.
 *
 * If we die here, a slot may be left that nobody reads: it holds back write-ahead log until the next attempt drops it.
 */
export async function openHandover(
  connection: pg.ClientConfig,
  name: string,
  signal: AbortSignal,
): Promise<Handover> {
  if (!/^[a-z0-9_]{1,63}$/.test(name)) throw new RangeError(`no name of a slot: ${name}`);
  const maker = new pg.Client({ ...connection, replication: 'database' } as pg.ClientConfig);
  const reader = new pg.Client(connection);
  for (const client of [maker, reader]) client.on('error', () => undefined);
  const end = async () => {
    await Promise.allSettled([reader.end(), maker.end()]);
  };
  // The server notices a broken connection only when it writes to it: it is told to end the backend.
  const onAbort = () => {
    const pid = (maker as unknown as { processID?: number }).processID;
    void reader
      .query('SELECT pg_terminate_backend($1)', [pid ?? 0])
      .catch(() => undefined)
      .then(end);
  };
  try {
    await reader.connect();
    await maker.connect();
    signal.throwIfAborted();
    signal.addEventListener('abort', onAbort, { once: true });
    const { rows } = await maker.query<{ consistent_point: string; snapshot_name: string }>(
      `CREATE_REPLICATION_SLOT "${name}" LOGICAL pgoutput (SNAPSHOT 'export')`,
    );
    const [{ consistent_point, snapshot_name }] = rows;
    await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    // The name is PostgreSQL's own; SET takes no parameters.
    await reader.query(`SET TRANSACTION SNAPSHOT ${reader.escapeLiteral(snapshot_name)}`);
    const horizon = await reader.query<{ xid: string }>(
      'SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid',
    );
    return {
      lsn: parseLsn(consistent_point),
      horizon: BigInt(horizon.rows[0].xid),
      read: (after: RowPlace, bounds: ReadBounds) => readVisible(reader, after, bounds),
      close: end,
    };
  } catch (error) {
    await end();
    throw sourceFault(error, `making the replication slot ${name}`);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function readVisible(reader: pg.Client, after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]> {
  try {
    return await readOutboxRows(reader, visibleRows(after, bounds));
  } catch (error) {
    throw sourceFault(error, 'reading what the slot begins behind');
  }
}
