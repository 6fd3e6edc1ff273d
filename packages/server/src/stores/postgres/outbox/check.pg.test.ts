/** Everything that may be wrong with an outbox: found, put right by init, and no row touched. Real PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { EvidentError } from '@evident/core/errors.ts';
import pg from 'pg';
import { BREAKAGES, type Breakage } from './breakages-fixture.ts';
import { checkOutbox, healOutbox } from './check.ts';
import { initOutbox } from './init.ts';
import { type OutboxDatabase, openDatabase, openOutboxDatabase, PAYLOAD, VALUES } from './outbox-fixture.ts';

/** Rows in slots 0 and 3; 1 and 2 are empty. */
async function fill({ admin }: OutboxDatabase): Promise<void> {
  for (const slot of [0, 3])
    for (let row = 0; row < 3; row++)
      await admin.query(`INSERT INTO evident_outbox.events (slot, ${PAYLOAD}) VALUES (${slot}, ${VALUES})`);
}

const OTHER = 'evident_test_other';
/** Databases that are broken and healed side by side. */
const LANES = 3;

async function openFilled(t: TestContext): Promise<OutboxDatabase> {
  const database = await openOutboxDatabase(t);
  await fill(database);
  await database.admin.query(
    `DO $$ BEGIN CREATE ROLE ${OTHER} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`,
  );
  await database.admin.query(`GRANT CREATE ON SCHEMA public TO ${OTHER}`);
  return database;
}

function isNamed({ object, what }: Breakage, found: { object: string; what: string }): boolean {
  return found.object === object && what.test(found.what);
}

describe('an outbox that is not as it was made', () => {
  it('has no deviation when it is as it was made', async (t) => {
    const database = await openFilled(t);
    assert.deepEqual(await checkOutbox(database.admin), []);
    assert.deepEqual(await healOutbox(database.admin), { healed: [], left: [] });
  });

  it('is found and healed, each deviation by itself', { concurrency: LANES }, async (t) => {
    // One that could not be healed is not the next one's: it does not come back here.
    const sound: OutboxDatabase[] = [];
    const each = BREAKAGES.map((breakage) =>
      t.test(breakage.name, async () => {
        const database = sound.pop() ?? (await openFilled(t));
        const before = await database.contents();
        await database.admin.query(breakage.sql);
        const found = await checkOutbox(database.admin);
        assert.ok(
          found.some((one) => isNamed(breakage, one)),
          `not named: ${JSON.stringify(found)}`,
        );
        assert.equal(found.length, breakage.deviations ?? 1, JSON.stringify(found, null, 1));
        const { healed, made } = await initOutbox(database.admin);
        assert.equal(made, false);
        if (breakage.ofShape !== true) assert.deepEqual(healed, found);
        assert.deepEqual(await checkOutbox(database.admin), []);
        assert.deepEqual(await database.contents(), before);
        sound.push(database);
      }),
    );
    await Promise.all(each);
  });
});

describe('what can not be put right without touching rows', () => {
  const attempt = async (database: OutboxDatabase, sql: string): Promise<string> => {
    await database.admin.query(sql);
    const before = await database.contents();
    // Beside it something that can: it is put right all the same.
    await database.admin.query('GRANT SELECT ON evident_outbox.events TO PUBLIC');
    const message = await refusal(() => database.init());
    const left = await checkOutbox(database.admin);
    assert.equal(left.length, 1, JSON.stringify(left));
    assert.ok(!left[0].what.includes('PUBLIC'));
    assert.ok(message.includes(`${left[0].object}: ${left[0].what}`), message);
    assert.deepEqual(await database.contents(), before);
    return message;
  };

  it('is named, with what to do, while the rest is put right', { concurrency: LANES }, async (t) => {
    const events = 'evident_outbox.events';
    const cases: [string, string, RegExp][] = [
      [
        'a default partition with rows',
        `CREATE TABLE ${events}_rest PARTITION OF ${events} DEFAULT;
         INSERT INTO ${events} (slot, ${PAYLOAD}) VALUES (99, ${VALUES})`,
        /events_rest: place: .* it holds rows: when evident outbox list shows/,
      ],
      [
        'a slot whose rows belong elsewhere',
        `ALTER TABLE ${events} DETACH PARTITION ${events}_1; ALTER TABLE ${events} ATTACH PARTITION ${events}_1 FOR VALUES IN (9);
         INSERT INTO ${events} (slot, ${PAYLOAD}) VALUES (9, ${VALUES})`,
        /events_1: place: .*partition constraint .* is violated by some row/,
      ],
      [
        'a column of another type',
        `ALTER TABLE ${events} ALTER schema TYPE bigint`,
        /events: type schema: bigint instead of integer \(init changes no column that may hold rows/,
      ],
      [
        'a column too many',
        `ALTER TABLE evident_outbox.heartbeat ADD more text DEFAULT 'x' NOT NULL`,
        /heartbeat: type more: text instead of none/,
      ],
      [
        'NULLs where none may be',
        `ALTER TABLE ${events} ALTER tenant DROP NOT NULL; INSERT INTO ${events} (slot, event_id, type, key, schema, body)
           VALUES (0, gen_random_uuid(), 'x', 'x', 0, 'x')`,
        /events: nullability tenant: NULL instead of NOT NULL .*contains null values/,
      ],
      [
        'rows that a check would refuse',
        `ALTER TABLE ${events} DROP CONSTRAINT schema; INSERT INTO ${events} (slot, event_id, tenant, type, key, schema, body)
           VALUES (0, gen_random_uuid(), 'x', 'x', 'x', -1, 'x')`,
        /events: constraint schema: CHECK \(\(schema >= 0\)\) NOT VALID instead of CHECK \(\(schema >= 0\)\) \(/,
      ],
    ];
    const each = cases.map(([name, sql, named]) =>
      t.test(name, async (t) => {
        const database = await openFilled(t);
        assert.match(await attempt(database, sql), named);
      }),
    );
    await Promise.all(each);
  });

  it('leaves a check in force for new rows, and validates it once the old ones are gone', async (t) => {
    const database = await openOutboxDatabase(t);
    const insert = `INSERT INTO evident_outbox.events (slot, event_id, tenant, type, key, schema, body)
                      VALUES (0, gen_random_uuid(), 'x', 'x', 'x', -1, 'x')`;
    await database.admin.query(`ALTER TABLE evident_outbox.events DROP CONSTRAINT schema; ${insert}`);
    await assert.rejects(database.init());
    await assert.rejects(database.admin.query(insert), { code: '23514', constraint: 'schema' });
    await database.admin.query('TRUNCATE evident_outbox.events_0');
    await database.init();
    assert.deepEqual(await checkOutbox(database.admin), []);
  });
});

async function refusal(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
  } catch (error) {
    assert.equal((error as EvidentError).code, 'outbox-damaged');
    return (error as EvidentError).message;
  }
  return assert.fail('init took it');
}

describe('healing at the start of a relay', () => {
  it("is done by a member of the schema's owner, and what it makes is the owner's", async (t) => {
    const database = await openDatabase(t);
    const [owner, member] = [await database.makeRole('CREATEROLE'), await database.makeRole('LOGIN')];
    const [quotedOwner, quotedMember] = [owner, member].map(pg.escapeIdentifier);
    const [{ name }] = await database.rows('SELECT quote_ident(current_database()) AS name');
    await database.admin.query(
      `GRANT CREATE ON DATABASE ${name} TO ${quotedOwner}; GRANT ${quotedOwner} TO ${quotedMember}`,
    );
    await initOutbox(await database.open(owner), { slots: 4 });
    await database.admin.query(
      'DROP TABLE evident_outbox.events_2; GRANT SELECT ON evident_outbox.events TO PUBLIC',
    );
    const { healed, left } = await healOutbox(await database.open(member));
    assert.deepEqual(left, []);
    assert.equal(healed.length, 2);
    // So it is by a superuser that does not own it.
    await database.admin.query('DROP TABLE evident_outbox.events_1; DROP FUNCTION evident_outbox.beat');
    assert.equal((await initOutbox(database.admin)).healed.length, 2);
    const owners = await database.rows(
      "SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'evident_outbox'::regnamespace UNION SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'evident_outbox'::regnamespace",
    );
    assert.deepEqual(owners, [{ owner }]);
    assert.deepEqual(await checkOutbox(database.admin), []);
  });

  it('is left to the owner by a role that may only relay, which sees the same', async (t) => {
    const database = await openOutboxDatabase(t);
    const relay = await database.makeRole('LOGIN');
    await initOutbox(database.admin, { relay });
    const client = await database.open(relay);
    assert.deepEqual(await healOutbox(client), { healed: [], left: [] });
    await database.admin.query('GRANT SELECT ON evident_outbox.events TO PUBLIC');
    const seen = await checkOutbox(database.admin);
    assert.deepEqual(await healOutbox(client), { healed: [], left: seen });
    assert.deepEqual(await checkOutbox(database.admin), seen);
  });

  it('says of a role that may read nothing that nothing can be compared', async (t) => {
    const database = await openOutboxDatabase(t);
    const stranger = await database.makeRole('LOGIN');
    const [{ object, what }] = await checkOutbox(await database.open(stranger));
    assert.equal(object, 'evident_outbox.shape');
    assert.match(what, /^may not be read by test /);
  });

  it('changes nothing where there is no outbox', async (t) => {
    const database = await openDatabase(t);
    const { healed, left } = await healOutbox(database.admin);
    assert.deepEqual(
      [healed, left.map(({ object, what }) => `${object} ${what}`)],
      [[], ['schema evident_outbox is missing']],
    );
  });

  it('gives up while an insert holds the table, and succeeds when it has ended', async (t) => {
    const database = await openOutboxDatabase(t);
    await database.admin.query(
      'CREATE RULE nothing AS ON UPDATE TO evident_outbox.events DO INSTEAD NOTHING',
    );
    const business = await database.open();
    await business.query(`BEGIN; INSERT INTO evident_outbox.events (${PAYLOAD}) VALUES (${VALUES})`);
    const { healed, left } = await healOutbox(database.admin);
    assert.deepEqual([healed, left.length], [[], 1]);
    assert.match(left[0].heal, /is not put right while others would have to wait/);
    await business.query('COMMIT');
    assert.equal((await healOutbox(database.admin)).healed.length, 1);
    assert.deepEqual(await checkOutbox(database.admin), []);
  });

  it('does not undo what another version of Evident has made', async (t) => {
    const database = await openOutboxDatabase(t);
    await database.admin.query("UPDATE evident_outbox.shape SET fingerprint = 'of another version'");
    await database.admin.query('GRANT SELECT ON evident_outbox.events TO PUBLIC');
    const { healed, left } = await healOutbox(database.admin);
    assert.deepEqual([healed, left.map(({ object }) => object)], [[], ['evident_outbox.shape']]);
  });
});
