/** The port `WindowIndex` on PostgreSQL (sql/postgres/0016_windows.sql). */

import type pg from 'pg';
import type { IndexedHour, IndexedWindow, TenantWindow, WindowIndex } from '../../windows/ports.ts';
import { ask } from './ask.ts';
import { bytesArray, int4Array, int8Array, OID, textArray } from './binary.ts';

const PUT = `SELECT evident.put_windows($1::bigint, $2::bigint, $3::text[], $4::text[], $5::int[], $6::bigint[], $7::bytea[],
  $8::text[], $9::int[], $10::bigint[], $11::bigint[], $12::int[], $13::int[]) AS taken`;

const NEWEST = `SELECT t.tenant, w.hour, w.position, w.leaf_hash FROM unnest($3::text[]) t(tenant)
  CROSS JOIN LATERAL (SELECT hour, position, leaf_hash FROM evident.tenant_windows
    WHERE log_id = (SELECT log_id FROM evident.logs WHERE log = $1) AND tenant = t.tenant AND hour <= $2
    ORDER BY hour DESC LIMIT 1) w`;

interface WindowRow {
  tenant: string;
  hour: number;
  position: string;
  leaf_hash: Buffer;
}

export class PostgresWindowIndex implements WindowIndex {
  readonly #pool: pg.Pool;

  /** @param pool connections that see all tenants */
  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async next(): Promise<bigint> {
    const { rows } = await this.#ask<{ next_position: string }>(
      'SELECT next_position FROM evident.window_checkpoint',
      [],
    );
    return BigInt(rows[0].next_position);
  }

  async put(
    from: bigint,
    next: bigint,
    windows: readonly IndexedWindow[],
    hours: readonly IndexedHour[],
  ): Promise<boolean> {
    const counts = hours.map(({ ends }) => ends.length);
    let at = 1;
    const begins = counts.map((count) => {
      at += count;
      return at - count;
    });
    const { rows } = await this.#ask<{ taken: boolean }>(PUT, [
      from.toString(),
      next.toString(),
      textArray(windows.map(({ log }) => log)),
      textArray(windows.map(({ tenant }) => tenant)),
      int4Array(windows.map(({ hour }) => hour)),
      int8Array(windows.map(({ position }) => position)),
      bytesArray(
        OID.bytea,
        windows.map(({ leafHash }) => leafHash),
      ),
      textArray(hours.map(({ log }) => log)),
      int4Array(hours.map(({ hour }) => hour)),
      int8Array(hours.map(({ position }) => position)),
      int8Array(hours.flatMap(({ ends }) => ends)),
      int4Array(begins),
      int4Array(counts),
    ]);
    return rows[0].taken;
  }

  async lastHour(log: string): Promise<IndexedHour | null> {
    const { rows } = await this.#ask<{ hour: number; position: string; ends: string[] }>(
      `SELECT hour, position, ends FROM evident.window_hours
        WHERE log_id = (SELECT log_id FROM evident.logs WHERE log = $1) ORDER BY hour DESC LIMIT 1`,
      [log],
    );
    const row = rows.at(0);
    if (row === undefined) return null;
    return { log, hour: row.hour, position: BigInt(row.position), ends: row.ends.map(BigInt) };
  }

  async newest(
    log: string,
    hour: number,
    tenants: readonly string[],
  ): Promise<ReadonlyMap<string, TenantWindow>> {
    const { rows } = await this.#ask<WindowRow>(NEWEST, [log, hour, textArray(tenants)]);
    return new Map(rows.map((row) => [row.tenant, windowOf(row)]));
  }

  async ofHour(
    log: string,
    hour: number,
    after: bigint,
    limit: number,
  ): Promise<readonly { readonly position: bigint; readonly leafHash: Uint8Array }[]> {
    const { rows } = await this.#ask<WindowRow>(
      `SELECT tenant, hour, position, leaf_hash FROM evident.tenant_windows
        WHERE log_id = (SELECT log_id FROM evident.logs WHERE log = $1) AND hour = $2 AND position > $3
        ORDER BY position LIMIT $4`,
      [log, hour, after.toString(), limit],
    );
    return rows.map(windowOf);
  }

  async ofTenant(
    log: string,
    tenant: string,
    fromHour: number,
    limit: number,
  ): Promise<readonly TenantWindow[]> {
    const { rows } = await this.#ask<WindowRow>(
      `SELECT tenant, hour, position, leaf_hash FROM evident.tenant_windows
        WHERE log_id = (SELECT log_id FROM evident.logs WHERE log = $1) AND tenant = $2 AND hour >= $3
        ORDER BY hour LIMIT $4`,
      [log, tenant, fromHour, limit],
    );
    return rows.map(windowOf);
  }

  #ask<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<pg.QueryResult<Row>> {
    return ask<Row>(this.#pool, 'reading or filling the index of windows', text, values);
  }
}

function windowOf({ hour, position, leaf_hash }: WindowRow): TenantWindow {
  return { hour, position: BigInt(position), leafHash: new Uint8Array(leaf_hash) };
}
