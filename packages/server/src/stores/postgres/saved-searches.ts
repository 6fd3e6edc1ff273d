/** The port `SavedSearchStore` on PostgreSQL. */

import { SYSTEM_TENANT } from '@evident/core/record.ts';
import type pg from 'pg';
import { SAVED_SEARCHES_MAX, type SavedSearchStore } from '../../query/ports.ts';
import { micros } from './event-rows.ts';
import { asEvidentError } from './faults.ts';
import { type TenantTurns, turnsOf } from './tenant-turns.ts';

export class PostgresSavedSearches implements SavedSearchStore {
  readonly #pool: pg.Pool;
  readonly #turns: TenantTurns;

  /**
   * @param pool connections of the role evident_server with no tenant set
   * @param turns of everything that asks on them
   */
  constructor(pool: pg.Pool, turns: TenantTurns = turnsOf(pool)) {
    this.#pool = pool;
    this.#turns = turns;
  }

  async save(
    tenant: string | null,
    search: { readonly name: string; readonly filter: string; readonly madeBy: string },
  ): Promise<'saved' | 'full'> {
    const own = tenant ?? SYSTEM_TENANT;
    const [{ saved }] = await this.#asTenant<{ saved: boolean }>(
      own,
      'saving a search',
      'SELECT evident.save_search($1, $2, $3, $4, $5) AS saved',
      [own, search.name, search.filter, search.madeBy, SAVED_SEARCHES_MAX],
    );
    return saved ? 'saved' : 'full';
  }

  async list(
    tenant: string | null,
  ): Promise<{ name: string; filter: string; madeBy: string; madeAt: bigint }[]> {
    const own = tenant ?? SYSTEM_TENANT;
    const rows = await this.#asTenant<{ name: string; filter: string; made_by: string; made_us: string }>(
      own,
      'listing searches',
      `SELECT name, filter, made_by, ${micros('made_at')} AS made_us FROM evident.saved_searches WHERE tenant = $1 ORDER BY name COLLATE "C"`,
      [own],
    );
    return rows.map(({ name, filter, made_by, made_us }) => ({
      name,
      filter,
      madeBy: made_by,
      madeAt: BigInt(made_us),
    }));
  }

  async drop(tenant: string | null, name: string): Promise<boolean> {
    const own = tenant ?? SYSTEM_TENANT;
    const [{ dropped }] = await this.#asTenant<{ dropped: boolean }>(
      own,
      'dropping a search',
      'SELECT evident.drop_search($1, $2) AS dropped',
      [own, name],
    );
    return dropped;
  }

  #asTenant<Row extends pg.QueryResultRow>(
    tenant: string,
    what: string,
    text: string,
    values: unknown[],
  ): Promise<Row[]> {
    return this.#turns.run(tenant, what, () => this.#inTransaction<Row>(tenant, what, text, values));
  }

  async #inTransaction<Row extends pg.QueryResultRow>(
    tenant: string,
    what: string,
    text: string,
    values: unknown[],
  ): Promise<Row[]> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#pool.connect();
      await client.query('BEGIN');
      await client.query("SELECT set_config('evident.tenant', $1, true)", [tenant]);
      const { rows } = await client.query<Row>(text, values);
      await client.query('COMMIT');
      return rows;
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, what, false);
    } finally {
      client?.release(broken);
    }
  }
}
