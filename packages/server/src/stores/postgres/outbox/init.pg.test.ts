/** Making an outbox: by whom, where, and what is refused. Real PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pg from 'pg';
import { checkOutbox } from './check.ts';
import { initOutbox } from './init.ts';
import { openDatabase, openOutboxDatabase, PAYLOAD, VALUES } from './outbox-fixture.ts';

describe('making an outbox', () => {
  it('makes a ring of the wanted numbers, once', async (t) => {
    const { admin } = await openDatabase(t);
    const first = await initOutbox(admin, { slots: 5, slotSeconds: 7 });
    assert.deepEqual([first.made, first.slots, first.slotSeconds, first.healed], [true, 5, 7, []]);
    const again = await initOutbox(admin);
    assert.deepEqual([again.made, again.slots, again.slotSeconds, again.healed], [false, 5, 7, []]);
    const { rows } = await admin.query(
      "SELECT count(*)::int AS slots FROM pg_inherits WHERE inhparent = 'evident_outbox.events'::regclass",
    );
    assert.deepEqual(rows, [{ slots: 5 }]);
  });

  it('refuses other numbers for a ring that is there, and numbers that are none', async (t) => {
    const { admin } = await openDatabase(t);
    for (const bad of [
      { slots: 3 },
      { slots: 257 },
      { slots: 4.5 },
      { slotSeconds: 0 },
      { slotSeconds: 86_401 },
    ])
      await assert.rejects(initOutbox(admin, bad), { code: 'usage-invalid', message: /whole number from/ });
    assert.match((await checkOutbox(admin))[0].what, /is missing/);
    await initOutbox(admin, { slots: 4 });
    for (const other of [{ slots: 8 }, { slotSeconds: 30 }])
      await assert.rejects(initOutbox(admin, other), {
        code: 'usage-invalid',
        message: /has 4 slots of 60 s and keeps them/,
      });
    assert.deepEqual(await checkOutbox(admin), []);
  });

  it('is done by two at once without harm', async (t) => {
    const database = await openDatabase(t);
    const clients = await Promise.all([database.open(), database.open(), database.open()]);
    const reports = await Promise.all(clients.map((client) => initOutbox(client, { slots: 4 })));
    assert.deepEqual(reports.map(({ made }) => made).sort(), [false, false, true]);
    assert.deepEqual(await checkOutbox(database.admin), []);
  });

  it('touches neither rows nor an insert that is open when nothing is wrong', async (t) => {
    const database = await openOutboxDatabase(t);
    const business = await database.open();
    await business.query(`BEGIN; INSERT INTO evident_outbox.events (${PAYLOAD}) VALUES (${VALUES})`);
    await database.init();
    await business.query('COMMIT');
    assert.deepEqual(await database.rows('SELECT count(*)::int AS rows FROM evident_outbox.events'), [
      { rows: 1 },
    ]);
  });

  it('puts the outbox beside nothing: no copy of it is left', async (t) => {
    const database = await openOutboxDatabase(t);
    const schemas = await database.rows(
      "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'evident\\_outbox%'",
    );
    assert.deepEqual(schemas, [{ nspname: 'evident_outbox' }]);
    assert.deepEqual(await database.rows('SELECT pubname FROM pg_publication'), [
      { pubname: 'evident_outbox' },
    ]);
  });
});

describe('the roles of an outbox', () => {
  it('are granted their groups, whatever their names, once', async (t) => {
    const database = await openDatabase(t);
    const [writer, relay] = [await database.makeRole('LOGIN'), await database.makeRole('LOGIN REPLICATION')];
    const report = await initOutbox(database.admin, { writer, relay });
    assert.deepEqual(report.granted, [
      `evident_outbox_writer to ${writer}`,
      `evident_outbox_relay to ${relay}`,
    ]);
    assert.deepEqual((await initOutbox(database.admin, { writer, relay })).granted, []);
    const asWriter = await database.open(writer);
    await asWriter.query(`INSERT INTO evident_outbox.events (${PAYLOAD}) VALUES (${VALUES})`);
    const asRelay = await database.open(relay);
    assert.equal((await asRelay.query('SELECT FROM evident_outbox.events')).rowCount, 1);
  });

  it('have to exist', async (t) => {
    const { admin } = await openDatabase(t);
    for (const option of ['writer', 'relay'] as const) {
      await assert.rejects(initOutbox(admin, { [option]: 'nobody"; --' }), {
        code: 'usage-invalid',
        message: new RegExp(`^--${option}: there is no role nobody"; --: make it first`),
      });
    }
    assert.match((await checkOutbox(admin))[0].what, /is missing/);
  });

  it('are warned about: a relay that can not stream, a writer that could forge, a server that only lets poll', async (t) => {
    const database = await openDatabase(t);
    const [plain, able] = [await database.makeRole('LOGIN'), await database.makeRole('LOGIN REPLICATION')];
    await database.admin.query(`GRANT pg_read_all_stats TO ${pg.escapeIdentifier(able)}`);
    const [{ level }] = await database.rows("SELECT current_setting('wal_level') AS level");
    const about = (warnings: readonly string[]) =>
      warnings.map((one) => one.replace(/.*(lacks REPLICATION|how old|forging|wal_level is).*/s, '$1'));
    const always = level === 'logical' ? [] : ['wal_level is'];
    const weak = await initOutbox(database.admin, { relay: plain, writer: plain });
    assert.deepEqual(about(weak.warnings), [...always, 'lacks REPLICATION', 'how old']);
    const strong = await initOutbox(database.admin, { relay: able });
    assert.deepEqual(about(strong.warnings), always);
    await database.admin.query(`ALTER ROLE ${pg.escapeIdentifier(able)} SUPERUSER`);
    assert.deepEqual(about((await initOutbox(database.admin, { writer: able })).warnings), [
      ...always,
      'forging',
    ]);
  });

  it('may not make or change an outbox that is not theirs', async (t) => {
    const database = await openDatabase(t);
    const stranger = await database.makeRole('LOGIN');
    await assert.rejects(initOutbox(await database.open(stranger)), {
      code: 'usage-invalid',
      message: /may not make a schema: GRANT CREATE ON DATABASE/,
    });
    await database.init();
    const [{ name }] = await database.rows('SELECT quote_ident(current_database()) AS name');
    await database.admin.query(`GRANT CREATE ON DATABASE ${name} TO ${pg.escapeIdentifier(stranger)}`);
    await assert.rejects(initOutbox(await database.open(stranger)), {
      code: 'usage-invalid',
      message: /^the outbox belongs to the role /,
    });
  });
});

it('refuses a database that is not encoded in UTF-8', async (t) => {
  const database = await openDatabase(t);
  const [{ name }] = await database.rows("SELECT current_database() || '_latin' AS name");
  await database.admin.query(`CREATE DATABASE ${name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`);
  const client = new pg.Client({ ...database.connection, database: name as string });
  if (database.connection.connectionString !== undefined) {
    await client.end();
    return t.skip('the address names its database');
  }
  await client.connect();
  try {
    await assert.rejects(initOutbox(client), {
      code: 'usage-invalid',
      message: /encoded in LATIN1; events are UTF-8/,
    });
  } finally {
    await client.end();
    await database.admin.query(`DROP DATABASE ${name}`);
  }
});
