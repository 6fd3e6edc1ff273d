import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { derivedId, formatUuid, hourId, parseUuid } from './derived-id.ts';
import { formatHour, formatInstant, leafBytesBound, leafOf, leafSourceOf, lostLeaf } from './leaf.ts';
import { partitionOf } from './partition.ts';
import {
  BODY_INLINE_BASE64_BYTES_MAX,
  BODY_INLINE_JSON_BYTES_MAX,
  KEY_BYTES_MAX,
  LEAF_BYTES_MAX,
  type LogRecord,
  META_BYTES_MAX,
  SOURCE_BYTES_MAX,
  SOURCE_SEQ_BYTES_MAX,
  TYPE_BYTES_MAX,
} from './record.ts';

const utf8 = new TextEncoder();

const RECORD: LogRecord = {
  log: 'audit',
  partition: 3,
  position: 1234n,
  appendedAt: 1_795_000_000_123_456n,
  id: '0198c0de-0000-7000-8000-000000000001',
  tenant: 'acme',
  source: 'outbox:bank',
  sourceSeq: '1.991',
  type: 'audit.event',
  schema: 1,
  key: 'acme/usr_456',
  meta: null,
  body: { form: 'json', bytes: utf8.encode('{"a":1}') },
};

/** The leaf as the design states it, by strings and JSON.stringify: independent of the writer. */
function expectedLeaf(record: LogRecord): string {
  const text = (value: string | null) => JSON.stringify(value);
  const body =
    record.body.form === 'json'
      ? `"body":${new TextDecoder().decode(record.body.bytes)}`
      : record.body.form === 'base64'
        ? `"body_base64":"${Buffer.from(record.body.bytes).toString('base64')}"`
        : `"body_sha256":"${Buffer.from(record.body.sha256).toString('hex')}","body_size":"${record.body.size}"`;
  const micros = (record.appendedAt % 1000n).toString().padStart(3, '0');
  const instant = `${new Date(Number(record.appendedAt / 1000n)).toISOString().slice(0, 23)}${micros}Z`;
  return `{"v":1,"log":${text(record.log)},"partition":${record.partition},"position":"${record.position}","appended_at":"${instant}","id":${text(record.id)},"tenant":${text(record.tenant)},"source":${text(record.source)},"source_seq":${text(record.sourceSeq)},"type":${text(record.type)},"schema":${record.schema},"key":${text(record.key)},"meta":${record.meta ?? 'null'},${body}}`;
}

const line = (record: LogRecord) => new TextDecoder().decode(leafOf(record));

/** Strings that a record can hold: well-formed, nothing below U+0020. */
const text = (maxLength: number) =>
  fc
    .string({ unit: 'binary', minLength: 1, maxLength })
    .filter((value) => value.isWellFormed() && !/[\u0000-\u001f]/.test(value));
const body = fc.oneof(
  fc.json().map((value) => ({ form: 'json' as const, bytes: utf8.encode(value) })),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => ({ form: 'base64' as const, bytes })),
  fc.record({
    form: fc.constant('object' as const),
    sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    size: fc.bigInt(0n, 2n ** 40n),
  }),
);
const record: fc.Arbitrary<LogRecord> = fc.record({
  log: fc.stringMatching(/^[a-z0-9-]{1,32}$/),
  partition: fc.nat(1023),
  position: fc.bigInt(0n, 2n ** 53n - 1n),
  appendedAt: fc.bigInt(0n, 9_000_000_000_000_000n),
  id: fc.uuid(),
  tenant: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/),
  source: text(60),
  sourceSeq: fc.option(text(20)),
  type: text(30),
  schema: fc.nat(9),
  key: text(60),
  meta: fc.option(fc.constant('{"a":"\\u00e9","line":7}')),
  body,
});

describe('leaf', () => {
  it('is the line that the design states', () => {
    assert.equal(
      line(RECORD),
      '{"v":1,"log":"audit","partition":3,"position":"1234","appended_at":"2026-11-18T11:06:40.123456Z","id":"0198c0de-0000-7000-8000-000000000001","tenant":"acme","source":"outbox:bank","source_seq":"1.991","type":"audit.event","schema":1,"key":"acme/usr_456","meta":null,"body":{"a":1}}',
    );
  });

  it('equals an independent construction by JSON.stringify, for every record', () => {
    fc.assert(
      fc.property(record, (one) => assert.equal(line(one), expectedLeaf(one))),
      { numRuns: 2_000 },
    );
  });

  it('is JSON that gives the fields back, for a body that is JSON', () => {
    fc.assert(
      fc.property(record, (one) => {
        const parsed = JSON.parse(line(one));
        assert.equal(parsed.key, one.key);
        assert.equal(parsed.source, one.source);
        assert.equal(BigInt(parsed.position), one.position);
      }),
    );
  });

  it('differs when any field differs', () => {
    const changed: Partial<LogRecord>[] = [
      { log: 'audi' },
      { partition: 4 },
      { position: 1235n },
      { appendedAt: RECORD.appendedAt + 1n },
      { id: RECORD.id.replace('1', '2') },
      { tenant: 'acmf' },
      { source: 'x' },
      { sourceSeq: null },
      { sourceSeq: '1.992' },
      { type: 'audit.evenu' },
      { schema: 0 },
      { key: 'k' },
      { meta: '{}' },
      { body: { form: 'base64', bytes: utf8.encode('{"a":1}') } },
      { body: { form: 'json', bytes: utf8.encode('{"a":2}') } },
    ];
    const lines = new Set([RECORD, ...changed.map((change) => ({ ...RECORD, ...change }))].map(line));
    assert.equal(lines.size, changed.length + 1);
  });

  it('fits 65,535 bytes at every bound at once, in the bound that is reserved for it', () => {
    const worst = (bodyOf: LogRecord['body']): LogRecord => ({
      ...RECORD,
      log: 'x'.repeat(32),
      partition: 1023,
      position: 2n ** 53n - 1n,
      tenant: 't'.repeat(128),
      source: '"'.repeat(SOURCE_BYTES_MAX),
      sourceSeq: '"'.repeat(SOURCE_SEQ_BYTES_MAX),
      type: '"'.repeat(TYPE_BYTES_MAX),
      key: '\\'.repeat(KEY_BYTES_MAX),
      meta: `"${'m'.repeat(META_BYTES_MAX - 2)}"`,
      body: bodyOf,
    });
    for (const one of [
      worst({ form: 'json', bytes: utf8.encode(`"${'x'.repeat(BODY_INLINE_JSON_BYTES_MAX - 2)}"`) }),
      worst({ form: 'base64', bytes: new Uint8Array(BODY_INLINE_BASE64_BYTES_MAX) }),
    ]) {
      const leaf = leafOf(one);
      assert.ok(leaf.length <= LEAF_BYTES_MAX, `${leaf.length}`);
      assert.ok(leafBytesBound(leafSourceOf(one)) >= leaf.length);
      assert.ok(leafBytesBound(leafSourceOf(one)) <= LEAF_BYTES_MAX);
    }
  });

  it('never grows beyond the bound that is reserved for it', () => {
    fc.assert(
      fc.property(record, (one) => assert.ok(leafBytesBound(leafSourceOf(one)) >= leafOf(one).length)),
    );
  });

  it('names the recovery where a position is lost', () => {
    assert.equal(
      new TextDecoder().decode(lostLeaf('audit', 1, 7n, 'r')),
      '{"v":1,"log":"audit","partition":1,"position":"7","lost":"r"}',
    );
  });
});

describe('instants', () => {
  it('have six digits and Z', () => {
    assert.equal(formatInstant(0n), '1970-01-01T00:00:00.000000Z');
    assert.equal(formatInstant(1_795_000_000_000_001n), '2026-11-18T11:06:40.000001Z');
    assert.equal(formatHour(1_795_000_000_000_001n), '2026-11-18T11');
  });
});

describe('partition of a key', () => {
  it('is the first 8 bytes of SHA-256, big-endian, modulo n', () => {
    fc.assert(
      fc.property(text(40), fc.integer({ min: 1, max: 1024 }), (key, n) => {
        const digest = createHash('sha256').update(key).digest();
        assert.equal(partitionOf(key, n), Number(digest.readBigUInt64BE(0) % BigInt(n)));
      }),
    );
  });
});

describe('derived ids', () => {
  it('are UUIDs of version 8, the same for the same fact', () => {
    const id = hourId('audit', 3, '2026-11-20T10');
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(id, derivedId('log.hour:audit/3:2026-11-20T10'));
    assert.notEqual(id, hourId('audit', 3, '2026-11-20T11'));
    assert.equal(formatUuid(parseUuid(id)), id);
  });
});
