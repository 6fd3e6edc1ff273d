/** For the tests: a real PostgreSQL with an outbox in it, a role of an application, and a business table. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import pg from 'pg';
import {
  cleanUp,
  makeFolder,
  type Running,
  startEngine,
} from '../../../server/src/stores/postgres/embedded/engine-fixture.ts';

const OUTBOX_SQL = readFileSync(new URL('../../../server/sql/outbox/outbox.sql', import.meta.url), 'utf8');
const PASSWORD = 'application';

export interface OutboxRowRead {
  event_id: string;
  tenant: string;
  type: string;
  key: string;
  schema: number;
  meta: string;
  body: string;
}

export interface Application {
  readonly running: Running;
  /** Connections as the application's role, which may write the outbox and its own table, and no more. */
  readonly pool: pg.Pool;
  readonly url: string;
  /** As the owner of the database. */
  asOwner(text: string): Promise<Record<string, unknown>[]>;
  rows(): Promise<OutboxRowRead[]>;
  /** Bodies of the rows, oldest first. */
  bodies(): Promise<Record<string, unknown>[]>;
  accounts(): Promise<number>;
  /** Empties both tables. */
  clear(): Promise<void>;
}

export async function startApplication(t: TestContext): Promise<Application> {
  const running = await startEngine(t, join(makeFolder(t), 'data'), { transport: 'tcp' });
  const owner = new pg.Pool({ ...running.engine.connection(), max: 1 });
  owner.on('error', () => undefined);
  const asOwner = async (text: string) => (await owner.query(text)).rows as Record<string, unknown>[];
  await asOwner(
    `SELECT set_config('evident_outbox.slots', '16', false), set_config('evident_outbox.slot_seconds', '60', false)`,
  );
  await asOwner(OUTBOX_SQL);
  await asOwner(`
    CREATE ROLE application LOGIN PASSWORD '${PASSWORD}';
    GRANT evident_outbox_writer TO application;
    CREATE TABLE account (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    GRANT ALL ON account TO application`);
  const { host, port, database } = running.engine.connection();
  const url = `postgres://application:${PASSWORD}@${host}:${port}/${database}`;
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  pool.on('error', () => undefined);
  cleanUp(t, async () => {
    await pool.end();
    await owner.end();
  });
  const rows = async () =>
    (await asOwner(
      'SELECT event_id, tenant, type, key, schema, meta, body FROM evident_outbox.events ORDER BY id',
    )) as unknown as OutboxRowRead[];
  return {
    running,
    pool,
    url,
    asOwner,
    rows,
    bodies: async () => (await rows()).map(({ body }) => JSON.parse(body) as Record<string, unknown>),
    accounts: async () => Number((await asOwner('SELECT count(*) AS n FROM account'))[0].n),
    clear: async () => void (await asOwner('TRUNCATE account, evident_outbox.events')),
  };
}
