/**
 * A hot view built anew from a log of a million events, its digest, and its verification against the log; nothing else
 * runs. Events as the generator makes them: three tenants, actors and resources by Zipf's law, bodies of all sizes.
 *
 *   EVIDENT_BENCH_REBUILD_ROWS=1000000
 */

import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import { type GeneratedEvent, makeEventGenerator } from '../generate/events.ts';
import { OPERATOR } from '../src/cli/command-deps.ts';
import type { Storage } from '../src/compose.ts';
import { digestGeneration } from '../src/project/digest.ts';
import { HOT_VIEW } from '../src/project/projection.ts';
import { buildGeneration, promoteGeneration } from '../src/project/rebuild.ts';
import { Findings } from '../src/verify/finding.ts';
import { verifyView } from '../src/verify/verify-view.ts';
import { viewOperationOf } from '../src/view-operation.ts';
import { type Opened, openInstallation } from './installation.ts';
import { type Benchmark, cpuOfTree, type Sample } from './measure.ts';

const ROWS = Number(process.env.EVIDENT_BENCH_REBUILD_ROWS ?? 1_000_000);
const APPEND_ROWS = 2_000;

interface Scene extends Opened {
  readonly bodyBytes: number;
}

let scene: Promise<Scene> | undefined;

const recordOf = ({ id, tenant, type, key, schema, body }: GeneratedEvent): ProposedRecord => ({
  id,
  tenant,
  source: 'bench',
  sourceSeq: null,
  type,
  schema,
  key,
  meta: null,
  body: { form: 'json', bytes: body },
});

/** A log that a view was never made of. */
async function openScene(): Promise<Scene> {
  const opened = await openInstallation();
  const log = opened.storage.logs.get('audit');
  if (log === undefined) throw new Error('there is no log audit');
  const events = makeEventGenerator(1, { tenants: ['acme', 'globex', 'initech'], eventsPerDay: ROWS / 10 });
  let bodyBytes = 0;
  for (let done = 0; done < ROWS; done += APPEND_ROWS) {
    const made = Array.from({ length: Math.min(APPEND_ROWS, ROWS - done) }, () => events.next().value);
    for (const { body } of made) bodyBytes += body.length;
    await log.append(made.map(recordOf));
    if ((done / APPEND_ROWS) % 25 === 0) process.stderr.write(`\r${done.toLocaleString('en')} records `);
  }
  return { ...opened, bodyBytes };
}

export async function closeRebuildBench(): Promise<void> {
  await (await scene)?.close();
  scene = undefined;
}

/** Time and CPU of one thing, by record. */
async function measure(postgresPid: number, work: () => Promise<number>): Promise<Sample> {
  const node = process.cpuUsage();
  const postgres = cpuOfTree(postgresPid);
  const begun = performance.now();
  const records = await work();
  const seconds = (performance.now() - begun) / 1_000;
  const { user, system } = process.cpuUsage(node);
  return {
    value: records / seconds,
    cpu: { Node: (user + system) / records, PostgreSQL: (cpuOfTree(postgresPid) - postgres) / records },
    more: { records, seconds },
  };
}

const viewOf = (storage: Storage) => viewOperationOf(storage, makeRegistry(), true);

function openedView() {
  scene ??= openScene();
  return scene.then((one) => {
    const view = viewOf(one.storage);
    const projection = view.projections.get(HOT_VIEW);
    if (projection === undefined) throw new Error('there is no hot view');
    return { ...one, view, projection };
  });
}

/** `evident rebuild hot`, then `promote`: the next one begins beside it. */
async function rebuild(): Promise<Sample> {
  const { view, projection, postgresPid, bodyBytes } = await openedView();
  const options = {
    actor: OPERATOR,
    anew: true,
    allow: 0,
    signal: new AbortController().signal,
    onProgress: () => undefined,
  };
  const sample = await measure(postgresPid, async () => {
    const { progress } = await buildGeneration(view.rebuild, projection, options);
    if (progress.rows < ROWS) throw new Error(`${progress.rows} rows of ${ROWS} events`);
    return progress.records;
  });
  await promoteGeneration(view.rebuild, projection, options);
  return { ...sample, more: { ...sample.more, 'bytes of a body': bodyBytes / ROWS } };
}

/** The digest that `evident status --json` and `diff` tell. */
async function digest(): Promise<Sample> {
  const { view, postgresPid } = await openedView();
  return measure(postgresPid, () =>
    view.snapshots.withSnapshot(HOT_VIEW, async (snapshot) => {
      const { rows } = await digestGeneration(snapshot, snapshot.live as number);
      if (rows < ROWS) throw new Error(`a digest of ${rows} rows`);
      return rows;
    }),
  );
}

/** `evident verify --view hot`. */
async function verify(): Promise<Sample> {
  const { view, postgresPid } = await openedView();
  return measure(postgresPid, async () => {
    const findings = new Findings();
    const report = await verifyView(view.verify, HOT_VIEW, findings, () => undefined);
    const found = findings.count.tampered + findings.count.notChecked;
    if (report === null || found > 0) throw new Error(`verify found ${found}`);
    return report.records;
  });
}

const NAME = `of ${ROWS.toLocaleString('en')} events`;

export const REBUILD_BENCHMARKS: Benchmark[] = [
  {
    name: `rebuild ${NAME}`,
    unit: 'rows/s',
    goal: { text: '200,000/s', least: 200_000 },
    runs: 2,
    run: rebuild,
  },
  { name: `digest of a view ${NAME}`, unit: 'rows/s', goal: null, runs: 2, run: digest },
  { name: `verify of a view ${NAME}`, unit: 'records/s', goal: null, runs: 2, run: verify },
];
