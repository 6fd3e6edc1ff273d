/**
 * Statements on behalf of a reader: a READ ONLY transaction that begins by saying whose rows it may see. The pool's
 * connections have no tenant set, so a statement outside of one sees nothing.
 */

import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import type { Statement } from './event-sql.ts';
import { asEvidentError } from './faults.ts';
import { type TenantTurns, turnsOf } from './tenant-turns.ts';

/** What the setting evident.tenant holds for a reader of all tenants. */
const ALL = '*';
const QUERY_CANCELED = '57014';
/** How often a view that is switched meanwhile is asked again. */
const SWITCHES_MAX = 3;

export interface ViewQuery {
  /** The generation that is shown; 0: there is none. */
  readonly generation: number;
  /** @param plans `ordered`: without sorting or gathering, so that rows come from an index in its order, one by one */
  run<Row extends pg.QueryResultRow>(statement: Statement, plans?: Plans): Promise<Row[]>;
}

export type Plans = 'any' | 'ordered';

/**
 * What the planner may do. It thinks of all rows of a bound, where a page ends after a few of them. Ordered plans are
 * prepared without their values: there is one index that leads, and planning takes longer than running it.
 */
const SETTINGS: Readonly<Record<Plans, readonly (readonly [name: string, value: string])[]>> = {
  any: planSettings('on', 'auto'),
  ordered: planSettings('off', 'force_generic_plan'),
};

function planSettings(others: 'on' | 'off', cached: string): [string, string][] {
  const methods = ['enable_sort', 'enable_incremental_sort', 'enable_bitmapscan', 'enable_seqscan'];
  return [...methods.map((name): [string, string] => [name, others]), ['plan_cache_mode', cached]];
}

const setPlans = (plans: Plans): string =>
  `SELECT ${SETTINGS[plans].map(([name, value]) => `set_config('${name}', '${value}', true)`).join(', ')}`;

/**
 * Plans that a connection keeps: with 90 days of children one takes 0.9 MB of PostgreSQL's memory, and spares 8 ms of
 * planning (2026-11-21, 2 cores AMD EPYC, PostgreSQL 18.4). A shape that comes again is kept, until there are so many.
 */
const PREPARED_MAX = 16;
const PREPARED_FROM_USE = 2;
/** Shapes whose uses are counted. */
const SHAPES_MAX = 200;

export class TenantQueries {
  readonly #pool: pg.Pool;
  readonly #statementMsMax: number;
  readonly #turns: TenantTurns;

  /** @param turns of everything that asks on these connections */
  constructor(pool: pg.Pool, statementMsMax: number, turns: TenantTurns = turnsOf(pool)) {
    this.#pool = pool;
    this.#statementMsMax = statementMsMax;
    this.#turns = turns;
  }

  /**
   * Runs `use` on the generation that is shown. When another was promoted meanwhile, the one that was read may have
   * been dropped under the statements, which shows as rows that are missing: then it runs again.
   * @throws query-too-slow, tenant-busy, overloaded, log-unavailable
   */
  onView<T>(tenant: string | null, what: string, use: (query: ViewQuery) => Promise<T>): Promise<T> {
    return this.#turns.run(tenant, what, () => this.#onView(tenant, what, use));
  }

  async #onView<T>(tenant: string | null, what: string, use: (query: ViewQuery) => Promise<T>): Promise<T> {
    for (let turn = 1; ; turn++) {
      const { result, before, after } = await this.#transaction(tenant, what, async (client, before) => {
        const run = await runnerOf(client, before);
        const result = await use({ generation: before, run });
        return { result, before, after: await liveOf(client) };
      });
      if (before === after) return result;
      if (turn === SWITCHES_MAX)
        throw new EvidentError('log-unavailable', `${what}: the view was switched ${turn} times meanwhile`);
    }
  }

  async #transaction<T>(
    tenant: string | null,
    what: string,
    use: (client: pg.PoolClient, generation: number) => Promise<T>,
  ): Promise<T> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#pool.connect();
      await client.query('BEGIN READ ONLY');
      const { rows } = await client.query<{ live: number | null }>(
        `SELECT set_config('evident.tenant', $1, true), set_config('statement_timeout', $2, true),
                (SELECT live FROM evident.views WHERE view = 'hot') AS live`,
        [tenant ?? ALL, String(this.#statementMsMax)],
      );
      const result = await use(client, rows[0].live ?? 0);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      // The transaction is in a state that is not worth finding out: the connection goes, and its setting with it.
      broken = error as Error;
      throw this.#fault(error, what);
    } finally {
      client?.release(broken);
    }
  }

  #fault(error: unknown, what: string): EvidentError {
    if ((error as { code?: string }).code !== QUERY_CANCELED) return asEvidentError(error, what, false);
    const detail = `${what}: it took longer than ${this.#statementMsMax} ms`;
    return new EvidentError('query-too-slow', detail, { cause: error });
  }
}

/** The statements that one connection has prepared, of one generation: its number stands in their texts. */
class PreparedShapes {
  readonly #uses = new Map<string, number>();
  readonly #names = new Map<string, string>();
  #made = 0;
  #generation = 0;

  /** The name under which to run a statement; undefined: without. */
  nameOf(text: string): string | undefined {
    const known = this.#names.get(text);
    if (known !== undefined) return known;
    if (this.#uses.size >= SHAPES_MAX) this.#uses.clear();
    const uses = (this.#uses.get(text) ?? 0) + 1;
    this.#uses.set(text, uses);
    if (uses < PREPARED_FROM_USE || this.#names.size >= PREPARED_MAX) return undefined;
    const name = `page-${++this.#made}`;
    this.#names.set(text, name);
    return name;
  }

  /** @returns whether what was prepared is of another generation, and is to be given up */
  begin(generation: number): boolean {
    const isOther = this.#generation !== generation && this.#names.size > 0;
    if (isOther) this.#names.clear();
    this.#generation = generation;
    return isOther;
  }
}

/** Gone with their connections. */
const SHAPES = new WeakMap<pg.PoolClient, PreparedShapes>();

/** Runs statements of one transaction. */
async function runnerOf(client: pg.PoolClient, generation: number): Promise<ViewQuery['run']> {
  const shapes = SHAPES.get(client) ?? new PreparedShapes();
  SHAPES.set(client, shapes);
  if (shapes.begin(generation)) await client.query('DEALLOCATE ALL');
  let current: Plans = 'any';
  return async <Row extends pg.QueryResultRow>({ text, values }: Statement, plans: Plans = 'any') => {
    if (plans !== current) await client.query(setPlans(plans));
    current = plans;
    const name = plans === 'ordered' ? shapes.nameOf(text) : undefined;
    const query = { text, values: [...values], ...(name === undefined ? {} : { name }) };
    return (await client.query<Row>(query)).rows;
  };
}

async function liveOf(client: pg.PoolClient): Promise<number> {
  const { rows } = await client.query<{ live: number }>("SELECT live FROM evident.views WHERE view = 'hot'");
  return rows[0]?.live ?? 0;
}
