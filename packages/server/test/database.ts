/**
 * Databases for tests: one embedded PostgreSQL per test process, a new database for each test. With
 * EVIDENT_TEST_POSTGRES (a superuser's connection string) the same tests run on that server.
 */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import pg from 'pg';
import { prepareDataDirectory } from '../src/stores/folder/data-lock.ts';
import { EmbeddedPostgres } from '../src/stores/postgres/embedded/engine.ts';
import { migrate } from '../src/stores/postgres/migrate.ts';
import { openPool } from '../src/stores/postgres/pool.ts';

export interface TestDatabase {
  /** The server's pool: role evident_server, all tenants. */
  readonly pool: pg.Pool;
  /** A superuser's pool, for what an attacker or an administrator does. */
  readonly owner: pg.Pool;
  readonly connection: pg.ClientConfig;
}

let shared: Promise<pg.ClientConfig> | undefined;
/** Undone in reverse order when the test file ends. Registered here, once: inside a test `after` means that test. */
const closers: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of closers.reverse()) await close();
});

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

async function startShared(): Promise<pg.ClientConfig> {
  const external = process.env.EVIDENT_TEST_POSTGRES;
  if (external !== undefined) return { connectionString: external };
  const dataDir = prepareDataDirectory(join(mkdtempSync(join(tmpdir(), 'evident-pg-')), 'data'));
  const engine = new EmbeddedPostgres({ dataDir, logger: quiet });
  await engine.start();
  closers.push(async () => {
    await engine.stop();
    rmSync(join(dataDir, '..'), { recursive: true, force: true });
  });
  return engine.connection();
}

/** A new migrated database. Its pools are closed when the test file ends. */
export async function openTestDatabase(): Promise<TestDatabase> {
  shared ??= startShared();
  const base = await shared;
  const database = `t${randomBytes(6).toString('hex')}`;
  const admin = new pg.Client(base);
  await admin.connect();
  await admin.query(`CREATE DATABASE ${database}`);
  await admin.end();
  const connection: pg.ClientConfig = { ...base, database };
  if (base.connectionString !== undefined) {
    const url = new URL(base.connectionString);
    url.pathname = `/${database}`;
    connection.connectionString = url.href;
  }
  const client = new pg.Client(connection);
  await client.connect();
  await migrate(client);
  await client.end();
  const pool = openPool(connection, { role: 'evident_server', max: 8, tenant: '*' });
  const owner = openPool(connection, { role: null, max: 4 });
  closers.push(async () => {
    await Promise.all([pool.end(), owner.end()]);
  });
  return { pool, owner, connection };
}
