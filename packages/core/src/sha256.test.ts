import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LEAF_BYTES_MAX, LeafBatch } from './leaf-batch.ts';
import { type ChainRun, chainMarks, Hasher, hashLeaf, hashPairs, sha256 } from './sha256.ts';
import { defaultEngine, knownAnswersHold, type MakeEngine, wasmEngines } from './sha256-engine.ts';
import { plainEngine } from './sha256-plain.ts';

const expected = (...parts: Uint8Array[]): Uint8Array => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};
const leafHash = (leaf: Uint8Array): Uint8Array => expected(Uint8Array.of(0), leaf);
const bytes = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

const wasm = wasmEngines();
assert(wasm !== null, 'this runtime has WebAssembly with SIMD');
const batches = new Map<MakeEngine, LeafBatch>([
  [wasm, new LeafBatch(1 << 20, 64, wasm)],
  [plainEngine, new LeafBatch(1 << 20, 64, plainEngine)],
]);

function hashBatch(make: MakeEngine, leaves: readonly Uint8Array[]): Uint8Array {
  const batch = batches.get(make)!;
  batch.reset();
  for (const leaf of leaves) assert(batch.add(leaf));
  const out = new Uint8Array(32 * leaves.length);
  batch.hash(out);
  return out;
}

for (const [name, make] of [
  ['wasm', wasm],
  ['plain', plainEngine],
] as const) {
  describe(`sha256 on the ${name} engine`, () => {
    const hasher = new Hasher(make);

    it('hashes every length from 0 to 300', () => {
      for (let length = 0; length <= 300; length++) {
        const data = bytes(length);
        assert.deepEqual(hasher.sha256(data), expected(data), `length ${length}`);
        assert.deepEqual(hasher.hashLeaf(data), leafHash(data), `leaf of length ${length}`);
      }
    });

    it('hashes lengths up to 70,000, around the size of its work area, and beyond', () => {
      const around = [-73, -65, -64, -9, -8, -1, 0, 1, 64].flatMap((d) => [65_536 + d, 131_072 + d]);
      const random = Array.from({ length: 30 }, () => Math.floor(Math.random() * 70_000));
      for (const length of [...around, ...random, 300_000]) {
        const data = bytes(length);
        assert.deepEqual(hasher.sha256(data), expected(data), `length ${length}`);
        assert.deepEqual(hasher.hashLeaf(data), leafHash(data), `leaf of length ${length}`);
      }
    });

    it('hashes node pairs in any number, also in place', () => {
      for (const count of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1023, 1024, 1025, 2500]) {
        const children = bytes(64 * count);
        const want = Array.from({ length: count }, (_, i) =>
          expected(Uint8Array.of(1), children.subarray(64 * i, 64 * i + 64)),
        );
        const out = new Uint8Array(32 * count);
        hasher.hashPairs(children, out);
        assert.deepEqual(Buffer.from(out), Buffer.concat(want), `${count} pairs`);
        hasher.hashPairs(children, children, count);
        assert.deepEqual(children.subarray(0, 32 * count), out, `${count} pairs in place`);
      }
    });

    it('hashes batches of 0 to 9 leaves at the boundaries of blocks', () => {
      const lengths = [0, 1, 54, 55, 56, 62, 63, 64, 118, 119, 120, 127, 128, 3];
      for (let count = 0; count <= 9; count++) {
        for (let from = 0; from < lengths.length; from++) {
          const leaves = Array.from({ length: count }, (_, i) =>
            bytes(lengths[(from + i) % lengths.length]!),
          );
          assert.deepEqual(Buffer.from(hashBatch(make, leaves)), Buffer.concat(leaves.map(leafHash)));
        }
      }
    });

    it('hashes the longest leaf beside short ones', () => {
      const leaves = [3, LEAF_BYTES_MAX, 700, LEAF_BYTES_MAX - 1, 0].map(bytes);
      assert.deepEqual(Buffer.from(hashBatch(make, leaves)), Buffer.concat(leaves.map(leafHash)));
    });

    it('hashes any batch as node:crypto does', () => {
      const leaf = fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.uint8Array({ minLength: 500, maxLength: 900 }),
      );
      fc.assert(
        fc.property(fc.array(leaf, { maxLength: 40 }), (leaves) => {
          const got = hashBatch(make, leaves);
          assert.deepEqual(Buffer.from(got), Buffer.concat(leaves.map(leafHash)));
        }),
        { numRuns: 50 },
      );
    });

    it('advances chains as a naive loop does, with the value at every mark', () => {
      const run = fc.record({ start: fc.bigInt({ min: 0n, max: 2n ** 63n }), count: fc.nat({ max: 700 }) });
      fc.assert(
        fc.property(fc.array(run, { maxLength: 7 }), fc.constantFrom(1, 7, 256), (shapes, every) => {
          const runs = shapes.map(({ start, count }) => ({
            chain: bytes(32),
            leafHashes: bytes(32 * count),
            start,
            marks: new Uint8Array(32 * chainMarks(start, count, every)),
          }));
          const naive = runs.map((r) => naiveChain(r, every));
          const alone = runs.map((r) => ({ ...r, chain: r.chain.slice(), marks: r.marks.slice() }));
          hasher.chainEach(runs, every);
          for (const [i, r] of runs.entries()) {
            assert.deepEqual({ chain: r.chain, marks: r.marks }, naive[i]);
            const one = alone[i]!;
            const written = hasher.chainMany(one.chain, one.leafHashes, one.start, one.marks, every);
            assert.deepEqual(
              { chain: one.chain, marks: one.marks, written },
              { ...naive[i], written: r.marks.length / 32 },
            );
          }
        }),
        { numRuns: 40 },
      );
    });

    it('gives the known answers', () => {
      assert(knownAnswersHold(make));
    });
  });
}

function naiveChain(run: ChainRun, every: number): { chain: Uint8Array; marks: Uint8Array } {
  let value: Uint8Array = run.chain.slice();
  const marks: Uint8Array[] = [];
  for (let i = 0; i < run.leafHashes.length / 32; i++) {
    value = expected(value, run.leafHashes.subarray(32 * i, 32 * i + 32));
    if ((BigInt(run.start) + BigInt(i) + 1n) % BigInt(every) === 0n) marks.push(value);
  }
  return { chain: value, marks: new Uint8Array(Buffer.concat(marks)) };
}

describe('sha256', () => {
  it('notices an engine that computes one function wrongly', () => {
    for (const name of ['blocks', 'slots', 'pairs', 'chain', 'chainFour', 'close'] as const) {
      const broken: MakeEngine = (size) => {
        const engine = wasm(size);
        return { ...engine, [name]: () => 0 };
      };
      assert.equal(knownAnswersHold(broken), false, name);
    }
  });

  it('takes the WebAssembly engine where it can', () => {
    const { memory } = defaultEngine()(1);
    assert(memory instanceof WebAssembly.Memory);
  });

  it('changes a hash with any one bit of its input', () => {
    const leaf = bytes(150);
    const before = hashLeaf(leaf);
    const children = bytes(64);
    const node = new Uint8Array(32);
    hashPairs(children, node);
    const flip = (data: Uint8Array, bit: number): Uint8Array => {
      const copy = data.slice();
      copy[bit >> 3]! ^= 1 << (bit & 7);
      return copy;
    };
    const flipped = Array.from({ length: 8 * leaf.length }, (_, bit) => flip(leaf, bit));
    for (let from = 0; from < flipped.length; from += 60) {
      const part = flipped.slice(from, from + 60);
      const hashes = hashBatch(wasm, part);
      for (const [i] of part.entries()) assert.notDeepEqual(hashes.subarray(32 * i, 32 * i + 32), before);
    }
    for (let bit = 0; bit < 512; bit++) {
      const other = new Uint8Array(32);
      hashPairs(flip(children, bit), other);
      assert.notDeepEqual(other, node);
    }
    assert.notDeepEqual(sha256(leaf), before);
  });
});

describe('a leaf batch', () => {
  it('hashes leaves written in place, gives them back, and is reusable', () => {
    const batch = new LeafBatch(131_072, 10);
    for (const lengths of [
      [5, 700, 64],
      [100, 0],
    ]) {
      batch.reset();
      const leaves = lengths.map(bytes);
      for (const leaf of leaves) {
        const offset = batch.begin(1000);
        batch.memory.set(leaf, offset);
        batch.end(leaf.length);
      }
      const out = new Uint8Array(32 * leaves.length);
      batch.hash(out);
      assert.equal(batch.count, leaves.length);
      assert.deepEqual(Buffer.from(out), Buffer.concat(leaves.map(leafHash)));
      for (const [i, leaf] of leaves.entries()) assert.deepEqual(batch.leaf(i), leaf);
    }
  });

  it('says when it is full, by leaves or by bytes', () => {
    const few = new LeafBatch(131_072, 2);
    assert.deepEqual([few.add(bytes(1)), few.add(bytes(1)), few.add(bytes(1))], [true, true, false]);
    const small = new LeafBatch(131_072, 10);
    assert.deepEqual(
      [small.add(bytes(LEAF_BYTES_MAX)), small.add(bytes(65_400)), small.begin()],
      [true, true, -1],
    );
    const out = new Uint8Array(64);
    small.hash(out);
    assert.deepEqual(out.subarray(0, 32), leafHash(small.leaf(0)));
  });

  it('refuses misuse', () => {
    assert.throws(() => new LeafBatch(1000, 1), RangeError);
    assert.throws(() => new LeafBatch(131_072, 0), RangeError);
    const batch = new LeafBatch(131_072, 4);
    assert.throws(() => batch.end(0), RangeError, 'nothing begun');
    batch.begin(10);
    assert.throws(() => batch.end(11), RangeError, 'longer than reserved');
    assert.throws(() => batch.hash(new Uint8Array(32)), RangeError, 'still open');
    batch.drop();
    batch.hash(new Uint8Array(0));
    batch.begin(10);
    batch.end(10);
    assert.throws(() => batch.hash(new Uint8Array(31)), RangeError);
    assert.throws(() => batch.leaf(1), RangeError);
    assert.throws(() => batch.add(bytes(LEAF_BYTES_MAX + 1)), RangeError);
    assert.throws(() => hashPairs(bytes(63), bytes(32)), RangeError);
    assert.throws(() => hashPairs(bytes(128), bytes(32)), RangeError);
    const hasher = new Hasher();
    assert.throws(() => hasher.chainMany(bytes(31), bytes(32), 0, bytes(0)), RangeError);
    assert.throws(() => hasher.chainMany(bytes(32), bytes(33), 0, bytes(0)), RangeError);
    assert.throws(() => hasher.chainMany(bytes(32), bytes(32), 255n, bytes(0)), RangeError);
    assert.throws(() => hasher.chainMany(bytes(32), bytes(32), -1, bytes(32)), RangeError);
  });
});
