/** Leaf hashes straight from COPY: rows become leaves in the memory in which they are hashed. */

import { EvidentError } from '@evident/core/errors.ts';
import { type LeafWriter, makeLeafWriter } from '@evident/core/leaf.ts';
import type pg from 'pg';
import type { LeafReader, LeafRun } from '../../seal/ports.ts';
import { asEvidentError } from './faults.ts';
import { HashSink } from './hash-sink.ts';
import { copyRows, rowsQuery } from './record-rows.ts';

export type TreeOfPartition = (log: string, partition: number) => number;

/** Reads leaf hashes. Calls on one reader run one after the other. */
export class PostgresLeafReader implements LeafReader {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;
  readonly #sink = new HashSink();
  readonly #writers = new Map<string, LeafWriter>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(pool: pg.Pool, treeOf: TreeOfPartition) {
    this.#pool = pool;
    this.#treeOf = treeOf;
  }

  readLeafHashes(log: string, partition: number, from: bigint, limit: number): Promise<LeafRun> {
    const turn = this.#turn.then(() => this.#read(log, partition, from, limit));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #read(log: string, partition: number, from: bigint, limit: number): Promise<LeafRun> {
    const writer = this.#writer(log, partition);
    const query = rowsQuery(this.#treeOf(log, partition), from, from + BigInt(limit), limit);
    let expected = Number(from);
    let holeAt: bigint | null = null;
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    this.#sink.start(limit);
    try {
      client = await this.#pool.connect();
      await copyRows(client, query, (row) => {
        if (holeAt !== null) return;
        if (row.position !== expected) holeAt = BigInt(expected);
        else if (!this.#sink.add(writer, row)) {
          throw new EvidentError('seal-break', `position ${row.position} of ${log}/${partition} holds a record longer than any append makes`);
        }
        expected++;
      });
      return { hashes: this.#sink.finish(), holeAt };
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, `reading leaves of ${log}/${partition} from ${from}`, false);
    } finally {
      client?.release(broken);
    }
  }

  #writer(log: string, partition: number): LeafWriter {
    const name = `${log}/${partition}`;
    let writer = this.#writers.get(name);
    if (writer === undefined) {
      writer = makeLeafWriter(log, partition);
      this.#writers.set(name, writer);
    }
    return writer;
  }
}
