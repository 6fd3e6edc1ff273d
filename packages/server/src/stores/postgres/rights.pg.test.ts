/** What the server's role can do in PostgreSQL, and what a connection of it sees (design §8). */

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';
import { Appender } from './appender.ts';
import { openLog, PostgresLog } from './log.ts';
import { migrate } from './migrate.ts';
import { openPool } from './pool.ts';

const DENIED = { code: '42501' };
/** What the server's role may do besides SELECT, by table; on what is recorded, nothing. */
const WRITABLE: Readonly<Record<string, readonly string[]>> = {
  api_keys: ['INSERT'],
  tenant_secrets: ['INSERT'],
  inception: ['INSERT'],
};
/** Called by functions of the owner alone. */
const INTERNAL = [
  'add_child',
  'make_room',
  'put_hour',
  'settle_repeats',
  'count_slots',
  'relay_own_outbox',
  'recover_unsealed',
  'forget_lost_windows',
];

let database: TestDatabase;
const clients: pg.Client[] = [];

before(async () => {
  database = await openTestDatabase();
  const { owner, pool } = database;
  await owner.query("SELECT evident.make_log('audit', 2)");
  const appender = new Appender(pool);
  await fill(await openLog({ pool, appender }, 'audit', 2));
  await appender.close();
  await owner.query(FILL);
});

/** Within each suite: what stops the engine is registered outside of them, and runs after this. */
async function closeClients(): Promise<void> {
  for (const client of clients.splice(0)) await client.end();
}

/** Rows of two tenants in every table that has a tenant and that an append does not fill. */
const FILL = `
  INSERT INTO evident.api_keys (key_id, hash, role, tenant) SELECT t, sha256(t::bytea), 'writer', t FROM unnest('{acme,beta}'::text[]) t;
  INSERT INTO evident.tenant_secrets SELECT t, sha256(t::bytea) FROM unnest('{acme,beta}'::text[]) t;
  INSERT INTO evident.identities_reused SELECT log_id, tenant, id, body_hash, tree, position FROM evident.identities;
  INSERT INTO evident.sources (source, log_id, tenants, wanted_mode) SELECT 's', log_id, '{acme}', 'polling' FROM evident.logs LIMIT 1;
  INSERT INTO evident.saved_searches (tenant, name, filter, made_by) SELECT t, 'n', '{}', 'x' FROM unnest('{acme,beta}'::text[]) t;
  INSERT INTO evident.suspects SELECT 'hot', 1, tree, position, 1, now(), now(), tenant FROM evident.records;
  INSERT INTO evident.dead_letters (view, generation, tree, position, tenant, id, type, class, error, attempts, first_at, last_at)
    SELECT 'hot', 1, tree, position, tenant, id, type, 'poison', 'x', 1, now(), now() FROM evident.records;
  CREATE TABLE evident.events_999 PARTITION OF evident.events FOR VALUES IN (999);
  INSERT INTO evident.events (generation, appended_at, tree, position, event_time, timed, id, tenant, type, mapper)
    SELECT 999, appended_at, tree, position, appended_at, false, id, tenant, type, 'unmapped' FROM evident.records;
  CREATE TABLE evident.event_ids_999 PARTITION OF evident.event_ids FOR VALUES IN (999);
  INSERT INTO evident.event_ids SELECT filled.* FROM evident.identities i, jsonb_populate_record(NULL::evident.event_ids,
    to_jsonb(i) || jsonb_build_object('generation', 999, 'appended_at', now(), 'event_time', now())) filled`;

async function fill(log: PostgresLog): Promise<void> {
  const proposals = ['acme', 'beta'].flatMap((tenant) =>
    [0, 1, 2].map((n) => ({
      bodyHash: randomBytes(32),
      reused: 'take' as const,
      record: {
        id: randomUUID(),
        tenant,
        source: 'test',
        sourceSeq: null,
        type: 'note',
        schema: 0,
        key: `${tenant}/${n}`,
        meta: null,
        body: { form: 'json' as const, bytes: Buffer.from(`{"secret of":"${tenant}"}`) },
      },
    })),
  );
  await log.appendOnce(proposals);
}

/** A connection of the server's role, for no tenant, one, or all. */
async function connect(tenant?: string): Promise<pg.Client> {
  const setting = tenant === undefined ? '' : ` -c evident.tenant=${tenant}`;
  const client = new pg.Client({ ...database.connection, options: `-c role=evident_server${setting}` });
  clients.push(client);
  await client.connect();
  return client;
}

interface Table {
  readonly name: string;
  readonly isChild: boolean;
  readonly isGuarded: boolean;
  readonly hasTenant: boolean;
}

async function tables(): Promise<Table[]> {
  const { rows } = await database.owner.query<Table>(`
    SELECT c.relname AS name, c.relispartition AS "isChild", c.relrowsecurity AND c.relforcerowsecurity AS "isGuarded",
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('tenant', 'tenants') AND NOT a.attisdropped) AS "hasTenant"
      FROM pg_class c WHERE c.relnamespace = 'evident'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1`);
  return rows;
}

const count = async (client: pg.Client | pg.Pool, table: string, where = 'true') => {
  const { rows } = await client.query<{ n: string }>(
    `SELECT count(*) AS n FROM evident.${table} WHERE ${where}`,
  );
  return Number(rows[0].n);
};

describe('row-level security', () => {
  after(closeClients);

  it('is forced on every table that names a tenant', async () => {
    const open = (await tables()).filter((table) => table.hasTenant && !table.isChild && !table.isGuarded);
    assert.deepEqual(open, []);
  });

  it('shows no row of any of them without a tenant, and none for an empty one', async () => {
    const guarded = (await tables()).filter((table) => table.isGuarded && !table.isChild);
    assert.ok(guarded.length >= 10, `${guarded.length}`);
    for (const client of [await connect(), await connect('')]) {
      for (const { name } of guarded) assert.equal(await count(client, name), 0, name);
    }
    for (const name of [
      'records',
      'identities',
      'events',
      'event_ids',
      'dead_letters',
      'api_keys',
      'suspects',
    ])
      assert.ok((await count(database.owner, name)) > 0, `${name} is empty: the check above shows nothing`);
  });

  it('shows one tenant its rows alone, and none of what is the server’s', async () => {
    const client = await connect('acme');
    for (const name of [
      'records',
      'identities',
      'identities_reused',
      'events',
      'event_ids',
      'dead_letters',
      'saved_searches',
    ]) {
      const own = await count(database.owner, name, "tenant = 'acme'");
      assert.ok(own > 0, name);
      assert.equal(await count(client, name), own, name);
      assert.equal(await count(client, name, "tenant <> 'acme'"), 0, name);
    }
    for (const name of ['api_keys', 'tenant_secrets', 'sources', 'suspects'])
      assert.equal(await count(client, name), 0, name);
  });

  it('shows the server everything', async () => {
    const client = await connect('*');
    for (const { name } of (await tables()).filter(({ isGuarded, isChild }) => isGuarded && !isChild))
      assert.equal(await count(client, name), await count(database.owner, name), name);
  });

  it('follows the setting within a session and a prepared statement, and ends with its transaction', async () => {
    const client = await connect();
    const look = async () => {
      const { rows } = await client.query<{ tenant: string }>({
        name: 'look',
        text: 'SELECT DISTINCT tenant FROM evident.records ORDER BY 1',
      });
      return rows.map(({ tenant }) => tenant);
    };
    const within = async (tenant: string) => {
      await client.query('BEGIN READ ONLY');
      await client.query("SELECT set_config('evident.tenant', $1, true)", [tenant]);
      const seen = await look();
      await client.query('COMMIT');
      return seen;
    };
    // More often than PostgreSQL plans a prepared statement anew.
    for (let i = 0; i < 8; i++) {
      assert.deepEqual(await within('acme'), ['acme']);
      assert.deepEqual(await within('beta'), ['beta']);
      assert.deepEqual(await within("acme' OR '1'='1"), []);
      assert.deepEqual(await look(), []);
    }
  });

  it('lets no function of the caller see a row before the policy has', async () => {
    const client = await connect('acme');
    const seen = new Set<string>();
    client.on('notice', ({ message }) => seen.add(String(message)));
    await client.query(`CREATE FUNCTION pg_temp.peek(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001
      AS $$ BEGIN RAISE NOTICE '%', t; RETURN true; END $$`);
    await client.query('SELECT count(*) FROM evident.records WHERE pg_temp.peek(tenant)');
    assert.deepEqual([...seen], ['acme']);
  });
});

describe('the server’s role', () => {
  after(closeClients);

  it('can’t INSERT, UPDATE, DELETE or TRUNCATE, whoever it acts for, but for what it has to keep', async () => {
    const client = await connect('*');
    for (const { name } of await tables()) {
      const { rows } = await client.query<{ right: string; has: boolean }>(
        `SELECT r AS right, has_table_privilege(format('evident.%I', $1::text), r) AS has
           FROM unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) r`,
        [name],
      );
      const has = rows.filter((row) => row.has).map(({ right }) => right);
      assert.deepEqual(has, WRITABLE[name] ?? [], name);
    }
    for (const statement of [
      "UPDATE evident.records SET key = 'x'",
      'DELETE FROM evident.records',
      'TRUNCATE evident.records',
      'INSERT INTO evident.identities SELECT * FROM evident.identities',
      'UPDATE evident.partitions SET next_position = 0',
      'DELETE FROM evident.heads',
      "UPDATE evident.api_keys SET role = 'admin'",
      'DELETE FROM evident.api_keys',
      'UPDATE evident.tenant_secrets SET secret = secret',
      'ALTER TABLE evident.records NO FORCE ROW LEVEL SECURITY',
      'DROP POLICY tenant_rows ON evident.records',
      'CREATE TABLE evident.mine ()',
      'CREATE TABLE public.mine ()',
    ])
      await assert.rejects(client.query(statement), DENIED, statement);
  });

  it('may end and revoke a key for the server, and not for a tenant', async () => {
    const revoke = "UPDATE evident.api_keys SET revoked_at = now() WHERE key_id = 'acme'";
    assert.equal((await (await connect('acme')).query(revoke)).rowCount, 0);
    const insert = "INSERT INTO evident.api_keys (key_id, hash, role) VALUES ('x', sha256(''), 'admin')";
    await assert.rejects((await connect('acme')).query(insert), DENIED);
    await assert.rejects((await connect()).query(insert), DENIED);
    assert.equal((await (await connect('*')).query(revoke)).rowCount, 1);
  });

  it('can’t reach a child past its parent', async () => {
    const children = (await tables()).filter(({ isChild }) => isChild);
    assert.ok(children.some(({ name }) => /^records_\d+_0$/.test(name)));
    for (const client of [await connect(), await connect('acme'), await connect('*')]) {
      for (const { name } of children)
        await assert.rejects(client.query(`SELECT FROM evident.${name} LIMIT 1`), DENIED, name);
    }
  });
});

interface MadeFunction {
  readonly name: string;
  readonly path: string | null;
  readonly isDefiner: boolean;
  readonly isPublic: boolean;
  readonly isServers: boolean;
  readonly owner: string;
}

async function functions(): Promise<MadeFunction[]> {
  const { rows } = await database.owner.query<MadeFunction>(`
    SELECT p.proname AS name, p.prosecdef AS "isDefiner", pg_get_userbyid(p.proowner) AS owner,
           (SELECT c FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%') AS path,
           p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0) AS "isPublic",
           has_function_privilege('evident_server', p.oid, 'EXECUTE') AS "isServers"
      FROM pg_proc p WHERE p.pronamespace = 'evident'::regnamespace ORDER BY 1`);
  return rows;
}

describe('functions', () => {
  after(closeClients);

  it('are nobody’s but the server’s, and those within others not even its own', async () => {
    const all = await functions();
    assert.deepEqual(
      all.filter(({ isPublic }) => isPublic).map(({ name }) => name),
      [],
    );
    const internal = all.filter(({ name }) => INTERNAL.includes(name));
    assert.equal(internal.length, INTERNAL.length);
    assert.deepEqual(
      internal.filter(({ isServers }) => isServers).map(({ name }) => name),
      [],
    );
    const client = await connect('*');
    await assert.rejects(client.query('SELECT evident.add_child(1, 0, 1)'), DENIED);
    await assert.rejects(client.query('SELECT evident.put_hour(1, 0, now())'), DENIED);
  });

  it('that act as another role fix their search path, with what is temporary last', async () => {
    const loose = (await functions()).filter(
      ({ isDefiner, path }) => isDefiner && path !== 'search_path=pg_catalog, pg_temp',
    );
    assert.deepEqual(loose, []);
  });

  it('are not led astray by objects of the caller', async () => {
    const client = await connect('*');
    await client.query('SET search_path = pg_temp, public, evident, pg_catalog');
    for (const name of ['records', 'partitions', 'identities', 'identities_reused', 'logs', 'seals', 'heads'])
      await client.query(`CREATE TEMP TABLE ${name} (LIKE evident.${name})`);
    for (const made of [
      `FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$`,
      `FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$`,
      `FUNCTION pg_temp.greatest_of(int) RETURNS int LANGUAGE sql AS $$ SELECT 0 $$`,
      `FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT '*' $$`,
      `FUNCTION pg_temp.same(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$`,
      'OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.same)',
    ])
      await client.query(`CREATE ${made}`);
    const pool = { connect: async () => ({ query: client.query.bind(client), release: () => undefined }) };
    const { trees } = await openLog(
      { pool: database.pool, appender: new Appender(database.pool) },
      'audit',
      2,
    );
    const before = await count(database.owner, 'records');
    const appender = new Appender(pool as unknown as pg.Pool);
    await fill(new PostgresLog({ pool: pool as unknown as pg.Pool, appender }, 'audit', trees));
    await client.query('SELECT evident.close_hours($1)', [trees]);
    assert.equal(await count(database.owner, 'records'), before + 6);
    for (const name of ['records', 'partitions', 'identities']) {
      const { rows } = await client.query(`SELECT FROM pg_temp.${name}`);
      assert.equal(rows.length, 0, name);
    }
    const { rows } = await database.owner.query<{ old: boolean }>(
      "SELECT bool_or(appended_at < '2020-01-01') AS old FROM evident.records",
    );
    assert.equal(rows[0].old, false, 'the time is that of the server');
    // The policy, too, is bound to the functions and operators that it was made with.
    await client.query("SET evident.tenant = ''");
    assert.equal(await count(client, 'records'), 0);
  });
});

describe('an owner that is no superuser', () => {
  it('migrates, and its functions write and read what is recorded under its own forced policies', async () => {
    const { owner, connection } = database;
    const name = `o${randomBytes(6).toString('hex')}`;
    await owner.query(`CREATE ROLE ${name} LOGIN CREATEROLE PASSWORD '${name}'`);
    await owner.query(`GRANT evident_server, evident_search TO ${name} WITH ADMIN OPTION`);
    await owner.query(`CREATE DATABASE ${name} OWNER ${name}`);
    const own = ownConnection(connection, name);
    const client = new pg.Client(own);
    await client.connect();
    const pool = openPool(own, { role: 'evident_server', max: 2, tenant: '*' });
    try {
      await migrate(client);
      await client.query("SELECT evident.make_log('audit', 1)");
      const appender = new Appender(pool);
      const log = await openLog({ pool, appender }, 'audit', 1);
      await fill(log);
      await fill(log);
      await log.closeHours();
      assert.equal((await log.read(0, 0n, 100)).length, 12);
      assert.equal(await count(client, 'records'), 12);
      // FORCE binds the owner: that policy is what its functions stand on.
      await client.query('DROP POLICY owner_rows ON evident.records');
      await assert.rejects(fill(log), /row-level security/);
      await appender.close();
    } finally {
      await pool.end();
      await client.end();
      await owner.query(`DROP DATABASE ${name}`);
      await owner.query(`DROP ROLE ${name}`);
    }
  });
});

/** The same server as another user, in the database of that name. */
function ownConnection(connection: pg.ClientConfig, name: string): pg.ClientConfig {
  if (connection.connectionString === undefined)
    return { ...connection, user: name, password: name, database: name };
  const url = new URL(connection.connectionString);
  url.username = name;
  url.password = name;
  url.pathname = `/${name}`;
  return { connectionString: url.href };
}
