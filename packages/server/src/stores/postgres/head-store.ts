/** The port `HeadStore` on PostgreSQL. */

import type pg from 'pg';
import type { HeadMove, HeadStore, StoredHead } from '../../seal/ports.ts';
import { ask } from './ask.ts';
import { bytesArray, int4Array, int8Array, OID } from './binary.ts';
import type { TreeOfPartition } from './leaf-reader.ts';

interface SealRow {
  tree: number;
  epoch: number;
  size: string;
  root: Buffer;
  chain: Buffer;
  edge: Buffer;
}

const STORE = `SELECT * FROM evident.store_heads($1::int[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[],
  $6::bytea[], $7::bytea[], $8::bytea[]) AS tree`;

export class PostgresHeadStore implements HeadStore {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;

  constructor(pool: pg.Pool, treeOf: TreeOfPartition) {
    this.#pool = pool;
    this.#treeOf = treeOf;
  }

  async load(log: string, chainStarts: readonly Uint8Array[]): Promise<StoredHead[]> {
    const trees = chainStarts.map((_, partition) => this.#treeOf(log, partition));
    const found = await this.#rows(trees);
    const missing = trees.filter((tree) => !found.has(tree));
    for (const tree of missing) {
      await ask(this.#pool, 'beginning a tree', 'SELECT evident.begin_seal($1, $2)', [
        tree,
        Buffer.from(chainStarts[trees.indexOf(tree)]),
      ]);
    }
    const rows = missing.length === 0 ? found : await this.#rows(trees);
    return trees.map((tree) => rows.get(tree) as StoredHead);
  }

  async #rows(trees: number[]): Promise<Map<number, StoredHead>> {
    const { rows } = await ask<SealRow>(
      this.#pool,
      'reading stored heads',
      'SELECT tree, epoch, size, root, chain, edge FROM evident.seals WHERE tree = ANY ($1)',
      [trees],
    );
    return new Map(
      rows.map(({ tree, epoch, size, root, chain, edge }) => [
        tree,
        { epoch, size: BigInt(size), root, chain, edge },
      ]),
    );
  }

  async store(log: string, moves: readonly HeadMove[]): Promise<ReadonlySet<number>> {
    if (moves.length === 0) return new Set();
    const trees = moves.map(({ partition }) => this.#treeOf(log, partition));
    const { rows } = await ask<{ tree: number }>(this.#pool, `storing heads of ${log}`, STORE, [
      int4Array(trees),
      int8Array(moves.map(({ from }) => from.size)),
      bytesArray(
        OID.bytea,
        moves.map(({ from }) => from.root),
      ),
      int8Array(moves.map(({ to }) => to.size)),
      bytesArray(
        OID.bytea,
        moves.map(({ to }) => to.root),
      ),
      bytesArray(
        OID.bytea,
        moves.map(({ to }) => to.chain),
      ),
      bytesArray(
        OID.bytea,
        moves.map(({ to }) => to.edge),
      ),
      bytesArray(
        OID.bytea,
        moves.map(({ note }) => note),
      ),
    ]);
    return new Set(rows.map(({ tree }) => moves[trees.indexOf(tree)].partition));
  }

  async stop(log: string, partition: number, reason: string): Promise<void> {
    await ask(this.#pool, 'stopping a partition', 'SELECT evident.stop_partition($1, $2)', [
      this.#treeOf(log, partition),
      reason,
    ]);
  }

  async markListed(
    log: string,
    heads: readonly { partition: number; size: bigint; position: bigint }[],
  ): Promise<void> {
    await ask(this.#pool, 'marking listed heads', 'SELECT evident.mark_listed($1, $2, $3)', [
      heads.map(({ partition }) => this.#treeOf(log, partition)),
      heads.map(({ size }) => size.toString()),
      heads.map(({ position }) => position.toString()),
    ]);
  }
}
