/** Which hash tiles of a tree some of its records need. */

import { TILE_WIDTH, type TileId } from '@evident/core/merkle/tile.ts';

/**
 * The tiles from which the root of a tree of this size can be recomputed out of the leaves at these positions: their
 * level-0 tiles, those above them, and the right edge, which is every partial tile. Lowest level first, left to right.
 *
 *   level 1   [ hashes of full tiles of level 0 ]   [ partial: right edge ]
 *   level 0   [ 256 leaves with ours ] …            [ partial: right edge ]
 *
 * A partial tile has no hash in the level above (tlog-tiles), so the way up ends there.
 *
 * @param positions ascending, below `size`, which is below 2^53
 */
export function* neededTiles(positions: Float64Array, size: number): Generator<TileId> {
  let below = positions;
  for (let hashes = size, level = 0; hashes > 0; hashes = Math.floor(hashes / TILE_WIDTH), level++) {
    const full = Math.floor(hashes / TILE_WIDTH);
    const partial = hashes % TILE_WIDTH;
    const indexes = distinctParents(below);
    let edgeIsOut = partial === 0;
    for (const index of indexes) {
      if (index === full) edgeIsOut = true;
      yield { level, index: BigInt(index), width: index < full ? TILE_WIDTH : partial };
    }
    if (!edgeIsOut) yield { level, index: BigInt(full), width: partial };
    // What stands in a partial tile goes no further up.
    below = indexes.length > 0 && indexes[indexes.length - 1] === full ? indexes.subarray(0, -1) : indexes;
  }
}

/** The indexes of the tiles that hold these hashes, ascending, each once. */
function distinctParents(children: Float64Array): Float64Array {
  const parents = new Float64Array(children.length);
  let count = 0;
  for (const child of children) {
    const parent = Math.floor(child / TILE_WIDTH);
    if (count === 0 || parents[count - 1] !== parent) parents[count++] = parent;
  }
  return parents.subarray(0, count);
}
