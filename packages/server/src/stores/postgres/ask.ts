/** One statement on any connection of a pool, its failure as an error of the catalogue. */

import type pg from 'pg';
import { asEvidentError } from './faults.ts';

/**
 * Reads, or writes what may be written twice: when the connection breaks, nobody asks whether the statement had arrived.
 * What must know that goes by asEvidentError itself.
 *
 * @param what was attempted, for the error
 * @param statement its text, or its name and text if it is to be prepared
 * @throws disk-full, partition-stopped, log-unavailable
 */
export async function ask<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  what: string,
  statement: string | { readonly name: string; readonly text: string },
  values: unknown[],
): Promise<pg.QueryResult<Row>> {
  try {
    return typeof statement === 'string'
      ? await pool.query<Row>(statement, values)
      : await pool.query<Row>({ ...statement, values });
  } catch (error) {
    throw asEvidentError(error, what, false);
  }
}
