import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type { RecordSource } from '../project/ports.ts';
import { MemoryAlertStore, MemoryRuleStore } from '../stores/memory/alert-store.ts';
import { MemoryLog, makeMemoryLogState } from '../stores/memory/log.ts';
import { AlertReader, type FollowDeps } from './follow.ts';
import { checkRule } from './rule.ts';

const PARTITIONS = 3;
const BASE = 1_800_000_000_000_000n;
const { rowOf } = makeRegistry();

/** A log that is filled step by step, and what reads it for alerts. */
function scene() {
  let now = BASE;
  const clock = () => (now += 1_000_000n);
  const log = new MemoryLog(makeMemoryLogState('audit', PARTITIONS, now), clock);
  const source: RecordSource = {
    heads: async () => (await log.heads()).map(({ partition, next }) => ({ tree: partition, next })),
    read: async (from, { recordsMax }) =>
      Promise.all(
        from.map(async ({ tree, position }) => ({
          tree,
          records: await log.read(tree, position, recordsMax),
        })),
      ),
  };
  const store = new MemoryAlertStore({ source, clock, newId: randomUUID });
  const reader = (over: Partial<FollowDeps> = {}) =>
    new AlertReader({
      stream: store,
      source,
      bodies: { get: async () => null },
      rowOf,
      now: () => 0,
      sleep: async () => undefined,
      ...over,
    });
  const append = (actor: string, action: string, text?: string) => {
    const body = {
      event_id: randomUUID(),
      event_time: new Date(Number(now / 1_000n)).toISOString(),
      tenant: 'acme',
      actor: { id: actor, type: 'user' },
      action,
      resource: { type: 'document', id: 'doc_1' },
      result: 'success',
      criticality: 'normal',
    };
    const bytes = Buffer.from(text ?? JSON.stringify(body));
    const key = `acme/${randomUUID()}`;
    const record = {
      id: body.event_id,
      tenant: 'acme',
      source: 'key-1',
      sourceSeq: null,
      schema: 1,
      meta: null,
    };
    return log.append([{ ...record, type: 'audit.event', key, body: { form: 'json', bytes } }]);
  };
  return { store, rules: new MemoryRuleStore(store), reader, append };
}

const RULE = checkRule(
  { name: 'r', filter: { action: 'document.read' }, threshold: 4, window_seconds: 3_600, group_by: 'actor' },
  null,
);

async function filled() {
  const made = scene();
  await made.store.load();
  await made.rules.put('r', null, 0, RULE, 'key:a');
  for (let i = 0; i < 60; i++)
    await made.append(`usr_${i % 4}`, i % 3 === 0 ? 'document.update' : 'document.read');
  return made;
}

/** Alerts without what differs from one log to another. */
const told = async (store: MemoryAlertStore) =>
  (await store.list({ tenant: null, state: 'all', before: null, limit: 100 }))
    .map(({ subject, count, name }) => `${name} ${subject} ${count}`)
    .sort();

async function toEnd(reader: AlertReader): Promise<void> {
  for (let step = 0; step < 500; step++)
    if ((await reader.step()) === 0 && (await reader.step()) === 0) return;
  assert.fail('the end was not reached');
}

it('raises the same alerts whatever the size of its steps, and whatever it died at', async () => {
  let expected: string[] | undefined;
  for (const recordsMax of [1, 2, 7, 1_000]) {
    const { store, reader } = await filled();
    // A reader that dies now and then: before its step is stored, after it, and between two.
    for (let life = 0; life < 5; life++) {
      const dying = new Proxy(store, {
        get(target, name: keyof MemoryAlertStore) {
          if (name !== 'advance') return Reflect.get(target, name, target);
          return async (...args: Parameters<MemoryAlertStore['advance']>) => {
            if (life % 2 === 0) throw new Error('died before');
            await target.advance(...args);
            throw new Error('died after');
          };
        },
      });
      await assert.rejects(reader({ stream: dying, bounds: { recordsMax, bytesMax: 1_000_000 } }).step());
      await reader({ bounds: { recordsMax, bytesMax: 1_000_000 } }).step();
    }
    await toEnd(reader({ bounds: { recordsMax, bytesMax: 1_000_000 } }));
    expected ??= await told(store);
    assert.deepEqual(await told(store), expected);
  }
  assert.deepEqual(expected, ['r usr_0 10', 'r usr_1 10', 'r usr_2 10', 'r usr_3 10']);
});

it('passes over what has no row, and over what a mapper does not come back from', async () => {
  const { store, rules, reader, append } = scene();
  await store.load();
  await rules.put('r', null, 0, RULE, 'key:a');
  for (let i = 0; i < 4; i++) await append('usr_1', 'document.read');
  await append('usr_1', 'document.read', '{"no":"event"}');
  const touched: string[] = [];
  const skipped: string[] = [];
  await toEnd(
    reader({
      isSkipped: (tree, position) => skipped.includes(`${tree}/${position}`),
      onRecord: (place) => touched.push(place === null ? 'end' : `${place.tree}/${place.position}`),
    }),
  );
  assert.equal(touched.at(-1), 'end');
  assert.deepEqual(await told(store), ['r usr_1 4']);
  // The next four would raise it; one of them is left out.
  const [{ partition, position }] = await append('usr_2', 'document.read');
  skipped.push(`${partition}/${position}`);
  for (let i = 0; i < 3; i++) await append('usr_2', 'document.read');
  await toEnd(reader({ isSkipped: (tree, at) => skipped.includes(`${tree}/${at}`) }));
  assert.deepEqual(await told(store), ['r usr_1 4']);
});

it('reads on when somebody changes a rule, or is faster', async () => {
  const { store, rules, reader, append } = await filled();
  const [one, other] = [reader(), reader()];
  await one.step();
  await other.step();
  await rules.put('r', null, 1, { ...RULE, threshold: 1n }, 'key:a');
  await append('usr_9', 'document.read');
  await toEnd(one);
  await toEnd(other);
  const alerts = await told(store);
  assert.equal(alerts.filter((text) => text === 'r usr_9 1').length, 1);
});
