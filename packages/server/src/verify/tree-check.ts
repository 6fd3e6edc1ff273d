/**
 * Two readings of one tree side by side: leaf hashes derived from the records, and leaf hashes of the tiles.
 * While they agree there is one. Where they part, the next signed head tells which is right:
 *
 *   the records give the root    what the tiles say otherwise was changed in the tiles
 *   the tiles give the root      what the records say otherwise was changed in the records: located to the position
 *   neither does                 located to the span since the last head that was right
 *
 * What each reading finds wrong with the rest (tiles above, chain) waits until a head has decided.
 */

import { CompactRange, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { chainMany, chainMarks } from '@evident/core/sha256.ts';
import type { Finding } from './finding.ts';

/** Levels of the binary tree in one level of tiles. */
const LEVELS_PER_TILE = 8;

/** Hashes of full tiles that a stretch completed. */
export interface TileNodes {
  /** Tile level, 1 and up. */
  readonly level: number;
  readonly index: bigint;
  readonly hashes: Uint8Array;
}

/** What a stretch made of one reading, to be held against what is stored. */
export interface Grown {
  readonly reading: Reading;
  readonly nodes: TileNodes[];
  /** Chain values after 256·(n+1), … records. */
  readonly marks: Uint8Array;
}

/** One account of what the leaves are. */
export class Reading {
  readonly range: CompactRange;
  readonly chain: Uint8Array;
  /** What is wrong with the others if this account is right. Bounded: a flood says no more than its beginning. */
  readonly pending: Finding[] = [];

  constructor(range: CompactRange, chain: Uint8Array) {
    this.range = range;
    this.chain = chain;
  }

  clone(): Reading {
    return new Reading(this.range.clone(), this.chain.slice());
  }

  grow(hashes: Uint8Array): Grown {
    const start = this.range.size;
    const nodes: TileNodes[] = [];
    this.range.appendMany(hashes, (level, index, packed) => {
      if (level % LEVELS_PER_TILE === 0)
        nodes.push({ level: level / LEVELS_PER_TILE, index, hashes: packed.slice() });
    });
    const marks = new Uint8Array(chainMarks(start, hashes.length / HASH_BYTES) * HASH_BYTES);
    chainMany(this.chain, hashes, start, marks);
    return { reading: this, nodes, marks };
  }
}

export class TreeCheck {
  #records: Reading;
  /** Null while the tiles agree with the records, or can't be read. */
  #tiles: Reading | null = null;
  #tilesReadable = true;

  constructor(chainStart: Uint8Array) {
    this.#records = new Reading(new CompactRange(), chainStart.slice());
  }

  get size(): bigint {
    return this.#records.range.size;
  }

  /** The reading of the records; that of the tiles while it differs. */
  get records(): Reading {
    return this.#records;
  }

  get tiles(): Reading | null {
    return this.#tiles;
  }

  /**
   * Appends a stretch of leaves.
   * @param tiles null where the tiles can't be read: then only the records are followed until a head decides
   */
  append(records: Uint8Array, tiles: Uint8Array | null): Grown[] {
    if (tiles === null) {
      this.#tiles = null;
      this.#tilesReadable = false;
    } else if (this.#tiles === null && this.#tilesReadable && Buffer.compare(records, tiles) !== 0) {
      this.#tiles = this.#records.clone();
    }
    const grown = [this.#records.grow(records)];
    if (this.#tiles !== null && tiles !== null) grown.push(this.#tiles.grow(tiles));
    return grown;
  }

  /**
   * A signed head decides. The reading that gives its root goes on alone.
   * @returns that reading, with what waited for this decision; null when neither gives the root
   */
  decide(root: Uint8Array): { trusted: 'records' | 'tiles'; findings: Finding[] } | null {
    if (Buffer.compare(this.#records.range.root(), root) === 0) {
      this.#tiles = null;
      this.#tilesReadable = true;
      return { trusted: 'records', findings: this.#records.pending.splice(0) };
    }
    if (this.#tiles === null || Buffer.compare(this.#tiles.range.root(), root) !== 0) return null;
    const findings = this.#tiles.pending.splice(0);
    this.#records = this.#tiles;
    this.#tiles = null;
    return { trusted: 'tiles', findings };
  }
}
