/** HTTP ingest in batches of 100 into the whole server, all stages running; and the time of a start from nothing. */

import { Agent, request } from 'node:http';
import { makeRequest } from './events.ts';
import { type Served, startServed } from './installation.ts';
import { type Benchmark, cpuOfProcess, cpuOfTree, type Sample } from './measure.ts';

const BATCH = 100;
const CONNECTIONS = 16;
const RUN_MS = 8_000;
const REQUESTS = 3_500;
const LAG_MS_MAX = 60_000;

let served: Promise<Served> | undefined;
export async function closeIngestBench(): Promise<void> {
  await (await served)?.stop();
  served = undefined;
}

const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });

function post(url: string, key: string, body: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/x-ndjson',
      'content-length': body.length,
    };
    const sent = request(
      `${url}/v1/logs/audit/records?tenant=acme`,
      { method: 'POST', agent, headers },
      (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode ?? 0));
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

interface Progress {
  next: bigint;
  sealed: bigint;
}

async function progressOf({ url, adminKey }: Served): Promise<Progress> {
  const answer = await fetch(`${url}/v1/logs`, { headers: { authorization: `Bearer ${adminKey}` } });
  const { logs } = (await answer.json()) as {
    logs: { log: string; partitions: { next: string; sealed: string }[] }[];
  };
  const audit = logs.find(({ log }) => log === 'audit')?.partitions ?? [];
  const sum = (of: (one: { next: string; sealed: string }) => string) =>
    audit.reduce((total, one) => total + BigInt(of(one)), 0n);
  return { next: sum(({ next }) => next), sealed: sum(({ sealed }) => sealed) };
}

async function ingestRun(): Promise<Sample> {
  served ??= startServed();
  const server = await served;
  const bodies = Array.from({ length: REQUESTS }, () => makeRequest(BATCH));
  const before = {
    producer: process.cpuUsage(),
    server: cpuOfProcess(server.pid),
    postgres: cpuOfTree(server.postgresPid),
  };
  const begun = performance.now();
  const latencies: number[] = [];
  const lags: number[] = [];
  let acknowledged = 0;
  const connection = async (): Promise<void> => {
    for (
      let body = bodies.pop();
      body !== undefined && performance.now() - begun < RUN_MS;
      body = bodies.pop()
    ) {
      const at = performance.now();
      const status = await post(server.url, server.adminKey, body);
      if (status !== 201) throw new Error(`the server answered ${status}`);
      acknowledged += BATCH;
      latencies.push(performance.now() - at);
    }
  };
  const watch = watchLag(server, lags, () => performance.now() - begun < RUN_MS);
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
  const seconds = (performance.now() - begun) / 1_000;
  await watch;
  const caughtUpMs = await untilSealed(server);
  const used = process.cpuUsage(before.producer);
  latencies.sort((a, b) => a - b);
  lags.sort((a, b) => a - b);
  return {
    value: acknowledged / seconds,
    cpu: {
      producer: (used.user + used.system) / acknowledged,
      server: (cpuOfProcess(server.pid) - before.server) / acknowledged,
      postgres: (cpuOfTree(server.postgresPid) - before.postgres) / acknowledged,
    },
    more: {
      'request p50 ms': latencies[latencies.length >> 1],
      'request p99 ms': latencies[Math.floor(latencies.length * 0.99)],
      'not sealed yet, most records': lags.at(-1) ?? 0,
      'sealed after the last, ms': caughtUpMs,
    },
  };
}

/** Samples how many acknowledged records no head covers yet. */
async function watchLag(server: Served, lags: number[], going: () => boolean): Promise<void> {
  while (going()) {
    const { next, sealed } = await progressOf(server);
    lags.push(Number(next - sealed));
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function untilSealed(server: Served): Promise<number> {
  const begun = performance.now();
  for (;;) {
    const { next, sealed } = await progressOf(server);
    if (sealed >= next) return performance.now() - begun;
    if (performance.now() - begun > LAG_MS_MAX) throw new Error('sealing does not catch up');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function startRun(): Promise<Sample> {
  const server = await startServed();
  await server.stop();
  return { value: server.readyMs / 1_000 };
}

export const INGEST_BENCHMARKS: Benchmark[] = [
  {
    name: 'start: empty data directory to ready',
    unit: 's',
    goal: { text: '< 5 s', most: 5 },
    runs: 3,
    run: startRun,
  },
  {
    name: 'HTTP ingest in batches of 100, all stages running',
    unit: 'records/s',
    goal: { text: '≥ 30,000/s', least: 30_000 },
    runs: 5,
    run: ingestRun,
  },
];
