import assert from 'node:assert/strict';
import { it } from 'node:test';
import { EvidentError } from '@evident/core/errors.ts';
import { encodeEvent, type HttpEvent } from './envelope.ts';

const ID = '0198c0de-0000-7000-8000-00000000000a';

function textOf(over: Partial<HttpEvent>): string {
  const event = { id: ID, type: 'note', key: 'acme/k', schema: 0, body: {}, ...over };
  return Buffer.from(encodeEvent(event, 'event').bytes).toString();
}

it('keeps the bytes of a body as they are, and serialises an object once', () => {
  const head = `{"id":"${ID}","type":"note","key":"acme/k","schema":0`;
  assert.equal(textOf({ id: ID.toUpperCase(), body: { a: 1 } }), `${head},"body":{"a":1}}`);
  assert.equal(textOf({ body: ' {"a": 1.0,\n"a":2} ' }), `${head},"body": {"a": 1.0,\n"a":2} }`);
  assert.equal(textOf({ body: Buffer.from('"é"') }), `${head},"body":"é"}`);
  assert.equal(textOf({ meta: { b: 'x', a: 1 } }), `${head},"meta":{"a":1,"b":"x"},"body":{}}`);
});

it('refuses, by its name, what the log would refuse', () => {
  const audit = {
    event_id: ID,
    event_time: '2026-11-20T10:00:00Z',
    tenant: 'acme',
    actor: { id: 'usr_1', type: 'user' },
    action: 'document.update',
    resource: { type: 'document', id: 'doc_1' },
    result: 'success',
    criticality: 'normal',
  };
  const asAudit = (body: object, over: Partial<HttpEvent> = {}) => ({
    type: 'audit.event',
    schema: 1,
    body,
    ...over,
  });
  textOf(asAudit(audit));
  const circle: Record<string, unknown> = {};
  circle.circle = circle;
  const ROWS: [Partial<Record<keyof HttpEvent, unknown>>, code: string, field: string][] = [
    [{ id: 'x' }, 'field-invalid', 'event.id'],
    [{ type: 'log.hour' }, 'field-reserved', 'event.type'],
    [{ key: '/etc' }, 'field-invalid', 'event.key'],
    [{ schema: 1 }, 'field-invalid', 'event.schema'],
    [{ meta: { a: 0.5 } }, 'field-invalid', 'event.meta.a'],
    [{ body: '{' }, 'json-invalid', 'event.body'],
    [{ body: '{} {}' }, 'json-invalid', 'event.body'],
    [{ body: '' }, 'json-invalid', 'event.body'],
    [{ body: '"\ud800"' }, 'field-invalid', 'event.body'],
    [{ body: '['.repeat(200) + ']'.repeat(200) }, 'json-too-deep', 'event.body'],
    [{ body: Buffer.from([0x22, 0xff, 0x22]) }, 'json-invalid', 'event.body'],
    [{ body: undefined }, 'field-invalid', 'event.body'],
    [{ body: 1 }, 'field-invalid', 'event.body'],
    [{ body: circle }, 'field-invalid', 'event.body'],
    [{ body: { toJSON: () => undefined } }, 'field-invalid', 'event.body'],
    [{ body: `"${'x'.repeat(16 * 1024 * 1024)}"` }, 'body-too-large', 'event.body'],
    [asAudit({ ...audit, more: 1 }), 'field-unknown', 'event.body.more'],
    [asAudit({ ...audit, event_id: ID.replace('a', 'b') }), 'field-invalid', 'event.body.event_id'],
    [asAudit(audit, { key: 'other/usr_1' }), 'field-invalid', 'event.key'],
  ];
  for (const [over, code, field] of ROWS) {
    assert.throws(
      () => textOf(over as Partial<HttpEvent>),
      (error) => {
        assert.ok(error instanceof EvidentError, String(error));
        assert.deepEqual([error.code, error.context.field], [code, field], error.message);
        return true;
      },
    );
  }
});
