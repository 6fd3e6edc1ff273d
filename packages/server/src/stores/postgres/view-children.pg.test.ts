/** The tables of rows: made as days come, without standing in anybody's way, and written by functions alone. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import pg from 'pg';
import { plainRecord, plainRow, proposed } from '../../../contract/view-store-contract.ts';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';
import type { RecordRun, ViewRef } from '../../project/ports.ts';
import { Appender } from './appender.ts';
import { openLog } from './log.ts';
import { migrate } from './migrate.ts';
import { openPool } from './pool.ts';
import { PostgresRecordSource } from './record-source.ts';
import { PostgresViewStore } from './view-store.ts';

const DAY_US = 86_400_000_000n;

async function makeScene(database?: Pick<TestDatabase, 'pool' | 'owner' | 'connection'>) {
  const { pool, owner, connection } = database ?? (await openTestDatabase());
  const log = await openLog({ pool, appender: new Appender(pool) }, 'audit', 1);
  const store = new PostgresViewStore(pool);
  const { ref } = await store.open('hot', 'a/1');
  await log.append([1, 2, 3].map((n) => proposed(n)));
  const [run] = await new PostgresRecordSource(pool).read([{ tree: log.trees[0], position: 0n }], {
    recordsMax: 10,
    bytesMax: 1_000_000,
  });
  return { pool, owner, connection, store, ref, run };
}

/** Commits the run as if its records had been appended on consecutive days. */
async function commitDays(
  store: PostgresViewStore,
  ref: ViewRef,
  { tree, records }: RecordRun,
): Promise<string> {
  const output = store.newOutput([tree]);
  for (const [day, record] of records.map(plainRecord).entries())
    output.addRow(tree, { ...record, appendedAt: record.appendedAt + BigInt(day) * DAY_US }, plainRow);
  const { kind } = await store.commit(ref, [{ tree, from: 0n, to: BigInt(records.length) }], output, 1);
  return kind;
}

async function children(owner: pg.Pool): Promise<string[]> {
  const { rows } = await owner.query<{ name: string }>(
    `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent::regclass::text LIKE 'evident.events%' AND inhrelid::regclass::text NOT LIKE '%idx' ORDER BY 1`,
  );
  return rows.map(({ name }) => name);
}

it('puts each row into the table of its day, made when the day comes', async () => {
  const { owner, store, ref, run } = await makeScene();
  assert.equal(await commitDays(store, ref, run), 'committed');
  const days = [0n, 1n, 2n].map((day) =>
    new Date(Number((run.records[0].appendedAt + day * DAY_US) / 1_000n))
      .toISOString()
      .slice(0, 10)
      .replaceAll('-', ''),
  );
  assert.deepEqual(await children(owner), [
    'evident.events_g1',
    ...days.map((day) => `evident.events_g1_${day}`),
  ]);
  for (const day of days) {
    const { rows } = await owner.query(`SELECT count(*)::int AS n FROM evident.events_g1_${day}`);
    assert.equal(rows[0].n, 1);
  }
});

it('makes tables under locks for which neither readers nor writers of the others wait', async () => {
  const { owner, connection, store, ref, run } = await makeScene();
  await commitDays(store, ref, { ...run, records: run.records.slice(0, 1) });
  const client = new pg.Client({ ...connection, options: '-c role=evident_server -c evident.tenant=*' });
  await client.connect();
  try {
    await client.query('BEGIN');
    const inTransaction = new PostgresViewStore(client as unknown as pg.Pool);
    const output = inTransaction.newOutput([run.tree]);
    for (const day of [1n, 2n])
      output.addRow(
        run.tree,
        { ...plainRecord(run.records[1]), appendedAt: run.records[1].appendedAt + day * DAY_US },
        plainRow,
      );
    await inTransaction.commit(ref, [{ tree: run.tree, from: 1n, to: 2n }], output, 1);
    const { rows } = await owner.query<{ name: string }>(
      `SELECT c.relname AS name FROM pg_locks k JOIN pg_class c ON c.oid = k.relation
        WHERE k.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
          AND c.relname ~ '^(events|event_ids)(_g1)?$'`,
    );
    assert.deepEqual(rows, []);
    // A reader does not wait for the transaction that is open.
    await owner.query("SET LOCAL lock_timeout = '2s'");
    assert.equal((await owner.query('SELECT count(*)::int AS n FROM evident.events')).rows[0].n, 1);
    await client.query('ROLLBACK');
  } finally {
    await client.end();
  }
  assert.equal((await children(owner)).length, 2, 'a transaction that is rolled back leaves no table');
});

it('makes one day once, however many begin it at the same moment', async () => {
  const { store, ref, run, pool } = await makeScene();
  const second = await store.begin('hot', 'a/1');
  const kinds = await Promise.all([
    commitDays(store, ref, run),
    commitDays(new PostgresViewStore(pool), ref, run),
    commitDays(new PostgresViewStore(pool), second, run),
  ]);
  assert.deepEqual(kinds.sort(), ['committed', 'committed', 'overtaken']);
});

it('is written by functions alone: the role of the server has no other right, on parents or children', async () => {
  const { pool, owner, store, ref, run } = await makeScene();
  await commitDays(store, ref, run);
  for (const table of [
    'events',
    'event_ids',
    'dead_letters',
    'checkpoints',
    'suspects',
    'views',
    'generations',
  ])
    for (const text of [
      `INSERT INTO evident.${table} SELECT * FROM evident.${table}`,
      `UPDATE evident.${table} SET ${table === 'views' ? 'live = 2' : 'generation = 2'}`,
      `DELETE FROM evident.${table}`,
      `TRUNCATE evident.${table}`,
    ])
      await assert.rejects(pool.query(text), { code: '42501' }, text);
  for (const child of [...(await children(owner)), 'evident.event_ids_g1'])
    await assert.rejects(pool.query(`SELECT FROM ${child}`), { code: '42501' }, child);
  for (const inner of [
    "evident.make_event_children(1, '{1}')",
    'evident.body_hash(1, 0)',
    'evident.partition_of(1)',
  ])
    await assert.rejects(pool.query(`SELECT ${inner}`), { code: '42501' }, inner);
});

it('is written under the forced policies of an owner that is no superuser', async (t) => {
  const { owner: admin, connection } = await openTestDatabase();
  if (connection.connectionString !== undefined)
    return t.skip('the embedded PostgreSQL alone gives a password to any role');
  const name = 'plain_owner';
  await admin.query(`CREATE ROLE ${name} LOGIN CREATEROLE PASSWORD '${name}'`);
  await admin.query(`GRANT evident_server, evident_search TO ${name} WITH ADMIN OPTION`);
  await admin.query(`CREATE DATABASE ${name} OWNER ${name}`);
  const own = { ...connection, user: name, password: name, database: name };
  const owner = openPool(own, { role: null, max: 2 });
  const pool = openPool(own, { role: 'evident_server', max: 2, tenant: '*' });
  try {
    const client = await owner.connect();
    await migrate(client);
    client.release();
    const { store, ref, run } = await makeScene({ pool, owner, connection: own });
    assert.equal(await commitDays(store, ref, run), 'committed');
    const count = 'SELECT count(*)::int AS n FROM evident.events';
    assert.equal((await pool.query(count)).rows[0].n, 3);
    await owner.query('DROP POLICY owner_rows ON evident.events');
    assert.equal((await owner.query(count)).rows[0].n, 0, 'FORCE binds the owner');
  } finally {
    await pool.end();
    await owner.end();
    await admin.query(`DROP DATABASE ${name}`);
    await admin.query(`DROP ROLE ${name}`);
  }
});

it('reads on behind positions that are gone', async () => {
  const { owner, pool, run } = await makeScene();
  await owner.query('DELETE FROM evident.records WHERE tree = $1 AND position < 2', [run.tree]);
  const source = new PostgresRecordSource(pool);
  const [found] = await source.read([{ tree: run.tree, position: 0n }], { recordsMax: 1, bytesMax: 1_000 });
  assert.deepEqual(
    found.records.map(({ position }) => position),
    [2n],
  );
});
