import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createTestAudit } from './testing.ts';

const event = {
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'document.update',
  resource: { type: 'document', id: 'd1' },
} as const;

describe('the testing kit', () => {
  it('shows what a transaction captured once it commits, and nothing when it throws', async () => {
    const kit = createTestAudit();
    await kit.transaction(async (tx) => {
      await kit.audit.log(tx, event);
      kit.assertNotCaptured({ action: 'document.update' });
    });
    kit.assertCaptured({ action: 'document.update', resource: { id: 'd1' } });
    kit.clear();
    await assert.rejects(
      kit.transaction(async (tx) => {
        await kit.audit.log(tx, event);
        throw new Error('no');
      }),
    );
    assert.deepEqual(kit.captured(), []);
  });

  it('refuses an event after the end of its transaction: an await is missing there', async () => {
    const kit = createTestAudit();
    const tx = await kit.transaction(async (open) => open);
    await assert.rejects(kit.audit.log(tx, event), { code: 'outbox-unavailable', message: /await/ });
  });

  it('counts events of any other transaction at once, until the test rolls it back', async () => {
    const kit = createTestAudit();
    const [one, other] = [{ mine: 1 }, { mine: 2 }];
    await kit.audit.log(one, event);
    await kit.audit.log(other, { ...event, action: 'document.read' });
    kit.rollBack(one);
    kit.assertNotCaptured({ action: 'document.update' });
    kit.assertCaptured({ action: 'document.read' });
  });

  it('is the real SDK: it checks, and knows intents and failures', async () => {
    const kit = createTestAudit({ actions: { 'document.delete': { critical: true } } });
    await assert.rejects(kit.audit.log(null, { ...event, tenant: '_x' }), { code: 'field-invalid' });
    await assert.rejects(
      kit.audit.capture({ ...event, action: 'document.delete' }, () => Promise.reject(new Error('no'))),
    );
    const [intent] = kit.intents();
    assert.deepEqual([intent.intent, intent.action], [true, 'document.delete']);
    kit.assertCaptured({ result: 'failure', intent_id: String(intent.event_id) });
  });

  it('fails with what was captured instead', async () => {
    const kit = createTestAudit();
    assert.throws(() => kit.assertCaptured({ action: 'x' }), /nothing was captured at all/);
    await kit.audit.log(null, event);
    assert.throws(() => kit.assertCaptured({ resource: { id: 'd2' } }), {
      name: 'AssertionError',
      message: /"id":"d2"[\s\S]*captured were 1:[\s\S]*"id":"d1"/,
    });
    assert.throws(() => kit.assertNotCaptured({ resource: { id: 'd1' } }), /an event was captured/);
    for (let i = 0; i < 20; i++) await kit.audit.log(null, event);
    assert.throws(() => kit.assertCaptured({ action: 'x' }), /and 11 more/);
  });

  it('compares lists as a whole and a member that must be absent as undefined', async () => {
    const kit = createTestAudit();
    await kit.audit.log(null, { ...event, details: { list: [1, 2] } });
    kit.assertCaptured({ details: { list: [1, 2] }, reason: undefined });
    kit.assertNotCaptured({ details: { list: [1] } });
    kit.assertNotCaptured({ details: undefined });
  });
});
