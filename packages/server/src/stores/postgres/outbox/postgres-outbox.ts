/** The port `Outbox` on PostgreSQL. */

import pg from 'pg';
import type {
  Emptied,
  Handover,
  Outbox,
  OutboxRow,
  OutboxStream,
  Pressure,
  ReadBounds,
  RowPlace,
  SlotState,
  SourceIdentity,
  SweepBounds,
} from '../../../relay/ports.ts';
import { openHandover } from './handover.ts';
import { parseLsn } from './lsn.ts';
import { oneRow, readOutboxRows, restoredRows, settledRows, sweptRows } from './rows.ts';
import { sourceFault } from './source-fault.ts';
import { openOutboxStream } from './stream.ts';

/** One reads ahead, one looks after slots and pressure, one is spare. */
const CONNECTIONS = 3;
const CONNECT_MS_MAX = 10_000;
/** No statement of ours holds anything longer than this. */
const STATEMENT_MS_MAX = 30_000;

/**
 * Opens the outbox of a database. Nothing is asked yet.
 *
 * All connections are made together and none is replaced: behind a new one another database may answer, an older copy
 * that was put back while nobody asked. When one breaks, so does the outbox, and whoever opens another recognises the
 * database anew.
 */
export function openOutbox(connection: pg.ClientConfig): Outbox {
  return new PostgresOutbox(connection);
}

class PostgresOutbox implements Outbox {
  readonly #connection: pg.ClientConfig;
  readonly #pool: pg.Pool;
  #connected: Promise<void> | null = null;
  #broken: Error | null = null;

  constructor(connection: pg.ClientConfig) {
    this.#connection = { ...connection, application_name: 'evident relay' };
    this.#pool = new pg.Pool({
      ...this.#connection,
      statement_timeout: STATEMENT_MS_MAX,
      max: CONNECTIONS,
      connectionTimeoutMillis: CONNECT_MS_MAX,
      idleTimeoutMillis: 0,
      keepAlive: true,
    });
    const onBroken = (error?: Error) => {
      this.#broken ??= error ?? new Error('a connection has ended');
    };
    this.#pool.on('connect', (client) => client.on('error', onBroken));
    this.#pool.on('error', onBroken);
    this.#pool.on('remove', () => onBroken());
  }

  async identify(): Promise<SourceIdentity> {
    const [row] = await this.#ask<{ system: string; timeline: string }>(
      'asking which database it is',
      `SELECT (pg_control_system()).system_identifier::text AS system,
              substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline`,
    );
    return row;
  }

  async beat(token: string): Promise<void> {
    await this.#ask('leaving a token', 'SELECT evident_outbox.beat($1)', [token]);
  }

  async tokens(): Promise<readonly string[]> {
    const [row] = await this.#ask<{ tokens: string[] }>(
      'reading tokens',
      'SELECT tokens FROM evident_outbox.heartbeat',
    );
    return row.tokens;
  }

  async readRow(place: RowPlace): Promise<OutboxRow | 'open' | null> {
    // Before the row is looked for: a transaction gives its lock back only after others see what it has written.
    const [{ open }] = await this.#ask<{ open: boolean }>(
      'looking at the transaction of the cursor',
      "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND transactionid = $1::xid8::xid) AS open",
      [place.xid.toString()],
    );
    if (open) return 'open';
    return (await this.#rows('reading the row of the cursor', oneRow(place)))[0] ?? null;
  }

  read(after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]> {
    return this.#rows('polling the outbox', settledRows(after, bounds));
  }

  readAll(after: RowPlace, sweep: SweepBounds, bounds: ReadBounds): Promise<OutboxRow[]> {
    return this.#rows('sweeping the outbox', sweptRows(after, sweep, bounds));
  }

  readRestored(slot: number, after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]> {
    return this.#rows(`reading restored rows of slot ${slot}`, restoredRows(slot, after, bounds));
  }

  async bound(): Promise<{ sweep: SweepBounds | null; horizon: bigint }> {
    const [row] = await this.#ask<{ xid: string | null; id: string | null; horizon: string }>(
      'looking how far the outbox reaches',
      `SELECT last.xid, last.id, pg_snapshot_xmin(pg_current_snapshot()) AS horizon
         FROM (SELECT) one LEFT JOIN (SELECT xid, id FROM evident_outbox.events ORDER BY xid DESC, id DESC LIMIT 1) last ON true`,
    );
    const horizon = BigInt(row.horizon);
    if (row.xid === null || row.id === null) return { sweep: null, horizon };
    const through = { xid: BigInt(row.xid), id: BigInt(row.id) };
    return { sweep: { through, horizon }, horizon };
  }

  async horizon(): Promise<{ xid: bigint; lsn: bigint }> {
    // Two statements: the end of the log has to be read after the snapshot was taken.
    const [{ xid }] = await this.#ask<{ xid: string }>(
      'reading the horizon',
      'SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid',
    );
    const [{ lsn }] = await this.#ask<{ lsn: string }>(
      'reading the end of the write-ahead log',
      'SELECT pg_current_wal_insert_lsn() AS lsn',
    );
    return { xid: BigInt(xid), lsn: parseLsn(lsn) };
  }

  async slots(): Promise<number> {
    const [row] = await this.#ask<{ slots: number }>(
      'reading the ring',
      'SELECT slots FROM evident_outbox.ring',
    );
    return row.slots;
  }

  async emptySlot(slot: number, done: RowPlace, row: RowPlace, restored: bigint): Promise<Emptied> {
    const [{ emptied }] = await this.#ask<{ emptied: Emptied }>(
      `emptying slot ${slot}`,
      'SELECT evident_outbox.empty_slot($1::smallint, $2::xid8, $3::bigint, $4::xid8, $5::bigint, $6::bigint) AS emptied',
      [slot, done.xid.toString(), done.id, row.xid.toString(), row.id, restored],
    );
    return emptied;
  }

  async pressure(done: RowPlace): Promise<Pressure> {
    const [row] = await this.#ask<{ bytes: string; last_id: string; oldest_ms: number | null }>(
      'looking how full the outbox is',
      `SELECT p.bytes, p.last_id,
              (SELECT (extract(epoch FROM clock_timestamp() - e.written_at) * 1000)::float8
                 FROM evident_outbox.events e WHERE (e.xid, e.id) > ($1::xid8, $2::bigint)
                ORDER BY e.xid, e.id LIMIT 1) AS oldest_ms
         FROM evident_outbox.pressure() p`,
      [done.xid.toString(), done.id],
    );
    const [holder] = await this.#ask<{ pid: number; age_ms: number; what: string }>(
      'looking for old transactions',
      `SELECT pid, age_ms, what FROM (
         SELECT pid, (extract(epoch FROM clock_timestamp() - xact_start) * 1000)::float8 AS age_ms,
                format('%s of %s in %s', application_name, usename, datname) AS what, age(backend_xid) AS held
           FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
         UNION ALL
         SELECT 0, (extract(epoch FROM clock_timestamp() - prepared) * 1000)::float8,
                format('prepared transaction %s of %s in %s', gid, owner, database), age(transaction)
           FROM pg_prepared_xacts) open
        WHERE age_ms IS NOT NULL ORDER BY held DESC LIMIT 1`,
    );
    return {
      bytes: BigInt(row.bytes),
      lastId: BigInt(row.last_id),
      oldestMs: row.oldest_ms,
      holder: holder === undefined ? null : { pid: holder.pid, ageMs: holder.age_ms, what: holder.what },
    };
  }

  async slotState(name: string): Promise<SlotState | null> {
    const [row] = await this.#ask<{
      confirmed: string | null;
      usable: boolean;
      lag: string | null;
      active: boolean;
    }>(
      'looking at the replication slot',
      `SELECT confirmed_flush_lsn AS confirmed, active,
              wal_status IS DISTINCT FROM 'lost' AND database = current_database() AND plugin = 'pgoutput' AS usable,
              pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS lag
         FROM pg_replication_slots WHERE slot_name = $1`,
      [name],
    );
    if (row === undefined) return null;
    return {
      confirmed: row.confirmed === null ? 0n : parseLsn(row.confirmed),
      // A slot whose making was broken off has confirmed nothing: it is none.
      usable: row.usable && row.confirmed !== null,
      active: row.active,
      lagBytes: BigInt(row.lag ?? 0),
    };
  }

  async dropSlot(name: string): Promise<void> {
    await this.#ask(
      'dropping the replication slot',
      'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1',
      [name],
    );
  }

  createSlot(name: string, signal: AbortSignal): Promise<Handover> {
    return openHandover(this.#connection, name, signal);
  }

  async stream(name: string, acknowledged: bigint): Promise<OutboxStream> {
    const stream = await openOutboxStream(this.#connection, name, acknowledged);
    try {
      // Its connection is a new one: as long as those from before it live, it leads to the same database.
      await this.#ask('looking whether it is the same database', 'SELECT');
      return stream;
    } catch (error) {
      await stream.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #requireConnections(): Promise<void> {
    this.#connected ??= this.#connectAll();
    await this.#connected;
    if (this.#broken !== null)
      throw new Error(`the connection was lost: ${this.#broken.message}`, { cause: this.#broken });
  }

  async #connectAll(): Promise<void> {
    const wanted = Array.from({ length: CONNECTIONS }, () => this.#pool.connect());
    const made = await Promise.allSettled(wanted);
    for (const one of made) if (one.status === 'fulfilled') one.value.release();
    for (const one of made) if (one.status === 'rejected') throw one.reason;
  }

  async #ask<Row extends pg.QueryResultRow>(
    what: string,
    text: string,
    values: unknown[] = [],
  ): Promise<Row[]> {
    try {
      await this.#requireConnections();
      return (await this.#pool.query<Row>(text, values)).rows;
    } catch (error) {
      throw sourceFault(error, what);
    }
  }

  async #rows(what: string, query: string): Promise<OutboxRow[]> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      await this.#requireConnections();
      client = await this.#pool.connect();
      return await readOutboxRows(client, query);
    } catch (error) {
      broken = error as Error;
      throw sourceFault(error, what);
    } finally {
      client?.release(broken);
    }
  }
}
