import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeUtf8, encodeUtf8 } from '../bytes.ts';
import { formatKeysFile, parseKeysFile, parseWindowsFile } from './bundle-files.ts';
import { FixtureInstallation, verifierKeyOf } from './bundle-fixture.ts';
import { JSON_FILE_VALUES_MAX } from './json-file.ts';
import { singleKeyHistory } from './key-history.ts';
import { type BundleManifest, formatManifest, parseManifest } from './manifest.ts';
import { parseWindowBody, parseWindowLeaf } from './window.ts';

const MANIFEST: BundleManifest = {
  name: 'log.example',
  head: { origin: 'log.example/heads/0', size: 7n },
  scope: { kind: 'selection', filter: { tenant: 'acme', action_prefix: 'document.' } },
  records: 2n,
  proofs: 'each',
  trees: [
    { origin: 'log.example/audit/0', log: 'audit', partition: 0, epoch: 0, size: 5n },
    { origin: 'log.example/r1/audit/10', log: 'audit', partition: 10, epoch: 1, size: 9n },
  ],
  files: [
    { path: 'README.txt', size: 1n, sha256: 'a'.repeat(64) },
    { path: 'records.ndjson', size: 2n ** 40n, sha256: '0'.repeat(64) },
  ],
};

test('a manifest is one line in one spelling, and read back as it was', () => {
  const bytes = formatManifest(MANIFEST);
  assert.equal(
    decodeUtf8(bytes),
    '{"v":1,"kind":"evident bundle","name":"log.example","head":{"origin":"log.example/heads/0","size":"7"},"scope":{"kind":"selection","filter":{"tenant":"acme","action_prefix":"document."}},"records":"2","proofs":"each","trees":[{"origin":"log.example/audit/0","log":"audit","partition":0,"epoch":0,"size":"5"},{"origin":"log.example/r1/audit/10","log":"audit","partition":10,"epoch":1,"size":"9"}],' +
      `"files":[{"path":"README.txt","size":"1","sha256":"${'a'.repeat(64)}"},{"path":"records.ndjson","size":"1099511627776","sha256":"${'0'.repeat(64)}"}]}\n`,
  );
  assert.deepEqual(parseManifest(bytes), { ok: true, value: MANIFEST });
});

test('no other spelling or order of a manifest is read', () => {
  const text = decodeUtf8(formatManifest(MANIFEST))!;
  const bad: [from: string | RegExp, to: string][] = [
    ['{"v":1', '{ "v":1'],
    ['{"v":1', '{"v":1,"v":1'],
    ['{"v":1', '{"v":1,"x":1'],
    ['{"v":1', '{"v":1.0'],
    ['{"v":1', '{"v":2'],
    ['evident bundle', 'evident Bundle'],
    ['"size":"7"', '"size":7'],
    ['"size":"7"', '"size":"07"'],
    ['"partition":0', '"partition":-0'],
    ['"partition":0', '"partition":11'],
    ['"partition":10', '"partition":0'],
    ['"partition":10', '"partition":1e1'],
    ['"proofs":"each"', '"proofs":"some"'],
    ['"kind":"selection"', '"kind":"everything"'],
    ['"tenant":"acme"', '"tenant":7'],
    ['"tenant":"acme"', '"__proto__":"acme"'],
    ['acme', '\\u0061cme'],
    ['README.txt', 'manifest.json'],
    ['README.txt', 'records.ndjson'],
    ['README.txt', 'z'],
    ['README.txt', 'READ ME.txt'],
    ['a'.repeat(64), 'A'.repeat(64)],
    [/\n$/, ''],
    [/\n$/, '\n\n'],
    [/\n$/, '\r\n'],
  ];
  for (const [from, to] of bad) {
    const changed = text.replace(from, to);
    assert.notEqual(changed, text, String(from));
    assert.equal(parseManifest(encodeUtf8(changed)).ok, false, `${from} as ${to}`);
  }
  assert.equal(parseManifest(new Uint8Array([0xff, 0x0a])).ok, false);
  assert.equal(parseManifest(encodeUtf8(`${'['.repeat(100_000)}\n`)).ok, false);
  assert.throws(() => formatManifest({ ...MANIFEST, trees: [...MANIFEST.trees].reverse() }), RangeError);
  const hours = { kind: 'tenant-hours', log: 'audit', tenant: 'acme' } as const;
  assert.throws(
    () => formatManifest({ ...MANIFEST, scope: { ...hours, from: '2026-11-20T10', to: '2026-11-20T09' } }),
    RangeError,
  );
});

test('keys.json is read only in order, with keys that are keys', () => {
  const log = new FixtureInstallation({ hours: 1 });
  const vkey = (origin: string) => {
    const { name, keyId, publicKey } = verifierKeyOf(origin, log.key);
    return `${name}+${keyId}+${Buffer.concat([Buffer.of(1), publicKey]).toString('base64')}`;
  };
  const key = (origin: string, from = 0n, to: bigint | null = null) => ({
    origin,
    vkey: vkey(origin),
    from,
    to,
  });
  const good = { keys: [key('a/heads/0', 0n, 6n), key('a/heads/0', 7n), key('b/audit/0')], rotations: 1 };
  const bytes = formatKeysFile(good);
  assert.deepEqual(parseKeysFile(bytes), { ok: true, value: good });
  assert.ok(
    decodeUtf8(bytes)!.endsWith(
      '"rotations":[{"leaf":"keys/rotation.1.leaf","proof":"keys/rotation.1.tlog-proof"}]}\n',
    ),
  );
  const bad = [
    { keys: [key('b/x/0'), key('a/x/0')], rotations: 0 },
    { keys: [key('a/x/0'), key('a/x/0')], rotations: 0 },
    { keys: [key('a/x/0', 5n, 4n)], rotations: 0 },
    { keys: [{ ...key('a/x/0'), vkey: vkey('b/x/0') }], rotations: 0 },
    { keys: [{ ...key('a/x/0'), vkey: 'none' }], rotations: 0 },
  ];
  for (const one of bad) assert.throws(() => formatKeysFile(one), RangeError);
  assert.equal(
    parseKeysFile(encodeUtf8(decodeUtf8(bytes)!.replace('rotation.1.leaf', 'rotation.2.leaf'))).ok,
    false,
  );
});

test('a key history knows the trees of its installation, and no others', () => {
  const log = new FixtureInstallation({ hours: 1 });
  const history = singleKeyHistory(verifierKeyOf('log.example/x/heads/0', log.key));
  assert.ok(history.ok);
  const { keyFor } = history.value;
  assert.deepEqual(keyFor('log.example/x/audit/3', 9n), verifierKeyOf('log.example/x/audit/3', log.key));
  assert.notEqual(keyFor('log.example/x/r2/audit/3', 9n), null);
  for (const origin of [
    'log.example/audit/3',
    'log.example/xy/audit/3',
    'log.example/x/r0/audit/3',
    'log.example/x/y/audit/3',
    'x',
  ]) {
    assert.equal(keyFor(origin, 9n), null, origin);
  }
  assert.equal(singleKeyHistory(verifierKeyOf('log.example/x/audit/0', log.key)).ok, false);
});

test('a window record is read from its leaf only as Evident writes it', () => {
  const { windows } = new FixtureInstallation();
  const leaf = decodeUtf8(windows.leaves[0]!)!;
  assert.ok(parseWindowLeaf(encodeUtf8(leaf)).ok);
  for (const [from, to] of [
    ['"type":"window"', '"type":"windows"'],
    ['"source":"evident"', '"source":"api"'],
    ['"log":"windows"', '"log":"audit"'],
    ['"partition":0', '"partition":1'],
    ['"key":"_system"', '"key":"acme"'],
    ['"tenant":"acme","source"', '"tenant":"globex","source"'],
    ['"hour":"2026-11-20T10"', '"hour":"2026-11-20T11"'],
    ['"count":"', '"count":"0'],
    ['"previous":null', '"previous":""'],
  ] as const) {
    assert.ok(leaf.includes(from), from);
    assert.equal(parseWindowLeaf(encodeUtf8(leaf.replace(from, to))).ok, false, to);
  }
  const body =
    '{"log":"audit","hour":"2026-11-20T10","tenant":"acme","count":"1","root":"","ranges":[],"previous":null}';
  assert.equal(parseWindowBody(encodeUtf8(body)).ok, false);
  assert.equal(parseWindowsFile(encodeUtf8('{"v":1,"windows":[],"next":null}\n')).ok, false);
  assert.ok(parseWindowsFile(encodeUtf8('{"v":1,"previous":null,"windows":[],"next":null}\n')).ok);
});

test('a file of more values than any has is refused before they are made', () => {
  const reasonOf = (text: string): string => {
    const parsed = parseManifest(encodeUtf8(text));
    assert.ok(!parsed.ok);
    return parsed.reason;
  };
  assert.match(reasonOf(`[${'0,'.repeat(JSON_FILE_VALUES_MAX)}0]`), /over 12000000 values/);
  assert.match(reasonOf(`[${'{},'.repeat(JSON_FILE_VALUES_MAX / 2)}0]`), /over 12000000 values/);
  // What stands in a string is no value.
  assert.match(reasonOf(`["\\"\\\\${',[{'.repeat(JSON_FILE_VALUES_MAX / 2)}",0]`), /is no object/);
});
