import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { auditEventMapper } from './audit-event-mapper.ts';
import { at, bytesOf, ID, recordOf, refusal, told } from './mapping-fixture.ts';

const ORIGINAL = '0198c0de-0000-7000-8000-0000000000aa';
const event = {
  event_id: ID,
  event_time: '2026-11-20T10:00:00.123456+01:00',
  tenant: 'acme',
  actor: { id: 'usr_456', type: 'user', ip_address: '203.0.113.7' },
  action: 'document.update',
  resource: { type: 'document', id: 'doc_9' },
  result: 'success',
  context: { request_id: 'req_1' },
  criticality: 'normal',
};
const map = (body: unknown, facts = {}) =>
  auditEventMapper.map(recordOf('audit.event', facts), bytesOf(body));

describe('audit.event', () => {
  it('gives who did what to which resource, how it ended, when and from where', () => {
    assert.deepEqual(map(event), {
      eventTime: at('2026-11-20T09:00:00Z') + 123_456n,
      actorId: 'usr_456',
      actorType: 'user',
      action: 'document.update',
      resourceType: 'document',
      resourceId: 'doc_9',
      result: 'success',
      correlationId: 'req_1',
      ip: '203.0.113.7',
      corrects: null,
      mapper: 'audit.event/1',
    });
    const context = { request_id: 'req_1', correlation_id: 'cor_1' };
    assert.equal(map({ ...event, context })?.correlationId, 'cor_1');
    const { context: _, ...bare } = event;
    assert.equal(map({ ...bare, actor: { id: 'job', type: 'system' } })?.correlationId, null);
  });

  it('names the event that a correction corrects', () => {
    const correction = { ...event, action: 'audit.correction' };
    assert.equal(map({ ...correction, details: { corrects: ORIGINAL.toUpperCase() } })?.corrects, ORIGINAL);
    const resource = { type: 'audit.event', id: ORIGINAL };
    assert.equal(map({ ...correction, resource })?.corrects, ORIGINAL);
    assert.equal(map({ ...correction, resource, details: { corrects: ID } })?.corrects, ID);
    for (const details of [{ corrects: 'doc_9' }, { corrects: 7 }, {}])
      assert.equal(map({ ...correction, details })?.corrects, null);
    // Any event may look at another; only a correction corrects it.
    assert.equal(map({ ...event, resource, details: { corrects: ORIGINAL } })?.corrects, null);
  });

  it('refuses what breaks the schema, and names the field', () => {
    const wrong: [object, RegExp][] = [
      [{ ...event, colour: 'red' }, /body\.colour: the schema .* no such member/],
      [{ ...event, actor: { type: 'user' } }, /body\.actor\.id: it is missing/],
      [{ ...event, result: 'maybe' }, /body\.result: one of success, failure, denied/],
      [{ ...event, event_time: '2026-02-30T00:00:00Z' }, /body\.event_time/],
      [{ ...event, event_time: '0001-01-01T00:00:00+01:00' }, /body\.event_time: in UTC/],
      [{ ...event, tenant: 'other' }, /body\.tenant: it is not the tenant of the record/],
      [{ ...event, event_id: ORIGINAL }, /body\.event_id: it is not the id of the record/],
      [[], /body/],
    ];
    for (const [body, message] of wrong) assert.throws(() => map(body), refusal(message));
    assert.throws(() => map('{"event_id"'), refusal(/^import:run-1 8: it is not JSON: byte 11/));
    assert.throws(() => map(event, { schema: 2 }), refusal(/schema 2/));
    const twice = JSON.stringify(event).replace('{', '{"action":"x",');
    assert.throws(() => map(twice), refusal(/member "action" a second time/));
    const half = JSON.stringify({ ...event, reason: 'R' }).replace('"R"', '"\\ud800"');
    assert.throws(() => map(half), refusal(/surrogate/));
    assert.throws(() => map(`${'['.repeat(200)}${']'.repeat(200)}`), refusal(/deeper than 128/));
  });

  it('takes a reserved tenant from Evident itself only', () => {
    const own = { ...event, tenant: '_system' };
    assert.equal(told(map(own, { tenant: '_system', source: 'evident' })).actorId, 'usr_456');
    assert.throws(() => map(own, { tenant: '_system' }), refusal(/body\.tenant: it is not a tenant name/));
    assert.throws(() => map(own, { source: 'evident' }), refusal(/body\.tenant/));
    assert.equal(told(map(event, { source: 'evident' })).actorId, 'usr_456');
  });
});
