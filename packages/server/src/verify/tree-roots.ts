/** Roots of a stored tree at any size, from its tiles. */

import { type HashReader, readRoot } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { CompactRange, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { type TileStore, tileLog } from '../seal/ports.ts';

/** Leaf hashes read at once: 1 MiB. */
const LEAVES_AT_ONCE = 32_768n;

export interface StoredTree {
  readonly log: string;
  readonly partition: number;
  readonly epoch: number;
}

/** Subtrees of a tree at some size. What it gives throws where a tile is missing or can't be read. */
export function hashesOf(
  tiles: Pick<TileStore, 'read'>,
  { log, partition, epoch }: StoredTree,
  size: bigint,
): HashReader {
  return readHashesFromTiles(size, async ({ level, index, width }) => {
    const tile = await tiles.read(tileLog(log, epoch), partition, level, index * BigInt(TILE_WIDTH), width);
    if (tile === null) throw new Error(`a tile of ${log}/${partition} is missing`);
    return tile;
  });
}

/** The root at a size; null when tiles that it needs are missing or can't be read. */
export async function rootFromTiles(
  tiles: Pick<TileStore, 'read'>,
  tree: StoredTree,
  size: bigint,
): Promise<Uint8Array | null> {
  try {
    return await readRoot(size, hashesOf(tiles, tree, size));
  } catch {
    return null;
  }
}

/**
 * Roots at two sizes from the leaf hashes alone, so that no upper tile is believed.
 * @param size1 at most `size2`
 * @returns null when leaves are missing or can't be read
 */
export async function rootsFromLeaves(
  tiles: Pick<TileStore, 'read'>,
  { log, partition, epoch }: StoredTree,
  size1: bigint,
  size2: bigint,
): Promise<{ root1: Uint8Array; root2: Uint8Array } | null> {
  const range = new CompactRange();
  let root1 = range.root();
  try {
    for (let from = 0n; from < size2; ) {
      const until = from < size1 ? size1 : size2;
      const count = until - from < LEAVES_AT_ONCE ? until - from : LEAVES_AT_ONCE;
      const leaves = await tiles.read(tileLog(log, epoch), partition, 0, from, Number(count));
      if (leaves?.length !== Number(count) * HASH_BYTES) return null;
      range.appendMany(leaves, () => undefined);
      from += count;
      if (from === size1) root1 = range.root();
    }
  } catch {
    return null;
  }
  return { root1, root2: range.root() };
}
