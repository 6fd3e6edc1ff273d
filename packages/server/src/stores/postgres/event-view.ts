/** The port `EventView` on PostgreSQL: the hot view under row-level security. */

import { EvidentError } from '@evident/core/errors.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { isTenant, SYSTEM_TENANT } from '@evident/core/record.ts';
import { instantText } from '@evident/core/shapes/instant.ts';
import type pg from 'pg';
import type { EventFilter } from '../../query/filter.ts';
import type {
  Bucket,
  Completeness,
  Dimension,
  EventPlace,
  EventView,
  FoundEvent,
  FoundPage,
  Interval,
  SoughtEvent,
  TextMatch,
  ValueCount,
} from '../../query/ports.ts';
import { findTenantPage, mergePages, SCAN_ROWS_MAX, SCAN_STEP_ROWS } from './event-pages.ts';
import { type EventRow, eventColumns, foundOf, micros } from './event-rows.ts';
import { correctionsOf, matching, Parameters, type Scope, tenantsOf } from './event-sql.ts';
import { type PlacedRow, RECORD_COLUMNS, recordOfRow } from './placed-records.ts';
import { TenantQueries, type ViewQuery } from './tenant-query.ts';
import type { TenantTurns } from './tenant-turns.ts';

/** Milliseconds that one statement may take. */
export const STATEMENT_MS_MAX = 10_000;
/** Most tenants that a search of all goes through. */
const TENANTS_MAX = 1_000;
/** Most events of one id. */
const SAME_ID_MAX = 100;

const DIMENSION_SQL: Readonly<Record<Exclude<Dimension, 'hour' | 'day'>, string>> = {
  actor: 'actor_id',
  action: 'action',
  resource: 'resource_id',
  result: 'result',
  type: 'type',
};

/** Trees of a log, and where each tree stands. Logs may be added while the server runs. */
export interface TreeTable {
  treesOf(log: string): readonly number[];
  placeOfTree(tree: number): { readonly log: string; readonly partition: number };
}

type Identity = { readonly tenant: string; readonly id: string };

export class PostgresEventView implements EventView {
  readonly #queries: TenantQueries;
  readonly #trees: TreeTable;

  /** @param pool connections of the role evident_server with no tenant set */
  constructor(pool: pg.Pool, trees: TreeTable, statementMsMax = STATEMENT_MS_MAX, turns?: TenantTurns) {
    this.#queries = new TenantQueries(pool, statementMsMax, turns);
    this.#trees = trees;
  }

  search(
    tenant: string | null,
    filter: EventFilter,
    after: EventPlace | null,
    limit: number,
  ): Promise<FoundPage> {
    return this.#queries.onView(checkedTenant(tenant), 'searching events', async (query) => {
      const scope = await this.#scope(query, tenant, filter);
      const share = Math.max(SCAN_STEP_ROWS, Math.floor(SCAN_ROWS_MAX / Math.max(1, scope.tenants.length)));
      const pages = [];
      for (const one of scope.tenants) {
        const own = { ...scope, tenants: [one] };
        pages.push(await findTenantPage(query, own, filter, after, limit, share));
      }
      const { rows, next, scanned } = pages.length === 1 ? pages[0] : mergePages(pages, limit);
      return { events: rows.map((row) => this.#found(row)), next, scanned };
    });
  }

  count(
    tenant: string | null,
    filter: EventFilter,
    by: Dimension,
    limit: number,
  ): Promise<readonly ValueCount[]> {
    return this.#queries.onView(checkedTenant(tenant), `counting events by ${by}`, async (query) => {
      const parameters = new Parameters();
      const from = matching(await this.#scope(query, tenant, filter), filter, parameters);
      const isTime = by === 'hour' || by === 'day';
      const value = isTime ? micros(`date_bin('1 ${by}', event_time, 'epoch')`) : DIMENSION_SQL[by];
      const text = `SELECT v AS value, n AS count FROM (SELECT ${value} AS v, count(*) AS n FROM ${from} GROUP BY 1) c
        ORDER BY n DESC, v NULLS LAST LIMIT ${limit}`;
      const rows = await query.run<{ value: string | null; count: string }>({
        text,
        values: parameters.values,
      });
      return rows.map(({ value, count }) => ({
        value: isTime && value !== null ? instantText(BigInt(value)) : value,
        count: BigInt(count),
      }));
    });
  }

  histogram(
    tenant: string | null,
    filter: EventFilter,
    interval: Interval,
    limit: number,
  ): Promise<readonly Bucket[]> {
    return this.#queries.onView(
      checkedTenant(tenant),
      `counting events by the ${interval}`,
      async (query) => {
        const parameters = new Parameters();
        const from = matching(await this.#scope(query, tenant, filter), filter, parameters);
        const text = `SELECT ${micros('start')} AS start, n FROM (
          SELECT date_bin('1 ${interval}', event_time, 'epoch') AS start, count(*) AS n FROM ${from} GROUP BY 1
        ) b ORDER BY b.start LIMIT ${limit}`;
        const rows = await query.run<{ start: string; n: string }>({ text, values: parameters.values });
        return rows.map(({ start, n }) => ({ start: BigInt(start), count: BigInt(n) }));
      },
    );
  }

  find(tenant: string | null, what: SoughtEvent): Promise<readonly FoundEvent[]> {
    return this.#queries.onView(checkedTenant(tenant), 'finding an event', async (query) => {
      const parameters = new Parameters();
      const tenants = await this.#tenants(query, tenant);
      const known = `evident.event_ids i WHERE i.generation = ${query.generation} AND i.tenant = ANY (${parameters.add(tenants, 'text[]')})`;
      let place: string;
      if ('id' in what) {
        place = `${known} AND i.id = ${parameters.add(what.id, 'uuid')}`;
      } else {
        const record = await this.#recordAt(query, tenant, what);
        if (record === null) return [];
        const tree = this.#trees.treesOf(what.log)[what.partition];
        place = `${known} AND i.id = ${parameters.add(record.id, 'uuid')} AND i.tree = ${tree} AND i.position = ${parameters.add(what.position.toString(), 'bigint')}`;
      }
      const text = `SELECT ${eventColumns('e')} FROM (SELECT * FROM ${place} ORDER BY i.tenant, i.log_id LIMIT ${SAME_ID_MAX}) p
        CROSS JOIN LATERAL (
          SELECT * FROM evident.events e WHERE e.generation = ${query.generation} AND e.appended_at = p.appended_at
             AND e.tenant = p.tenant AND e.event_time = p.event_time AND e.tree = p.tree AND e.position = p.position
        ) e ORDER BY p.tenant, p.log_id`;
      const rows = await query.run<EventRow>({ text, values: parameters.values });
      return rows.map((row) => this.#found(row));
    });
  }

  correctionsOf(tenant: string | null, events: readonly Identity[]): Promise<readonly FoundEvent[]> {
    return this.#queries.onView(checkedTenant(tenant), 'finding corrections', async (query) => {
      const rows = await query.run<EventRow>(correctionsOf(query.generation, events), 'ordered');
      const wanted = new Map(events.map((event, at) => [`${event.tenant} ${event.id}`, at]));
      // Of a reader of all, an id may be another tenant's as well.
      const placed = rows.flatMap((row) => {
        const at = wanted.get(`${row.tenant} ${row.corrects}`);
        return at === undefined ? [] : [{ at, row }];
      });
      // Stable: those of one event stay in their order.
      return placed.sort((a, b) => a.at - b.at).map(({ row }) => this.#found(row));
    });
  }

  records(
    tenant: string | null,
    places: readonly { readonly tree: number; readonly position: bigint }[],
  ): Promise<readonly (LogRecord | null)[]> {
    return this.#queries.onView(checkedTenant(tenant), 'reading records', (query) =>
      this.#records(query, tenant, places),
    );
  }

  recordOf(tenant: string | null, what: SoughtEvent): Promise<LogRecord | null> {
    return this.#queries.onView(checkedTenant(tenant), 'finding a record', async (query) => {
      if (!('id' in what)) return this.#recordAt(query, tenant, what);
      const parameters = new Parameters();
      const tenants = parameters.add(await this.#tenants(query, tenant), 'text[]');
      const text = `SELECT i.tree, i.position FROM evident.logs l CROSS JOIN unnest(${tenants}) t(tenant)
          JOIN evident.identities i ON i.log_id = l.log_id AND i.tenant = t.tenant AND i.id = ${parameters.add(what.id, 'uuid')}
         ORDER BY t.tenant, l.log_id LIMIT 1`;
      const [place] = await query.run<{ tree: number; position: string }>({
        text,
        values: parameters.values,
      });
      if (place === undefined) return null;
      const found = { tree: place.tree, position: BigInt(place.position) };
      return (await this.#records(query, tenant, [found]))[0];
    });
  }

  matchText(
    tenant: string | null,
    places: readonly { readonly tree: number; readonly position: bigint }[],
    spellings: readonly string[],
    bytesMax: number,
  ): Promise<readonly TextMatch[]> {
    return this.#queries.onView(checkedTenant(tenant), 'searching bodies', (query) =>
      query.run<{ matches: boolean; bytes: number; searched: boolean }>({
        text: 'SELECT matches, bytes, searched FROM evident.match_text($1::int[], $2::bigint[], $3::text[], $4::bigint) ORDER BY ordinal',
        values: [
          places.map(({ tree }) => tree),
          places.map(({ position }) => position.toString()),
          spellings,
          bytesMax,
        ],
      }),
    );
  }

  tenants(): Promise<readonly string[]> {
    return this.#queries.onView(null, 'listing tenants', (query) => this.#tenants(query, null));
  }

  complete(tenant: string | null, log: string | null): Promise<Completeness> {
    return this.#queries.onView(checkedTenant(tenant), 'asking how far the view has read', async (query) => {
      const partitions = await query.run<{ log: string; partition: number; read: string; head: string }>({
        text: `SELECT l.log, p.partition, p.next_position AS head, coalesce(c.next_position, 0) AS read
                 FROM evident.partitions p JOIN evident.logs l USING (log_id)
                 LEFT JOIN evident.checkpoints c ON c.view = 'hot' AND c.generation = ${query.generation} AND c.tree = p.tree
                WHERE l.log NOT IN ('heads', 'windows') AND ($1::text IS NULL OR l.log = $1::text)
                ORDER BY l.log_id, p.partition`,
        values: [log],
      });
      const [{ lacking }] = await query.run<{ lacking: number }>({
        text: `SELECT count(*)::int AS lacking FROM evident.dead_letters d
                WHERE d.view = 'hot' AND d.generation = ${query.generation} AND d.resolution IS NULL
                  AND ($1::text IS NULL OR d.tenant = $1::text) AND ($2::int[] IS NULL OR d.tree = ANY ($2::int[]))`,
        values: [tenant, log === null ? null : this.#trees.treesOf(log)],
      });
      return {
        generation: query.generation,
        partitions: partitions.map((row) => ({ ...row, read: BigInt(row.read), head: BigInt(row.head) })),
        lacking,
      };
    });
  }

  async #scope(query: ViewQuery, tenant: string | null, { log }: EventFilter): Promise<Scope> {
    return {
      generation: query.generation,
      tenants: await this.#tenants(query, tenant),
      trees: log === undefined ? null : this.#trees.treesOf(log),
    };
  }

  /** Indexes begin with the tenant: a reader of all asks for each by name. */
  async #tenants(query: ViewQuery, tenant: string | null): Promise<readonly string[]> {
    if (tenant !== null) return [tenant];
    const rows = await query.run<{ tenant: string }>(tenantsOf(query.generation, TENANTS_MAX + 1));
    // Leaving some out would be an answer that looks complete and is not.
    if (rows.length > TENANTS_MAX)
      throw new EvidentError(
        'field-invalid',
        `tenant: the view holds more than ${TENANTS_MAX} tenants; a search goes through one of them by name`,
        { context: { field: 'tenant' } },
      );
    return rows.map((row) => row.tenant);
  }

  #found(row: EventRow): FoundEvent {
    return foundOf(row, (tree) => this.#trees.placeOfTree(tree));
  }

  async #recordAt(
    query: ViewQuery,
    tenant: string | null,
    { log, partition, position }: Exclude<SoughtEvent, { id: string }>,
  ): Promise<LogRecord | null> {
    const tree = this.#trees.treesOf(log)[partition];
    return tree === undefined ? null : (await this.#records(query, tenant, [{ tree, position }]))[0];
  }

  async #records(
    query: ViewQuery,
    tenant: string | null,
    places: readonly { readonly tree: number; readonly position: bigint }[],
  ): Promise<(LogRecord | null)[]> {
    const rows = await query.run<PlacedRow>({
      text: `SELECT s.number::int, ${RECORD_COLUMNS} FROM unnest($1::int[], $2::bigint[]) WITH ORDINALITY s(tree, position, number)
        CROSS JOIN LATERAL (
          SELECT * FROM evident.records x WHERE x.tree = s.tree AND x.position = s.position
             AND ($3::text IS NULL OR x.tenant = $3::text) OFFSET 0
        ) r`,
      values: [places.map(({ tree }) => tree), places.map(({ position }) => position.toString()), tenant],
    });
    const records: (LogRecord | null)[] = places.map(() => null);
    for (const row of rows)
      records[row.number - 1] = recordOfRow(row, this.#trees.placeOfTree(places[row.number - 1].tree));
    return records;
  }
}

/** A tenant ends up in a setting whose value `*` means all: nothing but a name gets there. */
function checkedTenant(tenant: string | null): string | null {
  if (tenant !== null && !isTenant(tenant) && tenant !== SYSTEM_TENANT)
    throw new RangeError(`no tenant is named ${JSON.stringify(tenant)}`);
  return tenant;
}
