/** What functions of the owner refuse to a connection that acts for a tenant (sql/postgres/0014_tenant_bounds.sql). */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';

const DENIED = { code: '42501' };
/** Whom a connection of the server's role acts for; null: nobody is set. */
type Acting = 'acme' | '*' | null;

let database: TestDatabase;
const clients: pg.Client[] = [];

before(async () => {
  database = await openTestDatabase();
  await database.owner.query("SELECT evident.make_log('audit', 1)");
  await database.pool.query("SELECT evident.alerts_open('[]')");
});

/** Within each suite: what stops the engine is registered outside of them, and runs after this. */
async function closeClients(): Promise<void> {
  for (const client of clients.splice(0)) await client.end();
}

async function connect(acting: Acting): Promise<pg.Client> {
  const setting = acting === null ? '' : ` -c evident.tenant=${acting}`;
  const client = new pg.Client({ ...database.connection, options: `-c role=evident_server${setting}` });
  await client.connect();
  clients.push(client);
  return client;
}

/** Calls that reach rows of a tenant that is not acme, or that act on all; what each answered before 0014 was no refusal. */
const CALLS: Readonly<Record<string, string>> = {
  delivery_claim: "SELECT tenant FROM evident.delivery_claim('{}', 1)",
  delivery_mark:
    "SELECT evident.delivery_mark((SELECT delivery_id FROM evident.webhook_deliveries LIMIT 1), 0, 'failed', 0, 'x')",
  delivery_retry: 'SELECT evident.delivery_retry($1, NULL)',
  alert_acknowledge: "SELECT evident.alert_acknowledge($1, NULL, 'x', NULL)",
  alert_raise: "SELECT evident.alert_raise('k', 'beta', 'n', 'critical', 's', 'd', NULL)",
  alert_settle: "SELECT evident.alert_settle('beta-key')",
  alert_rule_put: "SELECT evident.alert_rule_put($1, 'beta', 0, NULL, 'x', 9)",
  webhook_add: "SELECT evident.webhook_add($1::uuid, 'beta', $1::uuid::text, 'u', 'alert', '', 'x', 9)",
  webhook_remove: 'SELECT evident.webhook_remove($1, NULL)',
  append: `SELECT evident.append('{1}', '{1}', '{0}', ARRAY[$1::uuid], '{beta}', '{x}', '{NULL}', '{note}', '{0}', '{beta/1}',
    '{NULL}', '{0}', '{"\\\\x7b7d"}', '{NULL}', '{NULL}', '{NULL}', '{f}', '{1}')`,
  close_hours: "SELECT evident.close_hours('{1}')",
  make_log: "SELECT evident.make_log('mine', 1)",
  stop_partition: "SELECT evident.stop_partition(1, 'because')",
  register_source: "SELECT evident.register_source('mine', 'audit', '{beta}', 'polling')",
};

/** Arguments of a call: an id that nothing has, unless it takes none. */
function run(client: pg.Client, name: string): Promise<pg.QueryResult> {
  const text = CALLS[name];
  return client.query(text, text.includes('$1') ? [randomUUID()] : []);
}

/** An alert of beta, on its way to a webhook of beta. */
async function raiseForBeta(): Promise<string> {
  const { pool } = database;
  const id = randomUUID();
  await pool.query("SELECT evident.webhook_add($1, 'beta', $2, 'https://x.example', 'alert', '', 'x', 99)", [
    id,
    id,
  ]);
  const { rows } = await pool.query<{ id: string }>(
    "SELECT evident.alert_raise($1, 'beta', 'n', 'critical', 's', 'd', NULL) AS id",
    [randomUUID()],
  );
  return rows[0].id;
}

/** Takes the check out of a function, and gives back what puts it in again: what it was before the migration. */
async function withoutCheck(name: string): Promise<() => Promise<unknown>> {
  const { rows } = await database.owner.query<{ text: string }>(
    "SELECT pg_get_functiondef(format('evident.%I', $1::text)::regproc) AS text",
    [name],
  );
  const [{ text }] = rows;
  const bare = text.replace(/^ {2}(PERFORM|SELECT) evident\.check_\w+\([a-z_]*\);\n?/m, '');
  assert.notEqual(bare, text, `${name} has the check`);
  await database.owner.query(bare);
  return () => database.owner.query(text);
}

describe('functions that act as the owner', () => {
  after(closeClients);

  it('refuse a connection that acts for a tenant what is of another, and one that acts for nobody everything', async () => {
    for (const acting of ['acme', null] as const) {
      const client = await connect(acting);
      for (const name of Object.keys(CALLS)) await assert.rejects(run(client, name), DENIED, name);
    }
  });

  it('did so only since they check it: without, a tenant takes, acknowledges and ends what is of another', async () => {
    const client = await connect('acme');
    const restore = await Promise.all(
      ['delivery_claim', 'alert_acknowledge', 'append', 'webhook_add'].map(withoutCheck),
    );
    try {
      const alert = await raiseForBeta();
      assert.deepEqual((await run(client, 'delivery_claim')).rows, [{ tenant: 'beta' }]);
      const sql = "SELECT evident.alert_acknowledge($1, NULL, 'x', NULL) AS outcome";
      assert.deepEqual((await client.query(sql, [alert])).rows, [{ outcome: 'acknowledged' }]);
      await run(client, 'append');
      await run(client, 'webhook_add');
    } finally {
      for (const one of restore) await one();
    }
    const alert = await raiseForBeta();
    await assert.rejects(run(client, 'delivery_claim'), DENIED);
    await assert.rejects(
      client.query("SELECT evident.alert_acknowledge($1, NULL, 'x', NULL)", [alert]),
      DENIED,
    );
    const { rows } = await database.owner.query(
      'SELECT acknowledged_us AS at FROM evident.alerts WHERE alert_id = $1',
      [alert],
    );
    assert.deepEqual(rows, [{ at: null }]);
  });

  it('serve the server, a tenant that asks about itself, and who owns the schema', async () => {
    const server = await connect('*');
    for (const name of Object.keys(CALLS)) await run(server, name);
    await database.owner.query('UPDATE evident.partitions SET stopped = NULL');
    const own = await connect('acme');
    const { rows } = await own.query(
      "SELECT evident.alert_acknowledge($1, 'acme', 'x', NULL) AS acknowledged, evident.webhook_remove($1, 'acme') AS removed",
      [randomUUID()],
    );
    assert.deepEqual(rows, [{ acknowledged: 'unknown', removed: false }]);
    assert.equal(
      (await own.query("SELECT evident.save_search('acme', 'n', '{}', 'x', 9) AS saved")).rows[0].saved,
      true,
    );
    for (const tenant of ["'beta'", "''", "'*'", 'NULL'])
      await assert.rejects(own.query(`SELECT evident.drop_search(${tenant}, 'n')`), DENIED, tenant);
    await database.owner.query("SELECT evident.make_log('another', 1)");
  });

  it('each have the check, whatever was added since: not one answers a tenant, or nobody, that asks about all', async () => {
    const { rows: all } = await database.owner.query<{ name: string; call: string }>(`
      SELECT p.proname AS name, format('SELECT evident.%I(%s)', p.proname,
             (SELECT string_agg(format('NULL::%s', t::regtype), ', ' ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY a(t, n))) AS call
        FROM pg_proc p WHERE p.pronamespace = 'evident'::regnamespace AND p.prosecdef
         AND has_function_privilege('evident_server', p.oid, 'EXECUTE')`);
    assert.ok(all.length > 30);
    for (const acting of ['acme', null] as const) {
      const client = await connect(acting);
      for (const { name, call } of all) {
        // Of the tenant that is set alone: 0008_query.sql. And whether an outbox is here is answered with no.
        if (name === 'match_text' && acting !== null) continue;
        if (name === 'is_local') assert.deepEqual((await client.query(call)).rows, [{ is_local: false }]);
        else await assert.rejects(client.query(call), DENIED, `${name} for ${acting}`);
      }
    }
  });
});
