import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  concatBytes,
  decodeUtf8,
  encodeUtf8,
  equalBytes,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
} from './bytes.ts';

const bytes = fc.uint8Array({ maxLength: 70 });

test('base64 and hexadecimal read back what they write', () => {
  fc.assert(
    fc.property(bytes, (value) => {
      assert.deepEqual(fromBase64(toBase64(value)), value);
      assert.deepEqual(fromHex(toHex(value)), value);
      assert.equal(toBase64(value), Buffer.from(value).toString('base64'));
    }),
  );
});

test('base64 has one spelling', () => {
  assert.deepEqual(fromBase64('AA=='), Uint8Array.of(0));
  assert.deepEqual(fromBase64('+/+/'), Uint8Array.of(0xfb, 0xff, 0xbf));
  assert.deepEqual(fromBase64(''), new Uint8Array(0));
  const others = [
    'AA',
    'AA=',
    'AB==',
    'AA==\n',
    ' AA==',
    'A A==',
    'AA= =',
    '-_-_',
    'AA==AA==',
    '=',
    'A',
    'é',
    'AA===',
  ];
  for (const other of others) assert.equal(fromBase64(other), null, JSON.stringify(other));
});

test('hexadecimal is lower case and even', () => {
  assert.deepEqual(fromHex('00ff'), Uint8Array.of(0, 255));
  for (const other of ['0', '00FF', '0x00', '00 ff', 'gg', '00\n']) assert.equal(fromHex(other), null, other);
});

test('UTF-8 that was decoded encodes to the same bytes, a byte order mark included', () => {
  fc.assert(
    fc.property(bytes, (value) => {
      const text = decodeUtf8(value);
      if (text !== null) assert.deepEqual(encodeUtf8(text), value);
    }),
  );
  const marked = Uint8Array.of(0xef, 0xbb, 0xbf, 0x61);
  assert.deepEqual(encodeUtf8(decodeUtf8(marked)!), marked);
});

test('UTF-8 that is overlong, cut, or a surrogate is refused', () => {
  for (const bad of [[0xc0, 0x80], [0xe2, 0x80], [0xed, 0xa0, 0x80], [0xff]]) {
    assert.equal(decodeUtf8(Uint8Array.from(bad)), null);
  }
  assert.throws(() => encodeUtf8('\ud800'), RangeError);
});

test('byte strings are equal only in length and content', () => {
  assert.equal(
    equalBytes(Uint8Array.of(1, 2), concatBytes([Uint8Array.of(1), Uint8Array.of(), Uint8Array.of(2)])),
    true,
  );
  assert.equal(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3)), false);
  assert.equal(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1)), false);
  assert.equal(equalBytes(Uint8Array.of(), Uint8Array.of(0)), false);
});
