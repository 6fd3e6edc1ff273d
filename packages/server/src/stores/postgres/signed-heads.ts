/** The port `SignedHeads` on PostgreSQL. */

import type pg from 'pg';
import type { AnchorCounts, ListedHead, SignedHeads, SignedTreeHead } from '../../evidence/ports.ts';
import { ask } from './ask.ts';
import type { TreeOfPartition } from './leaf-reader.ts';

interface HeadRow {
  epoch: number;
  size: string;
  root: Buffer;
  note: Buffer;
  listed_at: string | null;
}

const COLUMNS = 'h.epoch, h.size, h.root, h.note, h.listed_at';
const NEWEST = `SELECT ${COLUMNS} FROM evident.heads h WHERE h.tree = $1 AND ($2::int IS NULL OR h.epoch = $2::int)
  ORDER BY h.epoch DESC, h.size DESC LIMIT 1`;
const AT = `SELECT ${COLUMNS} FROM evident.heads h WHERE h.tree = $1 AND h.epoch = $2 AND h.size = $3`;
/** By the index heads_listed. */
const LISTED = `SELECT ${COLUMNS} FROM evident.heads h WHERE h.tree = $1 AND h.listed_at < $2 AND h.listed_at IS NOT NULL
  ORDER BY h.listed_at DESC LIMIT 1`;

/** By the primary key of anchors, which begins with epoch and size, from its end. */
const ANCHORED = `SELECT a.size FROM evident.anchors a WHERE a.epoch = $1 GROUP BY a.size
  HAVING count(*) FILTER (WHERE a.kind = 'timestamp') >= $2 AND count(*) FILTER (WHERE a.kind = 'cosignature') >= $3
  ORDER BY a.size DESC LIMIT 1`;

export class PostgresSignedHeads implements SignedHeads {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;

  constructor(pool: pg.Pool, treeOf: TreeOfPartition) {
    this.#pool = pool;
    this.#treeOf = treeOf;
  }

  async newest(log: string, partition: number, epoch: number | null): Promise<SignedTreeHead | null> {
    return (
      (await this.#one('reading the newest head', NEWEST, [this.#treeOf(log, partition), epoch]))?.head ??
      null
    );
  }

  async at(log: string, partition: number, epoch: number, size: bigint): Promise<SignedTreeHead | null> {
    const values = [this.#treeOf(log, partition), epoch, size.toString()];
    return (await this.#one(`reading the head of size ${size}`, AT, values))?.head ?? null;
  }

  async listed(log: string, partition: number, before: bigint): Promise<ListedHead | null> {
    const values = [this.#treeOf(log, partition), before.toString()];
    const found = await this.#one('reading the newest listed head', LISTED, values);
    return found === null ? null : { ...found.head, position: BigInt(found.row.listed_at as string) };
  }

  /** Size of the newest head of heads/0 with at least so many anchors of each kind; null: there is none. */
  async newestAnchored(epoch: number, { timestamps, cosignatures }: AnchorCounts): Promise<bigint | null> {
    const values = [epoch, timestamps, cosignatures];
    const { rows } = await ask<{ size: string }>(this.#pool, 'reading the newest anchor', ANCHORED, values);
    return rows.length === 0 ? null : BigInt(rows[0].size);
  }

  async #one(
    what: string,
    statement: string,
    values: unknown[],
  ): Promise<{ head: SignedTreeHead; row: HeadRow } | null> {
    const { rows } = await ask<HeadRow>(this.#pool, what, statement, values);
    const [row] = rows;
    if (row === undefined) return null;
    const { epoch, size, root, note } = row;
    const head = { epoch, size: BigInt(size), root: new Uint8Array(root), note: new Uint8Array(note) };
    return { head, row };
  }
}
