import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import type { OwnEvent } from '../audit/own-event.ts';
import { MemoryAlertStore } from '../stores/memory/alert-store.ts';
import { type RetainDeps, removeOldAlerts } from './retain.ts';

const DAY = 86_400_000_000n;

/** Alerts of so many days ago, acknowledged and over. */
async function scene(count: number, days: bigint) {
  let now = 1_800_000_000_000_000n;
  const clock = () => ++now;
  const alerts = new MemoryAlertStore({ source: { heads: async () => [] }, clock, newId: randomUUID });
  for (let at = 0; at < count; at++) {
    const condition = { tenant: null, name: 'n', severity: 'low' as const, subject: null, detail: '' };
    const id = await alerts.raise({ ...condition, key: `k${at}` });
    await alerts.settle(`k${at}`);
    await alerts.acknowledge(id!, null, 'key:a', null);
  }
  now += days * DAY;
  const recorded: OwnEvent[] = [];
  const deps: RetainDeps = { alerts, clock, record: async (events) => void recorded.push(...events) };
  const left = async () =>
    (await alerts.list({ tenant: null, state: 'all', before: null, limit: 2_000 })).length;
  return { deps, recorded, left };
}

it('removes alerts that are older than asked, and says in the log which', async () => {
  const { deps, recorded, left } = await scene(600, 31n);
  assert.equal(await removeOldAlerts(deps, 40), 0);
  assert.deepEqual([recorded.length, await left()], [0, 600]);
  assert.equal(await removeOldAlerts(deps, 30), 600);
  assert.equal(await left(), 0);
  assert.deepEqual(
    recorded.map(({ action, details = {} }) => [
      action,
      details.keep_days,
      (details.alerts as string[]).length,
    ]),
    [
      ['alert.remove', 30, 500],
      ['alert.remove', 30, 100],
    ],
  );
  assert.equal(new Set(recorded.flatMap(({ details }) => details?.alerts as string[])).size, 600);
});

it('removes nothing that the log did not take the record of', async () => {
  const { deps, left } = await scene(3, 31n);
  const record = async () => {
    throw new Error('the log is down');
  };
  await assert.rejects(removeOldAlerts({ ...deps, record }, 30), /the log is down/);
  assert.equal(await left(), 3);
});

it('ends between two steps when it is told to', async () => {
  const { deps, left } = await scene(600, 31n);
  let asked = 0;
  assert.equal(await removeOldAlerts(deps, 30, () => ++asked > 1), 500);
  assert.equal(await left(), 100);
});
