import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { concatBytes, toHex } from './bytes.ts';
import { chainNext, chainStart } from './chain.ts';
import { chainMany } from './sha256.ts';

const leaves = Array.from(
  { length: 20 },
  (_, i) => new Uint8Array(createHash('sha256').update(`${i}`).digest()),
);

test('the chain begins with the hash of the origin and takes each leaf hash in turn', () => {
  let link = chainStart('abc');
  assert.equal(toHex(link), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  for (const leaf of leaves) {
    const expected = createHash('sha256').update(link).update(leaf).digest('hex');
    link = chainNext(link, leaf);
    assert.equal(toHex(link), expected);
  }
});

test('batches give the links of one leaf after the other', () => {
  const start = chainStart('log.example/audit/0');
  const link = start.slice();
  chainMany(link, concatBytes(leaves), 0, new Uint8Array(0));
  assert.deepEqual(link, leaves.reduce(chainNext, start));
  assert.deepEqual(start, chainStart('log.example/audit/0'));
});

test('a changed, moved or missing leaf gives another link', () => {
  const start = chainStart('log.example/audit/0');
  const [a, b] = leaves as [Uint8Array, Uint8Array];
  const links = [[a, b], [b, a], [a], [b], [], [a, a, b]].map((order) =>
    toHex(order.reduce(chainNext, start)),
  );
  assert.equal(new Set(links).size, links.length);
});

test('links and leaf hashes of another length are refused', () => {
  const start = chainStart('x');
  assert.throws(() => chainNext(start, concatBytes(leaves.slice(0, 2))), RangeError);
  assert.throws(() => chainNext(start.subarray(1), leaves[0]!), RangeError);
});
