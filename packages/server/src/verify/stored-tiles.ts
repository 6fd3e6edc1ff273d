/** What the tile store holds of one partition, held against what the leaves give. */

import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { type TileStore, tileLog } from '../seal/ports.ts';
import type { PartitionNotes, PartitionScope } from './partition-scope.ts';
import type { Grown, TreeCheck } from './tree-check.ts';

const CHAIN_EVERY = 256n;

export class StoredTiles {
  readonly #tiles: TileStore;
  readonly #scope: PartitionScope;
  readonly #notes: PartitionNotes;
  readonly #tree: TreeCheck;

  constructor(tiles: TileStore, scope: PartitionScope, notes: PartitionNotes, tree: TreeCheck) {
    this.#tiles = tiles;
    this.#scope = scope;
    this.#notes = notes;
    this.#tree = tree;
  }

  /** The leaf hashes that the tiles hold; null when they can't be had, which is said. */
  async readLeaves(from: bigint, count: number): Promise<Uint8Array | null> {
    const { log, partition } = this.#scope;
    try {
      const tiles = await this.#tiles.read(tileLog(log, this.#scope.epoch), partition, 0, from, count);
      if (tiles === null)
        this.#notes.note(
          'not checked',
          'tile',
          from,
          from + BigInt(count),
          'the tiles of these leaves are missing',
        );
      return tiles;
    } catch (error) {
      this.#notes.note(
        'not checked',
        'storage',
        from,
        from + BigInt(count),
        `the tiles can't be read: ${(error as Error).message}`,
      );
      return null;
    }
  }

  /** Where records and tiles differ: a finding about the tiles if the records are right, and the other way round. */
  noteDifferences(at: bigint, derived: Uint8Array, tiles: Uint8Array, present: Int32Array): void {
    for (let index = 0; index < present.length; index++) {
      const start = index * HASH_BYTES;
      const here = derived.subarray(start, start + HASH_BYTES);
      if (Buffer.compare(here, tiles.subarray(start, start + HASH_BYTES)) === 0) continue;
      const position = at + BigInt(index);
      this.#notes.pend(
        this.#tree.records.pending,
        'tile',
        position,
        'the tile holds another leaf hash than the record gives',
      );
      if (this.#tree.tiles === null) continue;
      if (present[index] < 0)
        this.#notes.pend(
          this.#tree.tiles.pending,
          'record-missing',
          position,
          'a record was sealed here, and is gone',
        );
      else
        this.#notes.pend(
          this.#tree.tiles.pending,
          'record',
          position,
          'the record is not the one that was sealed here',
        );
    }
  }

  /** Tiles above the leaves. */
  async checkNodes({ reading, nodes }: Grown): Promise<void> {
    const { log, partition } = this.#scope;
    for (const { level, index, hashes } of nodes) {
      const count = hashes.length / HASH_BYTES;
      const width = 1n << BigInt(8 * level);
      let stored: Uint8Array | null = null;
      let reason = 'a tile of this level is missing';
      try {
        stored = await this.#tiles.read(tileLog(log, this.#scope.epoch), partition, level, index, count);
      } catch (error) {
        reason = `a tile of this level can't be read: ${(error as Error).message}`;
      }
      for (let i = 0; i < count; i++) {
        const at = (index + BigInt(i)) * width;
        const here = hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES);
        const finding = { from: at, to: at + width, level };
        if (stored === null) {
          this.#notes.note(
            'not checked',
            'tile',
            at,
            at + width * BigInt(count),
            `level ${level}: ${reason}`,
          );
          break;
        }
        if (Buffer.compare(stored.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES), here) !== 0) {
          this.#notes.pend(
            reading.pending,
            'tile',
            finding.from,
            `level ${level}: the tile holds another hash than the leaves give`,
            finding.to,
          );
        }
      }
    }
  }

  /** Chain values at every 256th position. */
  async checkChain(at: bigint, { reading, marks }: Grown): Promise<void> {
    const count = marks.length / HASH_BYTES;
    if (count === 0) return;
    const { log, partition } = this.#scope;
    const first = at / CHAIN_EVERY;
    let stored: Uint8Array | null = null;
    let reason = 'chain values are missing';
    try {
      stored = await this.#tiles.readChain(tileLog(log, this.#scope.epoch), partition, first, count);
    } catch (error) {
      reason = `chain values can't be read: ${(error as Error).message}`;
    }
    if (stored === null) {
      this.#notes.note(
        'not checked',
        'chain',
        first * CHAIN_EVERY,
        (first + BigInt(count)) * CHAIN_EVERY,
        reason,
      );
      return;
    }
    for (let i = 0; i < count; i++) {
      const from = (first + BigInt(i)) * CHAIN_EVERY;
      if (
        Buffer.compare(
          stored.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
          marks.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
        ) !== 0
      ) {
        this.#notes.pend(
          reading.pending,
          'chain',
          from,
          'the stored chain value is not the one that the leaves give',
          from + CHAIN_EVERY,
        );
      }
    }
  }
}
