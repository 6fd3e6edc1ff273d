import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';
import { inclusionProof } from '@evident/core/merkle/proof.ts';
import { nodeHash, rootOf } from '@evident/core/merkle/tree.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { quoted, siblingSides } from './readme.ts';

it('tells on which side each hash of a proof stands, for every leaf of every tree up to 70 leaves', async () => {
  const leaves = Array.from({ length: 70 }, (_, at) => hashLeaf(Uint8Array.of(at)));
  for (let size = 1; size <= leaves.length; size++) {
    const tree = leaves.slice(0, size);
    for (let index = 0; index < size; index++) {
      const proof = await inclusionProof(BigInt(index), BigInt(size), async (nodes) =>
        nodes.map(({ level, index: at }) =>
          rootOf(tree.slice(Number(at) << level, (Number(at) + 1) << level)),
        ),
      );
      const sides = siblingSides(BigInt(index), BigInt(size));
      assert.equal(sides.length, proof.length);
      const root = proof.reduce(
        (hash, sibling, at) => (sides[at] ? nodeHash(sibling, hash) : nodeHash(hash, sibling)),
        tree[index],
      );
      assert.deepEqual(root, rootOf(tree), `${index} of ${size}`);
    }
  }
});

it('writes a name as one word of a shell, whatever it holds', () => {
  for (const name of ["it's", '$(id)', '`id`', 'a"b\\c', "''", '!~*'])
    assert.equal(execFileSync('sh', ['-c', `printf '%s' ${quoted(name)}`], { encoding: 'utf8' }), name);
});
