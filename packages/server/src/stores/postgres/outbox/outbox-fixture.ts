/** For the tests of this folder: a database with an outbox of four slots, its roles, and sessions. */

import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import pg from 'pg';
import { openTestDatabase } from '../../../../test/database.ts';
import { cleanUp } from '../embedded/engine-fixture.ts';
import { initOutbox, type OutboxReport } from './init.ts';

export const SLOTS = 4;
/** Long enough that no slot's turn comes within a test, unless midnight does. */
const SLOT_SECONDS = 86_400;

/** Columns that an application gives. */
export const PAYLOAD = 'event_id, tenant, type, key, schema, meta, body';
export const VALUES = `gen_random_uuid(), 'acme', 'audit.event', 'acme/1', 1, '{}', '{"n":1}'`;

export class OutboxDatabase {
  readonly connection: pg.ClientConfig;
  readonly #t: TestContext;
  /** A superuser's session. */
  readonly admin: pg.Client;

  constructor(t: TestContext, connection: pg.ClientConfig, admin: pg.Client) {
    this.#t = t;
    this.connection = connection;
    this.admin = admin;
  }

  /** Another session, as this role or as the superuser. */
  async open(role?: string): Promise<pg.Client> {
    const client = new pg.Client(this.connection);
    client.on('error', () => undefined);
    cleanUp(this.#t, () => client.end());
    await client.connect();
    if (role !== undefined) await client.query(`SET SESSION AUTHORIZATION ${pg.escapeIdentifier(role)}`);
    return client;
  }

  /** A role of its own; gone after the test, with what it owns. */
  async makeRole(attributes = ''): Promise<string> {
    const name = `test ${randomBytes(5).toString('hex')}`;
    const quoted = pg.escapeIdentifier(name);
    await this.admin.query(`CREATE ROLE ${quoted} ${attributes}`);
    cleanUp(this.#t, async () => {
      await this.admin.query('ROLLBACK');
      await this.admin.query(`DROP OWNED BY ${quoted} CASCADE; DROP ROLE ${quoted}`);
    });
    return name;
  }

  init(): Promise<OutboxReport> {
    return initOutbox(this.admin, { slots: SLOTS, slotSeconds: SLOT_SECONDS });
  }

  async rows(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await this.admin.query(text, values)).rows;
  }

  /** Everything that stands in the outbox, whatever its columns are now. */
  async contents(): Promise<unknown> {
    const [row] = await this.rows(
      'SELECT count(*), md5(string_agg(concat(slot, xid, id, event_id, tenant, key, body), $1 ORDER BY id)) AS hash FROM evident_outbox.events',
      [','],
    );
    return row;
  }

  /** A slot that is neither written to nor the next to be. */
  async pastSlot(): Promise<number> {
    const [{ now }] = await this.rows(
      'SELECT floor(extract(epoch FROM clock_timestamp()) / $1)::bigint::int AS now',
      [SLOT_SECONDS],
    );
    // The one before the current: should midnight come, it is the one before that, and still not the next.
    return ((now as number) + SLOTS - 1) % SLOTS;
  }
}

/** A new database, without an outbox. */
export async function openDatabase(t: TestContext): Promise<OutboxDatabase> {
  const { connection } = await openTestDatabase();
  const admin = new pg.Client(connection);
  admin.on('error', () => undefined);
  cleanUp(t, () => admin.end());
  await admin.connect();
  return new OutboxDatabase(t, connection, admin);
}

/** A new database with an outbox. */
export async function openOutboxDatabase(t: TestContext): Promise<OutboxDatabase> {
  const database = await openDatabase(t);
  await database.init();
  return database;
}
