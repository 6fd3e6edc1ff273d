import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type AlertLimits, type AlertsUnderTest, makeEvent } from '../../../contract/alert-scene.ts';
import { describeAlertStore } from '../../../contract/alert-store-contract.ts';
import { describeWebhookStore } from '../../../contract/webhook-store-contract.ts';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';
import { evaluate } from '../../alerts/evaluate.ts';
import type { SecretBox } from '../../alerts/ports.ts';
import { PostgresAlertStore, PostgresRuleStore } from './alert-store.ts';
import { PostgresWebhookStore } from './webhook-store.ts';

/** As of a data directory, without one: what is stored is turned over. */
const turned = (bytes: Uint8Array) => new Uint8Array([0, ...bytes].reverse());
const isSealed = (stored: Uint8Array) => stored.length === 33;
const box: SecretBox = {
  isSealed,
  seal: (_id, secret) => turned(secret),
  open: (_id, stored) => (isSealed(stored) ? turned(stored).slice(1, 33) : stored),
};

let database: Promise<TestDatabase> | undefined;
const TABLES = ['alerts', 'alert_rules', 'alert_windows', 'webhooks', 'webhook_deliveries'];

/** One database for all tests, emptied: making one takes longer than a test. */
async function openEmpty(): Promise<TestDatabase & { trees: number[] }> {
  database ??= openTestDatabase();
  const opened = await database;
  const { owner } = opened;
  await owner.query(
    `TRUNCATE evident.alert_state, evident.alert_checkpoints, ${TABLES.map((table) => `evident.${table}`).join()}`,
  );
  await owner.query("SELECT evident.make_log('audit', 2)");
  const { rows } = await owner.query<{ tree: number }>(
    'SELECT tree FROM evident.partitions ORDER BY partition',
  );
  return { ...opened, trees: rows.map(({ tree }) => tree) };
}

async function openStores({ groupsMax, ruleVersionsMax }: AlertLimits = {}): Promise<AlertsUnderTest> {
  const { pool, owner, trees } = await openEmpty();
  return {
    alerts: new PostgresAlertStore(pool, groupsMax),
    rules: new PostgresRuleStore(pool, ruleVersionsMax),
    webhooks: new PostgresWebhookStore(pool, box),
    trees,
    age: async (microseconds) => {
      await owner.query('UPDATE evident.alerts SET opened_us = opened_us - $1', [microseconds.toString()]);
    },
  };
}

describeAlertStore('postgres', openStores, 25);
describeWebhookStore('postgres', openStores);

it('shows a connection the rows of the tenant that it names, and lets it write none', async () => {
  const { pool, trees } = await openEmpty();
  const alerts = new PostgresAlertStore(pool);
  const webhooks = new PostgresWebhookStore(pool, box);
  for (const [tenant, name] of [
    ['acme', 'a'],
    ['other', 'b'],
    [null, 'c'],
  ] as const) {
    const id = `00000000-0000-4000-8000-00000000000${name}`;
    await webhooks.add(
      { id, tenant, name, url: 'https://example.com/', payload: 'alert', madeBy: 'key:a' },
      new Uint8Array(32),
    );
  }
  const { rulesVersion, rules } = await alerts.load();
  const denied = ['acme', 'other'].flatMap((tenant) =>
    Array.from({ length: 10 }, (_, at) => makeEvent(0, at, 0, { result: 'denied' }, { tenant })),
  );
  const span = { tree: trees[0], from: 0n, to: 20n, seen: 1n };
  const advance = await alerts.advance(rulesVersion, [span], evaluate(rules, denied));
  assert.equal(advance.kind === 'advanced' && advance.raised.length, 2);

  const client = await pool.connect();
  try {
    const count = async (table: string) =>
      Number((await client.query(`SELECT count(*) FROM evident.${table}`)).rows[0].count);
    const seen: Record<string, number[]> = {};
    for (const tenant of ['', 'acme', 'nobody', '*']) {
      await client.query("SELECT set_config('evident.tenant', $1, false)", [tenant]);
      seen[tenant] = [];
      for (const table of TABLES) seen[tenant].push(await count(table));
    }
    assert.deepEqual(seen, {
      '': [0, 0, 0, 0, 0],
      acme: [1, 0, 1, 1, 1],
      nobody: [0, 0, 0, 0, 0],
      '*': [2, 2, 2, 3, 4],
    });
    for (const table of [...TABLES, 'alert_state', 'alert_checkpoints']) {
      for (const text of [
        `DELETE FROM evident.${table}`,
        `TRUNCATE evident.${table}`,
        `INSERT INTO evident.${table} DEFAULT VALUES`,
      ])
        await assert.rejects(client.query(text), { code: '42501' }, text);
    }
    await assert.rejects(client.query("UPDATE evident.alerts SET note = 'x'"), { code: '42501' });
    await assert.rejects(client.query('SELECT evident.alert_enqueue(NULL, NULL)'), { code: '42501' });
  } finally {
    client.release(true);
  }
});

it('forgets a window only when no append can still belong to it', async () => {
  const { pool, owner, trees } = await openEmpty();
  const alerts = new PostgresAlertStore(pool);
  const { rulesVersion, rules } = await alerts.load();
  const over = { ruleId: rules[0].id, version: 1, tenant: 'acme', subject: 'a', count: 1n, places: [] };
  await alerts.advance(rulesVersion, [], [{ ...over, sliceStart: 1_000_000_000_000_000n }]);
  // An append that is under way has locked its counter, and may have read the clock already.
  const appending = await owner.connect();
  try {
    await appending.query('BEGIN');
    await appending.query('SELECT FROM evident.partitions WHERE tree = $1 FOR UPDATE', [trees[1]]);
    assert.equal(await alerts.prune(), 0);
    await appending.query('COMMIT');
  } finally {
    appending.release();
  }
  assert.equal(await alerts.prune(), 1);
});

it('lets several claim at once, each delivery for one', async () => {
  const { pool } = await openEmpty();
  const alerts = new PostgresAlertStore(pool);
  const webhooks = new PostgresWebhookStore(pool, box);
  const id = '00000000-0000-4000-8000-000000000001';
  await webhooks.add(
    { id, tenant: null, name: 'w', url: 'https://example.com/', payload: 'alert', madeBy: 'key:a' },
    new Uint8Array(32),
  );
  for (let at = 0; at < 20; at++)
    await alerts.raise({
      key: `k${at}`,
      tenant: null,
      name: 'n',
      severity: 'low',
      subject: null,
      detail: '',
    });
  const claims = await Promise.all(Array.from({ length: 24 }, () => webhooks.claim([], 60_000_000n)));
  const ids = claims.flatMap((delivery) => delivery?.id ?? []);
  assert.deepEqual([ids.length, new Set(ids).size], [20, 20]);
});

it('judges no record by a rule that was changed before its step was stored, whoever goes first', async () => {
  const { pool, trees } = await openEmpty();
  const alerts = new PostgresAlertStore(pool);
  const rules = new PostgresRuleStore(pool);
  const [rule] = (await alerts.load()).rules;
  let version = rule.version;
  for (let round = 0; round < 20; round++) {
    const state = await alerts.load();
    const from = state.checkpoints.find(({ tree }) => tree === trees[0])!.next;
    const seen = BigInt(4_000_000_000_000_000 + round);
    const [advance, put] = await Promise.all([
      alerts.advance(state.rulesVersion, [{ tree: trees[0], from, to: from + 1n, seen }], []),
      rules.put(rule.id, null, version, rule, 'key:a'),
    ]);
    assert.equal(put, 'done');
    version++;
    const now = (await alerts.load()).rules.find((one) => one.id === rule.id && one.activeTo === null)!;
    // The step was first: the change begins behind it. The change was first: the step was not stored.
    if (advance.kind === 'advanced') assert.ok(now.activeFrom > seen);
    else assert.equal(advance.kind, 'stale');
  }
});
