import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseMappingFile } from './mapping-file.ts';
import { at, bytesOf, recordOf, told } from './mapping-fixture.ts';
import { makeRegistry } from './registry.ts';
import { type EventRow, MappingError, ROW_TEXT_BYTES_MAX } from './row.ts';

const file = parseMappingFile({
  mapping: 1,
  type: 'acme.vpn',
  format: 'ndjson',
  rules: [
    { time: { text: '{/a}', format: 'iso' }, actor: { id: '{/a}{/b/0}' }, action: '{/c}', ip: '{meta:file}' },
  ],
});
const table = parseMappingFile({
  mapping: 1,
  type: 'acme.table',
  format: 'csv',
  columns: ['a', 'b'],
  rules: [{ time: { text: '{a}', format: 'epoch-s' }, actor: { id: '{b}' } }],
});
const registry = makeRegistry([file, table]);
const TYPES = [
  'audit.event',
  'cloudtrail',
  'apache',
  'k8s',
  'fhir',
  'ndjson',
  'csv',
  'acme.vpn',
  'acme.table',
  'other',
];

describe('makeRegistry', () => {
  it('says of what rows are a function, whatever the order of the files', () => {
    const versions = `acme.table/${table.version} acme.vpn/${file.version}`;
    const expected = `${versions} apache/1 audit.event/1 cloudtrail/1 fhir/1 k8s/1 unmapped/1`;
    assert.equal(registry.definition, expected);
    assert.equal(makeRegistry([table, file]).definition, expected);
  });

  it('takes one mapper a type', () => {
    assert.throws(() => makeRegistry([file, file]), /acme\.vpn has a mapper already/);
    const other = parseMappingFile({ mapping: 1, type: 'k8s', format: 'ndjson', rules: [{}] });
    assert.throws(() => makeRegistry([other]), /k8s has a mapper already/);
  });

  it('gives a record of any other type a row, with its time if a well-known name holds it', () => {
    const rowOf = (body: string | Uint8Array) =>
      registry.rowOf(recordOf('acme.other'), typeof body === 'string' ? bytesOf(body) : body);
    assert.deepEqual(told(rowOf('{"ts":1621305918.553,"actor":"x"}')), {
      eventTime: at('2021-05-18T02:45:18.553Z'),
    });
    assert.equal(rowOf('{}')?.mapper, 'unmapped');
    for (const body of ['', 'plain text', '[1]', 'null', '{"time"', Uint8Array.of(0x7b, 0xff)])
      assert.deepEqual(told(rowOf(body)), {});
  });

  it('has no row for the records by which hours close, if Evident wrote them', () => {
    const hour = bytesOf('{"closes":"2026-11-20T10"}');
    assert.equal(registry.rowOf(recordOf('log.hour', { source: 'evident', tenant: '_system' }), hour), null);
    assert.equal(registry.rowOf(recordOf('log.hour'), hour)?.mapper, 'unmapped');
    assert.equal(registry.rowOf(recordOf('relay.rejected', { source: 'evident' }), hour)?.mapper, 'unmapped');
  });
});

/** Rows hold what the view takes, whatever the body was. */
function checkRow(row: EventRow | null): void {
  if (row === null) return;
  for (const [name, value] of Object.entries(row)) {
    if (name === 'eventTime')
      assert.ok(value === null || (value >= -62_135_596_800_000_000n && value < 253_402_300_800_000_000n));
    else if (value !== null) {
      assert.ok(
        typeof value === 'string' && value !== '' && value.isWellFormed() && !value.includes('\0'),
        name,
      );
      assert.ok(new TextEncoder().encode(value).length <= ROW_TEXT_BYTES_MAX);
    }
  }
  assert.ok([null, 'success', 'failure', 'denied'].includes(row.result));
}

/** A row, or a MappingError that PostgreSQL can store: nothing else, and the same again. */
function checkOutcome(type: string, body: Uint8Array, meta: string | null = null): void {
  const outcome = (): EventRow | null | string => {
    try {
      return registry.rowOf(recordOf(type, { meta }), body);
    } catch (error) {
      assert.ok(error instanceof MappingError, `${type}: ${error}`);
      assert.ok(error.message.isWellFormed() && !error.message.includes('\0') && error.message.length <= 512);
      return error.message;
    }
  };
  const first = outcome();
  if (typeof first !== 'string') checkRow(first);
  assert.deepEqual(outcome(), first);
}

describe('hostile bodies', () => {
  const NAMES = [
    ...[
      'event_id',
      'event_time',
      'tenant',
      'actor',
      'id',
      'type',
      'action',
      'resource',
      'result',
      'context',
      'details',
    ],
    ...[
      'userIdentity',
      'arn',
      'eventSource',
      'eventName',
      'eventTime',
      'resources',
      'ARN',
      'requestParameters',
      'errorCode',
    ],
    ...[
      'responseElements',
      'kind',
      'apiVersion',
      'user',
      'username',
      'verb',
      'objectRef',
      'annotations',
      'responseStatus',
    ],
    ...[
      'resourceType',
      'agent',
      'who',
      'entity',
      'what',
      'outcome',
      'code',
      'coding',
      'recorded',
      'a',
      'b',
      'time',
    ],
    ...['__proto__', 'constructor', 'toString', 'length'],
  ];
  const VALUES = [
    'AuditEvent',
    'Event',
    'audit.k8s.io/v1',
    's3.amazonaws.com',
    '2026-11-20T10:00:00Z',
    '\0',
    '\ud800',
    'x'.repeat(999),
    '9'.repeat(40),
  ];
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5, depthSize: 'medium' },
      fc.oneof(
        fc.constantFrom(...VALUES, null, true, 0, -0.5, 1e308, 2 ** 60),
        fc.string({ unit: 'binary' }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
      ),
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(fc.constantFrom(...NAMES), tie('tree'), { maxKeys: 12 }),
    ),
  }));
  const frames = fc.constantFrom(
    {},
    { resourceType: 'AuditEvent' },
    { kind: 'Event', apiVersion: 'audit.k8s.io/v1' },
  );

  it('give a row or a MappingError for any JSON', () => {
    fc.assert(
      fc.property(tree, frames, (value, frame) => {
        const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
        const body = new TextEncoder().encode(JSON.stringify(isObject ? { ...value, ...frame } : value));
        for (const type of TYPES) checkOutcome(type, body);
      }),
      { numRuns: 1_000 },
    );
  });

  it('give a row or a MappingError for any bytes and any meta', () => {
    const line = bytesOf('203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1234 "-" "A"');
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .string({
          unit: fc.constantFrom('"', ',', '\n', '\r', '{', '}', '[', ']', ':', 'a', '\\'),
          maxLength: 60,
        })
        .map(bytesOf),
      fc.tuple(fc.nat(line.length - 1), fc.nat(255)).map(([place, byte]) => line.with(place, byte)),
    );
    const metas = fc.constantFrom(
      null,
      '',
      '{',
      '[]',
      '{"header":"a,\\u0000"}',
      '{"header":7,"line":"x"}',
      '{"file":"f","line":3}',
    );
    fc.assert(
      fc.property(bodies, metas, (body, meta) => {
        for (const type of TYPES) checkOutcome(type, body, meta);
      }),
      { numRuns: 1_000 },
    );
  });

  it('give it in bounded depth and time', () => {
    const deep = (levels: number, open: string, close: string) =>
      bytesOf(`{"a":${open.repeat(levels)}1${close.repeat(levels)}}`);
    const bodies = [
      deep(200, '[', ']'),
      deep(30_000, '[', ']'),
      deep(30_000, '{"a":', '}'),
      deep(200_000, '[', ']'),
      new Uint8Array(1024 * 1024).fill(0x5b),
      new Uint8Array(1024 * 1024).fill(0x22),
      bytesOf(`{${Array.from({ length: 50_000 }, (_, i) => `"m${i}":${i}`).join(',')}}`),
      bytesOf({
        resources: Array.from({ length: 100_000 }, () => ({})),
        agent: Array.from({ length: 100_000 }, () => 1),
      }),
    ];
    for (const body of bodies) for (const type of TYPES) checkOutcome(type, body);
  });
});
