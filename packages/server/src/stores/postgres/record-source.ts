/** The log as projections read it: partitions in one go, by COPY. */

import type { LogRecord } from '@evident/core/record.ts';
import type pg from 'pg';
import type { ReadBounds, RecordRun, RecordSource, TreeHead, TreePlace } from '../../project/ports.ts';
import { asEvidentError } from './faults.ts';
import { copyTreeRows, treeRowsQuery } from './record-rows.ts';
import { RowRecords } from './row-record.ts';

/** Bytes of a record beside its body, roughly. */
const RECORD_BYTES = 300;
/** Rows are asked for that would hold at most this many times the bytes that may be kept, if they are as the last ones. */
const OVERSHOOT = 2;

interface PlaceRow {
  tree: number;
  log: string;
  partition: number;
}

/** What a read has so far. */
interface Taken {
  readonly runs: { readonly tree: number; readonly records: LogRecord[] }[];
  bytes: number;
  count: number;
}

export class PostgresRecordSource implements RecordSource {
  readonly #pool: pg.Pool;
  readonly #places = new Map<number, PlaceRow>();
  readonly #rows = new RowRecords();
  /** Mean bytes of the records that were read last: how many to ask for. */
  #recordBytes = 1_000;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async heads(): Promise<readonly TreeHead[]> {
    try {
      const { rows } = await this.#pool.query<{ tree: number; next_position: string }>({
        name: 'project-heads',
        text: 'SELECT tree, next_position FROM evident.partitions',
      });
      return rows.map(({ tree, next_position }) => ({ tree, next: BigInt(next_position) }));
    } catch (error) {
      throw asEvidentError(error, 'reading the ends of the logs', false);
    }
  }

  async read(from: readonly TreePlace[], bounds: ReadBounds): Promise<readonly RecordRun[]> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#pool.connect();
      await this.#learnPlaces(client, from);
      return await this.#copy(client, from, bounds);
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, `reading records of ${from.length} partitions`, false);
    } finally {
      client?.release(broken);
    }
  }

  async #copy(client: pg.PoolClient, from: readonly TreePlace[], bounds: ReadBounds): Promise<RecordRun[]> {
    const fitting = Math.ceil((OVERSHOOT * bounds.bytesMax) / this.#recordBytes);
    const limit = Math.max(1, Math.floor(Math.min(bounds.recordsMax, fitting) / from.length));
    const taken: Taken = { runs: [], bytes: 0, count: 0 };
    await this.#take(client, treeRowsQuery(from, limit, limit), bounds, taken);
    // Where nothing was found, positions were lost or trimmed: what follows them is looked for without a bound.
    const reached = new Set(taken.runs.map(({ tree }) => tree));
    const beyond = from.filter(({ tree }) => !reached.has(tree));
    if (beyond.length > 0 && taken.bytes < bounds.bytesMax && taken.count < bounds.recordsMax)
      await this.#take(client, treeRowsQuery(beyond, limit, null), bounds, taken);
    if (taken.count > 0) this.#recordBytes = Math.max(RECORD_BYTES, taken.bytes / taken.count);
    return taken.runs;
  }

  async #take(client: pg.PoolClient, query: string, bounds: ReadBounds, taken: Taken): Promise<void> {
    let run: Taken['runs'][number] | undefined;
    let place: PlaceRow | undefined;
    await copyTreeRows(client, query, (tree, row) => {
      // What is beyond the bounds is read past: a COPY can't be ended early without ending its connection.
      if (taken.bytes >= bounds.bytesMax || taken.count >= bounds.recordsMax) return;
      if (run?.tree !== tree) {
        run = { tree, records: [] };
        taken.runs.push(run);
        place = this.#places.get(tree) as PlaceRow;
      }
      run.records.push(this.#rows.make(place as PlaceRow, row));
      taken.bytes += row.bodyLength + RECORD_BYTES;
      taken.count++;
    });
  }

  async #learnPlaces(client: pg.PoolClient, from: readonly TreePlace[]): Promise<void> {
    if (from.every(({ tree }) => this.#places.has(tree))) return;
    const { rows } = await client.query<PlaceRow>(
      'SELECT p.tree, l.log, p.partition FROM evident.partitions p JOIN evident.logs l USING (log_id)',
    );
    for (const row of rows) this.#places.set(row.tree, row);
  }
}
