import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes, toHex } from '../bytes.ts';
import { CompactRange, emptyRoot, nodeHash, perfectRoot, rootOf } from './tree.ts';

/** The definition in RFC 6962 §2.1, word for word and over another SHA-256: the judge of everything here. */
function definedRoot(leafHashes: readonly Uint8Array[]): Uint8Array {
  if (leafHashes.length === 0) return new Uint8Array(createHash('sha256').digest());
  if (leafHashes.length === 1) return leafHashes[0]!;
  let split = 1;
  while (split * 2 < leafHashes.length) split *= 2;
  const hash = createHash('sha256').update(Uint8Array.of(1));
  hash.update(definedRoot(leafHashes.slice(0, split))).update(definedRoot(leafHashes.slice(split)));
  return new Uint8Array(hash.digest());
}

function someHashes(count: number, seed = 0): Uint8Array[] {
  return Array.from(
    { length: count },
    (_, i) => new Uint8Array(createHash('sha256').update(`${seed} ${i}`).digest()),
  );
}

test('the tree without leaves has the hash of nothing as its root', () => {
  assert.equal(toHex(emptyRoot()), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  assert.deepEqual(new CompactRange().root(), emptyRoot());
  assert.deepEqual(rootOf([]), emptyRoot());
});

test('the tree over the entries "a", "b", "c" has the root that openssl computes step by step', () => {
  const leaves = ['a', 'b', 'c'].map(
    (entry) => new Uint8Array(createHash('sha256').update(`\0${entry}`).digest()),
  );
  assert.equal(toHex(leaves[0]!), '022a6979e6dab7aa5ae4c3e5e45f7e977112a7e63593820dbec1ec738a24f93c');
  assert.equal(
    toHex(nodeHash(leaves[0]!, leaves[1]!)),
    'b137985ff484fb600db93107c77b0365c80d78f5b429ded0fd97361d077999eb',
  );
  assert.equal(toHex(rootOf(leaves)), '36642e73c2540ab121e3a6bf9545b0a24982cd830eb13d3cd19de3ce6c021ec1');
});

test('every size up to 300 has the root of the definition, appended one by one and all at once', () => {
  const leaves = someHashes(300);
  const range = new CompactRange();
  for (let size = 1; size <= 300; size++) {
    range.append(leaves[size - 1]!);
    const expected = definedRoot(leaves.slice(0, size));
    assert.equal(range.size, BigInt(size));
    assert.deepEqual(range.root(), expected);
    assert.deepEqual(rootOf(leaves.slice(0, size)), expected);
  }
});

test('appendMany gives one root however the leaves are cut into batches', () => {
  const leaves = someHashes(20_000);
  const packed = concatBytes(leaves);
  const expected = definedRoot(leaves);
  fc.assert(
    fc.property(fc.array(fc.nat(20_000), { maxLength: 6 }), (cuts) => {
      const range = new CompactRange();
      let from = 0;
      for (const to of [...cuts.sort((a, b) => a - b), 20_000]) {
        range.appendMany(packed.subarray(from * 32, to * 32));
        from = to;
      }
      assert.deepEqual(range.root(), expected);
    }),
    { numRuns: 15 },
  );
});

test('appending tells of every complete inner node once, with its hash', () => {
  const leaves = someHashes(1000);
  fc.assert(
    fc.property(fc.nat(999), fc.nat(999), (cut1, cut2) => {
      const seen = new Map<string, string>();
      const range = new CompactRange();
      const cuts = [0, Math.min(cut1, cut2), Math.max(cut1, cut2), 1000];
      for (let i = 1; i < cuts.length; i++) {
        range.appendMany(concatBytes(leaves.slice(cuts[i - 1], cuts[i])), (level, index, hashes) => {
          for (let at = 0; at < hashes.length; at += 32) {
            const name = `${level}/${index + BigInt(at / 32)}`;
            assert.equal(seen.has(name), false);
            seen.set(name, toHex(hashes.subarray(at, at + 32)));
          }
        });
      }
      let expected = 0;
      for (let width = 2, level = 1; width <= 1000; width *= 2, level++) {
        for (let index = 0; (index + 1) * width <= 1000; index++, expected++) {
          const root = perfectRoot(concatBytes(leaves.slice(index * width, (index + 1) * width)));
          assert.equal(seen.get(`${level}/${index}`), toHex(root));
        }
      }
      assert.equal(seen.size, expected);
    }),
    { numRuns: 5 },
  );
});

test('a range that was stored as its peaks goes on as if it had never stopped', () => {
  fc.assert(
    fc.property(fc.nat(600), fc.nat(600), (before, after) => {
      const leaves = someHashes(before + after);
      const range = new CompactRange();
      range.appendMany(concatBytes(leaves.slice(0, before)));
      const restored = CompactRange.fromPeaks(range.size, range.peaks());
      const copy = range.clone();
      restored.appendMany(concatBytes(leaves.slice(before)));
      assert.deepEqual(restored.root(), rootOf(leaves));
      assert.deepEqual(copy.root(), rootOf(leaves.slice(0, before)));
    }),
    { numRuns: 30 },
  );
});

test('a copy of a range does not follow it', () => {
  const leaves = someHashes(4);
  const range = new CompactRange();
  range.appendMany(concatBytes(leaves.slice(0, 3)));
  const copy = range.clone();
  const peaks = copy.peaks();
  range.append(leaves[3]!);
  peaks[0]!.fill(0);
  assert.equal(copy.size, 3n);
  assert.deepEqual(copy.root(), rootOf(leaves.slice(0, 3)));
});

test('sizes beyond 32 bits are counted exactly, and beyond 2^53 - 1 refused', () => {
  const [a, b, c] = someHashes(3) as [Uint8Array, Uint8Array, Uint8Array];
  const large = CompactRange.fromPeaks(2n ** 40n + 1n, [a, b]);
  large.append(c);
  assert.equal(large.size, 2n ** 40n + 2n);
  assert.deepEqual(large.peaks(), [a, nodeHash(b, c)]);
  assert.deepEqual(large.root(), nodeHash(a, nodeHash(b, c)));

  const full = CompactRange.fromPeaks(2n ** 53n - 1n, someHashes(53));
  const root = full.root();
  assert.throws(() => full.append(a), RangeError);
  assert.deepEqual(full.root(), root);
  assert.throws(() => CompactRange.fromPeaks(2n ** 53n, [a]), RangeError);
  assert.throws(() => CompactRange.fromPeaks(-1n, []), RangeError);
});

test('hashes of another length and peaks of another size are refused', () => {
  const [a, b] = someHashes(2) as [Uint8Array, Uint8Array];
  assert.throws(() => nodeHash(a, b.subarray(1)), RangeError);
  assert.throws(() => rootOf([concatBytes([a, b])]), RangeError);
  assert.throws(() => new CompactRange().append(concatBytes([a, b])), RangeError);
  assert.throws(() => new CompactRange().appendMany(a.subarray(1)), RangeError);
  assert.throws(() => CompactRange.fromPeaks(3n, [a]), RangeError);
  assert.throws(() => CompactRange.fromPeaks(3n, [a, b.subarray(1)]), RangeError);
  assert.throws(() => perfectRoot(new Uint8Array(0)), RangeError);
  assert.throws(() => perfectRoot(new Uint8Array(16)), RangeError);
  assert.throws(() => perfectRoot(new Uint8Array(96)), RangeError);
});
