/** What functions of the owner refuse to whoever may call them (sql/postgres/0012_guards.sql). */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, it } from 'node:test';
import pg from 'pg';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';

const ROLE = `evident_test_${randomUUID().slice(0, 8)}`;
let database: TestDatabase;

before(async () => {
  database = await openTestDatabase();
});

async function connect(role: string): Promise<pg.Client> {
  const client = new pg.Client({ ...database.connection, options: `-c role=${role}` });
  await client.connect();
  return client;
}

it('recovery moves nothing that is sealed, and forgets no head', async () => {
  const { owner, pool } = database;
  await owner.query("SELECT evident.make_log('audit', 1)");
  await owner.query('SELECT evident.add_child(1, 0, 100)');
  await owner.query(`INSERT INTO evident.records (tree, position, appended_at, id, tenant, source, type, schema, key, body_form, body)
    SELECT 1, g, now(), gen_random_uuid(), 'acme', 'test', 'note', 0, 'acme/1', 0, '{}' FROM generate_series(0, 3) g`);
  await owner.query('UPDATE evident.partitions SET next_position = 4, child_end = 100');
  await owner.query("SELECT evident.begin_seal(1, sha256(''))");
  await owner.query('UPDATE evident.seals SET size = 3');
  await pool.query("SELECT evident.stop_partition(1, 'a test')");
  const recover = (size: number, misplaced: number[], from: number[], to: number[]) =>
    pool.query(
      "SELECT evident.recover_partition(1, 0, $1, sha256('a'), sha256(''), '', NULL, 4, gen_random_uuid(), '{}', $2, $3, $4)",
      [size, misplaced, from, to],
    );
  const refused = { code: 'EV010', message: /below 3 stays/ };
  await assert.rejects(recover(3, [1], [1], [2]), refused);
  await assert.rejects(recover(3, [], [1], [2]), refused);
  await assert.rejects(recover(2, [], [], []), refused);
  assert.equal((await owner.query('SELECT FROM evident.records')).rows.length, 4);
  await recover(4, [3], [3], [4]);
  const { rows } = await owner.query<{ position: string }>(
    'SELECT position FROM evident.records ORDER BY position',
  );
  assert.deepEqual(
    rows.map(({ position }) => position),
    ['0', '1', '2', '4', '5'],
  );
});

it('an outbox of another role is not read as the owner of the log, whose code it would run', async () => {
  const { owner, pool, connection } = database;
  await owner.query(`CREATE ROLE ${ROLE}`);
  after(async () => {
    const client = new pg.Client(connection);
    await client.connect();
    await client.query(`DROP OWNED BY ${ROLE} CASCADE`);
    await client.query(`DROP ROLE ${ROLE}`);
    await client.end();
  });
  await owner.query(
    `DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO ${ROLE}', current_database()); END $$`,
  );
  const application = await connect(ROLE);
  try {
    await application.query(`CREATE SCHEMA evident_outbox;
      GRANT USAGE ON SCHEMA evident_outbox TO PUBLIC;
      CREATE TABLE evident_outbox.events ();
      CREATE FUNCTION evident_outbox.run() RETURNS uuid[] LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'it runs as %', current_user USING ERRCODE = 'P0001'; END $$;
      CREATE VIEW evident_outbox.heartbeat AS SELECT evident_outbox.run() AS tokens`);
  } finally {
    await application.end();
  }
  await assert.rejects(owner.query('SELECT FROM evident_outbox.heartbeat h WHERE h.tokens IS NULL'), {
    code: 'P0001',
  });
  const { rows } = await pool.query<{ local: boolean }>('SELECT evident.is_local($1) AS local', [
    randomUUID(),
  ]);
  assert.equal(rows[0].local, false);
  const { rows: taken } = await pool.query(
    `SELECT taken, repeats, state::text FROM evident.relay_local('none', 0, '{"epoch":1}', 10, '{}')`,
  );
  assert.deepEqual(taken, [{ taken: 0, repeats: 0, state: '{"epoch": 1}' }]);
});
