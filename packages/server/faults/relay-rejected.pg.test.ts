/**
 * Rows that may not be records as they are, among rows that may: the relay goes on, and each rejected row is one
 * `relay.rejected` that holds it. Bodies of every kind come through byte for byte. Read again in a new epoch, nothing
 * is doubled.
 */

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import type { LogRecord } from '@evident/core/record.ts';
import type { LocalRelay } from '../src/relay/ports.ts';
import { OutboxScene, type SceneOptions, until } from './outbox-scene.ts';
import { wrapPort } from './port-wrappers.ts';

interface Row {
  readonly id: string;
  readonly tenant: string;
  readonly type: string;
  readonly key: string;
  readonly schema: number;
  readonly meta: string | null;
  readonly body: string;
}

const row = (over: Partial<Row> = {}): Row => ({
  id: randomUUID(),
  tenant: 'acme',
  type: 'note',
  key: 'acme/one',
  schema: 0,
  meta: null,
  body: '{"n":1}',
  ...over,
});

/** So many that, inside one database, PostgreSQL takes over what it can by itself. */
const PLAIN_ROWS = 600;

/** Rows that are rejected, with the code of their fault and what the reason has to name. */
function rejectedRows(): { row: Row; code: string; names: RegExp }[] {
  const reserved = 'field-reserved';
  const invalid = 'field-invalid';
  return [
    { row: row({ tenant: 'other', key: 'other/one' }), code: 'tenant-forbidden', names: /^tenant: .*other/ },
    { row: row({ type: 'log.hour' }), code: reserved, names: /^type: / },
    { row: row({ type: 'relay.rejected' }), code: reserved, names: /^type: / },
    { row: row({ type: 'head' }), code: reserved, names: /^type: / },
    { row: row({ key: '/etc/passwd' }), code: invalid, names: /^key: .*path/ },
    { row: row({ key: 'acme/../other' }), code: invalid, names: /^key: .*path/ },
    { row: row({ key: 'acme\\..' }), code: invalid, names: /^key: .*path/ },
    { row: row({ key: '_system/one' }), code: reserved, names: /^key: / },
    { row: row({ meta: '{"b":1,"a":2}' }), code: invalid, names: /^meta: / },
    { row: row({ meta: '{"a": 1}' }), code: invalid, names: /^meta: / },
    { row: row({ meta: '{"a":1,"a":1}' }), code: invalid, names: /^meta: / },
    { row: row({ meta: '{"a":"\\ud800"}' }), code: invalid, names: /^meta/ },
    { row: row({ meta: 'no JSON' }), code: invalid, names: /^meta: / },
    { row: row({ meta: '{}' }), code: invalid, names: /^meta: / },
    { row: row({ schema: 1 }), code: invalid, names: /^schema: / },
    { row: row({ type: 'audit.event', schema: 0 }), code: invalid, names: /^schema: / },
    { row: row({ type: 'head', body: 'no JSON "\t\u00e9' }), code: reserved, names: /^type: / },
    {
      row: row({ type: 'head', body: JSON.stringify('y'.repeat(3_000_000)) }),
      code: reserved,
      names: /^type: /,
    },
  ];
}

/** Rows that become records, and the form that their bodies take. */
function takenRows(): { row: Row; form: 'json' | 'base64' | 'object' }[] {
  return [
    { row: row({ body: '{"a":"\\ud800","b":"\\udc00\\ud800"}' }), form: 'json' },
    { row: row({ body: '{"a":1,"a":2}' }), form: 'json' },
    { row: row({ body: '""' }), form: 'json' },
    { row: row({ body: '  {"n" : 1.50e0}  ' }), form: 'json' },
    { row: row({ body: '{"text":"\u00e9 \u20ac \u{1f600}"}' }), form: 'json' },
    { row: row({ body: 'no JSON' }), form: 'base64' },
    { row: row({ body: '{"n":1}\n' }), form: 'base64' },
    { row: row({ body: '{"n":\t1}' }), form: 'base64' },
    { row: row({ body: '{"n":1}{"n":2}' }), form: 'base64' },
    { row: row({ body: `${'['.repeat(5_000)}${']'.repeat(5_000)}` }), form: 'base64' },
    { row: row({ body: JSON.stringify('x'.repeat(100_000)) }), form: 'object' },
    { row: row({ body: JSON.stringify('x'.repeat(3_000_000)) }), form: 'object' },
    { row: row({ body: 'z'.repeat(100_000) }), form: 'object' },
    // A broken audit.event goes in as it is: a dead letter in the views, not here.
    { row: row({ type: 'audit.event', schema: 1, body: '{"no":"event"}' }), form: 'json' },
    { row: row({ meta: '{"a":2,"b":"\u00e9"}' }), form: 'json' },
    { row: row({ key: `acme/${'k'.repeat(507)}` }), form: 'json' },
  ];
}

async function insert(scene: OutboxScene, rows: readonly Row[]): Promise<void> {
  await scene.admin.query(
    `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body)
       SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[])`,
    (['id', 'tenant', 'type', 'key', 'schema', 'meta', 'body'] as const).map((name) =>
      rows.map((one) => one[name]),
    ),
  );
}

async function bytesOf(scene: OutboxScene, record: LogRecord): Promise<Buffer> {
  const { body, tenant } = record;
  if (body.form !== 'object') return Buffer.from(body.bytes);
  const bytes = await scene.installation.storage.objects.get(tenant, body.sha256);
  assert.ok(bytes !== null, 'the object is not there');
  assert.deepEqual(createHash('sha256').update(bytes).digest(), Buffer.from(body.sha256));
  return Buffer.from(bytes);
}

/** What relay.rejected says of the rows of this scene, by event id. */
async function rejections(scene: OutboxScene): Promise<Map<string, Record<string, unknown>[]>> {
  const said = new Map<string, Record<string, unknown>[]>();
  for (const record of await scene.records()) {
    if (record.type !== 'relay.rejected') continue;
    assert.deepEqual([record.tenant, record.key, record.source], ['_system', '_system', 'evident']);
    const body = JSON.parse((await bytesOf(scene, record)).toString());
    if (body.source !== scene.name) continue;
    said.set(body.row.event_id, [...(said.get(body.row.event_id) ?? []), body]);
  }
  return said;
}

async function checkAll(
  scene: OutboxScene,
  taken: ReturnType<typeof takenRows>,
  rejected: ReturnType<typeof rejectedRows>,
  plain: readonly Row[],
): Promise<void> {
  const records = await scene.relayed();
  assert.equal(records.length, taken.length + plain.length);
  const byId = new Map(records.map((record) => [record.id, record]));
  for (const { row, form } of [...taken, ...plain.map((row) => ({ row, form: 'json' as const }))]) {
    const record = byId.get(row.id);
    assert.ok(record !== undefined, `${row.body.slice(0, 40)} is not in the log`);
    const { tenant, type, key, schema, meta } = record;
    assert.deepEqual(
      [tenant, type, key, schema, meta],
      [row.tenant, row.type, row.key, row.schema, row.meta],
    );
    assert.equal(record.body.form, form, row.body.slice(0, 40));
    assert.ok((await bytesOf(scene, record)).equals(Buffer.from(row.body)), 'its bytes are others');
  }
  const said = await rejections(scene);
  assert.equal(said.size, rejected.length);
  for (const { row, code, names } of rejected) {
    const [one, ...more] = said.get(row.id) ?? [];
    assert.equal(more.length, 0, 'it was rejected twice');
    const { id, ...fields } = row;
    assert.deepEqual(one?.row, { event_id: id, ...fields }, 'the record holds the row');
    assert.equal(one.code, code, JSON.stringify(one.reason));
    assert.match(String(one.reason), names);
  }
}

async function relayAll(t: TestContext, options: SceneOptions): Promise<void> {
  const scene = await OutboxScene.open(t, options);
  const taken = takenRows();
  const rejected = rejectedRows();
  const plain = Array.from({ length: PLAIN_ROWS }, (_, n) =>
    row({ key: `acme/${n % 9}`, body: `{"n":${n}}` }),
  );
  let passedOver = 0;
  const counted = (local: LocalRelay) =>
    wrapPort(local, {
      relay: async (...call) => {
        const answer = await local.relay(...call);
        passedOver += answer.taken;
        return answer;
      },
    });
  const first = scene.relay({ local: counted });
  const wanted = options.mode ?? 'polling';
  await until(
    `the mode ${wanted}`,
    async () => (await scene.relayLog.readSource(scene.name))?.state?.mode === wanted,
  );
  const all = [...taken, ...rejected].map(({ row }) => row);
  await insert(scene, [...plain.slice(0, 300), ...all, ...plain.slice(300)]);
  const complete = async () =>
    (await scene.relayed()).length >= taken.length + plain.length &&
    (await rejections(scene)).size >= rejected.length;
  await until('all rows in the log', complete);
  await first.stop();
  assert.deepEqual(first.faults, []);
  assert.equal(first.rejected.length, rejected.length);
  assert.deepEqual([first.appended, first.repeats], [taken.length + plain.length, 0]);
  assert.equal(passedOver > 0, options.where === 'log', `PostgreSQL took ${passedOver} rows over by itself`);
  await checkAll(scene, taken, rejected, plain);

  // The database is not the one known before: everything is read again.
  await scene.admin.query('UPDATE evident_outbox.heartbeat SET tokens = ARRAY[gen_random_uuid()]');
  const second = scene.relay();
  const repeated = () => [second.repeats, second.rejected.length];
  await until('everything to be a repeat', () => repeated()[0] + repeated()[1] >= all.length + plain.length);
  await second.stop();
  assert.deepEqual(repeated(), [taken.length + plain.length, rejected.length]);
  assert.equal(second.appended, 0);
  assert.equal(second.epochs.length, 1);
  assert.equal((await scene.said('relay.epoch')).length, 1);
  await checkAll(scene, taken, rejected, plain);
  await scene.seal();
  assert.equal((await scene.installation.verify()).verdict, 'verified');
}

describe('rows that may not be records as they are', () => {
  it('by polling: are rejected one by one, once, and the others come through', (t) => relayAll(t, {}));
  it('by polling inside one database: the same', (t) => relayAll(t, { where: 'log' }));
  it('from the write-ahead log: the same', (t) => relayAll(t, { mode: 'wal' }));

  it('of one identity: the same body stands once, another body once as well, also when read again', async (t) => {
    const scene = await OutboxScene.open(t);
    const relay = scene.relay();
    const one = row();
    const other = row({ id: one.id, body: '{"n":2}' });
    await insert(scene, [one, one, other, other, one]);
    await until('both bodies', async () => (await scene.relayed()).length >= 2);
    await until('the repeats', () => relay.repeats >= 3);
    await relay.stop();
    await scene.admin.query('UPDATE evident_outbox.heartbeat SET tokens = ARRAY[gen_random_uuid()]');
    const next = scene.relay();
    await until('all to be repeats', () => next.repeats >= 5);
    await next.stop();
    const bodies = await Promise.all((await scene.relayed()).map((record) => bytesOf(scene, record)));
    assert.deepEqual(bodies.map(String), ['{"n":1}', '{"n":2}']);
  });
});
