import assert from 'node:assert/strict';
import { it } from 'node:test';
import { consistencyProof } from '@evident/core/merkle/proof.ts';
import { emptyRoot, perfectRoot, rootOf, TREE_SIZE_MAX } from '@evident/core/merkle/tree.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { SignedHead, SignRequest } from '../seal/ports.ts';
import { ORIGINS_MAX, refusalOf, type SignerView, treeOfOrigin } from './rule.ts';

const NAME = 'test.invalid';
const ORIGIN = `${NAME}/audit/0`;
const LEAVES = Array.from({ length: 40 }, (_, index) => sha256(Buffer.from(`leaf ${index}`)));
const OTHERS = Array.from({ length: 40 }, (_, index) =>
  sha256(Buffer.from(index < 7 ? `other ${index}` : `leaf ${index}`)),
);

function headOf(size: number, leaves = LEAVES): SignedHead {
  return { size: BigInt(size), root: rootOf(leaves.slice(0, size)) };
}

async function proofOf(from: number, to: number, leaves = LEAVES): Promise<Uint8Array[]> {
  return consistencyProof(BigInt(from), BigInt(to), async (nodes) =>
    nodes.map(({ level, index }) => {
      const width = 2 ** level;
      return perfectRoot(Buffer.concat(leaves.slice(Number(index) * width, (Number(index) + 1) * width)));
    }),
  );
}

function viewOf(last: Record<string, SignedHead> = {}, more: Partial<SignerView> = {}): SignerView {
  return { name: NAME, last: new Map(Object.entries(last)), mayBegin: () => false, ...more };
}

function ask(head: SignedHead, more: Partial<SignRequest> = {}): SignRequest {
  return { origin: ORIGIN, ...head, after: null, proof: [], ...more };
}

it('signs a first head of any size, the same head again, and what is proven to follow', async () => {
  assert.equal(refusalOf(viewOf(), ask(headOf(0))), null);
  assert.equal(refusalOf(viewOf(), ask(headOf(17))), null);
  const view = viewOf({ [ORIGIN]: headOf(17) });
  assert.equal(refusalOf(view, ask(headOf(17), { after: headOf(17) })), null);
  for (let to = 18; to <= 40; to++)
    assert.equal(refusalOf(view, ask(headOf(to), { after: headOf(17), proof: await proofOf(17, to) })), null);
  assert.equal(refusalOf(viewOf({ [ORIGIN]: headOf(0) }), ask(headOf(9), { after: headOf(0) })), null);
});

it('refuses a smaller size, another root, and another history', async () => {
  const view = viewOf({ [ORIGIN]: headOf(17) });
  const after = headOf(17);
  assert.match(refusalOf(view, ask(headOf(16), { after })) ?? '', /has signed size 17/);
  assert.match(refusalOf(view, ask(headOf(17, OTHERS), { after })) ?? '', /another root/);
  for (let to = 18; to <= 40; to++) {
    const proof = await proofOf(17, to, OTHERS);
    assert.match(refusalOf(view, ask(headOf(to, OTHERS), { after, proof })) ?? '', /not proven to follow/);
    const honest = await proofOf(17, to);
    assert.match(
      refusalOf(view, ask(headOf(to, OTHERS), { after, proof: honest })) ?? '',
      /not proven to follow/,
    );
    assert.match(
      refusalOf(view, ask(headOf(to), { after, proof: honest.slice(1) })) ?? '',
      /not proven to follow/,
    );
    assert.match(
      refusalOf(view, ask(headOf(to), { after, proof: [...honest, LEAVES[0]] })) ?? '',
      /not proven/,
    );
  }
});

it('refuses whoever does not know the head that it remembers, or knows one that it does not', async () => {
  const view = viewOf({ [ORIGIN]: headOf(17) });
  const proof = await proofOf(16, 20);
  for (const after of [null, headOf(16), headOf(17, OTHERS)])
    assert.match(refusalOf(view, ask(headOf(20), { after, proof })) ?? '', /which the sealer does not know/);
  assert.match(refusalOf(viewOf(), ask(headOf(20), { after: headOf(17) })) ?? '', /remembers no head/);
});

it('lets nothing be proven of the empty tree but itself', () => {
  const view = viewOf({ [ORIGIN]: headOf(0) });
  const after = headOf(0);
  assert.match(refusalOf(view, ask(headOf(9), { after, proof: [LEAVES[0]] })) ?? '', /proof-too-long/);
  assert.match(refusalOf(viewOf(), ask({ size: 0n, root: LEAVES[0] })) ?? '', /has this root/);
  assert.match(refusalOf(viewOf(), ask({ size: 3n, root: new Uint8Array(31) })) ?? '', /has this root/);
  assert.match(refusalOf(viewOf(), ask({ size: -1n, root: emptyRoot() })) ?? '', /no tree has size/);
  assert.match(
    refusalOf(viewOf(), ask({ size: TREE_SIZE_MAX + 1n, root: emptyRoot() })) ?? '',
    /no tree has size/,
  );
});

it('signs for one installation alone', () => {
  const origins = [
    'other.invalid/audit/0',
    `${NAME}/audit`,
    `${NAME}/x/audit/0`,
    `${NAME}/r0/audit/0`,
    `${NAME}/r01/audit/0`,
  ];
  for (const origin of [...origins, `${NAME}/r1001/audit/0`, `${NAME}/audit/65536`, `${NAME}x/audit/0`, ''])
    assert.match(
      refusalOf(viewOf(), ask(headOf(1), { origin })) ?? '',
      /signs for test.invalid alone/,
      origin,
    );
  assert.match(refusalOf(viewOf({}, { name: null }), ask(headOf(1))) ?? '', /not been begun/);
  assert.deepEqual(treeOfOrigin(NAME, `${NAME}/r12/audit/3`), { log: 'audit', partition: 3, epoch: 12 });
  assert.deepEqual(treeOfOrigin(`${NAME}/r1`, `${NAME}/r1/audit/3`), {
    log: 'audit',
    partition: 3,
    epoch: 0,
  });
});

it('lets a tree begin anew with consent, empty, and then lets the one before it grow no more', async () => {
  const next = `${NAME}/r1/audit/0`;
  const after = headOf(17);
  const grown = { after, proof: await proofOf(17, 20) };
  const old = viewOf({ [ORIGIN]: headOf(17) });
  assert.match(refusalOf(old, ask(headOf(0), { origin: next })) ?? '', /no consent/);
  const willing = viewOf({ [ORIGIN]: headOf(17) }, { mayBegin: (origin) => origin === next });
  assert.equal(refusalOf(willing, ask(headOf(0), { origin: next })), null);
  assert.match(refusalOf(willing, ask(headOf(3), { origin: next })) ?? '', /begins at size 0/);
  assert.match(refusalOf(willing, ask(headOf(0), { origin: `${NAME}/r2/audit/0` })) ?? '', /no consent/);
  // Begun, and not grown: the recovery may have died before it told the database.
  assert.equal(refusalOf(viewOf({ [ORIGIN]: headOf(17), [next]: headOf(0) }), ask(headOf(20), grown)), null);
  const both = viewOf({ [ORIGIN]: headOf(17), [next]: headOf(4) });
  assert.match(refusalOf(both, ask(headOf(20), grown)) ?? '', /took the place/);
  assert.match(refusalOf(both, ask(headOf(17), { after })) ?? '', /took the place/);
  // An epoch that was left out lets no second tree live; those of other logs and partitions are none of its business.
  const skipped = viewOf({ [ORIGIN]: headOf(17), [`${NAME}/r2/audit/0`]: headOf(4) });
  assert.match(refusalOf(skipped, ask(headOf(20), grown)) ?? '', /took the place/);
  const strange = { [`${NAME}/r2/audit/10`]: headOf(4), [`${NAME}/r2/x-audit/0`]: headOf(4) };
  assert.equal(refusalOf(viewOf({ [ORIGIN]: headOf(17), ...strange }), ask(headOf(20), grown)), null);
});

it('remembers no more trees than it can write down', () => {
  const last = new Map(
    Array.from({ length: ORIGINS_MAX }, (_, n) => [`${NAME}/l${n}/0`, headOf(1)] as const),
  );
  assert.match(refusalOf({ name: NAME, last, mayBegin: () => true }, ask(headOf(1))) ?? '', /takes no more/);
});
