/**
 * The application's own PostgreSQL, with its outbox: stopped, crashed, copied, put back, cloned as a standby. What an
 * operator does to a source behind the relay's back.
 *
 * A cluster with an outbox in it is made once in a test file; each test works on a copy of its files. The ring's clock
 * is a sequence that the test moves on, so slots come and go without waiting.
 */

import { execFileSync } from 'node:child_process';
import {
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import pg from 'pg';
import { prepareDataDirectory } from '../src/stores/folder/data-lock.ts';
import { EmbeddedPostgres } from '../src/stores/postgres/embedded/engine.ts';
import { BUSINESS_SQL } from './business-session.ts';
import { until } from './outbox-scene.ts';

const SLOTS = 4;
const OUTBOX_SQL = readFileSync(new URL('../sql/outbox/outbox.sql', import.meta.url), 'utf8');
const CLOCK = 'extract(epoch FROM clock_timestamp()) / ';

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** outbox.sql with the ring's clock in the test's hand. */
function steppedOutboxSql(): string {
  const text = OUTBOX_SQL.replaceAll(CLOCK, 'app.clock() / ');
  if (text === OUTBOX_SQL) throw new Error('outbox.sql does not read its clock as it did: write this anew');
  return text;
}

const CONTENT_SQL = `${BUSINESS_SQL}
  CREATE SEQUENCE app.seconds;
  CREATE FUNCTION app.clock() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT last_value FROM app.seconds';
  SELECT set_config('evident_outbox.slots', '${SLOTS}', false), set_config('evident_outbox.slot_seconds', '1', false);`;

/** Whole processes of one cluster, by their working directory. */
export function processesOf(directory: string): { pid: number; title: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (readlinkSync(`/proc/${name}/cwd`) !== directory) return [];
      return [{ pid: Number(name), title: readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')[0] }];
    } catch {
      return [];
    }
  });
}

/** SIGKILL to the postmaster and all of its children at once. */
export async function killCluster(directory: string): Promise<void> {
  const found = processesOf(directory);
  for (const { pid } of found) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
  const pids = new Set(found.map(({ pid }) => pid));
  await until('PostgreSQL to be gone', () => processesOf(directory).every(({ pid }) => !pids.has(pid)));
}

function makeFolder(): string {
  return realpathSync(mkdtempSync(join(tmpdir(), 'evident-source-')));
}

function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

/** With owners: PostgreSQL refuses a directory that is not its account's. */
function copyTree(from: string, to: string, isMoving = false): void {
  rmSync(to, { recursive: true, force: true });
  try {
    execFileSync('cp', ['-a', from, to], { stdio: 'pipe' });
  } catch (error) {
    // Of a cluster that works, files come and go while it is copied: recovery knows of them.
    if (!isMoving) throw error;
  }
}

/** Two clusters with an empty outbox, stopped, each with an identifier of its own: what tests work on copies of. */
type Kind = 'first' | 'other';
const templates = new Map<Kind, Promise<string>>();
const templateFolders: string[] = [];
// Registered here, once: inside a test `after` means that test.
after(() => {
  for (const folder of templateFolders) removeFolder(folder);
});

function templateOf(kind: Kind): Promise<string> {
  let made = templates.get(kind);
  if (made === undefined) {
    made = makeTemplate();
    templates.set(kind, made);
  }
  return made;
}

async function makeTemplate(): Promise<string> {
  const folder = makeFolder();
  templateFolders.push(folder);
  const cluster = new SourceCluster(folder);
  await cluster.start();
  await cluster.query(CONTENT_SQL + steppedOutboxSql());
  // Less to copy: no database that is not used, no file of the write-ahead log that is not needed.
  await cluster.query("UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'");
  for (const database of ['postgres', 'template0']) await cluster.query(`DROP DATABASE ${database}`);
  for (const setting of ['wal_recycle', 'wal_init_zero'])
    await cluster.query(`ALTER SYSTEM SET ${setting} = off`);
  await cluster.stop();
  await cluster.start();
  await cluster.query('SELECT pg_switch_wal()');
  await cluster.stop();
  return folder;
}

export class SourceCluster {
  readonly folder: string;
  readonly dataDir: string;
  #engine: EmbeddedPostgres | null = null;

  constructor(folder: string) {
    this.folder = folder;
    this.dataDir = prepareDataDirectory(join(folder, 'data'));
  }

  /** A cluster with an empty outbox, started; gone with the test. `other`: with another identifier. */
  static async open(t: Pick<TestContext, 'after'>, kind: Kind = 'first'): Promise<SourceCluster> {
    const folder = makeFolder();
    const cluster = new SourceCluster(folder);
    t.after(() => cluster.remove());
    copyTree(join(await templateOf(kind), 'data'), cluster.dataDir);
    await cluster.start();
    return cluster;
  }

  get directory(): string {
    return join(this.dataDir, 'postgres');
  }

  get connection(): pg.ClientConfig {
    if (this.#engine === null) {
      // Nobody listens there.
      return { host: this.folder, port: 5432, user: 'nobody', database: 'evident' };
    }
    return this.#engine.connection();
  }

  async start(): Promise<void> {
    this.#engine = new EmbeddedPostgres({
      dataDir: this.dataDir,
      logger: quiet,
      sharedBuffersMb: 16,
      supervise: false,
    });
    await this.#engine.start();
  }

  async stop(): Promise<void> {
    await this.#engine?.stop();
    this.#engine = null;
  }

  /** Whether PostgreSQL did not stop when it was asked to, and was told to end at once. */
  wasForced(): boolean {
    return readFileSync(join(this.dataDir, 'postgres.log'), 'utf8').includes('received immediate shutdown');
  }

  /** As when the power fails. */
  async crash(): Promise<void> {
    await killCluster(this.directory);
    await this.stop();
  }

  /** Lays a copy of the stopped cluster's files aside. */
  copy(name: string): void {
    copyTree(this.directory, join(this.folder, name));
  }

  /** Puts a copy back in the place of the stopped cluster. */
  putBack(name: string): void {
    copyTree(join(this.folder, name), this.directory);
  }

  async remove(): Promise<void> {
    await killCluster(this.directory);
    await this.stop();
    removeFolder(this.folder);
  }

  async query(text: string, values: unknown[] = [], options?: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ ...this.connection, options });
    client.on('error', () => undefined);
    await client.connect();
    try {
      const result = await client.query(text, values);
      return (Array.isArray(result) ? result.at(-1) : result).rows;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async one<Value>(text: string): Promise<Value> {
    const [row] = await this.query(text);
    return Object.values(row)[0] as Value;
  }

  /** Commits so many transactions, each with a row of business and its row of the outbox. @returns their ids */
  async write(count: number, text = 'row', options: { isDurable?: boolean } = {}): Promise<string[]> {
    const before = await this.one<string>('SELECT coalesce(max(seq), 0) FROM app.business');
    const settings = options.isDurable === false ? '-c synchronous_commit=off' : undefined;
    const writing = `DO $$ BEGIN FOR i IN 1 .. ${count} LOOP
      WITH written AS (
        INSERT INTO app.business (id, tenant, type, key, body)
          VALUES (gen_random_uuid(), 'acme', 'note', 'acme/' || i % 5, format('{"${text}": %s}', i)) RETURNING *)
      INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body)
        SELECT id, tenant, type, key, 0, NULL, body FROM written;
      COMMIT; END LOOP; END $$`;
    await this.query(writing, [], settings);
    const rows = await this.query('SELECT id FROM app.business WHERE seq > $1 ORDER BY seq', [before]);
    return rows.map(({ id }) => id as string);
  }

  /** Takes over all rows of a table as they are, whatever its defaults. */
  async copyRows(from: SourceCluster, table: string, columns: string): Promise<void> {
    const rows = await from.one(
      `SELECT coalesce(json_agg(t)::text, '[]') FROM (SELECT ${columns} FROM ${table} ORDER BY id) t`,
    );
    await this.query(
      `INSERT INTO ${table} (${columns}) SELECT ${columns} FROM json_populate_recordset(NULL::${table}, $1)`,
      [rows],
    );
  }

  /** Other transactions of the cluster, with no row of the outbox. */
  async consumeXids(count: number): Promise<void> {
    await this.query(
      `DO $$ BEGIN FOR i IN 1 .. ${count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`,
    );
  }

  nextXid(): Promise<bigint> {
    return this.one<string>('SELECT pg_snapshot_xmax(pg_current_snapshot())::text').then(BigInt);
  }

  /** Moves the ring's clock on, so that every slot that has been written to is past. */
  async turn(slots = 1): Promise<void> {
    await this.query(`SELECT setval('app.seconds', (SELECT last_value FROM app.seconds) + ${slots})`);
  }

  async replicationSlots(): Promise<string[]> {
    return (await this.query('SELECT slot_name FROM pg_replication_slots')).map(({ slot_name }) =>
      String(slot_name),
    );
  }

  /**
   * A copy of the working cluster's files as pg_basebackup makes one: without replication slots. Not started.
   * @param settings lines for its postgresql.auto.conf
   */
  async baseBackup(t: Pick<TestContext, 'after'>): Promise<SourceCluster> {
    const clone = new SourceCluster(makeFolder());
    t.after(() => clone.remove());
    const client = new pg.Client(this.connection);
    await client.connect();
    await client.query("SELECT pg_backup_start('clone', true)");
    copyTree(this.directory, clone.directory, true);
    const { rows } = await client.query('SELECT labelfile FROM pg_backup_stop(false)');
    await client.end();
    copyTree(join(this.dataDir, 'postgres.password'), join(clone.dataDir, 'postgres.password'));
    for (const name of ['postmaster.pid', 'postmaster.opts'])
      rmSync(join(clone.directory, name), { force: true });
    for (const name of readdirSync(join(clone.directory, 'pg_replslot')))
      rmSync(join(clone.directory, 'pg_replslot', name), { recursive: true });
    clone.put('backup_label', rows[0].labelfile);
    return clone;
  }

  /** Writes a file into the stopped cluster, as its owner's. */
  put(name: string, text: string): void {
    const path = join(this.directory, name);
    const { uid, gid } = statSync(this.directory);
    writeFileSync(path, text);
    chownSync(path, uid, gid);
  }

  /** The write-ahead log of another cluster, at hand for recovery. */
  takeArchive(of: SourceCluster): void {
    copyTree(join(of.directory, 'pg_wal'), join(this.directory, 'archived'), true);
  }
}
