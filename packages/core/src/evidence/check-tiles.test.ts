import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concatBytes, toHex } from '../bytes.ts';
import { formatTreeHead } from '../checkpoint.ts';
import { listTiles, tilePath, tileRoot } from '../merkle/tile.ts';
import { CompactRange } from '../merkle/tree.ts';
import { signNote } from '../note.ts';
import { sha256 } from '../sha256.ts';
import { FIXTURE_NAME, fixtureKey, fixtureSignatures, verifierKeyOf } from './bundle-fixture.ts';
import { BundleReader } from './bundle-reader.ts';
import { openHead } from './check-heads.ts';
import { CheckFindings } from './check-report.ts';
import { TreeTiles } from './check-tiles.ts';
import { singleKeyHistory } from './key-history.ts';
import { sourceOf } from './make-bundle-fixture.ts';

const ORIGIN = `${FIXTURE_NAME}/audit/0`;
const FOLDER = 'tlog/audit/0/';
const TILE_BYTES = 8_192;
const key = fixtureKey(1);
const history = singleKeyHistory(verifierKeyOf(`${FIXTURE_NAME}/heads/0`, key));

/** Leaf hashes that are counters: a tree of any size without records. */
const leafHashes = (size: number): Uint8Array => {
  const hashes = new Uint8Array(32 * size);
  const view = new DataView(hashes.buffer);
  for (let i = 0; i < size; i++) view.setUint32(32 * i, i + 1);
  return hashes;
};

/** The whole static layout of a tree. */
function layoutOf(size: number): Map<string, Uint8Array> {
  const levels = [leafHashes(size)];
  while (levels.at(-1)!.length >= TILE_BYTES) {
    const below = levels.at(-1)!;
    const full = Math.floor(below.length / TILE_BYTES);
    levels.push(
      concatBytes(
        Array.from({ length: full }, (_, i) =>
          tileRoot(below.subarray(i * TILE_BYTES, (i + 1) * TILE_BYTES)),
        ),
      ),
    );
  }
  const range = new CompactRange();
  range.appendMany(levels[0]!);
  const text = formatTreeHead({ origin: ORIGIN, size: BigInt(size), root: range.root() });
  const signer = { name: ORIGIN, keyId: verifierKeyOf(ORIGIN, key).keyId, sign: key.sign };
  const files = new Map([[`${FOLDER}checkpoint`, signNote(text, [signer])]]);
  for (const tile of listTiles(0n, BigInt(size))) {
    const from = Number(tile.index) * TILE_BYTES;
    files.set(FOLDER + tilePath(tile), levels[tile.level]!.subarray(from, from + 32 * tile.width));
  }
  return files;
}

async function open(
  files: Map<string, Uint8Array>,
  size: number,
): Promise<{ tiles: TreeTiles; findings: CheckFindings }> {
  const findings = new CheckFindings();
  const listed = [...files].map(([path, bytes]) => ({
    path,
    size: BigInt(bytes.length),
    sha256: toHex(sha256(bytes)),
  }));
  const present = new Map(listed.map(({ path, size: length }) => [path, length]));
  const manifest = {
    name: FIXTURE_NAME,
    head: { origin: `${FIXTURE_NAME}/heads/0`, size: 1n },
    scope: { kind: 'selection', filter: {} },
    records: 0n,
    proofs: 'tiles',
    trees: [],
    files: listed,
  } as const;
  assert.ok(history.ok);
  const keys = history.value;
  const reader = new BundleReader({ source: sourceOf(files), present, manifest, findings });
  const head = await openHead(
    layoutOf(size).get(`${FOLDER}checkpoint`)!,
    ORIGIN,
    BigInt(size),
    keys,
    fixtureSignatures,
  );
  assert.ok(head.ok);
  const context = { manifest, files: reader, findings, keys, signatures: fixtureSignatures };
  const tiles = new TreeTiles(context, FOLDER, head.value);
  await tiles.open();
  return { tiles, findings };
}

for (const size of [1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 131_329, 200_000]) {
  test(`every leaf tile of a tree of ${size} is reached from its root`, async () => {
    const { tiles, findings } = await open(layoutOf(size), size);
    const hashes = leafHashes(size);
    const last = Math.floor((size - 1) / 256);
    for (const index of new Set([0, 1, 255, 256, last - 1, last])) {
      if (index < 0 || index > last) continue;
      assert.deepEqual(await tiles.leaves(index), hashes.slice(index * TILE_BYTES, (index + 1) * TILE_BYTES));
    }
    assert.deepEqual(findings.list, []);
  });
}

test('a changed, missing or short tile on the way from a leaf to the root gives no leaves, at every level', async () => {
  const size = 131_329;
  const whole = layoutOf(size);
  const way = ['tile/0/000', 'tile/1/000', 'tile/2/000.p/2', 'tile/0/513.p/1', 'tile/1/002.p/1'];
  for (const path of way.map((one) => FOLDER + one)) {
    const bytes = whole.get(path)!;
    const changed = bytes.slice();
    changed[40 % bytes.length]! ^= 1;
    for (const spoiled of [changed, bytes.slice(1), null]) {
      const files = new Map(whole);
      if (spoiled === null) files.delete(path);
      else files.set(path, spoiled);
      const { tiles, findings } = await open(files, size);
      assert.equal(await tiles.leaves(0), null, path);
      assert.equal(findings.verdict, spoiled === null ? 'not checked' : 'tampered');
    }
  }
});

test('a tile of another place in the same tree is not taken for the one that was asked for', async () => {
  const size = 65_537;
  const files = layoutOf(size);
  files.set(`${FOLDER}tile/0/001`, files.get(`${FOLDER}tile/0/002`)!);
  const { tiles, findings } = await open(files, size);
  assert.equal(await tiles.leaves(1), null);
  assert.notEqual(await tiles.leaves(2), null);
  assert.equal(findings.verdict, 'tampered');
});
