/** What an application may write to its outbox, and what the table refuses (design §4). Real PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type pg from 'pg';
import { initOutbox } from './init.ts';
import { type OutboxDatabase, openOutboxDatabase, PAYLOAD, SLOTS, VALUES } from './outbox-fixture.ts';

const DENIED = { code: '42501' };
const TABLES = ['events', ...Array.from({ length: SLOTS }, (_, slot) => `events_${slot}`)].map(
  (table) => `evident_outbox.${table}`,
);

async function openWriter(t: TestContext): Promise<{ database: OutboxDatabase; writer: pg.Client }> {
  const database = await openOutboxDatabase(t);
  const role = await database.makeRole('LOGIN');
  await initOutbox(database.admin, { writer: role });
  return { database, writer: await database.open(role) };
}

describe('an application in the writer group', () => {
  it('writes exactly the payload columns; the rest comes from defaults', async (t) => {
    const { database, writer } = await openWriter(t);
    await writer.query('BEGIN');
    await writer.query(`INSERT INTO evident_outbox.events (${PAYLOAD}) VALUES (${VALUES}), (${VALUES})`);
    const { rows } = await writer.query('SELECT pg_current_xact_id()::text AS xid');
    await writer.query('COMMIT');
    const found = await database.rows(
      'SELECT xid::text, id::int, slot BETWEEN 0 AND 3 AS slotted, written_at <= clock_timestamp() AS dated FROM evident_outbox.events ORDER BY id',
    );
    const row = { xid: rows[0].xid, slotted: true, dated: true };
    assert.deepEqual(found, [
      { ...row, id: 1 },
      { ...row, id: 2 },
    ]);
  });

  it('forges no column: naming slot, xid, id or written_at is refused, in the table and in each slot', async (t) => {
    const { database, writer } = await openWriter(t);
    const forgeries = { slot: '1', xid: "'9223372036854775807'", id: '1', written_at: 'now()' };
    for (const table of TABLES) {
      for (const [column, value] of Object.entries(forgeries)) {
        const insert = `INSERT INTO ${table} (${column}, ${PAYLOAD}) VALUES (${value}, ${VALUES})`;
        await assert.rejects(writer.query(insert), DENIED, `${table}.${column}`);
        const asDefault = `INSERT INTO ${table} (${column}, ${PAYLOAD}) VALUES (DEFAULT, ${VALUES})`;
        await assert.rejects(writer.query(asDefault), DENIED, `${table}.${column} DEFAULT`);
      }
    }
    await assert.rejects(writer.query(`COPY evident_outbox.events (xid, ${PAYLOAD}) FROM STDIN`), DENIED);
    // The guard taken away, the forged row is there: the refusals above are the grant's doing.
    await database.admin.query('GRANT INSERT ON evident_outbox.events TO evident_outbox_writer');
    await writer.query(
      `INSERT INTO evident_outbox.events (xid, ${PAYLOAD}) VALUES ('9223372036854775807', ${VALUES})`,
    );
  });

  it('neither reads, changes nor removes a row, in the table or in a slot', async (t) => {
    const { writer } = await openWriter(t);
    for (const table of TABLES) {
      for (const statement of [
        `SELECT * FROM ${table}`,
        `INSERT INTO ${table} (${PAYLOAD}) VALUES (${VALUES}) RETURNING id`,
        `UPDATE ${table} SET body = 'x'`,
        `DELETE FROM ${table}`,
        `TRUNCATE ${table}`,
        `DO $$ BEGIN LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE; END $$`,
        `ALTER TABLE ${table} ALTER xid DROP DEFAULT`,
        `DROP TABLE ${table}`,
      ])
        await assert.rejects(writer.query(statement), DENIED, statement);
    }
  });

  it('neither sets nor reads the sequence, nor calls what the relay calls', async (t) => {
    const { writer } = await openWriter(t);
    for (const statement of [
      "SELECT setval('evident_outbox.row_id', 1)",
      'SELECT last_value FROM evident_outbox.row_id',
      'ALTER SEQUENCE evident_outbox.row_id RESTART',
      'SELECT evident_outbox.beat(gen_random_uuid())',
      "SELECT evident_outbox.empty_slot(0::smallint, '0', 0, '0', 0, 0)",
      'SELECT * FROM evident_outbox.heartbeat',
      'SELECT * FROM evident_outbox.ring',
      'UPDATE evident_outbox.ring SET slots = 5',
      "UPDATE evident_outbox.shape SET fingerprint = 'x'",
      'CREATE TABLE evident_outbox.mine ()',
      'CREATE TABLE public.mine PARTITION OF evident_outbox.events DEFAULT',
    ])
      await assert.rejects(writer.query(statement), DENIED, statement);
    const { rows } = await writer.query('SELECT bytes >= 0 AS known FROM evident_outbox.pressure()');
    assert.deepEqual(rows, [{ known: true }]);
  });
});

it('a relay reads the outbox and changes nothing in it but through its functions', async (t) => {
  const database = await openOutboxDatabase(t);
  const role = await database.makeRole('LOGIN');
  await initOutbox(database.admin, { relay: role });
  const relay = await database.open(role);
  await relay.query('SELECT * FROM evident_outbox.events');
  await relay.query('SELECT evident_outbox.beat(gen_random_uuid())');
  for (const table of TABLES)
    for (const statement of [
      `INSERT INTO ${table} (${PAYLOAD}) VALUES (${VALUES})`,
      `DELETE FROM ${table}`,
      `TRUNCATE ${table}`,
    ])
      await assert.rejects(relay.query(statement), DENIED, statement);
  await assert.rejects(relay.query("SELECT nextval('evident_outbox.row_id')"), DENIED);
});

describe('a bad row', () => {
  const good: Record<string, string> = {
    event_id: 'gen_random_uuid()',
    tenant: "'acme'",
    type: "'t'",
    key: "'k'",
    schema: '0',
    meta: 'NULL',
    body: "'x'",
  };
  const insert = (column: string, value: string): string => {
    const row = { ...good, [column]: value };
    return `INSERT INTO evident_outbox.events (${Object.keys(row).join(', ')}) VALUES (${Object.values(row).join(', ')})`;
  };
  const refused: Record<string, string[]> = {
    tenant: ["''", "'-a'", "'a b'", "'ä'", "repeat('a', 129)", "'_system'", "E'a\\n'"],
    type: ["''", "'_x'", "'a/b'", "repeat('a', 129)", "E'a\\n'"],
    key: ["''", "repeat('a', 513)", "repeat('ä', 257)", "E'a\\x01'", "E'a\\n'"],
    schema: ['-1'],
    meta: ["'x'", "repeat('x', 2049)", "E'{\\t}'"],
    body: ["''", "repeat('x', 16777217)"],
  };
  const taken: Record<string, string[]> = {
    tenant: ["repeat('a', 128)", "'A.b_c:d-9'"],
    type: ["'audit.event'", "repeat('a', 128)"],
    key: ["repeat('a', 512)", "'ä ∞'"],
    schema: ['2147483647'],
    meta: ["'{}'", "repeat('x', 2048)"],
    body: ["E'\\n'", "repeat('x', 16777216)"],
  };

  it('fails the business transaction with the name of its field, and its bound is taken', async (t) => {
    const { writer } = await openWriter(t);
    for (const [column, values] of Object.entries(refused))
      for (const value of values)
        await assert.rejects(
          writer.query(insert(column, value)),
          { code: '23514', constraint: column },
          `${column} ${value}`,
        );
    for (const [column, values] of Object.entries(taken))
      for (const value of values) await writer.query(insert(column, value));
    for (const column of Object.keys(good).filter((name) => name !== 'meta'))
      await assert.rejects(writer.query(insert(column, 'NULL')), { code: '23502', column });
  });
});
