/** The way from the outbox into the log, in this process: nothing else runs. */

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { Relay } from '../src/relay/relay.ts';
import { openOutbox } from '../src/stores/postgres/outbox/postgres-outbox.ts';
import { PostgresLocalRelay } from '../src/stores/postgres/relay-log.ts';
import { makeEvent } from './events.ts';
import { type Opened, openInstallation } from './installation.ts';
import { type Benchmark, cpuOfTree, type Sample } from './measure.ts';

const ROWS = Number(process.env.EVIDENT_BENCH_ROWS ?? 200_000);
const STATEMENT_ROWS = 500;
const SOURCE = 'bench';

interface Scene extends Opened {
  readonly client: pg.Client;
}

let scene: Promise<Scene> | undefined;

async function openScene(): Promise<Scene> {
  const opened = await openInstallation();
  const client = new pg.Client(opened.storage.connection);
  await client.connect();
  await client.query(
    "SELECT set_config('evident_outbox.slots', '16', false), set_config('evident_outbox.slot_seconds', '60', false)",
  );
  await client.query(readFileSync(new URL('../sql/outbox/outbox.sql', import.meta.url), 'utf8'));
  return { ...opened, client };
}

export async function closeRelayBench(): Promise<void> {
  const opened = await scene;
  await opened?.client.end();
  await opened?.close();
  scene = undefined;
}

/** Rows as the SDK writes them, many to a transaction. */
async function fill(client: pg.Client, rows: number): Promise<void> {
  const values = Array.from(
    { length: STATEMENT_ROWS },
    (_, row) => `($${row * 3 + 1}, 'acme', 'audit.event', $${row * 3 + 2}, 1, NULL, $${row * 3 + 3})`,
  );
  const text = `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body) VALUES ${values.join(',')}`;
  for (let done = 0; done < rows; done += STATEMENT_ROWS) {
    const events = Array.from({ length: STATEMENT_ROWS }, makeEvent);
    await client.query({
      name: 'fill',
      text,
      values: events.flatMap(({ id, key, body }) => [id, key, body]),
    });
  }
}

function makeRelay({ storage }: Scene, isLocal = false): { relay: Relay; relayed: () => number } {
  let rows = 0;
  const fail = (error: unknown): never => {
    throw error instanceof Error ? error : new Error(String(error));
  };
  const relay = new Relay(
    {
      log: storage.relayLog,
      ...(isLocal ? { local: new PostgresLocalRelay(storage.pool) } : {}),
      objects: storage.objects,
      now: () => performance.now(),
      randomId: randomUUID,
      sleep: (milliseconds, signal) => wait(milliseconds, undefined, { signal }).catch(() => undefined),
      connect: async () => openOutbox(storage.connection),
      onRelayed: (report) => {
        rows += report.appended;
      },
      onRejected: (_row, fault) => fail(fault),
      onEpoch: (_source, _epoch, reason) => fail(reason),
      onAlert: () => undefined,
      onError: (_source, error) => fail(error),
      onCare: () => undefined,
    },
    SOURCE,
  );
  return { relay, relayed: () => rows };
}

/** Fills the outbox while the relay is off, then lets it drain. */
async function drain(mode: 'polling' | 'wal', isLocal = false): Promise<Sample> {
  scene ??= openScene();
  const one = await scene;
  const { storage, client, postgresPid } = one;
  await storage.relayLog.register(SOURCE, 'audit', ['acme'], mode);
  // The first rows bring the relay into its mode.
  await fill(client, STATEMENT_ROWS);
  const first = makeRelay(one);
  first.relay.start();
  while (
    first.relayed() < STATEMENT_ROWS ||
    (await storage.relayLog.readSource(SOURCE))?.state?.mode !== mode
  )
    await wait(20);
  await first.relay.stop();
  await fill(client, ROWS);
  const { relay, relayed } = makeRelay(one, isLocal);
  const node = process.cpuUsage();
  const postgres = cpuOfTree(postgresPid);
  const begun = performance.now();
  relay.start();
  while (relayed() < ROWS) await wait(5);
  const seconds = (performance.now() - begun) / 1_000;
  const { user, system } = process.cpuUsage(node);
  const postgresUs = (cpuOfTree(postgresPid) - postgres) / ROWS;
  await relay.stop();
  await client.query('TRUNCATE evident_outbox.events; DELETE FROM evident.sources');
  return { value: ROWS / seconds, cpu: { Node: (user + system) / ROWS, PostgreSQL: postgresUs } };
}

export const RELAY_BENCHMARKS: Benchmark[] = [
  {
    name: 'relay: an outbox that waits, drained by polling',
    unit: 'rows/s',
    goal: null,
    runs: 3,
    run: () => drain('polling'),
  },
  {
    name: 'relay: an outbox that waits in the same database, drained by polling',
    unit: 'rows/s',
    goal: null,
    runs: 3,
    run: () => drain('polling', true),
  },
  {
    name: 'relay: an outbox that waits, drained from the write-ahead log',
    unit: 'rows/s',
    goal: null,
    runs: 3,
    run: () => drain('wal'),
  },
];
