/** The port `GenerationStore` on PostgreSQL: functions of 0011_view_operate.sql. */

import type pg from 'pg';
import type { Proposal } from '../../../log/log.ts';
import { RESOLUTION_LOG } from '../../../project/dead-letters.ts';
import type { ViewRef } from '../../../project/ports.ts';
import type { GenerationStore, PromoteOutcome } from '../../../project/rebuild.ts';
import { asEvidentError, classifyFault } from '../faults.ts';
import type { PostgresLog } from '../log.ts';
import { appendArguments, placeholders } from './own-append.ts';

const PROMOTE = `SELECT evident.promote_generation(${placeholders('text int bigint')}) AS outcome`;
/** Deadlocks, and tables that are held: nothing was done, and trying again is safe. */
const TRIES_MAX = 5;

export class PostgresGenerationStore implements GenerationStore {
  readonly #pool: pg.Pool;
  readonly #logs: ReadonlyMap<string, PostgresLog>;

  constructor(pool: pg.Pool, logs: ReadonlyMap<string, PostgresLog>) {
    this.#pool = pool;
    this.#logs = logs;
  }

  async build(view: string, definition: string, anew: boolean): Promise<{ ref: ViewRef; resumed: boolean }> {
    const [{ generation, resumed }] = await this.#query<{ generation: number; resumed: boolean }>(
      `beginning a generation of ${view}`,
      'SELECT * FROM evident.build_generation($1, $2, $3)',
      [view, definition, anew],
    );
    return { ref: { view, generation }, resumed };
  }

  async building(view: string): Promise<{ ref: ViewRef; definition: string } | null> {
    const [row] = await this.#query<{ generation: number; definition: string }>(
      `reading the generations of ${view}`,
      `SELECT generation, definition FROM evident.generations WHERE view = $1 AND state = 'building' ORDER BY generation DESC LIMIT 1`,
      [view],
    );
    return row === undefined
      ? null
      : { ref: { view, generation: row.generation }, definition: row.definition };
  }

  async promote({ view, generation }: ViewRef, lagMax: number, event: Proposal): Promise<PromoteOutcome> {
    const values = [view, generation, lagMax, ...appendArguments(this.#logs, RESOLUTION_LOG, event)];
    const [row] = await this.#query<{ outcome: PromoteOutcome }>(
      `promoting generation ${generation} of ${view}`,
      PROMOTE,
      values,
    );
    return row.outcome;
  }

  async retired(view: string): Promise<ViewRef[]> {
    return this.#query<ViewRef & pg.QueryResultRow>(
      `reading the generations of ${view}`,
      `SELECT view, generation FROM evident.generations WHERE view = $1 AND state = 'retired' AND dropped_at IS NULL ORDER BY generation`,
      [view],
    );
  }

  async drop({ view, generation }: ViewRef, seconds: number): Promise<boolean> {
    try {
      const { rows } = await this.#pool.query<{ dropped: boolean }>(
        'SELECT evident.drop_generation($1, $2, $3) AS dropped',
        [view, generation, seconds],
      );
      return rows[0].dropped;
    } catch (error) {
      if (classifyFault(error, true) === 'retry') return false;
      throw asEvidentError(error, `dropping generation ${generation} of ${view}`, false);
    }
  }

  async #query<Row extends pg.QueryResultRow>(what: string, text: string, values: unknown[]): Promise<Row[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await this.#pool.query<Row>(text, values)).rows;
      } catch (error) {
        if (attempt >= TRIES_MAX || classifyFault(error, true) !== 'retry')
          throw asEvidentError(error, what, true);
      }
    }
  }
}
