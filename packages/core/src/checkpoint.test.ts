import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeUtf8 } from './bytes.ts';
import { formatTreeHead, openTreeHead, parseDecimal, parseTreeHead } from './checkpoint.ts';
import { emptyRoot, rootOf } from './merkle/tree.ts';
import { type KeyId, parseVkey, type Signer, signNote, type Verifier, verifierOf } from './note.ts';
import { hashLeaf } from './sha256.ts';

const ORIGIN = 'log.example/audit/0';
const ROOT = hashLeaf(encodeUtf8('a'));
// The base64 of SHA-256(0x00 "a"), from openssl.
const ROOT_TEXT = 'Aippeebat6pa5MPl5F9+l3ESp+Y1k4INvsHsc4ok+Tw=';
const HEAD = { origin: ORIGIN, size: 1n, root: ROOT };

/** Signatures are no subject here: these keys "sign" with their own name. The real ones are in the vectors below. */
function nameSigner(name: string, keyId: string): Signer & Verifier {
  const signature = encodeUtf8(name);
  return {
    name,
    keyId: keyId as KeyId,
    sign: () => signature,
    verify: (_message, given) => Buffer.compare(given, signature) === 0,
  };
}

const log = nameSigner(ORIGIN, '00000001');
const witness = nameSigner('witness.example', '00000002');

test('a tree head reads back as it was written', () => {
  const line = fc.stringMatching(/^[ -~]{1,40}$/);
  const root = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const size = fc.bigInt({ min: 1n, max: 2n ** 63n - 1n });
  fc.assert(
    fc.property(
      line,
      size,
      root,
      fc.array(line, { minLength: 1, maxLength: 3 }),
      (origin, size, root, extensions) => {
        assert.deepEqual(parseTreeHead(formatTreeHead({ origin, size, root })), {
          ok: true,
          value: { origin, size, root },
        });
        const extended = { origin, size, root, extensions };
        assert.deepEqual(parseTreeHead(formatTreeHead(extended)), { ok: true, value: extended });
      },
    ),
  );
});

test('a tree head has one spelling', () => {
  const text = `${ORIGIN}\n1\n${ROOT_TEXT}\n`;
  assert.equal(formatTreeHead(HEAD), text);
  assert.equal(parseTreeHead(text).ok, true);
  const edits: [string, string][] = [
    [ORIGIN, ''],
    ...['01', '+1', '-1', '1.0', '0x1', ' 1', '1 ', '', '٣', '9223372036854775808', '1e3'].map(
      (size) => ['\n1\n', `\n${size}\n`] as [string, string],
    ),
    ['=\n', '\n'],
    ['=\n', '==\n'],
    ['=\n', '= \n'],
    ['=\n', '=\r\n'],
    ['=\n', '='],
    ['=\n', '=\n\n'],
    ['=\n', '=\n\nextension\n'],
    [ROOT_TEXT, 'AAAA'],
    [`${ROOT_TEXT}\n`, ''],
  ];
  for (const [from, to] of edits) {
    const edited = text.replace(from, () => to);
    assert.notEqual(edited, text);
    assert.equal(parseTreeHead(edited).ok, false, JSON.stringify(edited));
  }
  assert.equal(parseTreeHead('').ok, false);
});

test('the empty tree has the empty root and no other', () => {
  assert.equal(parseTreeHead(formatTreeHead({ ...HEAD, size: 0n, root: emptyRoot() })).ok, true);
  assert.throws(() => formatTreeHead({ ...HEAD, size: 0n }), RangeError);
});

test('what would be read back as another head is not written', () => {
  assert.throws(() => formatTreeHead({ ...HEAD, origin: '' }), RangeError);
  assert.throws(() => formatTreeHead({ ...HEAD, origin: `${ORIGIN}\n1\n${ROOT_TEXT}` }), RangeError);
  assert.throws(() => formatTreeHead({ ...HEAD, size: -1n }), RangeError);
  assert.throws(() => formatTreeHead({ ...HEAD, size: 2n ** 63n }), RangeError);
  assert.throws(() => formatTreeHead({ ...HEAD, root: ROOT.subarray(1) }), RangeError);
  assert.throws(() => formatTreeHead({ ...HEAD, extensions: ['a\nb'] }), RangeError);
  assert.throws(() => formatTreeHead({ ...HEAD, extensions: [''] }), RangeError);
});

test('decimal numbers have no leading zeros and end at 2^63 - 1', () => {
  assert.equal(parseDecimal('0'), 0n);
  assert.equal(parseDecimal('9223372036854775807'), 2n ** 63n - 1n);
  for (const text of ['', '00', '-0', '9223372036854775808', '99999999999999999999', '1\n', '１']) {
    assert.equal(parseDecimal(text), null, JSON.stringify(text));
  }
});

test('a signed head opens for its origin and for no other', () => {
  const note = signNote(formatTreeHead(HEAD), [log]);
  const opened = openTreeHead(note, [log, witness], ORIGIN);
  assert.ok(opened.ok);
  assert.deepEqual(opened.value.head, HEAD);
  assert.equal(openTreeHead(note, [log], 'log.example/audit/1').ok, false);
  assert.equal(openTreeHead(note, [witness], ORIGIN).ok, false);
});

test('a head that only a witness has signed is not a head of the log', () => {
  const text = formatTreeHead(HEAD);
  assert.equal(openTreeHead(signNote(text, [witness]), [log, witness], ORIGIN).ok, false);
  assert.equal(openTreeHead(signNote(text, [witness, log]), [log, witness], ORIGIN).ok, true);
});

test('a signed note that is no head does not open as one', () => {
  assert.equal(openTreeHead(signNote('something else\n', [log]), [log], ORIGIN).ok, false);
  assert.equal(openTreeHead(signNote(`${ORIGIN}\n01\n${ROOT_TEXT}\n`, [log]), [log], ORIGIN).ok, false);
});

// ---- A log that others published: see PROVENANCE.md beside it. Not part of the repository.

const vectors = new URL('../../../../shared/data/vectors/tlog-tiles/', import.meta.url);
const skip = existsSync(vectors)
  ? false
  : `NO TLOG-TILES VECTORS: ${vectors.pathname} is absent, 16 heads were not opened`;
const VKEY = 'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx';

test('the 16 signed heads of a published log open with real Ed25519, and their roots are those of its tiles', {
  skip,
}, () => {
  const key = parseVkey(VKEY);
  assert.ok(key.ok);
  const verifier = verifierOf(key.value, {
    ed25519: (publicKey, message, signature) => {
      const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), publicKey]);
      return verify(null, message, createPublicKey({ key: spki, format: 'der', type: 'spki' }), signature);
    },
  });
  for (let size = 0; size <= 15; size++) {
    const note = new Uint8Array(readFileSync(new URL(`checkpoint.${size}`, vectors)));
    const opened = openTreeHead(note, [verifier], 'example.com/log/testdata');
    assert.ok(opened.ok, `size ${size}`);
    assert.equal(opened.value.head.size, BigInt(size));
    const tile =
      size === 0 ? new Uint8Array(0) : new Uint8Array(readFileSync(new URL(`tile/0/000.p/${size}`, vectors)));
    const hashes = Array.from({ length: size }, (_, i) => tile.subarray(i * 32, i * 32 + 32));
    assert.deepEqual(rootOf(hashes), opened.value.head.root);
    const sizeAt = note.indexOf(0x0a) + 1;
    const moved = note.with(sizeAt, note[sizeAt]! ^ 1);
    assert.equal(openTreeHead(moved, [verifier], 'example.com/log/testdata').ok, false);
  }
});
