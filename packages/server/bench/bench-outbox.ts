/** The whole way: an application's outbox, the relay of a real server, the log, the seal. */

import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { makeEvent } from './events.ts';
import { type Benchmark, cpuOfProcess, cpuOfTree, percentile, type Sample } from './measure.ts';
import { type OutboxScene, openOutboxScene, sealedEvents, waitFor } from './outbox-scene.ts';

const EVENTS = Number(process.env.EVIDENT_BENCH_OUTBOX ?? 600_000);
const ROWS = 100;
const PRODUCERS = 2;
/** Rows that wait at most: an application that outruns the log for ever measures nothing but itself. */
const WAITING_MAX = 50_000;
const PACED_PER_SECOND = 500;
const PACED_EVENTS = Number(process.env.EVIDENT_BENCH_PACED ?? 5_000);

let scene: Promise<OutboxScene> | undefined;
const open = (): Promise<OutboxScene> => {
  scene ??= openOutboxScene();
  return scene;
};

export async function closeOutboxBench(): Promise<void> {
  await (await scene)?.close();
  scene = undefined;
}

const values = Array.from(
  { length: ROWS },
  (_, row) => `($${row * 3 + 1}, 'acme', 'audit.event', $${row * 3 + 2}, 1, NULL, $${row * 3 + 3})`,
);
const INSERT = {
  name: 'insert-many',
  text: `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body) VALUES ${values.join(',')}`,
};
const INSERT_ONE = {
  name: 'insert-one',
  text: `INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body) VALUES ${values[0]}`,
};

/** As many events as go through, for as long as it takes. Lag: from the last commit to the last head. */
async function sustained(mode: 'polling' | 'wal'): Promise<Sample> {
  const one = await open();
  await one.relayBy(mode);
  const before = await sealedEvents(one.client);
  const cpu = {
    producer: process.cpuUsage(),
    node: cpuOfProcess(one.pid),
    postgres: cpuOfTree(one.postgresPid),
  };
  const begun = performance.now();
  let written = 0;
  let appended = 0;
  let deepest = 0;
  const produce = async (): Promise<void> => {
    const client = new pg.Client(one.connection);
    await client.connect();
    while (written < EVENTS) {
      if (written - appended > WAITING_MAX) {
        await wait(2);
        continue;
      }
      written += ROWS;
      const events = Array.from({ length: ROWS }, makeEvent);
      await client.query({ ...INSERT, values: events.flatMap(({ id, key, body }) => [id, key, body]) });
    }
    await client.end();
  };
  const watch = async (): Promise<void> => {
    while (appended < EVENTS) {
      appended = (await sealedEvents(one.client)).appended - before.appended;
      deepest = Math.max(deepest, written - appended);
      await wait(50);
    }
  };
  const watching = watch();
  await Promise.all(Array.from({ length: PRODUCERS }, produce));
  const producedAt = performance.now();
  await watching;
  await waitFor(async () => (await sealedEvents(one.client)).sealed - before.sealed >= EVENTS);
  const seconds = (performance.now() - begun) / 1_000;
  const { user, system } = process.cpuUsage(cpu.producer);
  return {
    value: EVENTS / seconds,
    cpu: {
      'producer (Node)': (user + system) / EVENTS,
      'server (Node)': (cpuOfProcess(one.pid) - cpu.node) / EVENTS,
      PostgreSQL: (cpuOfTree(one.postgresPid) - cpu.postgres) / EVENTS,
    },
    more: { 'rows waiting at most': deepest, 'last commit to last head, ms': performance.now() - producedAt },
  };
}

/** One event a transaction, at a steady pace: how long from its commit into the log, and under a signed head. */
async function latency(mode: 'polling' | 'wal'): Promise<Sample> {
  const one = await open();
  await one.relayBy(mode);
  const client = new pg.Client(one.connection);
  await client.connect();
  const commits = new Map<string, number>();
  const begun = performance.now();
  for (let sent = 0; sent < PACED_EVENTS; sent++) {
    const due = begun + (sent * 1_000) / PACED_PER_SECOND;
    const early = due - performance.now();
    if (early > 0) await wait(early);
    const { id, key, body } = makeEvent();
    await client.query({ ...INSERT_ONE, values: [id, key, body] });
    commits.set(id, performance.timeOrigin + performance.now());
  }
  await client.end();
  const ids = [...commits.keys()];
  await waitFor(async () => {
    const { rows } = await one.client.query(
      'SELECT count(*)::int AS n FROM evident.identities WHERE id = ANY ($1)',
      [ids],
    );
    return rows[0].n === ids.length;
  });
  await waitFor(async () => {
    const { appended, sealed } = await sealedEvents(one.client);
    return appended === sealed;
  });
  const { rows } = await one.client.query<{ id: string; appended: number; sealed: number }>(
    `SELECT r.id, (extract(epoch FROM r.appended_at) * 1000)::float8 AS appended,
            (SELECT (extract(epoch FROM min(h.signed_at)) * 1000)::float8 FROM evident.heads h
              WHERE h.tree = r.tree AND h.size > r.position) AS sealed
       FROM evident.identities i JOIN evident.records r ON r.tree = i.tree AND r.position = i.position
      WHERE i.id = ANY ($1)`,
    [ids],
  );
  const sinceCommit = (pick: (row: (typeof rows)[number]) => number): number[] =>
    rows.map((row) => pick(row) - (commits.get(row.id) as number));
  const appended = sinceCommit((row) => row.appended);
  const sealed = sinceCommit((row) => row.sealed);
  return {
    value: percentile(appended, 0.99),
    more: {
      'p50 to the log': percentile(appended, 0.5),
      'p50 to a head': percentile(sealed, 0.5),
      'p99 to a head': percentile(sealed, 0.99),
    },
  };
}

export const OUTBOX_BENCHMARKS: Benchmark[] = [
  {
    name: 'outbox → log → sealed, sustained, by polling in one database',
    unit: 'events/s',
    goal: { text: '50,000/s', least: 50_000 },
    runs: 3,
    run: () => sustained('polling'),
  },
  {
    name: 'outbox → log → sealed, sustained, from the write-ahead log',
    unit: 'events/s',
    goal: { text: '50,000/s', least: 50_000 },
    runs: 3,
    run: () => sustained('wal'),
  },
  {
    name: 'commit → log, p99, by polling, 500 transactions a second',
    unit: 'ms',
    goal: null,
    runs: 3,
    run: () => latency('polling'),
  },
  {
    name: 'commit → log, p99, from the write-ahead log, 500 transactions a second',
    unit: 'ms',
    goal: { text: '< 100 ms', most: 100 },
    runs: 3,
    run: () => latency('wal'),
  },
];
