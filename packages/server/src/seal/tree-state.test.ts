import assert from 'node:assert/strict';
import { it } from 'node:test';
import { chainStart } from '@evident/core/chain.ts';
import { verifyConsistency } from '@evident/core/merkle/proof.ts';
import { CompactRange, emptyRoot, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { sha256 } from '@evident/core/sha256.ts';
import { growTree, proveGrowth, type TreeState } from './tree-state.ts';

const ORIGIN = 'test.invalid/audit/0';
const LEAVES = Buffer.concat(
  Array.from({ length: 1_300 }, (_, index) => sha256(Buffer.from(`leaf ${index}`))),
);

function leaves(from: number, to: number): Uint8Array {
  return new Uint8Array(LEAVES.subarray(from * HASH_BYTES, to * HASH_BYTES));
}

function emptyTree(): TreeState {
  const head = { epoch: 0, size: 0n, root: emptyRoot(), chain: chainStart(ORIGIN), edge: new Uint8Array(0) };
  return {
    log: 'audit',
    partition: 0,
    head,
    range: new CompactRange(),
    signed: null,
    lastLeaf: new Uint8Array(0),
  };
}

function treeOf(size: number): TreeState {
  return size === 0 ? emptyTree() : growTree(emptyTree(), leaves(0, size)).state;
}

it('proves each growth from the head that was signed, whatever the sizes', async () => {
  for (let from = 1; from <= 70; from++) {
    const before = treeOf(from);
    for (let to = from + 1; to <= 72; to++) {
      const { state, nodes } = growTree(before, leaves(from, to));
      const proof = await proveGrowth(before.signed, state.head.size, nodes);
      const claim = {
        size1: BigInt(from),
        size2: BigInt(to),
        root1: before.head.root,
        root2: state.head.root,
      };
      assert.equal(verifyConsistency({ ...claim, proof }), 'ok', `${from} to ${to}`);
      // The pair: it is this growth that is proven, and no other.
      assert.notEqual(verifyConsistency({ ...claim, root2: treeOf(to - 1).head.root, proof }), 'ok');
    }
  }
});

it('proves growth from a head that was signed and not stored', async () => {
  const stored = treeOf(200);
  for (const signedSize of [201, 255, 256, 257, 300, 512, 777]) {
    const signed = { size: BigInt(signedSize), root: treeOf(signedSize).head.root };
    for (const to of [signedSize, signedSize + 1, 800, 1_300]) {
      const { state, nodes } = growTree({ ...stored, signed }, leaves(200, to));
      const proof = await proveGrowth(signed, state.head.size, nodes);
      const claim = {
        size1: signed.size,
        size2: BigInt(to),
        root1: signed.root,
        root2: state.head.root,
        proof,
      };
      assert.equal(verifyConsistency(claim), 'ok', `${signedSize} to ${to}`);
    }
  }
});

it('gives the same tiles, chain and root however far a head was signed before', () => {
  const stored = treeOf(200);
  const plain = growTree(stored, leaves(200, 1_300));
  const resumed = growTree({ ...stored, signed: { size: 700n, root: emptyRoot() } }, leaves(200, 1_300));
  assert.deepEqual(resumed.state, plain.state);
  assert.deepEqual(flat(resumed.tiles.nodes), flat(plain.tiles.nodes));
  assert.deepEqual(resumed.tiles.chain, plain.tiles.chain);
});

/** Hash by level and index: runs may be cut elsewhere. */
function flat(nodes: readonly { level: number; index: bigint; hashes: Uint8Array }[]): Map<string, string> {
  const all = new Map<string, string>();
  for (const { level, index, hashes } of nodes)
    for (let at = 0; at < hashes.length; at += HASH_BYTES)
      all.set(
        `${level}/${index + BigInt(at / HASH_BYTES)}`,
        Buffer.from(hashes).toString('hex', at, at + HASH_BYTES),
      );
  return all;
}

it('has no proof from nothing, and none from a tree that it did not grow from', async () => {
  const { state, nodes } = growTree(emptyTree(), leaves(0, 5));
  assert.deepEqual(await proveGrowth(null, state.head.size, nodes), []);
  assert.deepEqual(await proveGrowth({ size: 0n, root: emptyRoot() }, state.head.size, nodes), []);
  await assert.rejects(proveGrowth({ size: 6n, root: emptyRoot() }, state.head.size, nodes), RangeError);
});
