/** The port `AnchorStore` on PostgreSQL (sql/postgres/0017_anchor.sql). */

import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import type { AnchorKind, AnchorStore, StoredAnchor } from '../../anchor/ports.ts';
import type { HeadAnchor } from '../../evidence/ports.ts';
import { ask } from './ask.ts';
import { textArray } from './binary.ts';

interface AnchorRow {
  epoch: number;
  size: string;
  kind: AnchorKind;
  by: string;
  bytes: Buffer;
  at: string;
}

/** By the primary key, from the newest head down: it ends at the first that has enough. */
const NEWEST_WITH = `SELECT size FROM evident.anchors
  WHERE epoch = $1 AND (kind, by) IN (SELECT * FROM unnest($2::text[], $3::text[]))
  GROUP BY size HAVING count(*) >= $4 ORDER BY size DESC LIMIT 1`;

export class PostgresAnchorStore implements AnchorStore {
  readonly #pool: pg.Pool;

  /** @param pool connections of the server itself */
  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async newest(
    epoch: number,
    kind: AnchorKind,
    by: string,
  ): Promise<{ readonly size: bigint; readonly at: bigint } | null> {
    const [row] = await this.#ask<AnchorRow>(
      'SELECT size, at FROM evident.anchors WHERE epoch = $1 AND kind = $2 AND by = $3 ORDER BY size DESC LIMIT 1',
      [epoch, kind, by],
    );
    return row === undefined ? null : { size: BigInt(row.size), at: BigInt(row.at) };
  }

  /** May be sent twice: the second finds what the first stored. */
  async put({ epoch, size, kind, by, bytes, at }: StoredAnchor): Promise<boolean> {
    const [{ stored }] = await this.#ask<{ stored: boolean | null }>(
      'SELECT evident.put_anchor($1, $2, $3, $4, $5, $6) AS stored',
      [epoch, size.toString(), kind, by, Buffer.from(bytes), at.toString()],
    );
    if (stored !== null) return stored;
    throw new EvidentError('not-found', `heads/0 has no stored head of size ${size} in its tree ${epoch}`);
  }

  async of(epoch: number, size: bigint): Promise<readonly HeadAnchor[]> {
    const rows = await this.#ask<AnchorRow>(
      'SELECT kind, by, bytes FROM evident.anchors WHERE epoch = $1 AND size = $2 ORDER BY kind, by',
      [epoch, size.toString()],
    );
    return rows.map(({ kind, by, bytes }) => ({ kind, by, bytes: new Uint8Array(bytes) }));
  }

  async newestWith(
    epoch: number,
    wanted: readonly { readonly kind: AnchorKind; readonly by: string }[],
    atLeast: number,
  ): Promise<bigint | null> {
    if (atLeast < 1) throw new RangeError('at least one anchor is asked for');
    const [row] = await this.#ask<{ size: string }>(NEWEST_WITH, [
      epoch,
      textArray(wanted.map(({ kind }) => kind)),
      textArray(wanted.map(({ by }) => by)),
      atLeast,
    ]);
    return row === undefined ? null : BigInt(row.size);
  }

  async unlogged(limit: number): Promise<readonly StoredAnchor[]> {
    const rows = await this.#ask<AnchorRow>(
      'SELECT epoch, size, kind, by, bytes, at FROM evident.anchors WHERE logged_at IS NULL ORDER BY epoch, size, kind, by LIMIT $1',
      [limit],
    );
    return rows.map(({ epoch, size, kind, by, bytes, at }) => {
      return { epoch, size: BigInt(size), kind, by, bytes: new Uint8Array(bytes), at: BigInt(at) };
    });
  }

  async markLogged(
    { epoch, size, kind, by }: Pick<StoredAnchor, 'epoch' | 'size' | 'kind' | 'by'>,
    position: bigint,
  ): Promise<void> {
    await this.#ask('SELECT evident.mark_anchor_logged($1, $2, $3, $4, $5)', [
      epoch,
      size.toString(),
      kind,
      by,
      position.toString(),
    ]);
  }

  async #ask<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<Row[]> {
    return (await ask<Row>(this.#pool, 'reading or storing anchors', text, values)).rows;
  }
}
