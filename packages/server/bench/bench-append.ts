/** One durable append through the port, by one caller and by a hundred; beside it a plain INSERT into the same PostgreSQL. */

import pg from 'pg';
import { makeProposals } from './events.ts';
import { type Opened, openInstallation } from './installation.ts';
import { type Benchmark, cpuOfTree, median, type Sample } from './measure.ts';

const RUN_MS = 4_000;
const WARM_UP = 200;

let opened: Promise<Opened> | undefined;
export async function closeAppendBench(): Promise<void> {
  await (await opened)?.close();
  opened = undefined;
}

async function appendFor(callers: number, milliseconds: number): Promise<Sample> {
  opened ??= openInstallation();
  const { storage, postgresPid } = await opened;
  const log = storage.logs.get('audit');
  if (log === undefined) throw new Error('there is no log audit');
  const ready = makeProposals(callers === 1 ? 20_000 : 200_000);
  for (let i = 0; i < WARM_UP; i++) await log.appendOnce([ready.pop() as (typeof ready)[number]]);
  const times: number[] = [];
  const cpu = process.cpuUsage();
  const postgres = cpuOfTree(postgresPid);
  const begun = performance.now();
  const caller = async (): Promise<void> => {
    for (
      let next = ready.pop();
      next !== undefined && performance.now() - begun < milliseconds;
      next = ready.pop()
    ) {
      const at = performance.now();
      await log.appendOnce([next]);
      times.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const seconds = (performance.now() - begun) / 1_000;
  const used = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  return {
    value: times.length / seconds,
    cpu: {
      node: (used.user + used.system) / times.length,
      postgres: (cpuOfTree(postgresPid) - postgres) / times.length,
    },
    more: { 'p50 ms': median(times), 'p99 ms': times[Math.floor(times.length * 0.99)] },
  };
}

/** What the same machine, engine and settings do with one row and one commit: the floor under everything here. */
async function plainInsert(): Promise<Sample> {
  opened ??= openInstallation();
  const { storage } = await opened;
  const client = new pg.Client(storage.connection);
  await client.connect();
  await client.query(
    'CREATE TABLE IF NOT EXISTS baseline (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)',
  );
  const bodies = makeProposals(5_000).map(({ record }) =>
    'bytes' in record.body ? Buffer.from(record.body.bytes).toString() : '',
  );
  const times: number[] = [];
  const begun = performance.now();
  while (performance.now() - begun < RUN_MS / 2 && bodies.length > 0) {
    const at = performance.now();
    await client.query({
      name: 'baseline',
      text: 'INSERT INTO baseline (body) VALUES ($1)',
      values: [bodies.pop()],
    });
    times.push(performance.now() - at);
  }
  const seconds = (performance.now() - begun) / 1_000;
  await client.end();
  return { value: times.length / seconds, more: { 'p50 ms': median(times) } };
}

export const APPEND_BENCHMARKS: Benchmark[] = [
  {
    name: 'baseline: plain INSERT of the same body, one caller',
    unit: 'rows/s',
    goal: null,
    runs: 5,
    run: plainInsert,
  },
  {
    name: 'durable append through the port, 1 caller',
    unit: 'records/s',
    goal: { text: '≥ 1,500/s, p50 < 1 ms', least: 1_500 },
    runs: 5,
    run: () => appendFor(1, RUN_MS),
  },
  {
    name: 'durable append through the port, 100 callers',
    unit: 'records/s',
    goal: { text: '≥ 20,000/s', least: 20_000 },
    runs: 5,
    run: () => appendFor(100, RUN_MS),
  },
];
