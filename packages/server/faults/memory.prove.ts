/**
 * I13 by a run: memory of the server process while events pass through it, over HTTP, sealing on. By hand:
 *
 *   node packages/server/faults/memory.prove.ts [events, default 5,000,000]
 *
 * Exits 1 when the resident memory of the last third of the run is more than 10 % above that of the second third: the first
 * fills caches and warms up.
 */

import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeRequest } from '../bench/events.ts';
import { post } from './load.ts';
import { makeServer, type ServerProcess } from './server-process.ts';

const EVENTS_DEFAULT = 5_000_000;
const BATCH_EVENTS = 500;
const WRITERS = 8;
const SAMPLE_MS = 2_000;
/** Rows of the table that is printed; all samples count. */
const ROWS_PRINTED_MAX = 60;
const GROWTH_MAX = 0.1;
const RETRIES_MAX = 200;
const RETRY_MS = 50;
const MIB = 2 ** 20;

interface Sample {
  readonly seconds: number;
  readonly events: number;
  readonly sealed: number;
  readonly rssMib: number;
  readonly heapMib: number;
  readonly externalMib: number;
}

interface Progress {
  readonly wanted: number;
  taken: number;
  acknowledged: number;
}

async function makeWriterKey(server: ServerProcess): Promise<string> {
  const answer = await fetch(`${server.url}/v1/api-keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ role: 'writer', tenant: 'acme' }),
  });
  return ((await answer.json()) as { key: string }).key;
}

async function write(server: ServerProcess, key: string, agent: Agent, progress: Progress): Promise<void> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/x-ndjson' };
  while (progress.taken < progress.wanted) {
    const count = Math.min(BATCH_EVENTS, progress.wanted - progress.taken);
    progress.taken += count;
    const body = makeRequest(count);
    for (let attempt = 1; ; attempt++) {
      const { status, text } = await post(agent, `${server.url}/v1/logs/audit/records`, headers, body);
      if (status === 201) break;
      if (status !== 503 || attempt === RETRIES_MAX)
        throw new Error(`the server answered ${status}: ${text}`);
      await sleep(RETRY_MS);
    }
    progress.acknowledged += count;
  }
}

async function takeSample(server: ServerProcess, begun: number, progress: Progress): Promise<Sample> {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  const metrics = await server.metrics();
  const metric = (name: string): number =>
    Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1] ?? Number.NaN);
  return {
    seconds: (performance.now() - begun) / 1_000,
    events: progress.acknowledged,
    sealed: metric('evident_sealed_records_total'),
    rssMib: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_024,
    heapMib: metric('nodejs_heap_size_used_bytes') / MIB,
    externalMib: metric('nodejs_external_memory_bytes') / MIB,
  };
}

/** Samples until the writers and the sealer are done, or a writer failed. */
async function watch(
  server: ServerProcess,
  progress: Progress,
  writing: Promise<unknown>,
): Promise<Sample[]> {
  const begun = performance.now();
  const samples: Sample[] = [];
  let writers: 'writing' | 'done' = 'writing';
  const ended = writing.then(() => {
    writers = 'done';
  });
  while (writers === 'writing') {
    samples.push(await takeSample(server, begun, progress));
    await Promise.race([sleep(SAMPLE_MS), ended]);
  }
  await ended;
  return samples;
}

function printTable(samples: readonly Sample[]): void {
  const step = Math.ceil(samples.length / ROWS_PRINTED_MAX);
  const columns = ['seconds', 'events', 'sealed', 'RSS MiB', 'heap MiB', 'external MiB'];
  console.log(columns.map((column) => column.padStart(13)).join(''));
  for (const [index, sample] of samples.entries()) {
    if (index % step !== 0 && index !== samples.length - 1) continue;
    const cells = Object.values(sample).map((value: number) => Math.round(value).toLocaleString('en'));
    console.log(cells.map((cell) => cell.padStart(13)).join(''));
  }
}

function mean(samples: readonly Sample[], name: 'rssMib' | 'heapMib'): number {
  return samples.reduce((sum, sample) => sum + sample[name], 0) / samples.length;
}

/** Least squares over the samples. @returns MiB a million events */
function slope(samples: readonly Sample[]): number {
  const x = samples.map(({ events }) => events / 1e6);
  const middle = x.reduce((sum, value) => sum + value, 0) / x.length;
  const level = mean(samples, 'rssMib');
  const above = samples.reduce((sum, { rssMib }, index) => sum + (x[index] - middle) * (rssMib - level), 0);
  return above / x.reduce((sum, value) => sum + (value - middle) ** 2, 0);
}

/** @returns whether the memory stayed flat */
function report(samples: readonly Sample[], wanted: number): boolean {
  const thirds = [0, 1, 2].map((third) =>
    samples.filter(({ events }) => Math.min(2, Math.floor((events * 3) / wanted)) === third),
  );
  if (thirds.some((third) => third.length === 0)) {
    console.log(`too few samples (${samples.length}): give more events`);
    return false;
  }
  for (const name of ['rssMib', 'heapMib'] as const)
    console.log(`${name} by thirds: ${thirds.map((third) => mean(third, name).toFixed(1)).join(', ')}`);
  const [first, second, last] = thirds.map((third) => mean(third, 'rssMib'));
  const growth = last / second - 1;
  console.log(`last third to first: ${((last / first - 1) * 100).toFixed(1)} %`);
  console.log(
    `fitted over the last two thirds: ${slope([...thirds[1], ...thirds[2]]).toFixed(1)} MiB a million events`,
  );
  console.log(`last third to second: ${(growth * 100).toFixed(1)} % (at most ${GROWTH_MAX * 100} %)`);
  return growth <= GROWTH_MAX;
}

async function main(): Promise<void> {
  const wanted = Number(process.argv[2] ?? EVENTS_DEFAULT);
  if (!Number.isSafeInteger(wanted) || wanted < 1)
    throw new Error(`a number of events is expected, not ${process.argv[2]}`);
  const undo: (() => unknown)[] = [];
  const server = makeServer({ after: (step?: unknown) => void undo.push(step as () => unknown) });
  const agent = new Agent({ keepAlive: true, maxSockets: WRITERS });
  try {
    await server.start();
    const key = await makeWriterKey(server);
    const progress: Progress = { wanted, taken: 0, acknowledged: 0 };
    const begun = performance.now();
    const writing = Promise.all(Array.from({ length: WRITERS }, () => write(server, key, agent, progress)));
    const samples = await watch(server, progress, writing);
    const seconds = (performance.now() - begun) / 1_000;
    printTable(samples);
    console.log(`${wanted.toLocaleString('en')} events in ${seconds.toFixed(0)} s, node ${process.version}`);
    process.exitCode = report(samples, wanted) ? 0 : 1;
    const { code, ms } = await server.stop();
    console.log(`stopped with exit code ${code} in ${Math.round(ms)} ms`);
  } finally {
    agent.destroy();
    for (const step of undo) await step();
  }
}

await main();
