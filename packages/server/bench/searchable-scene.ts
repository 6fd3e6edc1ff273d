/**
 * From the commit of a business transaction until its event is found: a served log with all its stages, an application
 * in a process of its own, and somebody who asks the server for a sample of the events until it answers with them.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cpuOfEnded, cpuOfProcess, cpuOfThreads, percentile } from './measure.ts';
import { type OutboxScene, openOutboxScene } from './outbox-scene.ts';
import type { Order, Told } from './searchable-producer.ts';

const PRODUCER = fileURLToPath(new URL('./searchable-producer.ts', import.meta.url));
/** Seconds of a step, beside those before it that are not measured. */
export const STEP_SECONDS = Number(process.env.EVIDENT_BENCH_STEP_SECONDS ?? 30);
const WARM_SECONDS = 5;
/** One event in so many milliseconds is looked for. */
const PROBE_MS = 100;
/** Milliseconds between two questions: what is found is found up to so much later than it could have been. */
const ASK_MS = 40;
const PAGE_EVENTS = 100;
/** Milliseconds without an answer after which a step is given up: the backlog only grows. */
const LATE_MS = Number(process.env.EVIDENT_BENCH_LATE_MS ?? 5_000);
/** CPU microseconds of an event below which a part is counted among the others. */
const SMALL_US = 0.2;

export interface SearchableScene extends OutboxScene {
  readonly producer: ChildProcess;
}

export interface Step {
  readonly perSecond: number;
  /** Events a second that were written. */
  readonly written: number;
  /** Given up: an event was not found within `LATE_MS`. */
  readonly isLate: boolean;
  /** Milliseconds from commit to found, of the events that were committed while it was measured. */
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly probes: number;
  /** CPU microseconds of an event by part, from the first that was written until all were found; empty when given up. */
  readonly cpu: Readonly<Record<string, number>>;
}

export async function openSearchableScene(mode: 'polling' | 'wal'): Promise<SearchableScene> {
  const scene = await openOutboxScene();
  await scene.relayBy(mode);
  const producer = fork(PRODUCER, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  return {
    ...scene,
    producer,
    close: async () => {
      const ended = once(producer, 'exit');
      producer.disconnect();
      await ended;
      await scene.close();
    },
  };
}

/** CPU microseconds so far, by part. */
type Spent = ReadonlyMap<string, number>;

async function spentOf({ client, pid, postgresPid, producer }: SearchableScene): Promise<Spent> {
  const spent = new Map<string, number>();
  const add = (part: string, us: number) => spent.set(part, (spent.get(part) ?? 0) + us);
  const { user, system } = process.cpuUsage();
  add('who asks', user + system);
  add('producer', cpuOfProcess(producer.pid as number));
  for (const [name, us] of cpuOfThreads(pid)) add(`server ${name}`, us);
  const { rows } = await client.query<{ pid: number; name: string }>(
    `SELECT pid, CASE WHEN backend_type = 'client backend' THEN application_name ELSE backend_type END AS name
       FROM pg_stat_activity WHERE pid <> pg_backend_pid()`,
  );
  for (const backend of rows) add(`PostgreSQL ${backend.name}`, cpuOfProcess(backend.pid));
  add('PostgreSQL ended', cpuOfEnded(postgresPid));
  return spent;
}

/** Parts that are not worth a name are one. A backend that ended meanwhile is among those that have. */
function perEvent(before: Spent, after: Spent, events: number): Record<string, number> {
  const cpu: Record<string, number> = {};
  let others = 0;
  for (const [part, us] of after) {
    const each = Math.max(0, us - (before.get(part) ?? 0)) / events;
    if (each < SMALL_US) others += each;
    else cpu[part] = each;
  }
  return { ...cpu, others };
}

interface Probe {
  readonly eventMs: number;
  readonly at: number;
}

/** Events that were committed, and when they were found. */
class Probes {
  readonly committed = new Map<string, Probe>();
  readonly found = new Map<string, number>();

  /** The first that was not found. */
  oldest(): Probe | null {
    for (const [id, probe] of this.committed) if (!this.found.has(id)) return probe;
    return null;
  }

  /** Milliseconds from commit to found of those that were committed in that time; up to now for what was not found. */
  latencies(from: number, to: number): number[] {
    const now = Date.now();
    return [...this.committed].flatMap(([id, { at }]) =>
      at < from || at > to ? [] : [Math.max(0, (this.found.get(id) ?? now) - at)],
    );
  }
}

async function ask({ url, adminKey }: OutboxScene, probe: string, { eventMs }: Probe): Promise<string[]> {
  const query = new URLSearchParams({
    tenant: 'acme',
    actor: probe,
    from: new Date(eventMs).toISOString(),
    limit: String(PAGE_EVENTS),
  });
  const answer = await fetch(`${url}/v1/events?${query}`, {
    headers: { authorization: `Bearer ${adminKey}` },
  });
  if (answer.status !== 200) throw new Error(`the search was answered with ${answer.status}`);
  const { events } = (await answer.json()) as { events: { id: string }[] };
  return events.map(({ id }) => id);
}

let steps = 0;

/** A rate, held for `STEP_SECONDS` after a few that are not measured; ends when all that was looked for is found. */
export async function runStep(scene: SearchableScene, perSecond: number): Promise<Step> {
  const { producer } = scene;
  const probe = `probe-${++steps}`;
  const probes = new Probes();
  let done: Extract<Told, { kind: 'done' }> | undefined;
  const hear = (told: Told): void => {
    if (told.kind === 'committed') probes.committed.set(told.id, told);
    else done = told;
  };
  producer.on('message', hear);
  const seconds = WARM_SECONDS + STEP_SECONDS;
  const before = await spentOf(scene);
  const begun = Date.now();
  producer.send({
    connection: scene.connection,
    perSecond,
    seconds,
    probe,
    probeMs: PROBE_MS,
  } satisfies Order);
  const from = begun + WARM_SECONDS * 1_000;
  const to = begun + seconds * 1_000;
  let isLate = false;
  for (let oldest = probes.oldest(); done === undefined || oldest !== null; oldest = probes.oldest()) {
    if (oldest !== null) {
      for (const id of await ask(scene, probe, oldest))
        if (!probes.found.has(id)) probes.found.set(id, Date.now());
      if (!isLate && Date.now() - oldest.at > LATE_MS) {
        isLate = true;
        producer.send('stop');
      }
      if (isLate && done !== undefined) break;
    }
    await wait(ASK_MS);
  }
  producer.off('message', hear);
  const latencies = probes.latencies(from, to);
  const { written, seconds: taken } = done;
  return {
    perSecond,
    written: written / taken,
    isLate,
    p50: percentile(latencies, 0.5),
    p95: percentile(latencies, 0.95),
    p99: percentile(latencies, 0.99),
    probes: latencies.length,
    cpu: isLate ? {} : perEvent(before, await spentOf(scene), written),
  };
}
