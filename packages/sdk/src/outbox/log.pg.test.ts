import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkAuditEvent } from '@evident/core/audit-event.ts';
import type pg from 'pg';
import { type Audit, createAudit } from '../audit.ts';
import { type PgClient, pgDriver } from '../drivers.ts';
import type { OutboxDriver } from './driver.ts';
import { startApplication } from './outbox-fixture.ts';
import { insertStatement } from './statement.ts';

const event = {
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'account.open',
  resource: { type: 'account', id: 'a1' },
} as const;

test('audit.log on PostgreSQL', async (t) => {
  const app = await startApplication(t);
  const driver = pgDriver(app.pool);
  const audit: Audit<PgClient> = createAudit<PgClient>({ service: 'bank', driver });

  /** Takes a client, opens a transaction on it; the test ends it. */
  async function begin(): Promise<pg.PoolClient> {
    const client = await app.pool.connect();
    await client.query('BEGIN');
    return client;
  }
  const open = (client: pg.PoolClient, id = 'a1') => client.query('INSERT INTO account VALUES ($1, 0)', [id]);

  await t.test('commits with the business row, byte for byte', async () => {
    await app.clear();
    const client = await begin();
    await open(client);
    const receipt = await audit.log(client, { ...event, details: { text: 'ä\u0000\n\u{1F600}"\\' } });
    await client.query('COMMIT');
    client.release();
    assert.ok(receipt.captured);
    const [row] = await app.rows();
    const body = JSON.parse(row.body) as Record<string, unknown>;
    checkAuditEvent(body);
    assert.equal(row.body, JSON.stringify(body));
    assert.deepEqual((body.details as { text: string }).text, 'ä\u0000\n\u{1F600}"\\');
    assert.deepEqual(
      [row.event_id, row.tenant, row.type, row.key, row.schema, row.meta],
      [receipt.id, 'acme', 'audit.event', 'acme/usr_1', 1, '{"sdk":"0.1.0","service":"bank"}'],
    );
    assert.equal(await app.accounts(), 1);
  });

  await t.test('is gone when the transaction rolls back', async () => {
    await app.clear();
    const client = await begin();
    await open(client);
    await audit.log(client, event);
    await client.query('ROLLBACK');
    client.release();
    assert.deepEqual([await app.accounts(), (await app.rows()).length], [0, 0]);
  });

  await t.test('follows a savepoint: back with it, forth without it', async () => {
    await app.clear();
    const client = await begin();
    await open(client, 'a1');
    await audit.log(client, event);
    await client.query('SAVEPOINT inner_part');
    await open(client, 'a2');
    await audit.log(client, { ...event, resource: { type: 'account', id: 'a2' } });
    await client.query('ROLLBACK TO inner_part');
    await client.query('COMMIT');
    client.release();
    assert.equal(await app.accounts(), 1);
    assert.deepEqual(
      (await app.bodies()).map(({ resource }) => resource),
      [event.resource],
    );
  });

  await t.test('writes a batch in order, in few statements, all or none', async () => {
    await app.clear();
    let statements = 0;
    const counting = createAudit<PgClient>({
      service: 'bank',
      driver: {
        ...driver,
        query(tx, statement) {
          statements += 1;
          return driver.query(tx, statement);
        },
      },
    });
    const events = Array.from({ length: 2_300 }, (_, i) => ({ ...event, details: { i } }));
    const client = await begin();
    await counting.logMany(client, events);
    await client.query('COMMIT');
    client.release();
    assert.equal(statements, 3);
    assert.deepEqual(
      (await app.bodies()).map(({ details }) => (details as { i: number }).i),
      events.map(({ details }) => details.i),
    );
  });

  await t.test('costs nothing of the transaction when the event is bad', async () => {
    await app.clear();
    const client = await begin();
    await open(client);
    await assert.rejects(audit.log(client, { ...event, resource: { type: 'account', id: '' } }), {
      code: 'field-invalid',
      context: { field: 'event.resource.id' },
    });
    // Nothing was sent, so the transaction is whole, and the caller may correct the event.
    await audit.log(client, event);
    await client.query('COMMIT');
    client.release();
    assert.deepEqual([await app.accounts(), (await app.rows()).length], [1, 1]);
  });

  for (const [field, wrong] of [
    ['tenant', { tenant: 'a b' }],
    ['key', { key: 'k'.repeat(600) }],
    ['meta', { meta: '' }],
    ['body', { body: '' }],
  ] as const) {
    await t.test(`a row that the check of ${field} refuses takes the transaction with it`, async () => {
      await app.clear();
      // The SDK never builds such a row: this stands for one that is wrong, or for an outbox that became stricter.
      const forging: OutboxDriver<PgClient> = {
        ...driver,
        query: (tx, { rows }) => driver.query(tx, insertStatement([{ ...rows[0], ...wrong }])),
      };
      const client = await begin();
      await open(client);
      await assert.rejects(
        createAudit<PgClient>({ service: 'bank', driver: forging }).log(client, event),
        (error) => {
          const { code, context, cause } = error as {
            code: string;
            context: object;
            cause: { code: string };
          };
          assert.deepEqual(
            [code, context, cause.code],
            ['outbox-refused', { field, sqlstate: '23514' }, '23514'],
          );
          return true;
        },
      );
      // Whoever swallows the error cannot commit by accident.
      assert.equal((await client.query('COMMIT')).command, 'ROLLBACK');
      client.release();
      assert.deepEqual([await app.accounts(), (await app.rows()).length], [0, 0]);
    });
  }

  await t.test('refuses a pool, and a client without a transaction', async () => {
    await app.clear();
    const client = await app.pool.connect();
    await client.query('SELECT 1');
    for (const tx of [app.pool, client]) {
      await assert.rejects(audit.log(tx, event), { code: 'usage-invalid', context: { field: 'tx' } });
    }
    client.release();
    assert.equal((await app.rows()).length, 0);
  });

  await t.test(
    'an application cannot forge what the defaults give, nor read or change what is recorded',
    async () => {
      await app.clear();
      const client = await begin();
      await audit.log(client, event);
      await client.query('COMMIT');
      client.release();
      const row = `'0198c0de-0000-7000-8000-000000000001', 'acme', 'audit.event', 'acme/u', 1, '{}'`;
      const columns = 'event_id, tenant, type, key, schema, body';
      for (const [column, value] of [
        ['xid', `'1'`],
        ['id', '1'],
        ['slot', '3'],
        ['written_at', 'now()'],
      ]) {
        await assert.rejects(
          app.pool.query(
            `INSERT INTO evident_outbox.events (${column}, ${columns}) VALUES (${value}, ${row})`,
          ),
          { code: '42501' },
          column,
        );
      }
      for (const statement of [
        'SELECT * FROM evident_outbox.events',
        'UPDATE evident_outbox.events SET tenant = $$x$$',
        'DELETE FROM evident_outbox.events',
        'TRUNCATE evident_outbox.events',
        `INSERT INTO evident_outbox.events_3 (${columns}) VALUES (${row})`,
        `SELECT setval('evident_outbox.row_id', 1)`,
      ]) {
        await assert.rejects(app.pool.query(statement), { code: '42501' }, statement);
      }
      // The pair of it: the same row without them is taken.
      await app.pool.query(`INSERT INTO evident_outbox.events (${columns}) VALUES (${row})`);
      assert.equal((await app.rows()).length, 2);
    },
  );

  await t.test('says that there is no outbox, or that the role may not write to it', async () => {
    await app.asOwner('REVOKE evident_outbox_writer FROM application');
    await assert.rejects(audit.logAlone(event), { code: 'outbox-missing', message: /role/ });
    await app.asOwner('GRANT evident_outbox_writer TO application');
    await audit.logAlone(event);
    await app.asOwner('ALTER SCHEMA evident_outbox RENAME TO elsewhere');
    await assert.rejects(audit.logAlone(event), { code: 'outbox-missing' });
    await app.asOwner('ALTER SCHEMA elsewhere RENAME TO evident_outbox');
    const client = await begin();
    await assert.rejects(client.query('SELECT nothing'));
    await assert.rejects(audit.log(client, event), {
      code: 'outbox-unavailable',
      message: /earlier statement/,
    });
    client.release(true);
  });
});
