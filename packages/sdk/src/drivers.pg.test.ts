/** What the drivers prepare, and what becomes of it behind a pooler, against a real PostgreSQL and the real libraries. */

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import pg from 'pg';
import postgres from 'postgres';
import { cleanUp } from '../../server/src/stores/postgres/embedded/engine-fixture.ts';
import { type Audit, createAudit } from './audit.ts';
import { type DriverOptions, type PgPool, type PostgresSql, pgDriver, postgresDriver } from './drivers.ts';
import { type Application, startApplication } from './outbox/outbox-fixture.ts';

const event = {
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'account.open',
  resource: { type: 'account', id: 'a1' },
} as const;

/** One library on one connection: a pooler that exchanges it is played by what the new one lacks or has. */
interface Library {
  readonly audit: Audit<unknown>;
  /** Opens an account and logs it, in one transaction. */
  transfer(id: string): Promise<unknown>;
  sql(text: string): Promise<Record<string, unknown>[]>;
}

function openPg(t: TestContext, app: Application, options?: DriverOptions): Library {
  const pool = new pg.Pool({ connectionString: app.url, max: 1 });
  pool.on('error', () => undefined);
  cleanUp(t, () => pool.end());
  const driver = pgDriver(pool as PgPool, options);
  const audit = createAudit({ service: 'bank', driver });
  return {
    audit: audit as Audit<unknown>,
    transfer: (id) =>
      driver.transaction!(async (tx) => {
        await tx.query('INSERT INTO account VALUES ($1, 0)', [id]);
        await audit.log(tx, event);
      }) as Promise<unknown>,
    sql: async (text) => (await pool.query(text)).rows,
  };
}

function openPostgres(t: TestContext, app: Application, options?: DriverOptions): Library {
  // Its COMMIT is prepared as well, so whoever has such a pooler tells the library; the driver follows.
  const sql = postgres(app.url, { max: 1, ...options });
  cleanUp(t, () => sql.end());
  const audit = createAudit({ service: 'bank', driver: postgresDriver(sql as PostgresSql) });
  return {
    audit: audit as Audit<unknown>,
    transfer: (id) =>
      sql.begin(async (tx) => {
        await tx.unsafe('INSERT INTO account VALUES ($1, 0)', [id]);
        await audit.log(tx, event);
      }),
    sql: async (text) => [...(await sql.unsafe(text))],
  };
}

const PREPARED = `SELECT name FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO evident_outbox.events%'`;
const LOST = {
  code: 'outbox-unavailable',
  message: /prepare: false/,
};

test('prepared statements', async (t) => {
  const app = await startApplication(t);
  const counts = async () => [await app.accounts(), (await app.rows()).length];

  for (const [name, open] of Object.entries({ pg: openPg, postgres: openPostgres })) {
    await t.test(`${name}: the insert of one event is prepared once, batches are not`, async (t) => {
      const library = open(t, app);
      for (let i = 0; i < 3; i++) await library.audit.logAlone(event);
      const first = await library.sql(PREPARED);
      assert.equal(first.length, 1);
      if (name === 'pg') assert.match(String(first[0].name), /^evident_[0-9a-f]{16}$/);
      await library.audit.capture({ ...event, criticality: 'critical' }, async (tx) => {
        for (let size = 2; size < 40; size++) {
          await library.audit.logMany(tx, new Array<typeof event>(size).fill(event));
        }
      });
      // One more for the intent.
      assert.equal((await library.sql(PREPARED)).length, 2);
    });

    await t.test(`${name}: with prepare: false nothing is, and DISCARD ALL is nothing to it`, async (t) => {
      await app.clear();
      const library = open(t, app, { prepare: false });
      await library.transfer('a1');
      assert.deepEqual(await library.sql(PREPARED), []);
      await library.sql('DISCARD ALL');
      await library.transfer('a2');
      assert.deepEqual(await counts(), [2, 2]);
    });

    await t.test(
      `${name}: on an exchanged connection a transaction fails as a whole, and says why`,
      async (t) => {
        await app.clear();
        const library = open(t, app);
        await library.transfer('a1');
        await library.sql('DEALLOCATE ALL');
        await assert.rejects(library.transfer('a2'), { ...LOST, context: { sqlstate: '26000' } });
        assert.deepEqual(await counts(), [1, 1]);
        // What `postgres` does next on such a connection is its own affair: see DriverOptions.
        if (name === 'postgres') return;
        await library.transfer('a2');
        await library.transfer('a3');
        assert.deepEqual(await counts(), [3, 3]);
        assert.deepEqual(await library.sql(PREPARED), []);
      },
    );
  }

  await t.test(
    'pg: a name that another client has left on the connection costs one transaction',
    async (t) => {
      await app.clear();
      const other = openPg(t, app);
      await other.audit.logAlone(event);
      const [{ name }] = await other.sql(PREPARED);
      const library = openPg(t, app);
      await library.sql(`PREPARE ${name} AS SELECT 1`);
      await assert.rejects(library.transfer('a1'), { ...LOST, context: { sqlstate: '42P05' } });
      await library.transfer('a1');
      assert.deepEqual(await counts(), [1, 2]);
    },
  );
});
