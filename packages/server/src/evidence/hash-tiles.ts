/** Hash tiles of one tree at one size, read as proofs and bundles need them. */

import { EvidentError } from '@evident/core/errors.ts';
import type { HashReader } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH, type TileReader, tilePath } from '@evident/core/merkle/tile.ts';
import { type TileStore, tileLog } from '../seal/ports.ts';

/** Which tree of which partition. */
export interface TreeId {
  readonly log: string;
  readonly partition: number;
  readonly epoch: number;
}

/** Full tiles that are kept: 8 MiB of hashes. */
const KEPT_TILES_MAX = 1_024;

export type Tiles = Pick<TileStore, 'read'>;

/**
 * Tiles that keeps the full ones that it read last: proofs of neighbours share them, and those of all records the upper
 * ones. A full tile below a signed head never changes; one that was changed on disk all the same gives no proof that
 * verifies, kept or not.
 */
export function keepTiles(tiles: Tiles): Tiles {
  const kept = new Map<string, Uint8Array>();
  return {
    async read(log, partition, level, index, count) {
      const isFull = count === TILE_WIDTH && index % BigInt(TILE_WIDTH) === 0n;
      if (!isFull) return tiles.read(log, partition, level, index, count);
      const key = `${log}/${partition}/${level}/${index}`;
      const known = kept.get(key);
      if (known !== undefined) return known;
      const hashes = await tiles.read(log, partition, level, index, count);
      if (hashes === null) return null;
      // The one that was read first goes: what is asked for often comes back at once.
      if (kept.size >= KEPT_TILES_MAX) kept.delete(kept.keys().next().value as string);
      kept.set(key, hashes);
      return hashes;
    },
  };
}

/**
 * Reads one tile out of the store. Hashes stand in their places for good, so a partial tile of an older head is the
 * front of what is there now.
 * @throws evidence-broken when hashes are missing
 */
export function tileReader(tiles: Tiles, { log, partition, epoch }: TreeId): TileReader {
  return async (tile) => {
    const { level, index, width } = tile;
    const hashes = await tiles.read(tileLog(log, epoch), partition, level, index * BigInt(TILE_WIDTH), width);
    if (hashes === null)
      throw new EvidentError(
        'evidence-broken',
        `${tilePath(tile)} of ${tileLog(log, epoch)}/${partition} is missing`,
        { context: { log, partition } },
      );
    return hashes;
  };
}

/** The hashes of a tree of this size. */
export function hashReader(tiles: Tiles, tree: TreeId, size: bigint): HashReader {
  return readHashesFromTiles(size, tileReader(tiles, tree));
}
