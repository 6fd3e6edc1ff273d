/**
 * Search in the hot view: each indexed question at its first page and somewhere deep, as the query library asks it
 * (transaction, policy and rows as objects included; recording the read and HTTP are not). Values come from events
 * drawn at random, so frequent ones are asked for most; `… apart` combines values of two different events.
 *
 *   EVIDENT_BENCH_ROWS=10000000     rows of the view
 *   EVIDENT_BENCH_QUESTIONS=200     questions of each kind
 *
 * The slowest question of each kind is explained in bench-results/search-plans.txt.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import type pg from 'pg';
import { queryDepsOf } from '../src/queries.ts';
import type { EventFilter } from '../src/query/filter.ts';
import type { EventHit, EventPlace, EventView, Reader } from '../src/query/ports.ts';
import { search } from '../src/query/search.ts';
import { PostgresEventView } from '../src/stores/postgres/event-view.ts';
import type { Benchmark, Sample } from './measure.ts';
import { growBenchmarks } from './search-growth.ts';
import { openSearchScene, RECORDS, ROWS, type SearchScene } from './search-scene.ts';

const QUESTIONS = Number(process.env.EVIDENT_BENCH_QUESTIONS ?? 200);
const PAGE_EVENTS = 50;
const SAMPLE_EVENTS = 2_000;
const DAY_US = 86_400_000_000n;
const P95_GOAL = { text: 'p95 < 50 ms', most: 50 };

interface Statement {
  readonly text: string;
  readonly values: unknown[];
}

interface Bench extends SearchScene {
  readonly view: EventView;
  readonly sample: readonly EventHit[];
  readonly newest: bigint;
  /** Statements since it was last emptied. */
  readonly asked: Statement[];
  readonly plans: string[];
}

let bench: Promise<Bench> | undefined;

async function openBench(): Promise<Bench> {
  const scene = await openSearchScene();
  process.stderr.write(
    `filled in ${scene.fillSeconds.toFixed(0)} s, indexed in ${scene.indexSeconds.toFixed(0)} s\n`,
  );
  const asked: Statement[] = [];
  scene.queryPool.on('connect', (client) => {
    const query = client.query.bind(client) as (...all: unknown[]) => unknown;
    client.query = ((...all: unknown[]) => {
      const [first, second] = all as [string | { text?: string; values?: unknown[] }, unknown];
      const text = typeof first === 'string' ? first : first.text;
      const values = typeof first === 'string' ? second : first.values;
      if (text !== undefined) asked.push({ text, values: Array.isArray(values) ? values : [] });
      return query(...all);
    }) as typeof client.query;
  });
  const { logs } = scene.storage;
  const placeOfTree = new Map(
    [...logs.values()].flatMap(({ name, trees }) =>
      trees.map((tree, partition) => [tree, { log: name, partition }] as const),
    ),
  );
  const view = new PostgresEventView(scene.queryPool, {
    treesOf: (log) => logs.get(log)?.trees ?? [],
    placeOfTree: (tree) => placeOfTree.get(tree) as { log: string; partition: number },
  });
  const [newest] = (await view.search(null, {}, null, 1)).events;
  const { eventTime } = newest.hit;
  return { ...scene, view, newest: eventTime, sample: await drawSample(view, eventTime), asked, plans: [] };
}

/** Events from all over the span, in their proportions. */
async function drawSample(view: EventView, newest: bigint): Promise<EventHit[]> {
  const sample: EventHit[] = [];
  while (sample.length < SAMPLE_EVENTS) {
    const after = placeBefore(newest);
    const { events } = await view.search(null, {}, after, 20);
    sample.push(...events.map(({ hit }) => hit));
  }
  return sample;
}

/** A random place in the 30 days before. */
function placeBefore(newest: bigint): EventPlace {
  const back = BigInt(Math.floor(Math.random() * 29 * 86_400)) * 1_000_000n;
  return { eventTime: newest - back, tree: 0, position: 0n };
}

const some = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)];
const text = (value: string | null): string => value ?? '';

type Question = (event: EventHit, other: EventHit) => EventFilter;

const QUESTIONS_OF: Readonly<Record<string, Question>> = {
  'newest of all': () => ({}),
  actor: ({ actorId }) => ({ actor: text(actorId) }),
  resource: ({ resourceId }) => ({ resource: text(resourceId) }),
  action: ({ action }) => ({ action: text(action) }),
  'action prefix': ({ action }) => ({ actionPrefix: `${text(action).split('.')[0]}.` }),
  'rare action prefix': () => ({ actionPrefix: some(['admin.', 'admin.p', 'export.archive']) }),
  'prefix of nothing': () => ({ actionPrefix: 'zzz' }),
  'result denied': () => ({ result: 'denied' }),
  'result failure': () => ({ result: 'failure' }),
  'result success': () => ({ result: 'success' }),
  'correlation id': ({ correlationId }) => ({ correlationId: text(correlationId) }),
  'actor and action': ({ actorId, action }) => ({ actor: text(actorId), action: text(action) }),
  'actor and action, apart': ({ actorId }, { action }) => ({ actor: text(actorId), action: text(action) }),
  'resource and actor': ({ actorId, resourceId }) => ({ actor: text(actorId), resource: text(resourceId) }),
  'resource and actor, apart': ({ actorId }, { resourceId }) => ({
    actor: text(actorId),
    resource: text(resourceId),
  }),
  'resource and action': ({ action, resourceId }) => ({ action: text(action), resource: text(resourceId) }),
  'denied and action': (_event, { action }) => ({ result: 'denied', action: text(action) }),
  'failure and actor': ({ actorId }) => ({ result: 'failure', actor: text(actorId) }),
  'success and actor': ({ actorId }) => ({ result: 'success', actor: text(actorId) }),
  'denied and prefix': (_event, { action }) => ({
    result: 'denied',
    actionPrefix: text(action).split('.')[0],
  }),
  'actor and prefix': ({ actorId }, { action }) => ({
    actor: text(actorId),
    actionPrefix: text(action).split('.')[0],
  }),
  'actor, action and result': ({ actorId }, { action, result }) => ({
    actor: text(actorId),
    action: text(action),
    result: result ?? 'success',
  }),
  'actor within a day': ({ actorId }, { eventTime }) => ({
    actor: text(actorId),
    from: eventTime - DAY_US,
    to: eventTime,
  }),
  'action within a day': ({ action }, { eventTime }) => ({
    action: text(action),
    from: eventTime - DAY_US,
    to: eventTime,
  }),
};

async function ask(
  name: string,
  isDeep: boolean,
  tenantOf: (event: EventHit) => string | null,
): Promise<Sample> {
  bench ??= openBench();
  const { view, sample, newest, asked, plans, owner } = await bench;
  const times: number[] = [];
  let slowest = { ms: 0, statements: [] as Statement[] };
  let found = 0;
  for (let turn = 0; turn < QUESTIONS; turn++) {
    const [event, other] = [some(sample), some(sample)];
    const filter = QUESTIONS_OF[name](event, other);
    asked.length = 0;
    const begun = performance.now();
    const { events } = await view.search(
      tenantOf(event),
      filter,
      isDeep ? placeBefore(newest) : null,
      PAGE_EVENTS,
    );
    const ms = performance.now() - begun;
    times.push(ms);
    found += events.length;
    if (ms > slowest.ms) slowest = { ms, statements: asked.map((one) => ({ ...one })) };
  }
  plans.push(await explain(owner, `${name}${isDeep ? ', deep' : ''}`, slowest));
  mkdirSync('bench-results', { recursive: true });
  writeFileSync('bench-results/search-plans.txt', plans.join('\n'));
  const sorted = times.sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return {
    value: at(0.95),
    more: { p50: at(0.5), p99: at(0.99), slowest: at(1), 'events a page': found / QUESTIONS },
  };
}

/** Plans of the statements of one question, run once more. */
async function explain(
  owner: pg.Client,
  name: string,
  { ms, statements }: { ms: number; statements: readonly Statement[] },
): Promise<string> {
  const lines = [`== ${name}: ${ms.toFixed(1)} ms`];
  await owner.query('BEGIN READ ONLY');
  await owner.query('SET LOCAL ROLE evident_server');
  for (const { text: statement, values } of statements) {
    if (statement.includes('set_config(')) await owner.query(statement, values);
    else if (/^(?:SELECT|WITH)/.test(statement) && statement.includes('evident.event')) {
      const { rows } = await owner.query<{ 'QUERY PLAN': string }>(
        `EXPLAIN (ANALYZE, BUFFERS) ${statement}`,
        values,
      );
      lines.push(`-- ${statement.slice(0, 4_000)}`, `-- ${JSON.stringify(values)}`);
      lines.push(
        ...rows
          .map((row) => row['QUERY PLAN'])
          .filter((line) => !/never executed|^\s+Index Searches: 0/.test(line)),
      );
    }
  }
  await owner.query('ROLLBACK');
  return `${lines.join('\n')}\n`;
}

const BENCH_READER: Reader = { actor: { id: 'key:bench', role: 'auditor' }, tenant: 'large' };

/** A page as a server answers it: how far the view has read, the page, its corrections, the record of the read. */
async function askRecorded(): Promise<Sample> {
  bench ??= openBench();
  const one = await bench;
  const deps = queryDepsOf(one.storage);
  const times: number[] = [];
  for (let turn = 0; turn < QUESTIONS; turn++) {
    const begun = performance.now();
    await search(deps, BENCH_READER, { actor: text(some(one.sample).actorId) }, { limit: PAGE_EVENTS });
    times.push(performance.now() - begun);
  }
  const sorted = times.sort((a, b) => a - b);
  return { value: sorted[Math.floor(QUESTIONS * 0.95)], more: { p50: sorted[Math.floor(QUESTIONS / 2)] } };
}

/** Bodies read one after the other, page after page, until all that have one are read. */
async function readTexts(): Promise<Sample> {
  bench ??= openBench();
  const one = await bench;
  const deps = queryDepsOf(one.storage);
  const span = { from: one.newest - 30n * DAY_US, to: one.newest };
  const begun = performance.now();
  const read = { records: 0, bytes: 0, found: 0 };
  for (let cursor: string | undefined; read.records < RECORDS * 0.9; ) {
    const page = await search(
      deps,
      BENCH_READER,
      { text: 'ZEBRA', ...span },
      { limit: 1_000, ...(cursor === undefined ? {} : { cursor }) },
    );
    read.records += page.scan?.records ?? 0;
    read.bytes += page.scan?.bytes ?? 0;
    read.found += page.events.length;
    if (page.cursor === null) break;
    cursor = page.cursor;
  }
  const seconds = (performance.now() - begun) / 1_000;
  return { value: read.records / seconds, more: { 'MB/s': read.bytes / seconds / 1e6, found: read.found } };
}

function benchmarkOf(name: string, isDeep: boolean, isAll: boolean): Benchmark {
  const whose = isAll ? ', of all tenants' : '';
  return {
    name: `search ${name}${whose}, ${isDeep ? 'deep' : 'first'} page (${ROWS.toLocaleString('en')} events)`,
    unit: 'ms',
    goal: isAll ? null : P95_GOAL,
    runs: 1,
    run: () => ask(name, isDeep, isAll ? () => null : ({ tenant }) => tenant),
  };
}

export async function closeSearchBench(): Promise<void> {
  await (await bench)?.close();
  bench = undefined;
}

export const SEARCH_BENCHMARKS: Benchmark[] = [
  ...Object.keys(QUESTIONS_OF).flatMap((name) => [
    benchmarkOf(name, false, false),
    benchmarkOf(name, true, false),
  ]),
  ...['newest of all', 'actor', 'action prefix'].map((name) => benchmarkOf(name, false, true)),
  {
    name: `search actor, recorded, first page (${ROWS.toLocaleString('en')} events)`,
    unit: 'ms',
    goal: P95_GOAL,
    runs: 1,
    run: askRecorded,
  },
  { name: 'search text', unit: 'records/s', goal: null, runs: 1, run: readTexts },
  ...growBenchmarks(),
];
