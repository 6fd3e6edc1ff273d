import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromHex } from './bytes.ts';
import { isKeyName } from './note.ts';
import { defaultName, isName, parseOrigin, treeOrigin } from './origin.ts';

test('an origin reads back as the tree that it was written for', () => {
  const name = fc.stringMatching(/^[!-*,-~]{1,128}$/);
  const log = fc.stringMatching(/^[a-z0-9-]{1,32}$/);
  fc.assert(
    fc.property(name, log, fc.nat(65_535), (name, log, partition) => {
      const origin = treeOrigin(name, log, partition);
      assert.deepEqual(parseOrigin(origin), { name, log, partition });
      assert.equal(isKeyName(origin), true);
    }),
  );
});

test('names are printable ASCII without space and plus, up to 128 characters', () => {
  for (const name of ['a', 'example.com/audit', '~!', 'x'.repeat(128)])
    assert.equal(isName(name), true, name);
  for (const name of ['', 'a b', 'a+b', 'ä', 'a\n', '\x7f', 'x'.repeat(129)])
    assert.equal(isName(name), false, name);
});

test('every other spelling of an origin is refused', () => {
  assert.deepEqual(parseOrigin('a/b/audit/12'), { name: 'a/b', log: 'audit', partition: 12 });
  const others = [
    'audit/0',
    '/audit/0',
    'a/audit',
    'a/audit/',
    'a/audit/00',
    'a/audit/-1',
    'a/audit/65536',
    'a/Audit/0',
  ];
  for (const other of [
    ...others,
    'a//0',
    'a/audit/0\n',
    'a b/audit/0',
    'a/audit/0/',
    `a/${'x'.repeat(33)}/0`,
    '',
  ]) {
    assert.equal(parseOrigin(other), null, JSON.stringify(other));
  }
});

test('an origin of parts that are not valid is not written', () => {
  assert.throws(() => treeOrigin('a', 'b/audit', 0), RangeError);
  assert.throws(() => treeOrigin('', 'audit', 0), RangeError);
  assert.throws(() => treeOrigin('a', 'audit', 1.5), RangeError);
  assert.throws(() => treeOrigin('a', 'audit', -1), RangeError);
  assert.throws(() => treeOrigin('a', 'audit', 65_536), RangeError);
});

test('the default name comes from the first 8 bytes of the hash of the key', () => {
  // printf '\0%.0s' {1..32} | sha256sum
  assert.equal(defaultName(new Uint8Array(32)), 'evident.invalid/66687aadf862bd77');
  assert.notEqual(defaultName(fromHex('01'.repeat(32))!), defaultName(new Uint8Array(32)));
  assert.throws(() => defaultName(new Uint8Array(44)), RangeError);
});
