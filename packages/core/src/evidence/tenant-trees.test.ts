import assert from 'node:assert/strict';
import { it } from 'node:test';
import { concatBytes } from '../bytes.ts';
import { rootOf } from '../merkle/tree.ts';
import { sha256 } from '../sha256.ts';
import { FirstKeys } from './first-keys.ts';
import { TenantTree, TenantTrees } from './tenant-trees.ts';

const hashOf = (n: number) => sha256(new Uint8Array([n >> 8, n & 255]));

it('gives the root of what was appended, whatever waits', () => {
  for (const count of [0, 1, 31, 32, 33, 64, 100]) {
    const hashes = Array.from({ length: count }, (_, n) => hashOf(n));
    const packed = concatBytes(hashes);
    const tree = new TenantTree();
    for (let n = 0; n < count; n++) tree.append(packed, n * 32);
    assert.equal(tree.count, BigInt(count));
    assert.deepEqual(tree.root(), rootOf(hashes));
    // Asking changes nothing.
    assert.deepEqual(tree.root(), rootOf(hashes));
  }
});

it('gives every tenant its whole tree in one of the passes, whatever their order and number', () => {
  for (const max of [1, 2, 3, 7, 50]) {
    const leaves = Array.from({ length: 300 }, (_, n) => ({
      tenant: `t${(n * n + 7 * n) % 41}`,
      hash: hashOf(n),
    }));
    const expected = new Map<string, Uint8Array[]>();
    for (const { tenant, hash } of leaves) expected.set(tenant, [...(expected.get(tenant) ?? []), hash]);
    const found: string[] = [];
    let passes = 0;
    for (let after: string | null = null, more = true; more; passes++) {
      const trees: TenantTrees = new TenantTrees(max, after);
      for (const { tenant, hash } of leaves) trees.treeOf(tenant)?.append(hash, 0);
      const { roots, next } = trees.finish();
      assert.ok(roots.length <= max);
      for (const { tenant, root, count } of roots) {
        found.push(tenant);
        const own = expected.get(tenant) as Uint8Array[];
        assert.equal(count, BigInt(own.length));
        assert.deepEqual(root, rootOf(own));
      }
      after = next;
      more = next !== null;
    }
    assert.deepEqual(found, [...expected.keys()].sort());
    assert.equal(passes, Math.max(1, Math.ceil(expected.size / max)));
  }
});

it('takes a pass without keys as the last', () => {
  const keys = new FirstKeys(3, 'z', () => 0);
  assert.equal(keys.valueOf('a'), null);
  assert.deepEqual(keys.finish(), { entries: [], next: null });
});
