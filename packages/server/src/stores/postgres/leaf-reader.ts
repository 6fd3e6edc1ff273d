/** Leaf hashes straight from COPY: rows become leaves in the memory in which they are hashed. */

import { EvidentError } from '@evident/core/errors.ts';
import { type LeafWriter, lostLeaf, makeLeafWriter } from '@evident/core/leaf.ts';
import type pg from 'pg';
import type { LeafReader, LeafRun } from '../../seal/ports.ts';
import { asEvidentError } from './faults.ts';
import { HashSink } from './hash-sink.ts';
import { copyRows, rowsQuery } from './record-rows.ts';

export type TreeOfPartition = (log: string, partition: number) => number;

interface LostRange {
  readonly from: number;
  readonly to: number;
  readonly recovery: string;
}

function rangeAt(lost: readonly LostRange[], position: number): LostRange | undefined {
  return lost.find(({ from, to }) => position >= from && position < to);
}

/** Reads leaf hashes. Calls on one reader run one after the other. */
export class PostgresLeafReader implements LeafReader {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;
  readonly #sink = new HashSink();
  readonly #writers = new Map<string, LeafWriter>();
  readonly #lost = new Map<string, LostRange[]>();
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
    const lost = await this.#lostOf(log, partition);
    const end = Number(from) + limit;
    let expected = Number(from);
    let holeAt: bigint | null = null;
    // A tree that began anew has a leaf for each lost position, too.
    const passLost = (until: number): void => {
      for (let range = rangeAt(lost, expected); range !== undefined && expected < until; expected++) {
        this.#sink.addLeaf(lostLeaf(log, partition, BigInt(expected), range.recovery));
        if (expected + 1 >= range.to) range = rangeAt(lost, expected + 1);
      }
    };
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    this.#sink.start(limit);
    try {
      client = await this.#pool.connect();
      await copyRows(client, query, (row) => {
        if (holeAt !== null) return;
        passLost(row.position);
        if (row.position !== expected) holeAt = BigInt(expected);
        else if (!this.#sink.add(writer, row)) {
          throw new EvidentError(
            'seal-break',
            `position ${row.position} of ${log}/${partition} holds a record longer than any append makes`,
          );
        }
        expected++;
      });
      if (holeAt === null) passLost(end);
      return { hashes: this.#sink.finish(), holeAt };
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, `reading leaves of ${log}/${partition} from ${from}`, false);
    } finally {
      client?.release(broken);
    }
  }

  /** Lost positions change only while no sealer runs: `evident recover` works on a directory that no server holds. */
  async #lostOf(log: string, partition: number): Promise<LostRange[]> {
    const name = `${log}/${partition}`;
    let lost = this.#lost.get(name);
    if (lost === undefined) {
      const { rows } = await this.#pool.query<{ f: string; t: string; recovery: string }>(
        'SELECT from_position AS f, to_position AS t, recovery FROM evident.lost WHERE tree = $1 ORDER BY 1',
        [this.#treeOf(log, partition)],
      );
      lost = rows.map(({ f, t, recovery }) => ({ from: Number(f), to: Number(t), recovery }));
      this.#lost.set(name, lost);
    }
    return lost;
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
