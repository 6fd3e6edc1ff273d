import assert from 'node:assert/strict';
import { it } from 'node:test';
import { listTiles, partialWidth, type TileId, tilePath } from '@evident/core/merkle/tile.ts';
import fc from 'fast-check';
import { neededTiles } from './needed-tiles.ts';

const paths = (tiles: Iterable<TileId>) => [...tiles].map(tilePath);
const needed = (size: number, ...positions: number[]) =>
  paths(neededTiles(Float64Array.from(positions), size));

it('names the tile of a leaf, those above it, and the right edge', () => {
  assert.deepEqual(needed(1, 0), ['tile/0/000.p/1']);
  assert.deepEqual(needed(256, 7), ['tile/0/000', 'tile/1/000.p/1']);
  assert.deepEqual(needed(257, 7), ['tile/0/000', 'tile/0/001.p/1', 'tile/1/000.p/1']);
  assert.deepEqual(needed(257, 256), ['tile/0/001.p/1', 'tile/1/000.p/1']);
  // The example of the specification: 70,000 leaves.
  assert.deepEqual(needed(70_000, 0), [
    'tile/0/000',
    'tile/0/273.p/112',
    'tile/1/000',
    'tile/1/001.p/17',
    'tile/2/000.p/1',
  ]);
  assert.deepEqual(needed(70_000, 69_999), ['tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1']);
  assert.deepEqual(needed(65_536, 1, 2, 300), ['tile/0/000', 'tile/0/001', 'tile/1/000', 'tile/2/000.p/1']);
  assert.deepEqual(needed(70_000), ['tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1']);
});

it('for all leaves names every tile of the tree, and for some only tiles of it, each once', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 70_000 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      (size, numbers) => {
        const all = Float64Array.from({ length: size }, (_, at) => at);
        const tree = paths(listTiles(0n, BigInt(size)));
        assert.deepEqual(paths(neededTiles(all, size)), tree);
        const some = [...new Set(numbers.map((number) => number % size))].sort((a, b) => a - b);
        const found = needed(size, ...some);
        assert.equal(new Set(found).size, found.length);
        assert.ok(found.every((path) => tree.includes(path)));
        for (let level = 0; level < 3; level++) {
          const width = partialWidth(level, BigInt(size));
          if (width > 0)
            assert.ok(
              found.some((path) => path.startsWith(`tile/${level}/`) && path.endsWith(`.p/${width}`)),
            );
        }
      },
    ),
    { numRuns: 40 },
  );
});
