/** What each index of the view costs: the time to insert rows with all of them, without one, and with others. */

import pg from 'pg';
import { type Opened, openInstallation } from './installation.ts';
import { type Benchmark, cpuOfTree, type Sample } from './measure.ts';
import { indexesOf, LOG, makeDays, postgresPidOf, rowsSql } from './search-scene.ts';

const ROWS = Number(process.env.EVIDENT_BENCH_GROWTH_ROWS ?? 1_000_000);
/** Rows of one statement: what the projection commits at once under load. */
const BATCH_ROWS = 5_000;

/** Others that were tried: beside those of the view. */
const TRIED: Readonly<Record<string, string>> = {
  'actor and action of their own':
    'CREATE INDEX tried ON evident.events (tenant, actor_id, action, event_time, tree, position)',
  address: 'CREATE INDEX tried ON evident.events (tenant, ip, event_time, tree, position)',
};

/** Those of 0013_search_combined.sql as they were before: with the value that leads and the order alone. */
const LEADING_ALONE = [
  'actor_id, event_time, tree, position)',
  'resource_id, event_time, tree, position)',
  "result, event_time, tree, position) WHERE result <> 'success'",
];

async function grow(change: (owner: pg.Client) => Promise<void>): Promise<Sample> {
  const opened: Opened = await openInstallation();
  const owner = new pg.Client(opened.storage.connection);
  await owner.connect();
  try {
    await owner.query("SELECT evident.open_view('hot', 'bench')");
    await makeDays(owner, 1, 31);
    await change(owner);
    const trees = opened.storage.logs.get(LOG)?.trees ?? [];
    // Drawn beforehand, so that drawing is not measured.
    await owner.query(
      `CREATE UNLOGGED TABLE drawn AS SELECT *, (row_number() OVER () - 1) / ${BATCH_ROWS} AS batch FROM (${rowsSql(0, ROWS, ROWS, trees)}) r`,
    );
    await owner.query('CREATE INDEX ON drawn (batch)');
    const pid = postgresPidOf(opened.storage.dataDir);
    const cpu = cpuOfTree(pid);
    const begun = performance.now();
    for (let batch = 0; batch * BATCH_ROWS < ROWS; batch++) {
      await owner.query({
        name: 'grow',
        text: 'INSERT INTO evident.events SELECT (r::evident.events).* FROM (SELECT generation, appended_at, tree, position, event_time, timed, id, tenant, type, mapper, actor_id, actor_type, action, resource_type, resource_id, result, correlation_id, ip, corrects FROM drawn WHERE batch = $1) r',
        values: [batch],
      });
    }
    const seconds = (performance.now() - begun) / 1_000;
    const { rows } = await owner.query<{ mb: number }>(
      "SELECT (sum(pg_indexes_size(c.oid)) / 1048576)::float8 AS mb FROM pg_class c WHERE relname LIKE 'events_g1_%' AND relkind = 'r'",
    );
    return {
      value: (seconds * 1e6) / ROWS,
      cpu: { PostgreSQL: (cpuOfTree(pid) - cpu) / ROWS },
      more: { 'MB of indexes': rows[0].mb },
    };
  } finally {
    await owner.end();
    await opened.close();
  }
}

const without = (index: string) => async (owner: pg.Client) => {
  for (const { name } of await indexesOf(owner))
    if (index === 'any' || name === index) await owner.query(`DROP INDEX evident.${name}`);
};

function growth(name: string, change: (owner: pg.Client) => Promise<void>): Benchmark {
  return {
    name: `search index cost: ${name}`,
    unit: 'µs per row',
    goal: null,
    runs: 1,
    run: () => grow(change),
  };
}

export function growBenchmarks(): Benchmark[] {
  return [
    growth('all of the view', async () => undefined),
    ...['time', 'actor', 'resource', 'action', 'result', 'correlation', 'corrects'].map((name) =>
      growth(`without events_${name}`, without(`events_${name}`)),
    ),
    growth('without any', without('any')),
    growth('all, holding nothing besides', async (owner) => {
      for (const index of ['actor', 'resource', 'result']) await without(`events_${index}`)(owner);
      for (const columns of LEADING_ALONE)
        await owner.query(`CREATE INDEX ON evident.events (tenant, ${columns}`);
    }),
    ...Object.entries(TRIED).map(([name, make]) =>
      growth(`and ${name}`, async (owner) => {
        await owner.query(make);
      }),
    ),
  ];
}
