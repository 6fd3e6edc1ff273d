/**
 * Business transactions, one statement at a time: each row of business goes with its row of the outbox, in one
 * statement. What committed stands in app.business; when each transaction took its xid and when it ended is kept
 * here, in steps, because the order of the log is promised by that.
 */

import { randomUUID } from 'node:crypto';
import pg from 'pg';

/** The table that the business is about; what it holds is what the log has to hold. */
export const BUSINESS_SQL = `
  CREATE SCHEMA app;
  CREATE TABLE app.business (
    id     uuid PRIMARY KEY,
    tenant text NOT NULL,
    type   text NOT NULL,
    key    text NOT NULL,
    body   text NOT NULL,
    xid    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq    bigint NOT NULL GENERATED ALWAYS AS IDENTITY
  );`;

const WRITE = {
  name: 'write',
  text: `WITH written AS (
           INSERT INTO app.business (id, tenant, type, key, body) VALUES ($1, $2, 'note', $3, $4) RETURNING *)
         INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body)
           SELECT id, tenant, type, key, 0, NULL, body FROM written`,
};

/** A transaction that wrote, in steps of the schedule. */
export interface Transaction {
  readonly name: string;
  readonly ids: string[];
  /** The step before its xid was taken. */
  begunAt: number;
  /** The step at which it was over, however it ended; null while it is open. */
  endedAt: number | null;
}

/** Counts the steps of all sessions of a scene. */
export class Schedule {
  step = 0;
  readonly transactions: Transaction[] = [];
  /** Prepared and not ended, by name. */
  readonly prepared = new Map<string, Transaction>();
}

export class BusinessSession {
  readonly name: string;
  readonly #connection: pg.ClientConfig;
  readonly #schedule: Schedule;
  #client!: pg.Client;
  #open: Transaction | null = null;
  #isBegun = false;
  #count = 0;
  pid = 0;

  constructor(name: string, connection: pg.ClientConfig, schedule: Schedule) {
    this.name = name;
    this.#connection = connection;
    this.#schedule = schedule;
  }

  async connect(): Promise<this> {
    const options = '-c synchronous_commit=off -c lock_timeout=5s';
    this.#client = new pg.Client({ ...this.#connection, options, application_name: `business ${this.name}` });
    this.#client.on('error', () => undefined);
    await this.#client.connect();
    this.pid = (await this.#client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;
    return this;
  }

  get isBegun(): boolean {
    return this.#isBegun;
  }

  async query(text: string, values?: unknown[]): Promise<pg.QueryResult> {
    this.#schedule.step++;
    return this.#client.query(text, values);
  }

  async begin(how = ''): Promise<void> {
    await this.query(`BEGIN ${how}`);
    this.#isBegun = true;
  }

  /** Takes an xid without a row: whoever comes first need not write first. */
  async takeXid(): Promise<void> {
    this.#touch();
    await this.query('SELECT pg_current_xact_id()');
  }

  /** Writes a row of business and its row of the outbox. @returns its id */
  async write(over: { key?: string; body?: string; tenant?: string } = {}): Promise<string> {
    const transaction = this.#touch();
    const id = randomUUID();
    const body = over.body ?? `{"by":"${transaction.name}","n":${this.#count++}}`;
    this.#schedule.step++;
    await this.#client.query({ ...WRITE, values: [id, over.tenant ?? 'acme', over.key ?? 'acme/one', body] });
    transaction.ids.push(id);
    if (!this.#isBegun) this.#end();
    return id;
  }

  /** A transaction of its own with `count` rows. */
  async writeAll(count: number, over: { key?: string } = {}): Promise<string[]> {
    await this.begin();
    const ids: string[] = [];
    for (let i = 0; i < count; i++) ids.push(await this.write(over));
    await this.commit();
    return ids;
  }

  /** Many rows in one statement. */
  async writeMany(count: number): Promise<void> {
    const transaction = this.#touch();
    this.#schedule.step++;
    const { rows } = await this.#client.query(
      `WITH written AS (
         INSERT INTO app.business (id, tenant, type, key, body)
           SELECT gen_random_uuid(), 'acme', 'note', 'acme/' || n % 7, format('{"many":%s}', n)
             FROM generate_series(1, $1::int) n RETURNING *),
       sent AS (
         INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body)
           SELECT id, tenant, type, key, 0, NULL, body FROM written ORDER BY seq)
       SELECT id FROM written ORDER BY seq`,
      [count],
    );
    transaction.ids.push(...rows.map(({ id }) => id));
    if (!this.#isBegun) this.#end();
  }

  commit(): Promise<void> {
    return this.#finish('COMMIT');
  }

  rollback(): Promise<void> {
    return this.#finish('ROLLBACK');
  }

  /** The transaction goes on without the session, until somebody ends it by its name. */
  async prepare(name: string): Promise<void> {
    // Preparing takes an xid, whether there is a row or not.
    const transaction = this.#touch();
    await this.query(`PREPARE TRANSACTION '${name}'`);
    this.#schedule.prepared.set(name, transaction);
    this.#open = null;
    this.#isBegun = false;
  }

  async endPrepared(name: string, how: 'COMMIT' | 'ROLLBACK'): Promise<void> {
    await this.query(`${how} PREPARED '${name}'`);
    const transaction = this.#schedule.prepared.get(name);
    if (transaction !== undefined) transaction.endedAt = this.#schedule.step;
    this.#schedule.prepared.delete(name);
  }

  /** Ends the backend where it stands; with `during`, while that statement is under way. */
  async kill(admin: pg.Client, during?: 'COMMIT'): Promise<void> {
    const underWay = during === undefined ? undefined : this.#client.query(during).catch(() => undefined);
    await admin.query('SELECT pg_terminate_backend($1, 5000)', [this.pid]);
    await underWay;
    await this.#client.end().catch(() => undefined);
    this.#schedule.step++;
    this.#end();
    await this.connect();
  }

  async close(): Promise<void> {
    await this.#client.end().catch(() => undefined);
  }

  async #finish(how: string): Promise<void> {
    await this.query(how);
    this.#end();
  }

  #touch(): Transaction {
    if (this.#open === null) {
      const name = `${this.name}${this.#schedule.transactions.length}`;
      this.#open = { name, ids: [], begunAt: this.#schedule.step, endedAt: null };
      this.#schedule.transactions.push(this.#open);
    }
    return this.#open;
  }

  #end(): void {
    if (this.#open !== null) this.#open.endedAt = this.#schedule.step;
    this.#open = null;
    this.#isBegun = false;
  }
}
