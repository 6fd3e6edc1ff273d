/** Emptying a slot: all seven answers, and that nothing committed is lost (design §4). Real PostgreSQL. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type pg from 'pg';
import { until } from '../embedded/engine-fixture.ts';
import { type OutboxDatabase, openOutboxDatabase, PAYLOAD, SLOTS, VALUES } from './outbox-fixture.ts';

interface Row {
  readonly xid: string;
  readonly id: string;
}

const NOWHERE: Row = { xid: '0', id: '0' };

async function insert(client: pg.ClientBase, slot: number, xid = 'pg_current_xact_id()'): Promise<Row> {
  const { rows } = await client.query<Row>(
    `INSERT INTO evident_outbox.events (slot, xid, ${PAYLOAD}) VALUES (${slot}, ${xid}, ${VALUES}) RETURNING xid, id`,
  );
  return rows[0];
}

/** @param done everything up to it is relayed and sealed; `cursor` is the relay's row; `restored` what it has read */
async function empty(
  client: pg.ClientBase,
  slot: number,
  done: Row,
  { cursor = NOWHERE, restored = 0 }: { cursor?: Row; restored?: number } = {},
): Promise<string> {
  const { rows } = await client.query<{ answer: string }>(
    'SELECT evident_outbox.empty_slot($1::smallint, $2::xid8, $3::bigint, $4::xid8, $5::bigint, $6::bigint) AS answer',
    [slot, done.xid, done.id, cursor.xid, cursor.id, restored],
  );
  return rows[0].answer;
}

async function rowsIn(database: OutboxDatabase, slot: number): Promise<number> {
  const [{ rows }] = await database.rows(`SELECT count(*)::int AS rows FROM evident_outbox.events_${slot}`);
  return rows as number;
}

describe('a slot', () => {
  it('is emptied when all of it is done with, and is empty then', async (t) => {
    const database = await openOutboxDatabase(t);
    const slot = await database.pastSlot();
    assert.equal(await empty(database.admin, slot, NOWHERE), 'empty');
    await insert(database.admin, slot);
    const last = await insert(database.admin, slot);
    assert.equal(await empty(database.admin, slot, last), 'emptied');
    assert.equal(await rowsIn(database, slot), 0);
    assert.equal(await empty(database.admin, slot, last), 'empty');
  });

  it('is left alone while it is current, or the next to be', async (t) => {
    const database = await openOutboxDatabase(t);
    const past = await database.pastSlot();
    for (const slot of [past + 1, past + 2].map((slot) => slot % SLOTS)) {
      const last = await insert(database.admin, slot);
      assert.equal(await empty(database.admin, slot, last), 'current');
      assert.equal(await rowsIn(database, slot), 1);
    }
  });

  it('is busy while an insert into it, or a reader of it, is open; nobody waits', async (t) => {
    const database = await openOutboxDatabase(t);
    const slot = await database.pastSlot();
    const last = await insert(database.admin, slot);
    const other = await database.open();
    // Waiting would be an error here.
    await database.admin.query("SET lock_timeout = '20s'; SET statement_timeout = '30s'");
    for (const open of [
      `INSERT INTO evident_outbox.events (slot, ${PAYLOAD}) VALUES (${slot}, ${VALUES})`,
      `SELECT FROM evident_outbox.events WHERE slot = ${slot}`,
    ]) {
      await other.query(`BEGIN; ${open}`);
      assert.equal(await empty(database.admin, slot, last), 'busy');
      // It holds no lock either: the other goes on.
      await other.query(
        `INSERT INTO evident_outbox.events (slot, ${PAYLOAD}) VALUES (${slot}, ${VALUES}); ROLLBACK`,
      );
      assert.equal(await rowsIn(database, slot), 1);
    }
    assert.equal(await empty(database.admin, slot, last), 'emptied');
  });

  it('is behind while one row stands beyond what is done', async (t) => {
    const database = await openOutboxDatabase(t);
    const slot = await database.pastSlot();
    const first = await insert(database.admin, slot);
    const last = await insert(database.admin, slot);
    assert.equal(await empty(database.admin, slot, first), 'behind');
    assert.equal(
      await empty(database.admin, slot, { xid: last.xid, id: String(BigInt(last.id) - 1n) }),
      'behind',
    );
    assert.equal(await rowsIn(database, slot), 2);
    assert.equal(await empty(database.admin, slot, last), 'emptied');
  });

  it('keeps the row by which the relay knows this database', async (t) => {
    const database = await openOutboxDatabase(t);
    const slot = await database.pastSlot();
    const cursor = await insert(database.admin, slot);
    assert.equal(await empty(database.admin, slot, cursor, { cursor }), 'cursor');
    assert.equal(await rowsIn(database, slot), 1);
    const elsewhere = { ...cursor, id: '999' };
    assert.equal(await empty(database.admin, slot, cursor, { cursor: elsewhere }), 'emptied');
  });

  it('keeps rows of a restored database until the relay has read as many', async (t) => {
    const database = await openOutboxDatabase(t);
    const slot = await database.pastSlot();
    const future = "'9000000000000000000'::xid8";
    await insert(database.admin, slot, future);
    await insert(database.admin, slot, future);
    const own = await insert(database.admin, slot);
    assert.equal(await empty(database.admin, slot, own), 'restored');
    assert.equal(await empty(database.admin, slot, own, { restored: 1 }), 'restored');
    assert.equal(await rowsIn(database, slot), 3);
    assert.equal(await empty(database.admin, slot, own, { restored: 2 }), 'emptied');
  });

  it('is emptied under READ COMMITTED only, and has to be one of the ring', async (t) => {
    const database = await openOutboxDatabase(t);
    const slot = await database.pastSlot();
    const last = await insert(database.admin, slot);
    for (const level of ['REPEATABLE READ', 'SERIALIZABLE']) {
      await database.admin.query(`BEGIN ISOLATION LEVEL ${level}`);
      await assert.rejects(empty(database.admin, slot, last), {
        code: 'EV012',
        message: /READ COMMITTED only/,
      });
      await database.admin.query('ROLLBACK');
    }
    for (const none of [-1, SLOTS])
      await assert.rejects(empty(database.admin, none, last), { code: 'EV012' });
    assert.equal(await rowsIn(database, slot), 1);
  });
});

const GATE = 4_711;
const STEPS = ['-- step: lock', '-- step: look', '-- step: truncate'] as const;

/** The text of the function, and of one that looks first and locks after, each with gates before its steps. */
async function gatedFunctions(): Promise<{ real: string; mutant: string }> {
  const sql = await readFile(new URL('../../../../sql/outbox/outbox.sql', import.meta.url), 'utf8');
  const from = sql.indexOf('CREATE OR REPLACE FUNCTION evident_outbox.empty_slot(');
  const text = sql.slice(from, sql.indexOf('END $$;', from) + 'END $$;'.length);
  const [lock, look, truncate] = STEPS.map((step) => text.indexOf(step));
  assert.ok(0 < lock && lock < look && look < truncate);
  const gate = (n: number): string => `PERFORM pg_advisory_xact_lock_shared(${GATE}, ${n});\n  `;
  const [begin, locking] = [text.slice(0, lock), text.slice(lock, look)];
  const [looking, end] = [text.slice(look, truncate), text.slice(truncate)];
  return {
    real: begin + gate(1) + locking + gate(2) + looking + end,
    mutant: begin + gate(1) + looking + gate(2) + locking + end,
  };
}

/** Lets the function run up to gate `n`, does something else, lets it go on. @returns its answer */
async function pausedAt(
  database: OutboxDatabase,
  n: 1 | 2,
  call: () => Promise<string>,
  meanwhile: () => Promise<void>,
): Promise<string> {
  const keeper = await database.open();
  await keeper.query('SELECT pg_advisory_lock($1, $2)', [GATE, n]);
  const answer = call();
  const waits =
    'SELECT count(*)::int AS waiting FROM pg_locks WHERE locktype = $1 AND NOT granted AND (classid, objid) = ($2, $3)';
  await until(
    'the function stands at the gate',
    async () => (await database.rows(waits, ['advisory', GATE, n]))[0].waiting === 1,
  );
  await meanwhile();
  await keeper.query('SELECT pg_advisory_unlock($1, $2)', [GATE, n]);
  return answer;
}

describe('a row that is committed while its slot is being emptied', () => {
  const open = async (t: Parameters<typeof openOutboxDatabase>[0], text: 'real' | 'mutant') => {
    const database = await openOutboxDatabase(t);
    await database.admin.query((await gatedFunctions())[text]);
    const slot = await database.pastSlot();
    const done = await insert(database.admin, slot);
    const [relay, business] = [await database.open(), await database.open()];
    return { database, slot, business, call: () => empty(relay, slot, done) };
  };

  it('is kept: committed before the lock, it is seen by the look', async (t) => {
    const { database, slot, business, call } = await open(t, 'real');
    const answer = await pausedAt(database, 1, call, async () => void (await insert(business, slot)));
    assert.deepEqual([answer, await rowsIn(database, slot)], ['behind', 2]);
  });

  it('is kept: after the lock it waits, and stands in the slot afterwards', async (t) => {
    const { database, slot, business, call } = await open(t, 'real');
    let inserted: Promise<Row> | undefined;
    const answer = await pausedAt(database, 2, call, async () => {
      inserted = insert(business, slot);
      const waits =
        "SELECT count(*)::int AS waiting FROM pg_locks WHERE locktype = 'relation' AND NOT granted";
      await until('the insert waits for the slot', async () => (await database.rows(waits))[0].waiting === 1);
    });
    await inserted;
    assert.deepEqual([answer, await rowsIn(database, slot)], ['emptied', 1]);
  });

  it('is lost by a function that looks first and locks after', async (t) => {
    const { database, slot, business, call } = await open(t, 'mutant');
    const answer = await pausedAt(database, 2, call, async () => void (await insert(business, slot)));
    assert.deepEqual([answer, await rowsIn(database, slot)], ['emptied', 0]);
  });
});
