import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { checkAuditEvent, isInstant } from './audit-event.ts';
import { type ErrorCode, isEvidentError } from './errors.ts';
import {
  checkId,
  checkKey,
  checkSchema,
  checkTenant,
  checkText,
  checkType,
  checkWritableLog,
  serialiseMeta,
} from './record.ts';

const refuses = (code: ErrorCode, field: string) => (error: unknown) => {
  assert.ok(isEvidentError(error), String(error));
  assert.equal(error.code, code);
  assert.equal(error.context.field, field);
  assert.ok(error.message.startsWith(`${field}: `), error.message);
  return true;
};

describe('names of outside writers', () => {
  it('takes ordinary ones', () => {
    assert.equal(checkTenant('acme-1.eu:x_y'), 'acme-1.eu:x_y');
    assert.equal(checkType('audit.event'), 'audit.event');
    assert.equal(checkKey('acme/usr_456'), 'acme/usr_456');
    assert.equal(checkKey('a..b/c.d'), 'a..b/c.d');
    assert.equal(checkId('0198C0DE-0000-7000-8000-00000000000A'), '0198c0de-0000-7000-8000-00000000000a');
    assert.equal(checkWritableLog('audit'), 'audit');
  });

  for (const tenant of ['', '../acme', 'a/b', 'a b', '.acme', 'ä', 'a'.repeat(129), 'a\n', 'a\0', 7, null]) {
    it(`refuses the tenant ${JSON.stringify(tenant)}`, () => {
      assert.throws(() => checkTenant(tenant), refuses('field-invalid', 'tenant'));
    });
  }

  for (const key of [
    '',
    '/etc/passwd',
    '../x',
    'a/../b',
    'a/..',
    '..',
    './x',
    'a\\..\\b',
    'a\nb',
    '\ud800',
    'k'.repeat(513),
    'é'.repeat(257),
    {},
    undefined,
  ]) {
    it(`refuses the key ${JSON.stringify(key)?.slice(0, 40)}`, () => {
      assert.throws(() => checkKey(key), refuses('field-invalid', 'key'));
    });
  }

  for (const type of ['', '../x', 'a/b', 'a b', 'x'.repeat(129), 'é', 1]) {
    it(`refuses the type ${JSON.stringify(type).slice(0, 40)}`, () => {
      assert.throws(() => checkType(type), refuses('field-invalid', 'type'));
    });
  }

  for (const id of [
    '',
    'x',
    '../../../../etc/passwd',
    '0198c0de000070008000000000000001',
    '0198c0de-0000-7000-8000-00000000000g',
    5,
    null,
  ]) {
    it(`refuses the id ${JSON.stringify(id)}`, () => {
      assert.throws(() => checkId(id), refuses('field-invalid', 'id'));
    });
  }

  it('refuses what is reserved, by the name of the field', () => {
    for (const type of [
      'log.hour',
      'log.x',
      'seal.recovery',
      'key.rotation',
      'relay.rejected',
      'head',
      'window',
    ]) {
      assert.throws(() => checkType(type), refuses('field-reserved', 'type'));
    }
    for (const log of ['heads', 'windows'])
      assert.throws(() => checkWritableLog(log), refuses('field-reserved', 'log'));
    for (const log of ['', 'Audit', 'a/b', '../x', 'a'.repeat(33)])
      assert.throws(() => checkWritableLog(log), refuses('field-invalid', 'log'));
    assert.throws(() => checkTenant('_system'), refuses('field-reserved', 'tenant'));
    assert.throws(() => checkKey('_system'), refuses('field-reserved', 'key'));
    assert.throws(() => checkKey('_system/x'), refuses('field-reserved', 'key'));
    assert.throws(() => checkSchema(0, 'audit.event'), refuses('field-invalid', 'schema'));
    assert.throws(() => checkSchema(1, 'note'), refuses('field-invalid', 'schema'));
  });

  it('measures text in UTF-8 bytes, exactly at its bound', () => {
    fc.assert(
      fc.property(
        fc
          .string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
          .filter((value) => value.isWellFormed() && !/[\u0000-\u001f]/.test(value)),
        (value) => {
          const bytes = new TextEncoder().encode(value).length;
          assert.equal(checkText(value, 'x', bytes), value);
          assert.throws(() => checkText(value, 'x', bytes - 1), refuses('field-invalid', 'x'));
        },
      ),
    );
  });
});

describe('meta', () => {
  it('is serialised with sorted members, strings and integers only', () => {
    assert.equal(serialiseMeta({ b: 1, a: 'é"', A: '' }), '{"A":"","a":"é\\"","b":1}');
    assert.equal(serialiseMeta({}), null);
    assert.equal(serialiseMeta(undefined), null);
  });

  it('refuses what could be written in two ways', () => {
    for (const value of [1.5, -0, 2 ** 53, Number.NaN, true, null, {}, [], 'a\n', '\ud800']) {
      assert.throws(() => serialiseMeta({ a: value }), refuses('field-invalid', 'meta.a'));
    }
    assert.throws(() => serialiseMeta([]), refuses('field-invalid', 'meta'));
    assert.throws(() => serialiseMeta({ a: 'x'.repeat(2_048), b: 'y' }), refuses('field-invalid', 'meta'));
  });
});

const EVENT = {
  event_id: '0198c0de-0000-7000-8000-000000000001',
  event_time: '2026-11-20T10:00:00.123Z',
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'document.update',
  resource: { type: 'document', id: 'doc_1' },
  result: 'success',
  criticality: 'normal',
};

describe('audit event', () => {
  it('takes the core, and anything below details', () => {
    assert.equal(checkAuditEvent(EVENT), EVENT);
    checkAuditEvent({
      ...EVENT,
      details: { deep: [{ er: null }] },
      changes: { name: { old: 1, new: null } },
      access: { fields: ['a'] },
    });
  });

  const wrong: [what: string, change: object, code: ErrorCode, field: string][] = [
    ['an unknown member', { colour: 'red' }, 'field-unknown', 'body.colour'],
    [
      'an unknown member of actor',
      { actor: { id: 'u', type: 'user', zip: 1 } },
      'field-unknown',
      'body.actor.zip',
    ],
    ['a missing member', { result: undefined }, 'field-invalid', 'body.result'],
    ['a result that is none', { result: 'maybe' }, 'field-invalid', 'body.result'],
    ['an action with a space', { action: 'do it' }, 'field-invalid', 'body.action'],
    ['year 0', { event_time: '0000-01-01T00:00:00Z' }, 'field-invalid', 'body.event_time'],
    ['30 February', { event_time: '2026-02-30T00:00:00Z' }, 'field-invalid', 'body.event_time'],
    ['a time without zone', { event_time: '2026-02-03T00:00:00' }, 'field-invalid', 'body.event_time'],
    ['a tenant that is a path', { tenant: '../x' }, 'field-invalid', 'body.tenant'],
    ['a lone surrogate', { reason: '\ud800' }, 'field-invalid', 'body.reason'],
    ['a change without its new value', { changes: { a: { old: 1 } } }, 'field-invalid', 'body.changes.a.new'],
  ];
  for (const [what, change, code, field] of wrong) {
    it(`refuses ${what}, and names ${field}`, () => {
      const event = JSON.parse(JSON.stringify({ ...EVENT, ...change })) as object;
      const direct = 'reason' in change ? { ...EVENT, ...change } : event;
      assert.throws(() => checkAuditEvent(direct), refuses(code, field));
    });
  }

  it('takes the years 1 to 9999, leap days and leap seconds', () => {
    for (const time of [
      '0001-01-01T00:00:00Z',
      '9999-12-31T23:59:59.999999999Z',
      '2024-02-29T00:00:00+14:00',
      '2016-12-31T23:59:60Z',
    ])
      assert.ok(isInstant(time), time);
    for (const time of [
      '2023-02-29T00:00:00Z',
      '1900-02-29T00:00:00Z',
      '2023-01-01T24:00:00Z',
      '2023-01-01T00:00:00+24:00',
      '2023-01-01 00:00:00Z',
    ])
      assert.ok(!isInstant(time), time);
  });
});
