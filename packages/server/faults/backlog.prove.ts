/**
 * An outbox that fills while the log is down, and what the business feels of it. By hand:
 *
 *   node packages/server/faults/backlog.prove.ts [rows that wait, default 10,000,000]
 *
 * The application's database is a cluster of its own. Transfers run at a steady pace, each with its event, before the
 * rows wait, while they do, and while they drain. What PostgreSQL owes to rows that came within minutes (autovacuum, a
 * checkpoint) is waited for and shown by itself; then a minute is measured. Exits 1 when a row is missing, doubled or
 * unsealed at the end, when slots are left full, or when the p99 of the transfers while rows wait (the median of each
 * five seconds') is more than 10 % above what it was before.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAudit } from '@evident/sdk';
import { pgDriver } from '@evident/sdk/drivers';
import pg from 'pg';
import { makeEvent } from '../bench/events.ts';
import { percentile } from '../bench/measure.ts';
import { lockDataDirectory, prepareDataDirectory } from '../src/stores/folder/data-lock.ts';
import { EmbeddedPostgres } from '../src/stores/postgres/embedded/engine.ts';
import { initOutbox } from '../src/stores/postgres/outbox/init.ts';
import { makeServer, PROGRAM } from './server-process.ts';

const ROWS_DEFAULT = 10_000_000;
const STATEMENT_ROWS = 500;
const ACCOUNTS = 10_000;
const PER_SECOND = 200;
const PACED_SECONDS = 60;
/** More than autovacuum_naptime, so that it has looked at every table once. */
const QUIET_SECONDS = 65;
const SETTLE_MS_MAX = 600_000;
const P99_GROWTH_MAX = 0.1;
/** What an outbox that is empty again may take on disk. */
const BYTES_LEFT_MAX = 64 * 2 ** 20;
const SLICE_SECONDS = 5;
const SOURCE = 'bank';
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const number = (value: number): string => Math.round(value).toLocaleString('en');
const say = (text: string): boolean => process.stdout.write(`${text}\n`);

const rows = Number(process.argv[2] ?? ROWS_DEFAULT);
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'evident-backlog-')));
const after: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 20 })];
const context = { after: (step: () => unknown) => after.push(step) };

interface Paced {
  readonly p50: number;
  readonly p99: number;
  /** Median of the p99 of each five seconds: what a single hiccup of a shared host does not move. */
  readonly p99Median: number;
  readonly count: number;
}

/** Transfers at a steady pace; p50 and p99 in milliseconds. */
async function pace(pool: pg.Pool, seconds: number, until?: () => boolean): Promise<Paced> {
  const audit = createAudit({ service: 'bank', tenant: 'acme', driver: pgDriver(pool) });
  const times: number[] = [];
  const slices: number[][] = [];
  const running: Promise<unknown>[] = [];
  const begun = performance.now();
  for (let sent = 0; until === undefined ? sent < seconds * PER_SECOND : !until(); sent++) {
    const due = begun + (sent * 1_000) / PER_SECOND;
    const early = due - performance.now();
    if (early > 0) await sleep(early);
    const slice = Math.floor(sent / (PER_SECOND * SLICE_SECONDS));
    const event = {
      actor: { id: `usr_${sent % 500}`, type: 'user' as const },
      action: 'transfer.create',
      resource: { type: 'account', id: String(sent % ACCOUNTS) },
    };
    running.push(
      audit
        .capture(event, (tx) =>
          tx.query('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [sent % ACCOUNTS]),
        )
        .then(() => {
          const took = performance.now() - due;
          times.push(took);
          (slices[slice] ??= []).push(took);
        }),
    );
  }
  await Promise.all(running);
  const p99s = slices.filter((slice) => slice !== undefined).map((slice) => percentile(slice, 0.99));
  return {
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
    p99Median: percentile(p99s, 0.5),
    count: times.length,
  };
}

async function fill(connection: pg.ClientConfig, count: number): Promise<void> {
  const client = new pg.Client(connection);
  await client.connect();
  const values = Array.from(
    { length: STATEMENT_ROWS },
    (_, row) => `($${row * 3 + 1}, 'acme', 'audit.event', $${row * 3 + 2}, 1, NULL, $${row * 3 + 3})`,
  );
  const text = `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body) VALUES ${values.join(',')}`;
  for (let done = 0; done < count; done += STATEMENT_ROWS) {
    const events = Array.from({ length: STATEMENT_ROWS }, makeEvent);
    await client.query({
      name: 'fill',
      text,
      values: events.flatMap(({ id, key, body }) => [id, key, body]),
    });
  }
  await client.end();
}

/**
 * Transfers until PostgreSQL has done with what it owes to rows that were poured in within minutes: no autovacuum and
 * no checkpoint for longer than the pause between two looks of autovacuum. That is told apart from the rows' waiting.
 */
async function settle(pool: pg.Pool, client: pg.ClientBase): Promise<Paced> {
  const begun = performance.now();
  const busy = { vacuum: 0, checkpoint: 0 };
  let looks = 0;
  let quietLooks = 0;
  let isOver = false;
  const paced = pace(pool, 0, () => isOver);
  while (quietLooks < QUIET_SECONDS && performance.now() - begun < SETTLE_MS_MAX) {
    const { rows: found } = await client.query<{ vacuum: boolean; checkpoint: boolean }>(
      `SELECT coalesce(bool_or(backend_type = 'autovacuum worker'), false) AS vacuum,
              coalesce(bool_or(backend_type = 'checkpointer' AND wait_event IS DISTINCT FROM 'CheckpointerMain'), false) AS checkpoint
         FROM pg_stat_activity`,
    );
    const [{ vacuum, checkpoint }] = found;
    looks++;
    busy.vacuum += Number(vacuum);
    busy.checkpoint += Number(checkpoint);
    quietLooks = vacuum || checkpoint ? 0 : quietLooks + 1;
    await sleep(1_000);
  }
  isOver = true;
  const result = await paced;
  say(
    `settling    ${inMs(result)}; of ${looks} s autovacuum ran in ${busy.vacuum}, a checkpoint in ${busy.checkpoint}`,
  );
  return result;
}

const inMs = ({ p50, p99, p99Median }: Paced): string =>
  `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms (of five seconds each, median ${p99Median.toFixed(2)} ms)`;

interface Bank {
  readonly connection: pg.ClientConfig;
  readonly pool: pg.Pool;
  readonly client: pg.PoolClient;
}

async function openBank(): Promise<Bank> {
  const dataDir = prepareDataDirectory(join(folder, 'bank'));
  const lock = lockDataDirectory(dataDir);
  const engine = new EmbeddedPostgres({ dataDir, logger: quiet });
  await engine.start();
  after.push(async () => {
    await engine.stop();
    lock.release();
  });
  const connection = engine.connection();
  const pool = new pg.Pool({ ...connection, max: 16 });
  pool.on('error', () => undefined);
  after.push(() => pool.end());
  const client = await pool.connect();
  after.push(() => client.release());
  await initOutbox(client, { slots: 16, slotSeconds: 20 });
  await client.query(
    `CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
     INSERT INTO accounts SELECT g, 0 FROM generate_series(0, ${ACCOUNTS - 1}) g`,
  );
  return { connection, pool, client };
}

const bytesOf = async ({ client }: Bank): Promise<number> =>
  Number((await client.query('SELECT bytes FROM evident_outbox.pressure()')).rows[0].bytes);

/** @returns whether the log is up and holds each of the events once, all is verified, and the disk is given back */
async function drain(bank: Bank, writtenBefore: number): Promise<boolean> {
  const { connection, pool } = bank;
  const server = makeServer(context, { environment: { EVIDENT_OUTBOX_BANK: urlOf(connection) } });
  await server.start();
  const log = new pg.Client(server.postgres);
  await log.connect();
  await log.query("SELECT evident.register_source($1, 'audit', NULL, 'polling')", [SOURCE]);
  const begun = performance.now();
  const count = async (): Promise<number> =>
    Number((await log.query("SELECT count(*) FROM evident.identities WHERE tenant = 'acme'")).rows[0].count);
  let drained = false;
  const draining = pace(pool, 0, () => drained);
  while ((await cursorOf(log)) < BigInt(rows)) await sleep(1_000);
  const seconds = (performance.now() - begun) / 1_000;
  drained = true;
  const meanwhile = await draining;
  const written = writtenBefore + meanwhile.count;
  say(`drained in ${number(seconds)} s: ${number(rows / seconds)} rows/s; ${inMs(meanwhile)} meanwhile`);
  while ((await count()) < written) await sleep(500);
  const there = await count();
  say(
    `${number(written)} events written, ${number(there)} in the log${there === written ? '' : ': NOT THE SAME'}`,
  );
  const late = performance.now() + 120_000;
  while ((await bytesOf(bank)) > BYTES_LEFT_MAX && performance.now() < late) await sleep(1_000);
  const bytes = await bytesOf(bank);
  say(`the outbox takes ${number(bytes / 2 ** 20)} MiB again`);
  await log.end();
  const { code } = await runVerify(server.dataDir);
  say(`verify: exit code ${code}`);
  return there === written && code === 0 && bytes <= BYTES_LEFT_MAX;
}

async function main(): Promise<boolean> {
  const bank = await openBank();
  const { connection, pool, client } = bank;
  say(`transfers at ${PER_SECOND} a second, each with its event; ${number(rows)} rows shall wait`);
  const first = await pace(pool, 5);
  const before = await pace(pool, PACED_SECONDS);
  say(`before      ${inMs(before)}`);
  const begun = performance.now();
  await fill(connection, rows);
  await client.query('CHECKPOINT');
  say(`filled in ${number((performance.now() - begun) / 1_000)} s; the log is down`);
  const settling = await settle(pool, client);
  const waiting = await pace(pool, PACED_SECONDS);
  say(`waiting     ${inMs(waiting)}; the outbox takes ${number((await bytesOf(bank)) / 2 ** 20)} MiB`);
  const paced = [first, before, settling, waiting].reduce((sum, { count }) => sum + count, 0);
  const isExact = await drain(bank, paced + rows);
  const growth = waiting.p99Median / before.p99Median - 1;
  say(`p99 while rows wait: ${(growth * 100).toFixed(1)} % beside before`);
  return isExact && growth <= P99_GROWTH_MAX;
}

function urlOf({ user, password, database, host, port }: pg.ClientConfig): string {
  return `postgresql://${user}:${encodeURIComponent(String(password))}@/${database}?host=${encodeURIComponent(String(host))}&port=${port}`;
}

/** No bound of time: it reads all of it. */
async function runVerify(dataDir: string): Promise<{ code: number | null }> {
  const child = spawn(process.execPath, [PROGRAM, 'verify', '--data', dataDir], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return { code: await new Promise((resolve) => child.once('exit', resolve)) };
}

/** The id of the row that was relayed last. */
async function cursorOf(log: pg.Client): Promise<bigint> {
  const { rows: found } = await log.query<{ id: string | null }>(
    "SELECT state #>> '{row,id}' AS id FROM evident.sources WHERE source = $1",
    [SOURCE],
  );
  return BigInt(found[0]?.id ?? 0);
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} finally {
  for (const step of after.reverse()) await step();
}
