/** A relay whose outbox lies in the log's database takes rows over in SQL: what it makes of them must be the same. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { LogRecord } from '@evident/core/record.ts';
import pg from 'pg';
import { openStorage, type Storage } from '../../compose.ts';
import { makeConfig } from '../../config.ts';
import { Relay } from '../../relay/relay.ts';
import { cleanUp, makeFolder, quiet, until } from './embedded/engine-fixture.ts';
import { openOutbox } from './outbox/postgres-outbox.ts';
import { PostgresLocalRelay } from './relay-log.ts';

const PLAIN_ROWS = 600;

async function openScene(t: TestContext): Promise<{ storage: Storage; client: pg.Client }> {
  const config = makeConfig({ data: makeFolder(t), logs: { plain: 5, local: 5 } });
  const storage = await openStorage(config, quiet);
  cleanUp(t, () => storage.close());
  const client = new pg.Client(storage.connection);
  await client.connect();
  cleanUp(t, () => client.end());
  await client.query(
    "SELECT set_config('evident_outbox.slots', '8', false), set_config('evident_outbox.slot_seconds', '60', false)",
  );
  await client.query(readFileSync(new URL('../../../sql/outbox/outbox.sql', import.meta.url), 'utf8'));
  return { storage, client };
}

interface Counts {
  appended: number;
  repeats: number;
  rejected: number;
  local: number;
}

/** Relays until the source's cursor stands behind every row. */
async function relayAll(storage: Storage, source: string, isLocal: boolean, rows: number): Promise<Counts> {
  const counts = { appended: 0, repeats: 0, rejected: 0, local: 0 };
  const local = new PostgresLocalRelay(storage.pool);
  const relay = new Relay(
    {
      log: storage.relayLog,
      objects: storage.objects,
      ...(isLocal
        ? {
            local: {
              isLocal: (tokens: readonly string[]) => local.isLocal(tokens),
              relay: async (...given: Parameters<PostgresLocalRelay['relay']>) => {
                const done = await local.relay(...given);
                counts.local += done.taken;
                return done;
              },
            },
          }
        : {}),
      now: () => performance.now(),
      randomId: randomUUID,
      sleep: (milliseconds, signal) => wait(milliseconds, undefined, { signal }).catch(() => undefined),
      connect: async () => openOutbox(storage.connection),
      onRelayed: ({ appended, repeats, rejected }) => {
        counts.appended += appended;
        counts.repeats += repeats;
        counts.rejected += rejected;
      },
      onRejected: () => undefined,
      onEpoch: () => undefined,
      onAlert: () => undefined,
      onError: (_source, error) => assert.fail(error as Error),
      onCare: () => undefined,
    },
    source,
  );
  relay.start();
  await until(`${rows} rows are relayed`, () => counts.appended + counts.repeats + counts.rejected >= rows);
  await relay.stop();
  return counts;
}

interface Row {
  tenant?: string;
  type?: string;
  key?: string;
  schema?: number;
  meta?: string | null;
  body?: string;
  id?: string;
}

const deep = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`;

/** Rows that the short cut may not take as they stand, or where it could get something wrong. */
const ODD: Row[] = [
  { tenant: 'other' },
  { type: 'log.hour' },
  { type: 'relay.rejected' },
  { type: 'head' },
  { type: 'heading', body: '"not reserved"' },
  { type: 'audit.event', schema: 0 },
  { type: 'audit.event', schema: 1, body: '{"breaks":"its schema"}' },
  { schema: 7 },
  { key: 'acme' },
  { key: 'acme/' },
  { key: 'acme/../x' },
  { key: 'acme/a\\..\\b' },
  { key: 'globex/u' },
  { key: '_system' },
  { key: '_system/x' },
  { meta: '{"b":1,"a":2}' },
  { meta: '{"a":2,"b":1}' },
  { meta: '{"service":"bank"}' },
  { meta: 'no json' },
  { body: 'no json' },
  { body: '{"a":1}\n' },
  { body: '{\t"a":1}' },
  { body: ' {"a" : 1 } ' },
  { body: '{"a":1,"a":2}' },
  { body: '"\\ud800"' },
  { body: '"ünïcödé 🜚"' },
  { body: '01' },
  { body: '-0' },
  { body: '1e400' },
  { body: deep(60) },
  { body: deep(61) },
  { body: deep(128) },
  { body: deep(129) },
  { body: deep(30_000) },
  { body: JSON.stringify('x'.repeat(8_189)) },
  { body: JSON.stringify('x'.repeat(8_192)) },
  { body: JSON.stringify('x'.repeat(70_000)) },
];

async function insert(client: pg.Client, rows: readonly Row[]): Promise<void> {
  const all = rows.map((row) => ({
    id: randomUUID(),
    tenant: 'acme',
    type: 'note',
    key: `acme/${Math.floor(Math.random() * 1_000)}`,
    schema: 0,
    meta: null,
    body: '{"n":1}',
    ...row,
  }));
  await client.query(
    `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body)
     SELECT (r ->> 'id')::uuid, r ->> 'tenant', r ->> 'type', r ->> 'key', (r ->> 'schema')::int, r ->> 'meta', r ->> 'body'
       FROM jsonb_array_elements($1::jsonb) r`,
    [JSON.stringify(all)],
  );
}

/** A record without what differs from log to log. */
function essence({ id, partition, tenant, type, schema, key, meta, sourceSeq, body }: LogRecord): string {
  const content =
    body.form === 'object'
      ? `${Buffer.from(body.sha256).toString('hex')} ${body.size}`
      : Buffer.from(body.bytes).toString('base64');
  return JSON.stringify([id, partition, tenant, type, schema, key, meta, sourceSeq, body.form, content]);
}

async function contents(storage: Storage, log: string): Promise<LogRecord[]> {
  const one = storage.logs.get(log);
  assert.ok(one !== undefined);
  const records = await one.readMany(
    Array.from({ length: one.partitions }, () => 0n),
    10_000,
  );
  return records.filter(({ type }) => type !== 'log.hour');
}

test('the short cut inside one database makes the same records as the relay itself', async (t) => {
  const { storage, client } = await openScene(t);
  const plain = Array.from({ length: PLAIN_ROWS }, (_, row) => ({ body: `{"row":${row}}` }));
  // Odd rows alone and in rows of them, with plenty that is plain around each.
  await insert(client, plain);
  for (const odd of ODD) {
    await insert(client, [odd]);
    await insert(client, plain.slice(0, 300));
  }
  await insert(client, ODD);
  const again = randomUUID();
  await insert(client, [{ id: again }, ...plain, { id: again }, { id: again, body: '{"another":"body"}' }]);
  const total = PLAIN_ROWS * 2 + ODD.length * 302 + 3;

  await storage.relayLog.register('one', 'plain', ['acme', 'globex'], 'polling');
  await storage.relayLog.register('two', 'local', ['acme', 'globex'], 'polling');
  const direct = await relayAll(storage, 'one', false, total);
  // The sweep of an epoch's begin is always the relay's own: let it pass with nothing to read.
  await client.query('CREATE TABLE kept AS TABLE evident_outbox.events; TRUNCATE evident_outbox.events');
  await relayNothing(storage);
  await client.query(
    'INSERT INTO evident_outbox.events SELECT slot, pg_current_xact_id(), id, written_at, event_id, tenant, type, key, schema, meta, body FROM kept ORDER BY xid, id',
  );
  const short = await relayAll(storage, 'two', true, total);

  assert.ok(short.local > total / 3, `only ${short.local} of ${total} rows took the short cut`);
  assert.ok(short.local < total, 'every row took it, odd ones among them');
  assert.deepEqual(
    { appended: short.appended, repeats: short.repeats, rejected: short.rejected },
    { appended: direct.appended, repeats: direct.repeats, rejected: direct.rejected },
  );
  const rejected = /"type":"relay.rejected"/;
  const of = async (log: string) =>
    (await contents(storage, log))
      .filter(({ type }) => type !== 'relay.rejected')
      .map(essence)
      .sort();
  const [left, right] = [await of('plain'), await of('local')];
  assert.deepEqual(right, left);
  assert.ok(!left.some((text) => rejected.test(text)));
  const count = async (log: string) =>
    (await contents(storage, log)).filter(({ type }) => type === 'relay.rejected').length;
  assert.equal(await count('local'), await count('plain'));
});

/** Brings the source `two` through its first epoch's sweep. */
async function relayNothing(storage: Storage): Promise<void> {
  const relay = relayAll(storage, 'two', true, 0);
  await until(
    'the source has a cursor',
    async () => (await storage.relayLog.readSource('two'))?.state != null,
  );
  await relay;
}

test('without the checks of the outbox nothing takes the short cut', async (t) => {
  const { storage, client } = await openScene(t);
  await storage.relayLog.register('two', 'local', null, 'polling');
  await relayNothing(storage);
  await client.query('ALTER TABLE evident_outbox.events DROP CONSTRAINT tenant');
  await insert(
    client,
    Array.from({ length: PLAIN_ROWS }, () => ({})),
  );
  const { local, appended } = await relayAll(storage, 'two', true, PLAIN_ROWS);
  assert.deepEqual({ local, appended }, { local: 0, appended: PLAIN_ROWS });
});
