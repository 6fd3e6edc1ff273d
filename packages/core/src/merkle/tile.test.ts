import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes } from '../bytes.ts';
import { hashLeaf } from '../sha256.ts';
import { consistencyProof, inclusionProof, readRoot, verifyConsistency, verifyInclusion } from './proof.ts';
import {
  encodeEntryBundle,
  entriesPath,
  listTiles,
  parseEntryBundle,
  parseTilePath,
  partialWidth,
  readHashesFromTiles,
  type TileId,
  tilePath,
  tileRoot,
} from './tile.ts';
import { CompactRange, rootOf } from './tree.ts';

const SIZE = 70_000;
const leaves = Array.from(
  { length: SIZE },
  (_, i) => new Uint8Array(createHash('sha256').update(`${i}`).digest()),
);
const packed = concatBytes(leaves);

/** A log as a sealer keeps it: the hashes of every tile level, which appending itself reports. */
function tilesOf(size: number): (tile: TileId) => Promise<Uint8Array> {
  const levels: Uint8Array[][] = [leaves.slice(0, size), [], []];
  new CompactRange().appendMany(packed.subarray(0, size * 32), (level, _index, hashes) => {
    for (let at = 0; level % 8 === 0 && at < hashes.length; at += 32) {
      levels[level / 8]!.push(hashes.slice(at, at + 32));
    }
  });
  const stored = new Set(Array.from(listTiles(0n, BigInt(size)), tilePath));
  return async (tile) => {
    assert.ok(stored.has(tilePath(tile)), `${tilePath(tile)} does not exist at size ${size}`);
    const first = Number(tile.index) * 256;
    return concatBytes(levels[tile.level]!.slice(first, first + tile.width));
  };
}

test('paths are those of the specification', () => {
  assert.equal(tilePath({ level: 0, index: 1234067n, width: 256 }), 'tile/0/x001/x234/067');
  assert.equal(tilePath({ level: 5, index: 0n, width: 17 }), 'tile/5/000.p/17');
  assert.equal(tilePath({ level: 63, index: 999n, width: 1 }), 'tile/63/999.p/1');
  assert.equal(tilePath({ level: 1, index: 1000n, width: 256 }), 'tile/1/x001/000');
  assert.equal(entriesPath(273n, 112), 'tile/entries/273.p/112');
});

test('a path reads back as the tile that it was written for', () => {
  const index = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 63 }),
      index,
      fc.integer({ min: 1, max: 256 }),
      (level, index, width) => {
        assert.deepEqual(parseTilePath(tilePath({ level, index, width })), {
          kind: 'hashes',
          level,
          index,
          width,
        });
        assert.deepEqual(parseTilePath(entriesPath(index, width)), { kind: 'entries', index, width });
      },
    ),
  );
});

test('every other spelling of a path is refused', () => {
  assert.notEqual(parseTilePath('tile/0/x001/000.p/255'), null);
  const others = [
    ...[
      'tile/0/x000/001',
      'tile/0/1',
      'tile/0/0001',
      'tile/0/001/000',
      'tile/0/x001',
      'tile/0/X001/000',
      'tile/0/x01/000',
    ],
    ...[
      'tile/00/000',
      'tile/64/000',
      'tile/100/000',
      'tile/-1/000',
      'tile/entry/000',
      'tile//000',
      'tile/0/000/',
    ],
    ...[
      'tile/0/000.p/0',
      'tile/0/000.p/256',
      'tile/0/000.p/01',
      'tile/0/000.p/',
      'tile/0/000.p',
      'tile/0/000p/1',
    ],
    ...[
      '/tile/0/000',
      'tile/0/000\n',
      'tile/0/٠٠٠',
      '../tile/0/000',
      'tile/0/x009/x223/x372/x036/x854/x775/808',
      '',
    ],
  ];
  for (const other of others) assert.equal(parseTilePath(other), null, other);
});

test('tiles that cannot exist have no path', () => {
  for (const width of [0, 257, 1.5, Number.NaN]) assert.throws(() => entriesPath(0n, width), RangeError);
  for (const level of [-1, 64, 0.5])
    assert.throws(() => tilePath({ level, index: 0n, width: 1 }), RangeError);
  assert.throws(() => entriesPath(-1n, 1), RangeError);
});

test('trees of 256 and of 70,000 leaves have the tiles of the specification', () => {
  assert.deepEqual(Array.from(listTiles(0n, 256n), tilePath), ['tile/0/000', 'tile/1/000.p/1']);
  const tiles = Array.from(listTiles(0n, 70_000n), tilePath);
  assert.equal(tiles.length, 273 + 1 + 1 + 1 + 1);
  assert.deepEqual(tiles.slice(272), [
    'tile/0/272',
    'tile/0/273.p/112',
    'tile/1/000',
    'tile/1/001.p/17',
    'tile/2/000.p/1',
  ]);
  assert.deepEqual(
    [0, 1, 2, 3].map((level) => partialWidth(level, 70_000n)),
    [112, 17, 1, 0],
  );
  assert.deepEqual([...listTiles(0n, 0n)], []);
  assert.throws(() => [...listTiles(2n, 1n)], RangeError);
});

test('growing lists exactly the tiles that were not there before', () => {
  fc.assert(
    fc.property(fc.nat(70_000), fc.nat(70_000), (a, b) => {
      const [size1, size2] = [BigInt(Math.min(a, b)), BigInt(Math.max(a, b))];
      const before = new Set(Array.from(listTiles(0n, size1), tilePath));
      const all = Array.from(listTiles(0n, size2), tilePath);
      const grown = Array.from(listTiles(size1, size2), tilePath);
      assert.deepEqual(
        grown,
        all.filter((path) => !before.has(path)),
      );
    }),
    { numRuns: 25 },
  );
});

test('proofs read from tiles verify, at sizes around the widths of tiles', async () => {
  for (const size of [1, 255, 256, 257, 511, 65_535, 65_536, 65_537, SIZE]) {
    const read = readHashesFromTiles(BigInt(size), tilesOf(size));
    const root = rootOf(leaves.slice(0, size));
    assert.deepEqual(await readRoot(BigInt(size), read), root);
    for (const index of new Set([0, size >> 1, size - 1])) {
      const proof = await inclusionProof(BigInt(index), BigInt(size), read);
      const claim = { index: BigInt(index), size: BigInt(size), leafHash: leaves[index]!, root, proof };
      assert.equal(verifyInclusion(claim), 'ok', `${index} of ${size}`);
      const [size1, root1] = [BigInt(index + 1), rootOf(leaves.slice(0, index + 1))];
      const steps = await consistencyProof(size1, BigInt(size), read);
      assert.equal(verifyConsistency({ size1, size2: BigInt(size), root1, root2: root, proof: steps }), 'ok');
    }
  }
});

test('proofs read from tiles equal proofs computed from the leaves', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2000 }), fc.nat(), async (size, pick) => {
      const index = BigInt(pick % size);
      const fromTiles = readHashesFromTiles(BigInt(size), tilesOf(size));
      const direct = await inclusionProof(index, BigInt(size), async (nodes) =>
        nodes.map(({ level, index }) =>
          rootOf(leaves.slice(Number(index) << level, Number(index + 1n) << level)),
        ),
      );
      assert.deepEqual(await inclusionProof(index, BigInt(size), fromTiles), direct);
    }),
    { numRuns: 40 },
  );
});

test('one call reads each tile once, and only tiles of the tree', async () => {
  const readTile = tilesOf(SIZE);
  const paths: string[] = [];
  const read = readHashesFromTiles(BigInt(SIZE), (tile) => {
    paths.push(tilePath(tile));
    return readTile(tile);
  });
  await inclusionProof(300n, BigInt(SIZE), read);
  assert.deepEqual(paths.sort(), ['tile/0/001', 'tile/0/273.p/112', 'tile/1/000', 'tile/1/001.p/17']);
  await assert.rejects(read([{ level: 0, index: BigInt(SIZE) }]), RangeError);
  await assert.rejects(read([{ level: 17, index: 0n }]), RangeError);
});

test('a tile of another length is refused, and a changed one gives a proof that fails', async () => {
  const readTile = tilesOf(600);
  const short = readHashesFromTiles(600n, async (tile) => (await readTile(tile)).subarray(32));
  await assert.rejects(inclusionProof(3n, 600n, short), RangeError);
  const changed = readHashesFromTiles(600n, async (tile) => (await readTile(tile)).map((byte) => byte ^ 1));
  const proof = await inclusionProof(3n, 600n, changed);
  const root = rootOf(leaves.slice(0, 600));
  assert.equal(
    verifyInclusion({ index: 3n, size: 600n, leafHash: leaves[3]!, root, proof }),
    'root-mismatch',
  );
});

test('only a full tile has a root', () => {
  assert.deepEqual(tileRoot(packed.subarray(0, 8192)), rootOf(leaves.slice(0, 256)));
  assert.throws(() => tileRoot(packed.subarray(0, 4096)), RangeError);
});

test('a bundle gives back its entries, and is refused if it is cut, goes on, or has another number', () => {
  const entry = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 20 }), (entries) => {
      const bundle = encodeEntryBundle(entries);
      assert.deepEqual(parseEntryBundle(bundle, entries.length), entries);
      assert.equal(parseEntryBundle(bundle.subarray(0, -1), entries.length), null);
      assert.equal(parseEntryBundle(concatBytes([bundle, Uint8Array.of(0)]), entries.length), null);
      assert.equal(parseEntryBundle(bundle, entries.length + 1), null);
      if (entries.length > 1) assert.equal(parseEntryBundle(bundle, entries.length - 1), null);
    }),
  );
});

test('a bundle is big endian and takes up to 256 entries of up to 65,535 bytes', () => {
  assert.deepEqual(encodeEntryBundle([Uint8Array.of(7)]), Uint8Array.of(0, 1, 7));
  const largest = new Uint8Array(65_535).fill(9);
  assert.deepEqual(encodeEntryBundle([largest]).subarray(0, 3), Uint8Array.of(255, 255, 9));
  assert.deepEqual(parseEntryBundle(encodeEntryBundle([largest, largest]), 2), [largest, largest]);
  assert.throws(() => encodeEntryBundle([new Uint8Array(65_536)]), RangeError);
  assert.throws(() => encodeEntryBundle([]), RangeError);
  assert.throws(() => encodeEntryBundle(Array(257).fill(new Uint8Array(0))), RangeError);
});

// ---- A log that others published: see PROVENANCE.md beside it. Not part of the repository.

const vectors = new URL('../../../../../shared/data/vectors/tlog-tiles/', import.meta.url);
const skip = existsSync(vectors)
  ? false
  : `NO TLOG-TILES VECTORS: ${vectors.pathname} is absent, 15 tiles were not read`;

test('the tiles and bundles of a published log of 15 entries hash to one another', { skip }, () => {
  for (let size = 1; size <= 15; size++) {
    const tile = readFileSync(new URL(tilePath({ level: 0, index: 0n, width: size }), vectors));
    const bundle = readFileSync(new URL(entriesPath(0n, size), vectors));
    const entries = parseEntryBundle(bundle, size);
    assert.ok(entries !== null);
    assert.deepEqual(concatBytes(entries.map(hashLeaf)), new Uint8Array(tile));
    assert.deepEqual(encodeEntryBundle(entries), new Uint8Array(bundle));
  }
});
