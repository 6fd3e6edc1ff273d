/**
 * A hot view to search: rows put into its tables by the database's owner, in SQL, with the indexes made afterwards. No
 * server would fill it so; what is measured is how it is searched. Indexes that are made at once are denser than those
 * that have grown: bench-search measures growing apart.
 */

import { readFileSync } from 'node:fs';
import pg from 'pg';
import { type Opened, openInstallation } from './installation.ts';

export const ROWS = Number(process.env.EVIDENT_BENCH_ROWS ?? 10_000_000);
/** Newest rows that have a record with a body, for text. */
export const RECORDS = Math.min(ROWS, Number(process.env.EVIDENT_BENCH_RECORDS ?? 200_000));
const DAYS = 30;
const STEP_ROWS = 500_000;
export const LOG = 'audit';
/** 2026-10-01. */
const BEGIN = '2026-10-01T00:00:00Z';
const BEGIN_DAY = Date.parse(BEGIN) / 86_400_000;

export interface SearchScene extends Opened {
  /** The owner of the database. */
  readonly owner: pg.Client;
  /** Connections as the query library has them. */
  readonly queryPool: pg.Pool;
  readonly fillSeconds: number;
  readonly indexSeconds: number;
}

/**
 * Row `i` of `n`: actors, resources and actions by Zipf's law (rank = N^u), 64 actions in 8 groups and 4 rare ones, 2 %
 * failures, 1 % denied, four events a correlation id, three tenants with 90, 9 and 1 %. Appended evenly over 30 days,
 * at most a second after it happened, one in a thousand up to a day after.
 */
export function rowsSql(from: number, to: number, n: number, trees: readonly number[]): string {
  const groups = "ARRAY['document','account','report','session','invoice','patient','key','export']";
  const verbs = "ARRAY['read','update','create','list','delete','share','approve','archive']";
  return `
    SELECT 1 AS generation, a.at AS appended_at, (ARRAY[${trees.join(',')}])[1 + i % ${trees.length}] AS tree,
           i / ${trees.length} AS position,
           a.at - CASE WHEN r.u1 < 0.001 THEN interval '1 day' ELSE interval '1 second' END * r.u2 AS event_time, true AS timed,
           gen_random_uuid() AS id, t.tenant, 'audit.event' AS type, 'audit.event/1' AS mapper,
           'usr_' || floor(50000 ^ r.u3)::int AS actor_id, 'user' AS actor_type,
           CASE WHEN r.u1 > 0.99999 THEN 'admin.' || (ARRAY['purge','reset','grant','revoke'])[1 + floor(r.u5 * 4)::int]
                ELSE (${groups})[1 + (x.action % 8)] || '.' || (${verbs})[1 + (x.action / 8)] END AS action,
           'document' AS resource_type, 'doc_' || floor(500000 ^ r.u4)::int AS resource_id,
           CASE WHEN r.u6 < 0.01 THEN 'denied' WHEN r.u6 < 0.03 THEN 'failure' ELSE 'success' END AS result,
           'req-' || lpad((i / 4)::text, 10, '0') AS correlation_id,
           '10.' || floor(r.u2 * 250)::int || '.' || floor(r.u3 * 250)::int || '.' || floor(r.u4 * 250)::int AS ip, NULL::uuid AS corrects
      FROM generate_series(${from}::bigint, ${to - 1}::bigint) i
     CROSS JOIN LATERAL (SELECT timestamptz '${BEGIN}' + interval '${DAYS} days' * (i::float8 / ${n}) AS at) a
     CROSS JOIN LATERAL (SELECT random() + 0 * i AS u1, random() AS u2, random() AS u3, random() AS u4, random() AS u5, random() AS u6, random() AS u7) r
     CROSS JOIN LATERAL (SELECT floor(64 ^ r.u5)::int - 1 AS action) x
     CROSS JOIN LATERAL (SELECT CASE WHEN r.u7 < 0.9 THEN 'large' WHEN r.u7 < 0.99 THEN 'medium' ELSE 'small' END AS tenant) t`;
}

const COLUMNS =
  'generation, appended_at, tree, position, event_time, timed, id, tenant, type, mapper, actor_id, actor_type, action, resource_type, resource_id, result, correlation_id, ip, corrects';

/** Statements that make the indexes of the view, and those that drop them. */
export async function indexesOf(owner: pg.Client): Promise<{ name: string; make: string }[]> {
  const { rows } = await owner.query<{ name: string; make: string }>(
    `SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS make
       FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'evident.events'::regclass ORDER BY 1`,
  );
  return rows.map(({ name, make }) => ({ name, make: make.replace(' ON ONLY ', ' ON ') }));
}

export async function openSearchScene(): Promise<SearchScene> {
  const opened = await openInstallation();
  const { storage } = opened;
  const owner = new pg.Client(storage.connection);
  await owner.connect();
  const trees = storage.logs.get(LOG)?.trees ?? [];
  await owner.query("SET synchronous_commit = off; SET work_mem = '64MB'; SET maintenance_work_mem = '1GB'");
  await owner.query("SELECT evident.open_view('hot', 'bench')");
  await makeDays(owner, 1, DAYS + 1);
  const indexes = await indexesOf(owner);
  for (const { name } of indexes) await owner.query(`DROP INDEX evident.${name}`);
  let begun = performance.now();
  for (let from = 0; from < ROWS; from += STEP_ROWS) {
    const to = Math.min(ROWS, from + STEP_ROWS);
    await owner.query(
      `WITH e AS MATERIALIZED (${rowsSql(from, to, ROWS, trees)}),
            i AS (INSERT INTO evident.event_ids (generation, log_id, tenant, id, appended_at, event_time, tree, position)
                  SELECT 1, (SELECT log_id FROM evident.logs WHERE log = '${LOG}'), tenant, id, appended_at, event_time, tree, position FROM e)
       INSERT INTO evident.events (${COLUMNS}) SELECT ${COLUMNS} FROM e`,
    );
    process.stderr.write(`\r${to.toLocaleString('en')} rows `);
  }
  await putRecords(owner, trees);
  const fillSeconds = (performance.now() - begun) / 1_000;
  begun = performance.now();
  for (const { make } of indexes) await owner.query(make);
  const indexSeconds = (performance.now() - begun) / 1_000;
  await owner.query('VACUUM (ANALYZE) evident.events');
  await owner.query('VACUUM (ANALYZE) evident.event_ids');
  await owner.query('RESET ALL');
  const queryPool = new pg.Pool({ ...storage.connection, options: '-c role=evident_server', max: 2 });
  return {
    ...opened,
    owner,
    queryPool,
    fillSeconds,
    indexSeconds,
    close: async () => {
      await queryPool.end();
      await owner.end();
      await opened.close();
    },
  };
}

export function makeDays(owner: pg.Client, generation: number, days: number): Promise<unknown> {
  return owner.query('SELECT evident.make_event_children($1, $2::bigint[])', [
    generation,
    Array.from({ length: days }, (_, day) => BEGIN_DAY + day),
  ]);
}

/** Bodies of about 500 bytes for the newest rows. */
async function putRecords(owner: pg.Client, trees: readonly number[]): Promise<void> {
  const first = Math.floor((ROWS - RECORDS) / trees.length);
  const end = Math.ceil(ROWS / trees.length);
  for (const tree of trees) await owner.query('SELECT evident.add_child($1, $2, $3)', [tree, first, end]);
  // The log goes on behind them: reads are recorded in it.
  const counters = [first, end, trees];
  await owner.query(
    'UPDATE evident.partitions SET first_position = $1, next_position = $2, child_end = $2 WHERE tree = ANY ($3)',
    counters,
  );
  await owner.query(
    `INSERT INTO evident.records (tree, position, appended_at, id, tenant, source, type, schema, key, body_form, body)
     SELECT tree, position, appended_at, id, tenant, 'bench', 'audit.event', 1, tenant || '/' || actor_id, 0,
            convert_to(json_build_object('event_id', id, 'tenant', tenant, 'actor', json_build_object('id', actor_id), 'action', action,
              'resource', json_build_object('type', resource_type, 'id', resource_id), 'result', result,
              'details', json_build_object('note', repeat('the quick brown fox jumps over the lazy dog ', 6),
                'marker', CASE WHEN random() < 0.0005 THEN 'Zebra' ELSE 'horse' END))::text, 'UTF8')
       FROM evident.events WHERE position >= $1`,
    [first],
  );
  await owner.query('ANALYZE evident.records');
}

export const postgresPidOf = (dataDir: string): number =>
  Number(readFileSync(`${dataDir}/postgres/postmaster.pid`, 'utf8').split('\n')[0]);
