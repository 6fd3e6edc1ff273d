/**
 * A place for the relay to be tried in: one installation with its log, and for each test an outbox in a database of
 * its own, or in the log's. Business sessions write, relays run in process, and at the end the log is held against
 * what the business committed.
 *
 * The ring's clock is a sequence that the test moves on (`turn`), so slots come and go without waiting. Relays run by
 * a clock ten times as fast, so that what they do once a second happens ten times.
 */

import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { LogRecord } from '@evident/core/record.ts';
import pg from 'pg';
import type { LocalRelay, Outbox, RelayLog, Source } from '../src/relay/ports.ts';
import { prepareDataDirectory } from '../src/stores/folder/data-lock.ts';
import { EmbeddedPostgres } from '../src/stores/postgres/embedded/engine.ts';
import { openPool } from '../src/stores/postgres/pool.ts';
import { PostgresLocalRelay, PostgresRelayLog } from '../src/stores/postgres/relay-log.ts';
import { BUSINESS_SQL, BusinessSession, Schedule } from './business-session.ts';
import { Installation } from './installation.ts';
import { SceneRelay } from './scene-relay.ts';

const SLOTS = 8;
const PARTITIONS = 4;
const UNTIL_MS_MAX = 30_000;
const POLL_MS = 10;
const OUTBOX_SQL = readFileSync(new URL('../sql/outbox/outbox.sql', import.meta.url), 'utf8');
const CLOCK = 'extract(epoch FROM clock_timestamp()) / ';
/** What every cluster of these tests needs beside what Evident starts it with. */
const SETTINGS = { max_prepared_transactions: '10', deadlock_timeout: "'100ms'" };

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Waits for a condition, with a bound. */
export async function until(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const end = Date.now() + UNTIL_MS_MAX;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`waited ${UNTIL_MS_MAX} ms for ${what}`);
    await wait(POLL_MS);
  }
}

/** outbox.sql with the ring's clock in the test's hand. */
function steppedOutboxSql(): string {
  const text = OUTBOX_SQL.replaceAll(CLOCK, 'app.clock() / ');
  if (text === OUTBOX_SQL) throw new Error('outbox.sql does not read its clock as it did: write this anew');
  return text;
}

export interface BusinessRow {
  readonly id: string;
  readonly tenant: string;
  readonly type: string;
  readonly key: string;
  readonly body: string;
  readonly xid: bigint;
  readonly seq: bigint;
}

/** Another cluster than the log's. Ends with the file. */
export async function openCluster(): Promise<pg.ClientConfig> {
  const folder = mkdtempSync(join(tmpdir(), 'evident-source-'));
  const dataDir = prepareDataDirectory(join(folder, 'data'));
  const engine = new EmbeddedPostgres({ dataDir, logger: quiet, sharedBuffersMb: 32 });
  await engine.start();
  closers.push(async () => {
    await engine.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  return engine.connection();
}

/** Undone in reverse order when the file ends. */
const closers: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of closers.reverse()) await close();
});

let shared: Promise<Installation> | undefined;

/** The installation of a test file: its log takes the records of all scenes. */
export function sharedInstallation(): Promise<Installation> {
  shared ??= openInstallation();
  return shared;
}

async function openInstallation(): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'evident-relay-'));
  const installation = new Installation(join(folder, 'data'), PARTITIONS);
  closers.push(async () => {
    await installation.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await installation.start();
  for (const [name, value] of Object.entries(SETTINGS))
    await installation.asSuperuser(`ALTER SYSTEM SET ${name} = ${value}`);
  await installation.stop();
  await installation.start();
  return installation;
}

export interface SceneOptions {
  /** `log`: the outbox lies in the log's own database. `beside` (default): in another of its cluster. */
  readonly where?: 'log' | 'beside' | pg.ClientConfig;
  readonly tenants?: readonly string[] | null;
  readonly mode?: Source['wantedMode'];
  readonly slots?: number;
}

let scenes = 0;

export class OutboxScene {
  readonly name: string;
  readonly installation: Installation;
  /** Of the database that holds the outbox. */
  readonly connection: pg.ClientConfig;
  readonly schedule = new Schedule();
  readonly admin: pg.Client;
  /** For the test itself; relays have one over connections that can be cut. */
  readonly relayLog: PostgresRelayLog;
  readonly #relayLog: PostgresRelayLog;
  readonly #pool: pg.Pool;
  readonly relays: SceneRelay[] = [];
  readonly #sessions: BusinessSession[] = [];
  readonly #tenants: readonly string[] | null;
  /** What was read of the log, and where it goes on. */
  readonly #records: LogRecord[] = [];
  #next: bigint[] = [];

  private constructor(
    installation: Installation,
    connection: pg.ClientConfig,
    admin: pg.Client,
    options: SceneOptions,
  ) {
    this.name = `scene-${++scenes}`;
    this.installation = installation;
    this.connection = connection;
    this.admin = admin;
    this.#tenants = options.tenants === undefined ? ['acme'] : options.tenants;
    // A pool of its own, so that the relays' connections can be ended and no others.
    const named = { ...installation.storage.connection, application_name: `log of ${this.name}` };
    this.#pool = openPool(named, { role: 'evident_server', max: 6, tenant: '*' });
    this.#pool.on('connect', (client) => client.on('error', () => undefined));
    this.#relayLog = new PostgresRelayLog({ pool: this.#pool, logs: installation.storage.logs });
    this.relayLog = installation.storage.relayLog;
  }

  /** Opened for one test, and closed with it. */
  static async open(t: Pick<TestContext, 'after'>, options: SceneOptions = {}): Promise<OutboxScene> {
    const installation = await sharedInstallation();
    const connection = await makeDatabase(installation, options.where ?? 'beside');
    const admin = new pg.Client({ ...connection, options: '-c synchronous_commit=off' });
    admin.on('error', () => undefined);
    await admin.connect();
    if (options.where === 'log')
      await admin.query(
        'DROP SCHEMA IF EXISTS evident_outbox, app CASCADE; DROP PUBLICATION IF EXISTS evident_outbox',
      );
    await admin.query(
      `${BUSINESS_SQL} CREATE SEQUENCE app.seconds;
       CREATE FUNCTION app.clock() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT last_value FROM app.seconds';
       SELECT set_config('evident_outbox.slots', '${options.slots ?? SLOTS}', false),
              set_config('evident_outbox.slot_seconds', '1', false)`,
    );
    await admin.query(steppedOutboxSql());
    const scene = new OutboxScene(installation, connection, admin, options);
    t.after(() => scene.close());
    scene.#next = (await scene.#log.heads()).map(({ next }) => next);
    await scene.want(options.mode ?? 'polling');
    return scene;
  }

  get #log() {
    const log = this.installation.storage.logs.get('audit');
    if (log === undefined) throw new Error('there is no log audit');
    return log;
  }

  /** Registers the source, or changes how it shall be read. */
  want(mode: Source['wantedMode']): Promise<void> {
    return this.relayLog.register(this.name, 'audit', this.#tenants, mode);
  }

  async session(name: string): Promise<BusinessSession> {
    const session = await new BusinessSession(name, this.connection, this.schedule).connect();
    this.#sessions.push(session);
    return session;
  }

  /** Starts a relay, through wrapped ports where a test wants them. */
  relay(
    options: {
      log?: (log: RelayLog) => RelayLog;
      local?: (local: LocalRelay) => LocalRelay;
      outbox?: (outbox: Outbox) => Outbox;
    } = {},
  ): SceneRelay {
    const local = new PostgresLocalRelay(this.#pool);
    const relay = new SceneRelay({
      source: this.name,
      connection: this.connection,
      objects: this.installation.storage.objects,
      log: options.log?.(this.#relayLog) ?? this.#relayLog,
      local: options.local?.(local) ?? local,
      wrap: options.outbox ?? ((outbox) => outbox),
    });
    this.relays.push(relay);
    return relay;
  }

  /** Moves the ring's clock on by one slot. */
  async turn(slots = 1): Promise<void> {
    await this.admin.query('SELECT setval($1, (SELECT last_value FROM app.seconds) + $2)', [
      'app.seconds',
      slots,
    ]);
  }

  async seal(): Promise<void> {
    const { breaks } = await this.installation.seal();
    if (breaks.length > 0) throw new Error(`sealing broke: ${JSON.stringify(breaks)}`);
  }

  /** What the business committed, in (xid, seq) order. */
  async committed(): Promise<BusinessRow[]> {
    const { rows } = await this.admin.query('SELECT * FROM app.business ORDER BY xid, seq');
    return rows.map((row) => ({ ...row, xid: BigInt(row.xid), seq: BigInt(row.seq) }));
  }

  /** What the log holds since the scene began, of whatever source. */
  async records(): Promise<readonly LogRecord[]> {
    for (const [partition, from] of this.#next.entries()) {
      for (let next = from; ; ) {
        const page = await this.#log.read(partition, next, 5_000);
        this.#records.push(...page);
        next += BigInt(page.length);
        this.#next[partition] = next;
        if (page.length === 0) break;
      }
    }
    return this.#records;
  }

  /** Records of the scene's source, in the order of each partition. */
  async relayed(): Promise<LogRecord[]> {
    return (await this.records()).filter(({ source }) => source === `outbox:${this.name}`);
  }

  /** Records that Evident itself wrote about the source. */
  async said(type: string): Promise<Record<string, unknown>[]> {
    const bodies = (await this.records())
      .filter((record) => record.type === type && record.source === 'evident' && record.body.form === 'json')
      .map(({ body }) => JSON.parse(Buffer.from((body as { bytes: Uint8Array }).bytes).toString()));
    return bodies.filter(({ source }) => source === this.name);
  }

  /** Resolves when the log has every one of these ids. */
  async untilRelayed(ids: readonly string[]): Promise<void> {
    let missing: string[] = [];
    try {
      await until(`${ids.length} rows in the log of ${this.name}`, async () => {
        const there = new Set((await this.relayed()).map(({ id }) => id));
        missing = ids.filter((id) => !there.has(id));
        return missing.length === 0;
      });
    } catch (error) {
      const errors = this.relays.flatMap((relay) => relay.errors.map((one) => (one as Error).message));
      throw new Error(`${(error as Error).message}: ${missing.length} are missing; ${errors.join('; ')}`);
    }
  }

  /** Resolves when the log has all that the business has committed. */
  async untilComplete(): Promise<void> {
    await this.untilRelayed((await this.committed()).map(({ id }) => id));
  }

  /** The slot of a row of the outbox; null when it stands there no more. */
  async slotOf(id: string): Promise<number | null> {
    const { rows } = await this.admin.query('SELECT slot FROM evident_outbox.events WHERE event_id = $1', [
      id,
    ]);
    return rows[0]?.slot ?? null;
  }

  async rowsInOutbox(): Promise<number> {
    const { rows } = await this.admin.query('SELECT count(*)::int AS count FROM evident_outbox.events');
    return rows[0].count;
  }

  /** Ends the relays' connections, to the source, to the log, or those of which a random choice says so. */
  async cut(side: 'source' | 'log', chosen: () => boolean = () => true): Promise<number> {
    const name = side === 'source' ? 'evident relay' : `log of ${this.name}`;
    const where =
      'application_name = $1 AND ($2 OR datname = current_database()) AND pid <> pg_backend_pid()';
    const client =
      side === 'source' ? this.admin : (this.#logAdmin ?? (this.#logAdmin = await this.#openLogAdmin()));
    const { rows } = await client.query(`SELECT pid FROM pg_stat_activity WHERE ${where} ORDER BY pid`, [
      name,
      side === 'log',
    ]);
    const pids = rows.map(({ pid }) => pid).filter(chosen);
    await client.query('SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid', [pids]);
    return pids.length;
  }

  #logAdmin: pg.Client | undefined;

  async #openLogAdmin(): Promise<pg.Client> {
    const client = new pg.Client(this.installation.storage.connection);
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  async stopRelays(): Promise<void> {
    await Promise.all(this.relays.map((relay) => relay.stop()));
  }

  /** Ends what the scene holds; a slot that stayed would hold back the log of all others. */
  async close(): Promise<void> {
    await this.stopRelays();
    for (const session of this.#sessions.splice(0)) await session.close();
    const { rows } = await this.admin
      .query('SELECT gid FROM pg_prepared_xacts WHERE database = current_database()')
      .catch(() => ({ rows: [] }));
    for (const { gid } of rows) await this.admin.query(`ROLLBACK PREPARED '${gid}'`);
    await this.admin
      .query(
        'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()',
      )
      .catch(() => undefined);
    await this.admin.end().catch(() => undefined);
    await this.#logAdmin?.end().catch(() => undefined);
    if (!this.#pool.ended) await this.#pool.end();
  }
}

async function makeDatabase(
  installation: Installation,
  where: 'log' | 'beside' | pg.ClientConfig,
): Promise<pg.ClientConfig> {
  if (where === 'log') return installation.storage.connection;
  const cluster = where === 'beside' ? installation.storage.connection : where;
  const database = `s${randomUUID().replaceAll('-', '').slice(0, 12)}`;
  const client = new pg.Client(cluster);
  await client.connect();
  await client.query(`CREATE DATABASE ${database}`);
  await client.end();
  return { ...cluster, database };
}
