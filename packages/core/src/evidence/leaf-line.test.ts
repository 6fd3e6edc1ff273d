import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes, decodeUtf8, encodeUtf8, equalBytes } from '../bytes.ts';
import { jsonBodyForm } from '../json/scan.ts';
import { formatInstant, leafOf, lostLeaf } from '../leaf.ts';
import type { Body, LogRecord } from '../record.ts';
import { LeafLineReader, parseLeaf } from './leaf-line.ts';

const text = (maxLength: number) =>
  fc
    .string({ unit: 'binary', minLength: 1, maxLength })
    .filter((value) => value.isWellFormed() && ![...value].some((character) => character < ' '));
const NAME = 'abcXYZ019._:-';
const name = fc
  .tuple(fc.constantFrom('a', 'Z', '0'), fc.string({ unit: fc.constantFrom(...NAME), maxLength: 100 }))
  .map(([first, rest]) => first + rest);

const body: fc.Arbitrary<Body> = fc.oneof(
  fc.json().map((value): Body => ({ form: 'json', bytes: encodeUtf8(value) })),
  fc.uint8Array({ maxLength: 300 }).map((bytes): Body => ({ form: 'base64', bytes })),
  fc
    .tuple(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.bigInt(0n, 16n << 20n))
    .map(([sha256, size]): Body => ({ form: 'object', sha256, size })),
);

const record: fc.Arbitrary<LogRecord> = fc.record({
  log: fc.constantFrom('audit', 'clicks-2', 'a'),
  partition: fc.nat(65_535),
  position: fc.bigInt(0n, 2n ** 53n - 1n),
  appendedAt: fc.bigInt(0n, 9_000_000_000_000_000n),
  id: fc.uuid(),
  tenant: fc.oneof(name, fc.constant('_system')),
  source: text(60),
  sourceSeq: fc.option(text(40)),
  type: name,
  schema: fc.nat(9),
  key: text(120),
  meta: fc.option(fc.constantFrom('{"a":1}', '{"line":7,"name":"Zoë \\" {}"}')),
  body,
});

test('every leaf that is written is read, with the fields that it was written from', () => {
  fc.assert(
    fc.property(record, (one) => {
      const fields = parseLeaf(leafOf(one));
      const expected = {
        log: one.log,
        partition: one.partition,
        position: one.position,
        appendedAt: formatInstant(one.appendedAt),
        id: one.id,
        tenant: one.tenant,
        source: one.source,
        type: one.type,
        schema: one.schema,
        key: one.key,
        form: { json: 0, base64: 1, object: 2 }[one.body.form],
        body: one.body.form === 'object' ? null : one.body.bytes,
      };
      assert.deepEqual(fields, expected);
    }),
    { numRuns: 400 },
  );
});

const SAMPLE: LogRecord = {
  log: 'audit',
  partition: 3,
  position: 1234n,
  appendedAt: 1_795_168_800_123_456n,
  id: '0198c0de-0000-7000-8000-000000000001',
  tenant: 'acme',
  source: 'outbox:"bank"',
  sourceSeq: '1.991',
  type: 'audit.event',
  schema: 1,
  key: 'acme/usr_456',
  meta: '{"line":7}',
  body: { form: 'json', bytes: encodeUtf8('{"a":1}') },
};

test('no other spelling of a leaf is read', () => {
  const leaf = decodeUtf8(leafOf(SAMPLE))!;
  const others: [string, string][] = [
    ['"v":1', '"v":2'],
    ['"v":1', '"v":1 '],
    ['"v":1', '"v":1.0'],
    ['"partition":3', '"partition":03'],
    ['"partition":3', '"partition":"3"'],
    ['"partition":3', '"partition":65536'],
    ['"1234"', '1234'],
    ['"1234"', '"01234"'],
    ['"1234"', '"-1"'],
    ['"1234"', '"9007199254740992"'],
    ['.123456Z', '.123Z'],
    ['.123456Z', '.123456+'],
    ['2026-11-20', '2026-13-20'],
    ['T10:', 'T24:'],
    ['0198c0de', '0198C0DE'],
    ['"tenant":"acme"', '"tenant":"ac me"'],
    ['"tenant":"acme"', '"tenant":""'],
    ['"tenant":"acme"', '"tenant":null'],
    ['\\"bank\\"', '\\u0022bank\\u0022'],
    ['\\"bank\\"', '\\/bank'],
    ['\\"bank\\"', '\tbank'],
    ['"1.991"', '1.991'],
    ['"1.991"', '""'],
    ['"type":"audit.event"', '"type":".event"'],
    ['"schema":1', '"schema":-1'],
    ['"schema":1', '"schema":32768'],
    ['"key":"acme/usr_456"', `"key":"${'k'.repeat(513)}"`],
    ['{"line":7}', '[]'],
    ['{"line":7}', '{"line":7'],
    ['{"line":7}', '{"line":\n7}'],
    ['"body":{"a":1}', '"body":'],
    ['"body":{"a":1}', '"body":{"a":1},"x":1'],
    ['"body":{"a":1}', '"body":{"a":01}'],
    ['"body":{"a":1}', '"body_base64":"AB=="'],
    ['"body":{"a":1}', '"body_base64":"YQ"'],
    ['"body":{"a":1}', '"body_hex":"00"'],
    ['"body":{"a":1}', '"body_sha256":"00","body_size":"1"'],
    ['"body":{"a":1}', `"body_sha256":"${'A'.repeat(64)}","body_size":"1"`],
    ['"body":{"a":1}', `"body_sha256":"${'a'.repeat(64)}","body_size":"16777217"`],
    ['"body":{"a":1}', `"body_sha256":"${'a'.repeat(64)}"`],
    ['{"v"', ' {"v"'],
    ['"id"', '"ID"'],
  ];
  assert.notEqual(parseLeaf(encodeUtf8(leaf)), null);
  for (const [from, to] of others) {
    assert.ok(leaf.includes(from), from);
    assert.equal(parseLeaf(encodeUtf8(leaf.replace(from, to))), null, `${from} as ${to}`);
  }
  assert.equal(parseLeaf(encodeUtf8(`${leaf} `)), null);
  assert.equal(parseLeaf(encodeUtf8(leaf.slice(0, -1))), null);
  assert.equal(parseLeaf(concatBytes([encodeUtf8(leaf.slice(0, 60)), Uint8Array.of(0xff)])), null);
  assert.equal(parseLeaf(lostLeaf('audit', 3, 7n, SAMPLE.id)), null);
});

test('what is read, whatever bytes were changed, is a leaf: writing its fields gives it again', () => {
  const leaf = leafOf(SAMPLE);
  fc.assert(
    fc.property(fc.nat(leaf.length - 1), fc.nat(255), (at, byte) => {
      const changed = leaf.slice();
      changed[at] = byte;
      const line = new LeafLineReader();
      if (line.read(changed, 0, changed.length) !== null) return;
      const fields = parseLeaf(changed)!;
      const again = leafOf({
        ...SAMPLE,
        log: fields.log,
        partition: fields.partition,
        position: fields.position,
        appendedAt: BigInt(Date.parse(fields.appendedAt)) * 1_000n + BigInt(fields.appendedAt.slice(23, 26)),
        id: fields.id,
        tenant: fields.tenant,
        source: fields.source,
        sourceSeq: (JSON.parse(decodeUtf8(changed)!) as { source_seq: string }).source_seq,
        type: fields.type,
        schema: fields.schema,
        key: fields.key,
        meta: JSON.stringify((JSON.parse(decodeUtf8(changed)!) as { meta: unknown }).meta),
        body: { form: 'json', bytes: fields.body! },
      });
      // A day that its month does not have is read by Date as another one, and meta is kept as it stands.
      if (
        formatInstant(BigInt(Date.parse(fields.appendedAt)) * 1_000n).slice(0, 10) !==
        fields.appendedAt.slice(0, 10)
      )
        return;
      assert.ok(
        equalBytes(again, changed) || decodeUtf8(changed)!.includes('"meta":{"'),
        decodeUtf8(changed)!,
      );
      assert.equal(jsonBodyForm(fields.body!), 'json');
    }),
    { numRuns: 3_000 },
  );
});

test('one reader reads line after line of several trees, and tells when the tree changes', () => {
  const line = new LeafLineReader();
  const read = (one: LogRecord) => {
    const leaf = leafOf(one);
    assert.equal(line.read(leaf, 0, leaf.length), null);
    return [line.log, line.partition, line.position, line.tree];
  };
  assert.deepEqual(read(SAMPLE), ['audit', 3, 1234, 1]);
  assert.deepEqual(read({ ...SAMPLE, position: 1235n }), ['audit', 3, 1235, 1]);
  assert.deepEqual(read({ ...SAMPLE, partition: 30 }), ['audit', 30, 1234, 2]);
  assert.deepEqual(read(SAMPLE), ['audit', 3, 1234, 3]);
});
