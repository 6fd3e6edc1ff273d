import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes, encodeUtf8, toBase64 } from './bytes.ts';
import { formatTreeHead } from './checkpoint.ts';
import { inclusionProof } from './merkle/proof.ts';
import { perfectRoot, rootOf } from './merkle/tree.ts';
import { type KeyId, type Signer, signNote, type Verifier } from './note.ts';
import { hashLeaf } from './sha256.ts';
import { formatTlogProof, parseTlogProof, verifyTlogProof } from './tlog-proof.ts';

const ORIGIN = 'log.example/audit/0';
const leaves = Array.from({ length: 13 }, (_, i) => hashLeaf(encodeUtf8(`entry ${i}`)));

// Signatures are no subject here: this key "signs" with a hash of the message. note.test.ts uses real ones.
const log: Signer & Verifier = {
  name: ORIGIN,
  keyId: '00000001' as KeyId,
  sign: (message) => hashLeaf(message),
  verify: (message, signature) => Buffer.compare(signature, hashLeaf(message)) === 0,
};

async function proofOf(index: number, size: number, extra?: Uint8Array): Promise<Uint8Array> {
  const hashes = await inclusionProof(BigInt(index), BigInt(size), async (nodes) =>
    nodes.map(({ level, index }) =>
      perfectRoot(concatBytes(leaves.slice(Number(index) << level, Number(index + 1n) << level))),
    ),
  );
  const head = formatTreeHead({ origin: ORIGIN, size: BigInt(size), root: rootOf(leaves.slice(0, size)) });
  return formatTlogProof({ index: BigInt(index), hashes, treeHead: signNote(head, [log]), extra });
}

function asText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

test('every leaf is proven by its proof, and no other leaf is', async () => {
  for (let size = 1; size <= 13; size++) {
    for (let index = 0; index < size; index++) {
      const proof = await proofOf(index, size);
      const proven = verifyTlogProof(proof, leaves[index]!, [log], ORIGIN);
      assert.ok(proven.ok);
      assert.equal(proven.value.index, BigInt(index));
      assert.equal(proven.value.head.size, BigInt(size));
      assert.equal(verifyTlogProof(proof, leaves[(index + 1) % 13]!, [log], ORIGIN).ok, false);
      assert.equal(verifyTlogProof(proof, leaves[index]!, [log], 'log.example/audit/1').ok, false);
      assert.equal(verifyTlogProof(proof, leaves[index]!, [], ORIGIN).ok, false);
    }
  }
});

test('a proof with any byte changed fails', async () => {
  const proof = await proofOf(5, 13);
  fc.assert(
    fc.property(fc.nat(proof.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = proof.slice();
      changed[at]! ^= mask;
      assert.equal(verifyTlogProof(changed, leaves[5]!, [log], ORIGIN).ok, false);
    }),
    { numRuns: 300 },
  );
});

test('a proof has the lines of the specification', async () => {
  const lines = asText(await proofOf(2, 3, Uint8Array.of(1, 2, 3))).split('\n');
  const sibling = toBase64(rootOf(leaves.slice(0, 2)));
  assert.deepEqual(lines.slice(0, 6), [
    'c2sp.org/tlog-proof@v1',
    'extra AQID',
    'index 2',
    sibling,
    '',
    ORIGIN,
  ]);
  assert.match(asText(await proofOf(0, 1)), /^c2sp\.org\/tlog-proof@v1\nindex 0\n\nlog\.example/);
});

test('a proof reads back as it was written', async () => {
  for (const extra of [undefined, Uint8Array.of(0)]) {
    const bytes = await proofOf(7, 11, extra);
    const proof = parseTlogProof(bytes);
    assert.ok(proof.ok);
    assert.deepEqual(proof.value.extra, extra);
    assert.deepEqual(formatTlogProof(proof.value), bytes);
  }
});

test('a proof has one spelling', async () => {
  const bytes = await proofOf(2, 3, Uint8Array.of(1, 2, 3));
  const text = asText(bytes);
  assert.equal(parseTlogProof(encodeUtf8(text)).ok, true);
  const hash = toBase64(leaves[0]!);
  const edits: [string, string][] = [
    ['@v1', '@v2'],
    ['@v1\n', '@v1 \n'],
    ['extra AQID', 'extra '],
    ['extra AQID', 'extra'],
    ['extra AQID', 'extra AQI'],
    ['extra AQID', 'Extra AQID'],
    ['extra AQID', 'extra AQID\nextra AQID'],
    ['extra AQID\nindex 2', 'index 2\nextra AQID'],
    ['index 2\n', ''],
    ['index 2', 'index 02'],
    ['index 2', 'index -2'],
    ['index 2', 'index  2'],
    ['index 2', 'index 9223372036854775808'],
    ['index 2', 'index 2\nAAAA'],
    ['index 2', 'index 2\n'],
    ['index 2', 'index 2\r'],
    ['index 2\n', `index 2\n${hash.slice(0, -1)}\n`],
    ['index 2\n', `index 2\n${hash} \n`],
    ['index 2\n', `index 2\n${`${hash}\n`.repeat(63)}`],
    ['\n\nlog', '\nlog'],
    ['\n\nlog', '\n\n\nlog'],
    ['c2sp', '\ufeffc2sp'],
    ['\n3\n', '\n03\n'],
  ];
  for (const [from, to] of edits) {
    const edited = text.replace(from, () => to);
    assert.notEqual(edited, text);
    assert.equal(parseTlogProof(encodeUtf8(edited)).ok, false, JSON.stringify(to));
  }
  assert.equal(parseTlogProof(encodeUtf8(text.replaceAll('\n', '\r\n'))).ok, false);
  assert.equal(parseTlogProof(bytes.subarray(0, -1)).ok, false);
  assert.equal(parseTlogProof(new Uint8Array(0)).ok, false);
});

test('63 hashes are read and 64 refused', async () => {
  const treeHead = asText(await proofOf(0, 1))
    .split('\n\n')
    .slice(1)
    .join('\n\n');
  const proof = { index: 0n, treeHead: encodeUtf8(treeHead) };
  const hashes = Array<Uint8Array>(63).fill(leaves[0]!);
  assert.equal(parseTlogProof(formatTlogProof({ ...proof, hashes })).ok, true);
  assert.throws(() => formatTlogProof({ ...proof, hashes: [...hashes, leaves[0]!] }), RangeError);
  assert.throws(() => formatTlogProof({ ...proof, hashes, extra: new Uint8Array(0) }), RangeError);
  assert.throws(() => formatTlogProof({ ...proof, hashes, index: -1n }), RangeError);
});
