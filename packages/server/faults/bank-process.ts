/** The application's side of the kill suite: its PostgreSQL, and the process that writes. */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { prepareDataDirectory } from '../src/stores/folder/data-lock.ts';
import { EmbeddedPostgres } from '../src/stores/postgres/embedded/engine.ts';
import { initOutbox } from '../src/stores/postgres/outbox/init.ts';
import { makeFolder, until } from './server-process.ts';
import { killCluster } from './source-cluster.ts';

const WRITER = fileURLToPath(new URL('./outbox-writer.ts', import.meta.url));
const CONNECTIONS = 4;
const PAUSE_MS = 12;
const SLOTS = 4;
const STOP_MS_MAX = 30_000;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** A row of business as it committed. */
export interface BankRow {
  readonly id: string;
  readonly transaction: string;
  /** Nanoseconds of the machine's monotonic clock before BEGIN was sent. */
  readonly begun: bigint;
  readonly key: string;
  readonly body: string;
  readonly xid: bigint;
  readonly seq: bigint;
}

export class BankDatabase {
  readonly #engine: EmbeddedPostgres;
  readonly directory: string;

  private constructor(dataDir: string) {
    this.#engine = new EmbeddedPostgres({ dataDir, logger: quiet, sharedBuffersMb: 32, transport: 'tcp' });
    this.directory = join(dataDir, 'postgres');
  }

  static async start(t: Pick<TestContext, 'after'>): Promise<BankDatabase> {
    const folder = makeFolder(t, () => bank.#engine.stop());
    const bank = new BankDatabase(prepareDataDirectory(join(folder, 'data')));
    await bank.#engine.start();
    const client = new pg.Client(bank.#engine.connection());
    await client.connect();
    await initOutbox(client, { slots: SLOTS, slotSeconds: 1 });
    await client.query(
      `CREATE ROLE bank LOGIN PASSWORD 'bank' IN ROLE evident_outbox_writer;
       CREATE ROLE relay LOGIN REPLICATION PASSWORD 'relay' IN ROLE evident_outbox_relay, pg_read_all_stats;
       CREATE TABLE business (
         id uuid PRIMARY KEY, transaction uuid NOT NULL, begun bigint NOT NULL, key text NOT NULL, body text NOT NULL,
         xid xid8 NOT NULL DEFAULT pg_current_xact_id(), seq bigint GENERATED ALWAYS AS IDENTITY);
       GRANT INSERT, SELECT ON business TO bank`,
    );
    await client.end();
    return bank;
  }

  url(role: 'bank' | 'relay'): string {
    const { host, port, database } = this.#engine.connection();
    return `postgres://${role}:${role}@${host}:${port}/${database}`;
  }

  /** SIGKILL to all of it; it comes back by itself. */
  async kill(): Promise<void> {
    await killCluster(this.directory);
    await until('the application’s PostgreSQL is back', async () => {
      try {
        await this.query('SELECT');
        return true;
      } catch {
        return false;
      }
    });
  }

  async query(text: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client(this.#engine.connection());
    client.on('error', () => undefined);
    try {
      await client.connect();
      return (await client.query(text)).rows;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async committed(): Promise<BankRow[]> {
    const rows = await this.query('SELECT * FROM business ORDER BY seq');
    return rows.map((row) => ({
      ...(row as unknown as BankRow),
      begun: BigInt(row.begun as string),
      xid: BigInt(row.xid as string),
      seq: BigInt(row.seq as string),
    }));
  }
}

export class BankWriter {
  /** When COMMIT was answered, by transaction; nanoseconds of the machine's monotonic clock. */
  readonly ended = new Map<string, bigint>();
  readonly #url: string;
  #child: ChildProcess | null = null;
  #starts: number;
  #stderr = '';

  constructor(t: Pick<TestContext, 'after'>, url: string, seed: number) {
    this.#url = url;
    this.#starts = seed * 1_000;
    t.after(() => this.kill());
  }

  start(): void {
    const argv = [WRITER, this.#url, String(CONNECTIONS), String(PAUSE_MS), String(this.#starts++)];
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    let line = '';
    child.stdout!.on('data', (chunk) => {
      const lines = (line + String(chunk)).split('\n');
      line = lines.pop() ?? '';
      for (const [, transaction, at] of lines.map((one) => one.split(' ')))
        this.ended.set(transaction, BigInt(at));
    });
    child.stderr!.on('data', (chunk) => {
      this.#stderr += String(chunk);
    });
  }

  get isAlive(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Until so many more transactions were acknowledged. */
  async untilMore(count: number): Promise<void> {
    const least = this.ended.size + count;
    await until('the application goes on', () => {
      if (!this.isAlive) throw new Error(`the application ended:\n${this.#stderr}`);
      return this.ended.size >= least;
    });
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#gone();
  }

  async stop(): Promise<void> {
    this.#child?.kill('SIGTERM');
    await this.#gone();
  }

  async #gone(): Promise<void> {
    await until('the application ends', () => !this.isAlive, STOP_MS_MAX);
  }
}
