import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseMappingFile } from './mapping-file.ts';
import { at, bytesOf, recordOf, refusal, told } from './mapping-fixture.ts';
import { makeRegistry } from './registry.ts';
import type { EventRow } from './row.ts';

const ndjson = parseMappingFile({
  mapping: 1,
  type: 'ndjson',
  format: 'ndjson',
  rules: [
    {
      when: [
        { text: '{/kind}', in: ['login', 'logout'] },
        { text: '{meta:file}', begins: ['vpn-'] },
      ],
      time: [
        { text: '{/at}', format: 'rfc3339' },
        { text: '{/ms}', format: 'epoch-ms' },
      ],
      actor: { id: ['{/user/id}', '{/names/0}'], type: 'user' },
      action: 'vpn:{/kind}',
      resource: { type: 'gateway', id: '{/a~1b}' },
      result: {
        text: '{/ok}',
        values: { true: 'success', false: 'failure', null: null },
        otherwise: 'denied',
      },
      correlation: '{/trace}',
      ip: '{/from}',
    },
    { when: [{ text: '{/kind}', in: ['rotate'] }], action: '{{{/kind}}}' },
  ],
});
const csv = { mapping: 1, type: 'csv', format: 'csv' };
const csvRules = [
  {
    time: { text: '{When}', format: '%d.%m.%Y %H:%M' },
    actor: { id: '{User, name}' },
    action: '{Verb}:{Object}',
    result: { text: '{Result}', values: { OK: 'success' }, otherwise: 'failure' },
  },
];

const VPN = { meta: '{"file":"vpn-1.log","line":4}' };
const rowOfJson = (body: unknown, facts: object = VPN): EventRow | null =>
  makeRegistry([ndjson]).rowOf(recordOf('ndjson', facts), bytesOf(body));

describe('a mapping file for ndjson', () => {
  it('makes rows of the first rule whose tests hold', () => {
    const body = {
      kind: 'login',
      ms: 1500,
      user: { id: 'u1' },
      'a/b': 7,
      ok: true,
      trace: 't',
      from: '192.0.2.1',
    };
    assert.deepEqual(rowOfJson(body), {
      eventTime: 1_500_000n,
      actorId: 'u1',
      actorType: 'user',
      action: 'vpn:login',
      resourceType: 'gateway',
      resourceId: '7',
      result: 'success',
      correlationId: 't',
      ip: '192.0.2.1',
      corrects: null,
      mapper: `ndjson/${ndjson.version}`,
    });
    assert.equal(rowOfJson({ kind: 'rotate' })?.action, '{rotate}');
    // Another file, another kind: unmapped, with its time.
    for (const [other, facts] of [
      [{ ...body, time: '2026-11-20T10:00:00Z' }, {}],
      [{ kind: 'other', time: '2026-11-20T10:00:00Z' }, VPN],
    ] as const) {
      const row = rowOfJson(other, facts);
      assert.equal(row?.mapper, 'unmapped');
      assert.deepEqual(told(row), { eventTime: at('2026-11-20T10:00:00Z') });
    }
  });

  it('takes the first alternative that is there, and no text where a field is missing', () => {
    const row = told(
      rowOfJson({ kind: 'login', at: '2026-11-20T10:00:00Z', ms: 5, user: { id: '' }, names: ['n0'] }),
    );
    assert.deepEqual(
      [row.eventTime, row.actorId, row.resourceId],
      [at('2026-11-20T10:00:00Z'), 'n0', undefined],
    );
    for (const user of [null, 'u', { id: null }, { id: {} }, { id: ['x'] }, []])
      assert.equal(rowOfJson({ kind: 'login', user })?.actorId, null, JSON.stringify(user));
  });

  it('looks up results in its table', () => {
    const results = [true, 'false', null, 'null', 'no', undefined].map(
      (ok) => rowOfJson({ kind: 'login', ok })?.result,
    );
    assert.deepEqual(results, ['success', 'failure', null, null, 'denied', null]);
  });

  it('has a result for what is not there, if the file says so', () => {
    const result = {
      text: '{/error}',
      values: { denied: 'denied' },
      otherwise: 'failure',
      missing: 'success',
    };
    const file = parseMappingFile({ mapping: 1, type: 'x', format: 'ndjson', rules: [{ result }] });
    const rowOf = (body: object) => makeRegistry([file]).rowOf(recordOf('x'), bytesOf(body))?.result;
    assert.deepEqual([{}, { error: 'denied' }, { error: 5 }].map(rowOf), ['success', 'denied', 'failure']);
  });

  it('keeps the digits of a number that is no safe integer', () => {
    const id = (text: string) => rowOfJson(`{"kind":"login","user":{"id":1,"id": ${text} }}`)?.actorId;
    assert.deepEqual(['12345678901234567890', '-9007199254740993', '17', '1.5'].map(id), [
      '12345678901234567890',
      '-9007199254740993',
      '17',
      '1.5',
    ]);
    assert.equal(
      rowOfJson('{"kind":"login","names":[ 12345678901234567891 ]}')?.actorId,
      '12345678901234567891',
    );
  });

  it('finds own members only', () => {
    const inherited = parseMappingFile({
      ...{ mapping: 1, type: 'x', format: 'ndjson' },
      rules: [{ actor: { id: '{/constructor/name}' }, action: '{meta:toString}', ip: '{/a/length}' }],
    });
    const row = makeRegistry([inherited]).rowOf(recordOf('x'), bytesOf({ a: [1] }));
    assert.deepEqual(told(row), {});
  });

  it('refuses a line that is not JSON, and names it', () => {
    assert.throws(
      () => rowOfJson('{"a":'),
      refusal(/^line 4 of vpn-1\.log: it is not JSON: byte 5: the text ends/),
    );
  });
});

describe('a mapping file for csv', () => {
  const HEADER = JSON.stringify({ header: 'When,"User, name",Verb,Object,Result', line: 2 });
  const rowOf = (file: object, body: string, meta: string | null = HEADER): EventRow | null =>
    makeRegistry([parseMappingFile({ ...csv, rules: csvRules, ...file })]).rowOf(
      recordOf('csv', { meta }),
      bytesOf(body),
    );

  it('knows columns by the header that the importer recorded', () => {
    assert.deepEqual(told(rowOf({}, '20.11.2026 10:00,"Lee, Ann",read,"doc ""7""",OK\r')), {
      eventTime: at('2026-11-20T10:00:00Z'),
      actorId: 'Lee, Ann',
      action: 'read:doc "7"',
      result: 'success',
    });
  });

  it('or by the names that it gives itself', () => {
    const columns = ['When', 'User, name', 'Verb', 'Object', 'Result'];
    assert.equal(rowOf({ columns }, 'x,u1,read,d,no', null)?.actorId, 'u1');
    const part = '{"part":"header"}';
    assert.equal(rowOf({ columns }, 'x,u1,read,d,no', part), null);
    assert.equal(rowOf({ columns, header: false }, 'x,u1,read,d,no', part)?.actorId, 'u1');
    // Nobody names them: no rule can say anything.
    assert.equal(rowOf({}, 'x,u1,read,d,no', null)?.mapper, 'unmapped');
  });

  it('refuses what is no record, or has another number of fields', () => {
    assert.throws(() => rowOf({}, 'x,"u1,read'), refusal(/^line 2: the quote that opens field 2/));
    assert.throws(() => rowOf({}, 'x,u1,read'), refusal(/it has 3 fields, and there are 5 columns/));
  });

  it('is not needed for a time under a well-known name', () => {
    const meta = '{"header":"id,created_at"}';
    const row = makeRegistry().rowOf(recordOf('csv', { meta }), bytesOf('7,2026-11-20 10:00:00'));
    assert.deepEqual(told(row), { eventTime: at('2026-11-20T10:00:00Z') });
    assert.equal(makeRegistry().rowOf(recordOf('csv', { meta: '{"part":"header"}' }), bytesOf('id')), null);
  });
});
