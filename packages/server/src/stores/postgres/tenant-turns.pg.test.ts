/** The bound of one tenant's queries, at the connections of a real PostgreSQL. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import type pg from 'pg';
import { openTestDatabase } from '../../../test/database.ts';
import { openPool } from './pool.ts';
import { TenantQueries } from './tenant-query.ts';
import { TenantTurns, turnsOf } from './tenant-turns.ts';

const LOCK = 7_373;
const CONNECTIONS = 4;
const SLOW = { text: `SELECT pg_advisory_xact_lock_shared(${LOCK})`, values: [] };

/** Queries of acme that stand still until the gate opens, twice as many as there are connections. */
async function fill(owner: pg.Pool, queries: TenantQueries, expected: number) {
  const gate = await owner.connect();
  await gate.query('SELECT pg_advisory_lock($1)', [LOCK]);
  const slow = Array.from({ length: CONNECTIONS * 2 }, () =>
    queries.onView('acme', 'standing still', (query) => query.run(SLOW)),
  );
  for (let looks = 0; ; looks++) {
    const { rows } = await owner.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted",
      [LOCK],
    );
    if (rows[0].n === expected) break;
    assert.ok(looks < 2_000, `${rows[0].n} of ${expected} stand still`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return {
    slow,
    open: async () => {
      await gate.query('SELECT pg_advisory_unlock($1)', [LOCK]);
      gate.release();
    },
  };
}

it('another tenant is answered while one has filled its share of the connections', async () => {
  const { owner, connection } = await openTestDatabase();
  const pool = openPool(connection, { role: 'evident_server', max: CONNECTIONS });
  const queries = new TenantQueries(pool, 60_000, turnsOf(pool));
  const { slow, open } = await fill(owner, queries, CONNECTIONS / 2);
  try {
    const other = await queries.onView('beta', 'asking', (query) =>
      query.run({ text: 'SELECT 1', values: [] }),
    );
    assert.equal(other.length, 1);
  } finally {
    await open();
  }
  assert.equal((await Promise.all(slow)).length, CONNECTIONS * 2);
  await pool.end();
});

it('without that share it is not: it waits until one of them has ended', async () => {
  const { owner, connection } = await openTestDatabase();
  const pool = openPool(connection, { role: 'evident_server', max: CONNECTIONS });
  const bounds = {
    runningMax: CONNECTIONS,
    tenantRunningMax: CONNECTIONS,
    tenantWaitingMax: 32,
    waitingMax: 64,
    waitMsMax: 60_000,
  };
  const turns = new TenantTurns(bounds, () => () => undefined);
  const queries = new TenantQueries(pool, 60_000, turns);
  const { slow, open } = await fill(owner, queries, CONNECTIONS);
  let isAnswered = false;
  const other = queries
    .onView('beta', 'asking', (query) => query.run({ text: 'SELECT 1', values: [] }))
    .then(() => {
      isAnswered = true;
    });
  // Those that wait now: acme's other half, and beta.
  assert.deepEqual([turns.waiting, isAnswered], [CONNECTIONS + 1, false]);
  await open();
  await Promise.all([...slow, other]);
  assert.ok(isAnswered);
  await pool.end();
});
