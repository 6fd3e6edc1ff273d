/** The port `AnchorReader` of `verify` on PostgreSQL (sql/postgres/0017_anchor.sql). */

import type pg from 'pg';
import type { AnchorKind, StoredAnchor } from '../../anchor/ports.ts';
import type { AnchorPlace, AnchorReader, ReadAnchor } from '../../verify/verify-anchors.ts';
import { ask } from './ask.ts';
import { int4Array, int8Array, textArray } from './binary.ts';

interface AnchorRow {
  epoch: number;
  size: string;
  kind: AnchorKind;
  by: string;
  bytes: Buffer;
  at: string;
  logged_at: string | null;
}

const COLUMNS = 'a.epoch, a.size, a.kind, a.by, a.bytes, a.at, a.logged_at';
const PAGE = `SELECT ${COLUMNS} FROM evident.anchors a
  WHERE (a.epoch, a.size, a.kind, a.by) > ($1::int, $2::bigint, $3::text, $4::text)
  ORDER BY a.epoch, a.size, a.kind, a.by LIMIT $5`;
const FIND = `SELECT ${COLUMNS}
  FROM unnest($1::int[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY u(epoch, size, kind, by, place)
  LEFT JOIN evident.anchors a ON (a.epoch, a.size, a.kind, a.by) = (u.epoch, u.size, u.kind, u.by)
  ORDER BY u.place`;

export class PostgresAnchorReader implements AnchorReader {
  readonly #pool: pg.Pool;

  /** @param pool connections of the server itself */
  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async page(after: AnchorPlace | null, limit: number): Promise<readonly ReadAnchor[]> {
    const { epoch, size, kind, by } = after ?? { epoch: -1, size: 0n, kind: '', by: '' };
    const rows = await this.#ask(PAGE, [epoch, size.toString(), kind, by, limit]);
    return rows.map((row) => ({
      ...anchorOf(row),
      loggedAt: row.logged_at === null ? null : BigInt(row.logged_at),
    }));
  }

  async find(places: readonly AnchorPlace[]): Promise<readonly (StoredAnchor | null)[]> {
    const rows = await this.#ask(FIND, [
      int4Array(places.map(({ epoch }) => epoch)),
      int8Array(places.map(({ size }) => size)),
      textArray(places.map(({ kind }) => kind)),
      textArray(places.map(({ by }) => by)),
    ]);
    return rows.map((row) => (row.epoch === null ? null : anchorOf(row)));
  }

  async #ask(text: string, values: unknown[]): Promise<AnchorRow[]> {
    return (await ask<AnchorRow>(this.#pool, 'reading anchors', text, values)).rows;
  }
}

function anchorOf({ epoch, size, kind, by, bytes, at }: AnchorRow): StoredAnchor {
  return { epoch, size: BigInt(size), kind, by, bytes: new Uint8Array(bytes), at: BigInt(at) };
}
