/** Which index answers, under the policy and with a tenant set, on a view that is large enough for it to matter. */

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { ROW_TEXT_BYTES_MAX } from '@evident/core/mapping/row.ts';
import { searchAll } from '../../../contract/view-events.ts';
import { openEventViewScene, type PostgresScene } from '../../../test/event-view-scene.ts';
import type { EventFilter } from '../../query/filter.ts';
import { matchesFilter } from '../../query/match.ts';
import type { EventPlace, FoundEvent } from '../../query/ports.ts';
import { findTenantPage, LOOK_ROWS, PREFIX_LOOK_ROWS, type RowPage, SCAN_STEP_ROWS } from './event-pages.ts';
import { endOfPrefix, type Statement } from './event-sql.ts';
import { TenantQueries } from './tenant-query.ts';

const ROWS = 45_000;
const BEGIN_US = 1_795_046_400_000_000n;
const SECOND_US = 1_000_000n;

let scene: PostgresScene;
const asked: Statement[] = [];

/**
 * One event a second over three days of the append, every tenth of another tenant. `rare.*` and the actor `old` stand
 * among the oldest only, `usr_1` everywhere; `even` never does what `login` is, and both are frequent.
 */
before(async () => {
  scene = await openEventViewScene();
  const { owner } = scene.database;
  await scene.store.open('hot', 'test/1');
  await owner.query('SELECT evident.make_event_children(1, $1::bigint[])', [[20_776, 20_777, 20_778]]);
  await owner.query(
    `WITH e AS MATERIALIZED (
       SELECT timestamptz '2026-11-19T12:00:00Z' + i * interval '3 seconds' AS appended_at, i AS position, $1::int AS tree,
              timestamptz '2026-11-19T00:00:00Z' + i * interval '1 second' AS event_time, gen_random_uuid() AS id,
              CASE WHEN i % 10 = 7 THEN 'beta' ELSE 'acme' END AS tenant,
              CASE WHEN i < 40 THEN 'old' WHEN i % 4 = 2 THEN 'even' ELSE 'usr_' || (i % 50) END AS actor,
              CASE WHEN i < 60 THEN 'rare.' || (i % 3) WHEN i % 2 = 0 THEN 'doc.' || (i % 7) ELSE 'login' END AS action,
              'r' || (i % 3000) AS resource, CASE WHEN i % 500 = 0 THEN 'denied' ELSE 'success' END AS result,
              'c' || (i / 4) AS correlation, CASE WHEN i = 5 THEN '10.0.0.1' ELSE '10.0.0.2' END AS ip
         FROM generate_series(0, $2::int - 1) i), x AS (
       INSERT INTO evident.event_ids (generation, log_id, tenant, id, appended_at, event_time, tree, position)
       SELECT 1, 1, tenant, id, appended_at, event_time, tree, position FROM e)
     INSERT INTO evident.events (generation, appended_at, tree, position, event_time, timed, id, tenant, type, mapper, actor_id,
                                 action, resource_id, result, correlation_id, ip)
     SELECT 1, appended_at, tree, position, event_time, true, id, tenant, 'note', 'note/1', actor, action, resource, result, correlation, ip FROM e`,
    [(scene.logs.get('audit') as unknown as { trees: number[] }).trees[0], ROWS],
  );
  await owner.query('ANALYZE evident.events');
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
});

/** What a search does: the plan of each statement about events, as evident_server with the tenant set. */
async function plansOf(filter: EventFilter, after = BEGIN_US + BigInt(ROWS) * SECOND_US): Promise<string[]> {
  asked.length = 0;
  const place = { eventTime: after, tree: 0, position: 0n };
  await scene.view.search('acme', filter, place, 50);
  return explainAsked();
}

async function explainAsked(): Promise<string[]> {
  const client = await scene.database.owner.connect();
  const plans: string[] = [];
  try {
    await client.query('BEGIN READ ONLY');
    await client.query('SET LOCAL ROLE evident_server');
    for (const { text, values } of asked) {
      if (text.includes('set_config(')) await client.query(text, [...values]);
      if (!/^(?:SELECT|WITH)/.test(text) || !/FROM evident\.event/.test(text)) continue;
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${text}`, [...values]);
      plans.push(rows.map((row) => row['QUERY PLAN']).join('\n'));
    }
  } finally {
    await client.query('ROLLBACK');
    client.release();
  }
  return plans;
}

/** A condition that the index compares beside its own. */
const held = (column: string) => new RegExp(`Index Cond: .*\\(${column} >= .*\\) AND \\(${column} <= `);

const indexOf = (columns: string) => new RegExp(`Index Scan Backward using events_g1_\\d+_tenant_${columns}`);

describe('plans of searches', () => {
  it('answers each question from its own index, in its order', async () => {
    const questions: [EventFilter, string][] = [
      [{}, 'event_time'],
      [{ from: BEGIN_US, to: BEGIN_US + 1_000n * SECOND_US }, 'event_time'],
      [{ actor: 'usr_1' }, 'actor_id'],
      [{ resource: 'r5' }, 'resource_id'],
      [{ action: 'login' }, 'action'],
      [{ result: 'denied' }, 'result'],
      [{ correlationId: 'c5' }, 'correlation_id'],
      [{ actor: 'usr_1', type: 'note' }, 'actor_id'],
      [{ result: 'success' }, 'event_time'],
      [{ actionPrefix: 'doc' }, 'event_time'],
      [{ text: 'zebra', from: BEGIN_US, to: BEGIN_US + 1_000n * SECOND_US }, 'event_time'],
    ];
    for (const [filter, columns] of questions) {
      const plans = await plansOf(filter);
      assert.equal(plans.length, 1, `${columns}: ${plans.length} statements`);
      assert.match(plans[0], indexOf(columns));
      assert.doesNotMatch(plans[0], /Seq Scan|Sort Method|Bitmap|^ *-> +Sort/m, columns);
    }
  });

  it('bounds the index by the span of a text, by the cursor and by the days of the append', async () => {
    const span = { from: BEGIN_US, to: BEGIN_US + 1_000n * SECOND_US };
    const [plan] = await plansOf({ text: 'zebra', ...span });
    assert.match(
      plan,
      /Index Cond: \(\(tenant = 'acme'::text\) AND \(event_time >= .*\) AND \(event_time < .*\) AND \(ROW\(event_time, tree, "position"\) < ROW/,
    );
    const [pruned] = await plansOf({
      appendedFrom: BEGIN_US + 90_000n * SECOND_US,
      appendedTo: BEGIN_US + 95_000n * SECOND_US,
    });
    assert.match(pruned, /events_g1_20261120/);
    assert.doesNotMatch(pruned, /events_g1_20261119|events_g1_20261121/);
  });

  it('answers a prefix that few have from the index of actions, each action by itself', async () => {
    const [look, steps, pages] = await plansOf({ actionPrefix: 'rare.' });
    assert.match(look, indexOf('event_time'));
    assert.match(steps, /Index Only Scan|Index Scan using events_g1_\d+_tenant_action_/);
    assert.match(steps, /action >= 'rare\.'::text\) AND \(action < 'rare\/'::text/);
    assert.match(pages, indexOf('action'));
    for (const plan of [look, steps, pages]) assert.doesNotMatch(plan, /Seq Scan/);
    const found = await searchAll(scene.view, 'acme', { actionPrefix: 'rare.' }, 7);
    assert.equal(found.length, 54);
  });

  it('would lose that index to LIKE, which is not leakproof', async () => {
    const client = await scene.database.owner.connect();
    try {
      await client.query('BEGIN READ ONLY');
      await client.query(
        "SET LOCAL ROLE evident_server; SET LOCAL enable_seqscan = off; SET LOCAL evident.tenant = 'acme'",
      );
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(
        "EXPLAIN SELECT * FROM evident.events WHERE generation = 1 AND tenant = 'acme' AND action LIKE 'rare.%'",
      );
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      assert.doesNotMatch(plan, /Index Cond: .*action/);
    } finally {
      await client.query('ROLLBACK');
      client.release();
    }
  });

  it('looks through the index of each value for a while, and then compares all within that of the first', async () => {
    const few = await plansOf({ actor: 'old', action: 'login' });
    assert.equal(few.length, 1, 'the few of the actor are all of them');
    const rare = await plansOf({ actor: 'even', action: 'rare.1' });
    assert.equal(rare.length, 2, 'the few of the action are all of them');
    assert.match(rare[1], indexOf('action'));
    const frequent = await plansOf({ action: 'doc.0', actor: 'even' });
    assert.equal(frequent.length, 1, 'what is frequent together is found by the look');
    const questions: [EventFilter, looks: string[], leading: string, held: RegExp][] = [
      [{ actor: 'even', action: 'login' }, ['actor_id', 'action'], 'actor_id', held('action')],
      [{ actor: 'even', result: 'success' }, [], 'actor_id', held('result')],
      [
        { actor: 'even', actionPrefix: 'rare.' },
        [],
        'actor_id',
        /action >= 'rare\.'::text\) AND \(action < 'rare\//,
      ],
      [{ actor: 'even', result: 'denied' }, ['actor_id'], 'actor_id', held('result')],
      [{ result: 'denied', action: 'login' }, ['action'], 'result', held('action')],
      [{ resource: 'r2', result: 'success' }, [], 'resource_id', held('result')],
      [{ resource: 'r2', actionPrefix: 'doc.' }, [], 'resource_id', /action >= 'doc\.'::text\) AND/],
    ];
    for (const [filter, looks, leading, condition] of questions) {
      const plans = await plansOf(filter);
      assert.equal(plans.length, looks.length + 1, JSON.stringify(filter));
      for (const [at, column] of looks.entries()) assert.match(plans[at], indexOf(column));
      const last = plans[plans.length - 1];
      assert.match(last, indexOf(leading), JSON.stringify(filter));
      const conditions = last.match(/Index Cond: .*/g) ?? [];
      assert(conditions.length > 0 && conditions.every((one) => condition.test(one)), last);
      for (const plan of plans) assert.doesNotMatch(plan, /Seq Scan|Bitmap|^ *-> +Sort/m);
    }
  });

  it('finds the corrections of a whole page in the index that holds corrections alone', async () => {
    await scene.database.owner.query('UPDATE evident.events SET corrects = id WHERE position % 5000 = 0');
    await scene.database.owner.query('ANALYZE evident.events');
    const { events } = await scene.view.search('acme', {}, null, 1_000);
    asked.length = 0;
    await scene.view.correctionsOf(
      'acme',
      events.map(({ hit }) => hit),
    );
    const [plan] = await explainAsked();
    assert.match(plan, /using events_g1_\d+_tenant_corrects_idx/);
    assert.doesNotMatch(plan, /Seq Scan/);
  });

  it('reads records for text by their primary key', async () => {
    const { owner } = scene.database;
    const { rows } = await owner.query<{ prosrc: string }>(
      "SELECT prosrc FROM pg_proc WHERE proname = 'match_text'",
    );
    const query = /FOR found IN\n([\s\S]*?)\n {2}LOOP/.exec(rows[0].prosrc)?.[1];
    assert(query !== undefined);
    const asRun = query
      .replace('p_trees', '$1::int[]')
      .replace('p_positions', '$2::bigint[]')
      .replaceAll('seeing', "'acme'::text");
    const client = await owner.connect();
    try {
      await client.query('BEGIN READ ONLY');
      await client.query('SET LOCAL ROLE evident_search');
      const plan = await client.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${asRun}`, [
        [1, 1, 1],
        [1, 2, 3],
      ]);
      const text = plan.rows.map((row) => row['QUERY PLAN']).join('\n');
      assert.doesNotMatch(text, /Seq Scan/);
    } finally {
      await client.query('ROLLBACK');
      client.release();
    }
  });
});

describe('pages of a large view', () => {
  it('finds the same by every way to find it', async () => {
    const all = await searchAll(scene.view, 'acme', {}, 1_000);
    assert.equal(all.length, 40_500);
    const questions: EventFilter[] = [
      { actionPrefix: 'rare' },
      { actionPrefix: 'doc.', actor: 'usr_4' },
      { actor: 'usr_1', action: 'login' },
      { actor: 'usr_1', action: 'rare.1' },
      { actor: 'even', actionPrefix: 'rare.' },
      { actor: 'even', action: 'login' },
      { actor: 'even', action: 'doc.2' },
      { action: 'doc.1', result: 'denied' },
      { result: 'denied', actor: 'usr_0', resource: 'r500' },
      { actionPrefix: 'doc.', result: 'denied' },
      { actionPrefix: 'rare.', ip: '10.0.0.1' },
      { ip: '10.0.0.1' },
      { actor: 'old', ip: '10.0.0.1' },
    ];
    for (const filter of questions) {
      const wanted = all.filter(({ hit }) => matchesFilter(filter, hit));
      assert(wanted.length > 0 || ['rare.1', 'login'].includes(filter.action ?? ''), JSON.stringify(filter));
      const places = ({ hit }: FoundEvent) => hit.position;
      for (const limit of [3, 1_000]) {
        if (limit === 3 && wanted.length > 300) continue;
        const found = await searchAll(scene.view, 'acme', filter, limit);
        assert.deepEqual(found.map(places), wanted.map(places), JSON.stringify(filter));
      }
    }
  });

  it('looks at no more rows for one page than its bound, and goes on where it ended', async () => {
    const queries = new TenantQueries(scene.queryPool, 10_000);
    const filter = { ip: '10.0.0.1' };
    let place: EventPlace | null = null;
    const pages: number[] = [];
    for (let turn = 0; turn < 10; turn++) {
      const page: RowPage = await queries.onView('acme', 'looking', (query) =>
        findTenantPage(
          query,
          { generation: 1, tenants: ['acme'], trees: null },
          filter,
          place,
          5,
          SCAN_STEP_ROWS,
        ),
      );
      pages.push(page.rows.length);
      place = page.next;
      if (place === null) break;
      assert.equal(page.scanned, SCAN_STEP_ROWS);
    }
    assert.deepEqual(pages, [0, 0, 1]);
    assert(LOOK_ROWS < PREFIX_LOOK_ROWS && PREFIX_LOOK_ROWS < SCAN_STEP_ROWS);
  });

  it('merges the pages of all tenants', async () => {
    const filter = { actionPrefix: 'rare.' };
    const whole = await searchAll(scene.view, null, filter, 1_000);
    assert.equal(whole.length, 60);
    assert.deepEqual(await searchAll(scene.view, null, filter, 7), whole);
    assert.deepEqual(
      whole.map(({ hit }) => hit.position),
      Array.from({ length: 60 }, (_, at) => BigInt(59 - at)),
    );
    const scanned = await searchAll(scene.view, null, { ip: '10.0.0.1' }, 3);
    assert.equal(scanned.length, 1);
  });
});

it('holds the longest texts of a row in every index, and no text of a whole page', async () => {
  const insert = (bytes: number) =>
    scene.database.owner.query(
      `WITH t AS (SELECT left(string_agg(md5(random()::text), ''), $1::int) AS one FROM generate_series(1, 300))
       INSERT INTO evident.events (generation, appended_at, tree, position, event_time, timed, id, tenant, type, mapper, actor_id,
                                   action, resource_id, result, correlation_id)
       SELECT 1, timestamptz '2026-11-19T12:00:00Z', 1, 1000000, timestamptz '2020-01-01T00:00:00Z', true, gen_random_uuid(),
              left(one, 64), 'note', 'note/1', one, one, one, 'denied', one FROM t`,
      [bytes],
    );
  await insert(ROW_TEXT_BYTES_MAX);
  await assert.rejects(insert(8_000), /index row (?:size \d+ exceeds|requires)/);
});

describe('queries on behalf of a tenant', () => {
  it('sees nothing on a connection on which no tenant is set, and reaches no child', async () => {
    const { rows } = await scene.queryPool.query('SELECT count(*)::int AS n FROM evident.events');
    assert.equal(rows[0].n, 0);
    await assert.rejects(
      scene.queryPool.query('SELECT FROM evident.events_g1_20261119'),
      /permission denied/,
    );
    await assert.rejects(
      scene.queryPool.query("SELECT evident.match_text('{1}', '{1}', '{a}', 9)"),
      /no tenant is set/,
    );
    await assert.rejects(
      scene.queryPool.query("SELECT evident.save_search('acme', 'a', '{}', 'x', 9)"),
      /tenant/,
    );
    await assert.rejects(scene.queryPool.query('DELETE FROM evident.saved_searches'), /permission denied/);
  });

  it('leaves no tenant behind on the connection', async () => {
    await scene.view.search('acme', {}, null, 1);
    const { rows } = await scene.queryPool.query("SELECT current_setting('evident.tenant', true) AS tenant");
    assert.equal(rows[0].tenant ?? '', '');
  });

  it('takes nothing but a name for a tenant', async () => {
    for (const tenant of ['*', '', "x' OR true"])
      await assert.rejects(async () => scene.view.search(tenant, {}, null, 1), RangeError);
  });

  it('ends a statement that takes too long, with an error of its own', async () => {
    const queries = new TenantQueries(scene.queryPool, 50);
    await assert.rejects(
      queries.onView('acme', 'sleeping', (query) => query.run({ text: 'SELECT pg_sleep(60)', values: [] })),
      (error) => isEvidentError(error) && error.code === 'query-too-slow',
    );
  });

  it('can write nothing', async () => {
    const queries = new TenantQueries(scene.queryPool, 10_000);
    await assert.rejects(
      queries.onView('acme', 'writing', (query) => query.run({ text: 'CREATE TEMP TABLE x ()', values: [] })),
      /read-only|permission denied/,
    );
  });

  it('asks again when another generation was promoted meanwhile, and gives up in the end', async () => {
    const { owner } = scene.database;
    const queries = new TenantQueries(scene.queryPool, 10_000);
    const promote = (to: number) =>
      owner.query("UPDATE evident.views SET live = $1 WHERE view = 'hot'", [to]);
    const seen: number[] = [];
    await queries.onView('acme', 'looking', async ({ generation }) => {
      seen.push(generation);
      if (seen.length === 1) await promote(2);
    });
    assert.deepEqual(seen, [1, 2]);
    let turn = 2;
    await assert.rejects(
      queries.onView('acme', 'looking', async () => {
        await promote(++turn);
      }),
      /switched/,
    );
    await promote(1);
  });
});

it('ends a prefix at the next text in the order of code points', () => {
  assert.equal(endOfPrefix('doc.'), 'doc/');
  assert.equal(endOfPrefix('a\u{10ffff}'), 'b');
  assert.equal(endOfPrefix('\ud7ff'), '\ue000');
  assert.equal(endOfPrefix('\u{10ffff}'), null);
});
