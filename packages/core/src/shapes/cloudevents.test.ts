import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { encodeUtf8, toBase64 } from '../bytes.ts';
import type { EventRow } from '../mapping/row.ts';
import { cloudEventLine, toCloudEvent } from './cloudevents.ts';
import { INSTALLATION, recordOf, rowOf } from './record-fixture.ts';

/** What CloudEvents 1.0.2 asks of the JSON format: required attributes, names and types of extensions. */
function faults(event: Record<string, unknown>): string[] {
  const found: string[] = [];
  if (event.specversion !== '1.0') found.push('specversion');
  for (const name of ['id', 'source', 'type'])
    if (typeof event[name] !== 'string' || event[name] === '') found.push(name);
  if (!URL.canParse(String(event.source), 'https://example.com')) found.push('source is no URI reference');
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(String(event.time))) found.push('time');
  if ('subject' in event && (typeof event.subject !== 'string' || event.subject === ''))
    found.push('subject');
  if ('data' in event && 'data_base64' in event) found.push('two kinds of data');
  for (const [name, value] of Object.entries(event)) {
    if (name === 'data' || name === 'data_base64') continue;
    if (!/^[a-z0-9]{1,20}$/.test(name)) found.push(`name ${name}`);
    const integer = Number.isInteger(value) && Math.abs(value as number) < 2 ** 31;
    if (typeof value !== 'string' && typeof value !== 'boolean' && !integer) found.push(`value of ${name}`);
  }
  return found;
}

const show = (row: EventRow | null, body: string | Uint8Array, type = 'audit.event') => {
  const record = recordOf(body, { type });
  const bytes = typeof body === 'string' ? encodeUtf8(body) : body;
  return {
    event: toCloudEvent(record, row, bytes, INSTALLATION),
    line: cloudEventLine(record, row, bytes, INSTALLATION),
  };
};

it('gives an audit event as CloudEvents 1.0', () => {
  const { event } = show(rowOf({ correlationId: 'req-1' }), '{"a":1}');
  assert.deepEqual(event, {
    specversion: '1.0',
    id: '0198c0de-0000-7000-8000-000000000001',
    source: '//evident.invalid/0123456789abcdef/audit/acme',
    type: 'audit.event',
    subject: 'document/doc_1',
    time: '2026-11-18T11:06:39.000001Z',
    log: 'audit',
    partition: 3,
    position: '1234',
    tenant: 'acme',
    appendedat: '2026-11-18T11:06:40.123456Z',
    capturesource: 'outbox:bank',
    partitionkey: 'acme/usr_456',
    actor: 'usr_456',
    action: 'document.update',
    result: 'success',
    correlationid: 'req-1',
    datacontenttype: 'application/json',
    data: { a: 1 },
  });
  assert.deepEqual(faults(event), []);
});

it('keeps the body as it arrived: long numbers, repeated members, escapes', () => {
  const body = '{"n":12345678901234567890.10,"a":1,"a":2,"s":"\\ud800"}';
  assert.ok(show(rowOf(), body).line.endsWith(`,"data":${body}}`));
});

it('gives what is no JSON on one line as base64, and knows no row where there is none', () => {
  for (const body of [
    Uint8Array.of(0xff, 0xfe),
    encodeUtf8('{"a":\n1}'),
    encodeUtf8('GET / 200'),
    new Uint8Array(),
  ]) {
    const { event, line } = show(null, body, 'apache');
    assert.equal(event.data_base64, toBase64(body));
    assert.ok(!line.includes('\n'));
    assert.equal(event.time, event.appendedat);
    assert.deepEqual(faults(event), []);
  }
});

it('is valid for any row, with events before 1970 too', () => {
  const text = fc.option(fc.string({ unit: 'grapheme', maxLength: 40 }), { nil: null });
  const row = fc.record({
    eventTime: fc.option(fc.bigInt(-62_135_596_800_000_000n, 253_402_300_799_999_999n), { nil: null }),
    actorId: text,
    action: text,
    resourceType: text,
    resourceId: text,
    correlationId: text,
  });
  fc.assert(
    fc.property(row, fc.json(), (over, body) => {
      const { event } = show(rowOf(over), body);
      assert.deepEqual(faults(event), []);
      assert.deepEqual(event.data, JSON.parse(body));
    }),
  );
  assert.deepEqual(faults({ ...show(rowOf(), '{}').event, position: 1n, Tenant: 'a' }), [
    'value of position',
    'name Tenant',
  ]);
});
