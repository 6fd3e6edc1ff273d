import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes, encodeUtf8, fromHex } from '../bytes.ts';
import { hashLeaf } from '../sha256.ts';
import {
  consistencyProof,
  type HashReader,
  inclusionProof,
  isSubtree,
  type ProofVerdict,
  readRoot,
  subtreeNodes,
  verifyConsistency,
  verifyInclusion,
} from './proof.ts';
import { emptyRoot, perfectRoot, rootOf, TREE_SIZE_MAX } from './tree.ts';

const leaves = Array.from(
  { length: 3000 },
  (_, i) => new Uint8Array(createHash('sha256').update(`${i}`).digest()),
);
const roots = new Map<number, Uint8Array>();

function rootAt(size: number): Uint8Array {
  const known = roots.get(size) ?? rootOf(leaves.slice(0, size));
  roots.set(size, known);
  return known;
}

/** Computes every node from the leaves, and refuses those that a log of this size could not know. */
function readerOf(size: number): HashReader {
  return async (nodes) =>
    nodes.map(({ level, index }) => {
      const [from, to] = [Number(index) * 2 ** level, (Number(index) + 1) * 2 ** level];
      assert.ok(to <= size, `node ${level}/${index} is not complete at size ${size}`);
      return perfectRoot(concatBytes(leaves.slice(from, to)));
    });
}

async function provenInclusion(index: number, size: number) {
  const proof = await inclusionProof(BigInt(index), BigInt(size), readerOf(size));
  return { index: BigInt(index), size: BigInt(size), leafHash: leaves[index]!, root: rootAt(size), proof };
}

async function provenConsistency(size1: number, size2: number) {
  const proof = await consistencyProof(BigInt(size1), BigInt(size2), readerOf(size2));
  return { size1: BigInt(size1), size2: BigInt(size2), root1: rootAt(size1), root2: rootAt(size2), proof };
}

/** Ways to damage a proof; each must change the verdict. */
function* damagedProofs(proof: readonly Uint8Array[]): Generator<Uint8Array[]> {
  const other = leaves[2999]!;
  yield [...proof, other];
  yield [other, ...proof];
  for (let i = 0; i < proof.length; i++) {
    const flipped = proof[i]!.slice();
    flipped[i % 32]! ^= 1 << (i % 8);
    yield proof.with(i, flipped);
    yield proof.toSpliced(i, 1);
    yield proof.toSpliced(i, 0, other);
    yield proof.with(i, proof[i]!.subarray(0, 31));
    yield proof.with(i, concatBytes([proof[i]!, Uint8Array.of(0)]));
    if (i > 0) yield proof.with(i, proof[i - 1]!).with(i - 1, proof[i]!);
  }
}

test('every leaf of every tree up to size 70 has a proof, and no proof serves another leaf, index, size or root', async () => {
  for (let size = 1; size <= 70; size++) {
    for (let index = 0; index < size; index++) {
      const claim = await provenInclusion(index, size);
      assert.equal(verifyInclusion(claim), 'ok', `${index} of ${size}`);
      assert.equal(verifyInclusion({ ...claim, leafHash: leaves[index + 1]! }), 'root-mismatch');
      assert.equal(verifyInclusion({ ...claim, root: rootAt(size + 1) }), 'root-mismatch');
      for (const near of [claim.index - 1n, claim.index + 1n, claim.index ^ 2n]) {
        assert.notEqual(verifyInclusion({ ...claim, index: near }), 'ok', `${index} of ${size} as ${near}`);
      }
      for (const proof of damagedProofs(claim.proof))
        assert.notEqual(verifyInclusion({ ...claim, proof }), 'ok');
    }
  }
});

test('every pair of sizes up to 70 has a consistency proof, and no proof serves damaged or for other roots', async () => {
  for (let size2 = 1; size2 <= 70; size2++) {
    for (let size1 = 1; size1 <= size2; size1++) {
      const claim = await provenConsistency(size1, size2);
      assert.equal(verifyConsistency(claim), 'ok', `${size1} to ${size2}`);
      const wrong1 = verifyConsistency({ ...claim, root1: rootAt(size1 + 1) });
      // A perfect old tree seeds the climb with its own root, so there the new root is what no longer comes out.
      assert.ok(wrong1 === 'old-root-mismatch' || wrong1 === 'root-mismatch', wrong1);
      assert.equal(verifyConsistency({ ...claim, root2: rootAt(size2 + 1) }), 'root-mismatch');
      for (const proof of damagedProofs(claim.proof))
        assert.notEqual(verifyConsistency({ ...claim, proof }), 'ok');
    }
  }
});

test('proofs of random larger trees verify', async () => {
  const sizes = fc.integer({ min: 1, max: 3000 });
  await fc.assert(
    fc.asyncProperty(sizes, sizes, async (a, b) => {
      const [small, large] = [Math.min(a, b), Math.max(a, b)];
      assert.equal(verifyInclusion(await provenInclusion(small - 1, large)), 'ok');
      assert.equal(verifyConsistency(await provenConsistency(small, large)), 'ok');
      assert.deepEqual(await readRoot(BigInt(large), readerOf(large)), rootAt(large));
    }),
    { numRuns: 60 },
  );
});

test('a proof in a tree of 2^63 - 1 leaves verifies, and in a larger one is refused', () => {
  const index = TREE_SIZE_MAX - 1n;
  const proof = Array.from({ length: 62 }, (_, i) => leaves[i]!);
  const root = proof.reduce<Uint8Array>((hash, left) => perfectRoot(concatBytes([left, hash])), leaves[99]!);
  const claim = { index, size: TREE_SIZE_MAX, leafHash: leaves[99]!, root, proof };
  assert.equal(verifyInclusion(claim), 'ok');
  assert.equal(verifyInclusion({ ...claim, size: TREE_SIZE_MAX + 1n }), 'range-invalid');
});

test('of the entries "a", "b", "c" the third is proven by the hash over the first two', () => {
  // Computed step by step with openssl; leaf and roots as in tree.test.ts.
  const ab = fromHex('b137985ff484fb600db93107c77b0365c80d78f5b429ded0fd97361d077999eb')!;
  const root = fromHex('36642e73c2540ab121e3a6bf9545b0a24982cd830eb13d3cd19de3ce6c021ec1')!;
  const leafHash = hashLeaf(encodeUtf8('c'));
  assert.equal(verifyInclusion({ index: 2n, size: 3n, leafHash, root, proof: [ab] }), 'ok');
  assert.equal(verifyConsistency({ size1: 2n, size2: 3n, root1: ab, root2: root, proof: [leafHash] }), 'ok');
  // The hash of an inner node is no leaf of a smaller tree: an entry cannot pass for a node (RFC 6962 §2.1).
  assert.equal(
    verifyInclusion({ index: 1n, size: 2n, leafHash: hashLeaf(ab), root, proof: [ab] }),
    'root-mismatch',
  );
});

test('the verdict names what is wrong', async () => {
  const inclusion = await provenInclusion(4, 7);
  const consistency = await provenConsistency(3, 7);
  const verdicts: [ProofVerdict, ProofVerdict][] = [
    [verifyInclusion({ ...inclusion, index: 7n }), 'range-invalid'],
    [verifyInclusion({ ...inclusion, index: -1n }), 'range-invalid'],
    [verifyInclusion({ ...inclusion, index: 0n, size: 0n, root: emptyRoot(), proof: [] }), 'range-invalid'],
    [verifyInclusion({ ...inclusion, leafHash: new Uint8Array(0) }), 'hash-invalid'],
    [verifyInclusion({ ...inclusion, root: new Uint8Array(33) }), 'hash-invalid'],
    [verifyInclusion({ ...inclusion, proof: inclusion.proof.slice(1) }), 'proof-too-short'],
    [verifyInclusion({ ...inclusion, proof: [...inclusion.proof, leaves[0]!] }), 'proof-too-long'],
    [verifyInclusion({ ...inclusion, leafHash: leaves[5]! }), 'root-mismatch'],
    [verifyConsistency({ ...consistency, size1: 8n }), 'range-invalid'],
    [verifyConsistency({ ...consistency, size1: 0n, root1: emptyRoot() }), 'range-invalid'],
    [
      verifyConsistency({ size1: 0n, size2: 0n, root1: emptyRoot(), root2: emptyRoot(), proof: [] }),
      'range-invalid',
    ],
    [verifyConsistency({ ...consistency, root1: new Uint8Array(0) }), 'hash-invalid'],
    [verifyConsistency({ ...consistency, proof: [] }), 'proof-too-short'],
    [verifyConsistency({ ...consistency, proof: consistency.proof.slice(0, -1) }), 'proof-too-short'],
    [verifyConsistency({ ...consistency, proof: [...consistency.proof, leaves[0]!] }), 'proof-too-long'],
    [verifyConsistency({ ...consistency, root1: leaves[0]! }), 'old-root-mismatch'],
    [verifyConsistency({ ...consistency, root2: leaves[0]! }), 'root-mismatch'],
  ];
  for (const [actual, expected] of verdicts) assert.equal(actual, expected);
});

test('a tree is consistent with itself by an empty proof, if and only if the roots are equal', () => {
  const same = { size1: 5n, size2: 5n, root1: rootAt(5), root2: rootAt(5), proof: [] };
  assert.equal(verifyConsistency(same), 'ok');
  assert.equal(verifyConsistency({ ...same, root2: rootAt(6) }), 'root-mismatch');
  assert.equal(verifyConsistency({ ...same, proof: [rootAt(5)] }), 'proof-too-long');
});

test('proofs of leaves and sizes that a tree does not have are not built', async () => {
  await assert.rejects(inclusionProof(5n, 5n, readerOf(5)), RangeError);
  await assert.rejects(inclusionProof(-1n, 5n, readerOf(5)), RangeError);
  await assert.rejects(consistencyProof(0n, 5n, readerOf(5)), RangeError);
  await assert.rejects(consistencyProof(6n, 5n, readerOf(6)), RangeError);
  await assert.rejects(readRoot(-1n, readerOf(5)), RangeError);
  assert.deepEqual(await readRoot(0n, readerOf(0)), emptyRoot());
});

test('a hash reader that answers with too few or too short hashes is caught', async () => {
  await assert.rejects(
    inclusionProof(1n, 5n, async () => []),
    RangeError,
  );
  await assert.rejects(
    inclusionProof(1n, 5n, async (nodes) => nodes.map(() => new Uint8Array(31))),
    RangeError,
  );
});

test('a proof asks its reader once, for fewer than 128 nodes', async () => {
  const counting: HashReader = async (nodes) => {
    assert.ok(nodes.length < 128);
    return nodes.map(() => leaves[0]!);
  };
  for (const index of [0n, 2n ** 62n, TREE_SIZE_MAX - 1n])
    await inclusionProof(index, TREE_SIZE_MAX, counting);
  for (const size1 of [1n, 2n ** 62n + 1n, TREE_SIZE_MAX - 1n])
    await consistencyProof(size1, TREE_SIZE_MAX, counting);
});

test('subtrees begin at a multiple of the power of two that holds them', () => {
  const subtrees = [];
  for (let start = 0n; start < 8n; start++) {
    for (let end = start + 1n; end <= 8n; end++) if (isSubtree(start, end)) subtrees.push(`${start}-${end}`);
  }
  const expected = '0-1 0-2 0-3 0-4 0-5 0-6 0-7 0-8 1-2 2-3 2-4 3-4 4-5 4-6 4-7 4-8 5-6 6-7 6-8 7-8';
  assert.equal(subtrees.join(' '), expected);
  assert.deepEqual(subtreeNodes(4n, 7n), [
    { level: 1, index: 2n },
    { level: 0, index: 6n },
  ]);
  assert.throws(() => subtreeNodes(1n, 3n), RangeError);
  assert.throws(() => subtreeNodes(3n, 1n), RangeError);
});
