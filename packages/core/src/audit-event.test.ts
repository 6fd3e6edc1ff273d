import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import Type from 'typebox';
import { AuditEvent, checkAuditEvent, personalPaths } from './audit-event.ts';

const event = {
  event_id: '0198c0de-0000-7000-8000-000000000001',
  event_time: '2026-11-20T10:00:00.000Z',
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user', email: 'a@example.invalid' },
  action: 'document.update',
  resource: { type: 'document', id: 'd1' },
  result: 'success',
  criticality: 'critical',
};

describe('personal fields', () => {
  it('are listed by their paths', () => {
    assert.deepEqual(personalPaths(AuditEvent), ['actor.email', 'actor.name', 'actor.ip_address']);
  });

  it('are found at any depth, and only where they are declared', () => {
    const schema = Type.Object({
      iban: Type.String({ personal: true }),
      to: Type.Object({ name: Type.Optional(Type.String({ personal: true })), bank: Type.String() }),
    });
    assert.deepEqual(personalPaths(schema), ['iban', 'to.name']);
    assert.deepEqual(personalPaths(Type.Object({ iban: Type.String({ personal: false }) })), []);
  });

  it('are checked like any other', () => {
    checkAuditEvent(event);
    assert.throws(() => checkAuditEvent({ ...event, actor: { ...event.actor, email: '' } }), {
      code: 'field-invalid',
      context: { field: 'body.actor.email' },
    });
  });
});

describe('the intent of an outcome', () => {
  it('is named by its UUID, or not at all', () => {
    checkAuditEvent({ ...event, intent_id: '0198c0de-0000-7000-8000-000000000002' });
    assert.throws(() => checkAuditEvent({ ...event, intent_id: 'the first one' }), {
      code: 'field-invalid',
      context: { field: 'body.intent_id' },
    });
  });
});

describe('a body with more errors than anybody reads', () => {
  const many = (value: unknown) =>
    Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`f${i}`, value]));

  it('is refused for the first, in whatever member it stands', () => {
    const right = { old: 1, new: 2 };
    for (const [body, field] of [
      [{ changes: many(1) }, 'body.changes.f0'],
      [{ changes: { ...many(right), last: 1 } }, 'body.changes.last'],
      [{ context: { ...many('x'), last: 1 } }, 'body.context.last'],
      [{ changes: many(1), result: 'maybe' }, 'body.result'],
      [{ changes: many(1), unknown: 1 }, 'body.unknown'],
    ] as const)
      assert.throws(() => checkAuditEvent({ ...event, ...body }), { context: { field } }, field);
    checkAuditEvent({ ...event, changes: many(right), context: many('x') });
  });
});
