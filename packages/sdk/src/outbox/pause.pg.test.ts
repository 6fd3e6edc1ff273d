import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { until } from '../../../server/src/stores/postgres/embedded/engine-fixture.ts';
import { createAudit } from '../audit.ts';
import { type PgClient, pgDriver } from '../drivers.ts';
import { startApplication } from './outbox-fixture.ts';

const event = (tenant: string, action: string) => ({
  tenant,
  action,
  actor: { id: 'usr_1', type: 'user' as const },
  resource: { type: 'document', id: 'd1' },
});

test('capture pauses by the size of a real outbox, and resumes when its slots are emptied', async (t) => {
  const app = await startApplication(t);
  const [{ bytes }] = await app.asOwner('SELECT bytes FROM evident_outbox.pressure()');
  const audit = createAudit<PgClient>({
    service: 'bank',
    driver: pgDriver(app.pool),
    // Twice what the empty slots and their indexes take: 80 % of it are more than they take when emptied.
    growth: { bytesMax: 2 * Number(bytes), checkMs: 1 },
  });
  t.after(() => audit.close());

  let written = 0;
  await until('the outbox has grown and capture pauses', async () => {
    const receipt = await audit.logAlone({
      ...event('acme', 'document.read'),
      details: { text: randomBytes(30_000).toString('hex') },
    });
    if (receipt.captured) written += 1;
    return audit.metrics().paused;
  });
  assert.ok(audit.metrics().outboxBytes! > Number(bytes));

  const before = audit.metrics().notCaptured;
  for (const [tenant, action] of [
    ['acme', 'document.read'],
    ['acme', 'document.update'],
    ['other', 'document.read'],
  ]) {
    assert.deepEqual(await audit.logAlone(event(tenant, action)), { captured: false, reason: 'paused' });
  }
  const critical = await audit.logAlone({ ...event('acme', 'document.delete'), criticality: 'critical' });
  assert.ok(critical.captured);
  await assert.rejects(audit.logAlone({ ...event('acme', 'x'), resource: { type: '', id: '' } }), {
    code: 'field-invalid',
  });
  // A capture runs all the same.
  assert.equal(await audit.capture(event('acme', 'document.sign'), () => 5), 5);
  assert.equal(audit.metrics().notCaptured, before + 4);

  await until('the pause is recorded for both tenants', async () => {
    const paused = (await app.bodies()).filter(({ action }) => action === 'audit.capture_paused');
    return paused.length === 2;
  });
  const kept = (await app.bodies()).filter(({ action }) => action !== 'document.read');
  assert.deepEqual(kept.map(({ action, tenant }) => `${tenant} ${action}`).sort(), [
    'acme audit.capture_paused',
    'acme document.delete',
    'other audit.capture_paused',
  ]);
  assert.equal((await app.bodies()).filter(({ action }) => action === 'document.read').length, written);

  // As the relay does. No further call is needed: a pause looks by itself.
  await app.clear();
  await until('capture has resumed and recorded it', async () => (await app.rows()).length === 2);
  assert.equal(audit.metrics().paused, false);
  const resumed = await app.bodies();
  const missed = Object.fromEntries(
    resumed.map(({ tenant, details }) => [tenant, (details as { not_captured: unknown }).not_captured]),
  );
  assert.deepEqual(missed, {
    acme: { 'document.read': before + 1, 'document.update': 1, 'document.sign': 1 },
    other: { 'document.read': 1 },
  });
  for (const body of resumed) {
    assert.deepEqual(
      [body.action, body.actor, body.resource, body.criticality],
      ['audit.capture_resumed', { id: 'bank', type: 'system' }, { type: 'outbox', id: 'bank' }, 'critical'],
    );
  }
  assert.ok((await audit.logAlone(event('acme', 'document.read'))).captured);
});
