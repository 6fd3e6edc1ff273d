/** Readers of alerts that die at every kind of moment, two at a time, over a real log: the alerts are those that counting by hand gives. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type pg from 'pg';
import { byTime, type ExpectedAlert, expectedAlerts, type Occurrence } from '../contract/alert-bursts.ts';
import { Random } from '../simulation/random.ts';
import { AlertReader } from '../src/alerts/follow.ts';
import type { AlertStream } from '../src/alerts/ports.ts';
import { checkRule } from '../src/alerts/rule.ts';
import { PostgresAlertStore, PostgresRuleStore } from '../src/stores/postgres/alert-store.ts';
import { Appender } from '../src/stores/postgres/appender.ts';
import { openLog } from '../src/stores/postgres/log.ts';
import { PostgresRecordSource } from '../src/stores/postgres/record-source.ts';
import { openTestDatabase } from '../test/database.ts';

const SEED = 11;
const BATCHES = 40;
const BATCH_RECORDS = 10;
const ACTORS = 6;
const THRESHOLD = 5;
const WINDOW_SECONDS = 60;

/** Dies before or after what it was told to store. */
function mortal(stream: AlertStream, random: Random): AlertStream {
  return {
    load: () => stream.load(),
    prune: () => stream.prune(),
    advance: async (...args) => {
      if (random.chance(1, 5)) throw new Error('died before');
      const advance = await stream.advance(...args);
      if (random.chance(1, 5)) throw new Error('died after');
      return advance;
    },
  };
}

/** A database in which a step is stored although somebody else has moved its checkpoint. */
async function removeGuard(owner: pg.Pool): Promise<void> {
  const { rows } = await owner.query<{ text: string }>(
    "SELECT pg_get_functiondef('evident.alerts_advance'::regproc) AS text",
  );
  const broken = rows[0].text.replace(/outcome := 'overtaken';\s+RETURN;/, 'NULL;');
  assert.notEqual(broken, rows[0].text);
  await owner.query(broken);
}

/** What was raised, and what counting by hand gives. */
async function course(isGuarded: boolean): Promise<{ found: string[]; wanted: string[]; deaths: number }> {
  const random = new Random(SEED);
  const { pool, owner } = await openTestDatabase();
  if (!isGuarded) await removeGuard(owner);
  const appender = new Appender(pool);
  const log = await openLog({ pool, appender }, 'audit', 4);
  const store = new PostgresAlertStore(pool);
  await store.load();
  const rule = checkRule(
    {
      name: 'r',
      filter: { action: 'document.read' },
      threshold: THRESHOLD,
      window_seconds: WINDOW_SECONDS,
      group_by: 'actor',
    },
    null,
  );
  const id = randomUUID();
  assert.equal(await new PostgresRuleStore(pool).put(id, null, 0, rule, 'key:a'), 'done');

  const reads: Occurrence[] = [];
  const append = async () => {
    const events = Array.from({ length: BATCH_RECORDS }, () => ({
      actor: `usr_${random.below(ACTORS)}`,
      action: random.chance(3, 4) ? 'document.read' : 'document.update',
    }));
    const records = events.map(({ actor, action }) => {
      const event = {
        event_id: randomUUID(),
        event_time: new Date().toISOString(),
        tenant: 'acme',
        actor: { id: actor, type: 'user' },
        action,
        resource: { type: 'document', id: 'doc_1' },
        result: 'success',
        criticality: 'normal',
      };
      const body = { form: 'json' as const, bytes: Buffer.from(JSON.stringify(event)) };
      const plain = { source: 'key-1', sourceSeq: null, type: 'audit.event', schema: 1, meta: null };
      return { ...plain, id: event.event_id, tenant: 'acme', key: `acme/${randomUUID()}`, body };
    });
    for (const [at, { appendedAt }] of (await log.append(records)).entries()) {
      if (events[at].action === 'document.read') reads.push({ subject: events[at].actor, at: appendedAt });
    }
  };

  const { rowOf } = makeRegistry();
  const reader = (stream: AlertStream) =>
    new AlertReader({
      stream,
      source: new PostgresRecordSource(pool),
      bodies: { get: async () => null },
      rowOf,
      now: () => performance.now(),
      sleep: async () => undefined,
      bounds: { recordsMax: random.between(1, 20), bytesMax: 1_000_000 },
    });
  let deaths = 0;
  for (let batch = 0; batch < BATCHES; batch++) {
    await append();
    const readers = [reader(mortal(store, random)), reader(mortal(store, random))];
    const steps = await Promise.allSettled(readers.map((one) => one.step()));
    deaths += steps.filter(({ status }) => status === 'rejected').length;
  }
  const last = reader(store);
  for (let quiet = 0; quiet < 2; ) quiet = (await last.step()) === 0 ? quiet + 1 : 0;
  await appender.close();

  const alerts = (await store.list({ tenant: null, state: 'all', before: null, limit: 1_000 })).filter(
    ({ name }) => name === 'r',
  );
  const show = ({ subject, windowStart, count }: ExpectedAlert) => `${subject} ${windowStart}: ${count}`;
  const found = alerts
    .map(({ subject, windowStart, count }) => ({ subject, windowStart: windowStart!, count }))
    .sort(byTime)
    .map(show);
  const wanted = expectedAlerts(reads, rule).map(show);
  return { found, wanted, deaths };
}

it('counts every event once, whatever dies and whoever reads beside', async () => {
  const { found, wanted, deaths } = await course(true);
  assert.deepEqual(found, wanted);
  assert.ok(deaths > 5 && wanted.length > 0, `${deaths} deaths, ${wanted.length} alerts`);
});

it('counts some twice where a checkpoint moves without being compared', async () => {
  const { found, wanted } = await course(false);
  assert.notDeepEqual(found, wanted);
});
