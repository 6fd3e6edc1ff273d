/** Leaf hashes straight from COPY: rows become leaves in the memory in which they are hashed. */

import { LeafBatch } from '@evident/core/leaf-batch.ts';
import { leafBytesBound, makeLeafWriter, type LeafSource, type LeafWriter } from '@evident/core/leaf.ts';
import { LEAF_BYTES_MAX } from '@evident/core/record.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import type { LeafReader, LeafRun } from '../../seal/ports.ts';
import { asEvidentError } from './faults.ts';
import { copyRows, rowsQuery } from './record-rows.ts';

const HASH_BYTES = 32;
/** Room for leaves between two hash runs: a third of the L2 cache was slower, ten times more no faster. */
const BATCH_BYTES = 2 * 1024 * 1024;
const BATCH_LEAVES = 4_096;

/** Collects leaves and hashes them a batch at a time. One per reader: it owns the memory. */
class HashSink {
  readonly #batch = new LeafBatch(BATCH_BYTES, BATCH_LEAVES);
  #hashes = new Uint8Array(0);
  #done = 0;

  start(limit: number): void {
    this.#batch.reset();
    this.#done = 0;
    if (this.#hashes.length < limit * HASH_BYTES) this.#hashes = new Uint8Array(limit * HASH_BYTES);
  }

  add(writer: LeafWriter, row: LeafSource): void {
    const bound = leafBytesBound(row);
    let at = this.#batch.begin(Math.min(bound, LEAF_BYTES_MAX));
    if (at < 0) {
      this.#flush();
      at = this.#batch.begin(Math.min(bound, LEAF_BYTES_MAX));
    }
    if (bound > LEAF_BYTES_MAX) {
      throw new EvidentError('seal-break', `position ${row.position} holds a record whose leaf could be ${bound} bytes; no append makes one`);
    }
    this.#batch.end(writer(this.#batch.memory, at, row) - at);
  }

  finish(): Uint8Array {
    this.#flush();
    return this.#hashes.slice(0, this.#done * HASH_BYTES);
  }

  #flush(): void {
    const { count } = this.#batch;
    if (count === 0) return;
    this.#batch.hash(this.#hashes.subarray(this.#done * HASH_BYTES));
    this.#done += count;
    this.#batch.reset();
  }
}

export interface TreeOfPartition {
  (log: string, partition: number): number;
}

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
        else this.#sink.add(writer, row);
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
