/**
 * Group commit: every append of this process goes through one queue and one connection. While PostgreSQL
 * works on a batch, the next one fills. One committer is enough, because every batch locks the counters of
 * its partitions to its commit: two would wait for each other.
 *
 *   idle ──push──► running: take what waits (whole calls, bounded) → one call of evident.append → settle → again
 *
 * What a crash leaves: a batch is one transaction. Not acknowledged may still be there: callers retry by identity.
 */

import { EvidentError } from '@evident/core/errors.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import type pg from 'pg';
import { type AppendRow, encodeAppend, type Pending, type Settled, settleAppend } from './append-call.ts';
import { asEvidentError, classifyFault } from './faults.ts';

/** Most records and bytes of one transaction: it holds the counters, and other writers wait. */
const BATCH_RECORDS_MAX = 10_000;
const BATCH_BYTES_MAX = 16 * 1024 * 1024;
const RETRIES_MAX = 5;

interface Call {
  readonly records: readonly Pending[];
  readonly bytes: number;
  resolve(settled: Settled[]): void;
  reject(error: unknown): void;
}

const APPEND = {
  name: 'append',
  text: `SELECT * FROM evident.append($1::int[], $2::int[], $3::int[], $4::uuid[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::int[], $10::text[], $11::text[], $12::smallint[], $13::bytea[], $14::bytea[], $15::bigint[],
    $16::bytea[], $17::boolean[], $18::int[])`,
};

/** Bytes that a record costs while it waits, roughly: for bounds, not for billing. */
export function pendingBytes(record: ProposedRecord): number {
  return (
    256 +
    record.key.length +
    (record.meta?.length ?? 0) +
    (record.body.form === 'object' ? 40 : record.body.bytes.length)
  );
}

export class Appender {
  readonly #pool: pg.Pool;
  readonly #queue: Call[] = [];
  #running = false;
  #closed = false;
  #waitingBytes = 0;
  #idle: (() => void)[] = [];
  #onAppended: (() => void)[] = [];

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Bytes that wait or are being appended. The caller decides whether to add to them. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Calls `listener` after each commit that appended something. */
  onAppended(listener: () => void): () => void {
    this.#onAppended.push(listener);
    return () => {
      this.#onAppended = this.#onAppended.filter((other) => other !== listener);
    };
  }

  /** Appends all of `records` in one transaction; resolves when it is durable. */
  append(records: readonly Pending[]): Promise<Settled[]> {
    if (this.#closed)
      return Promise.reject(new EvidentError('shutting-down', 'the log takes no more records'));
    const bytes = records.reduce((sum, { record }) => sum + pendingBytes(record), 0);
    this.#waitingBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#queue.push({ records, bytes, resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  /** Takes no more and resolves when what waited is settled. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#running) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #run(): Promise<void> {
    this.#running = true;
    // Callers of one turn of the event loop shall share a transaction.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#take();
      await this.#commit(batch);
      for (const call of batch) this.#waitingBytes -= call.bytes;
    }
    this.#running = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #take(): Call[] {
    const batch: Call[] = [];
    let records = 0;
    let bytes = 0;
    while (this.#queue.length > 0) {
      const next = this.#queue[0];
      const fits =
        records + next.records.length <= BATCH_RECORDS_MAX && bytes + next.bytes <= BATCH_BYTES_MAX;
      if (batch.length > 0 && !fits) break;
      batch.push(next);
      this.#queue.shift();
      records += next.records.length;
      bytes += next.bytes;
    }
    return batch;
  }

  async #commit(batch: Call[]): Promise<void> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      for (const call of batch) call.reject(asEvidentError(error, 'connecting to the log', false));
      return;
    }
    let broken: Error | undefined;
    try {
      await this.#attempt(client, batch);
    } catch (error) {
      broken = error as Error;
      for (const call of batch)
        call.reject(asEvidentError(error, `appending ${countRecords(batch)} records`, true));
    } finally {
      client.release(broken);
    }
  }

  /** Runs a batch; one that the database refuses is taken apart, so that only the call at fault fails. */
  async #attempt(client: pg.PoolClient, batch: Call[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        this.#settle(batch, await callAppend(client, batch));
        return;
      } catch (error) {
        const kind = classifyFault(error, true);
        if (kind === 'retry' && attempt < RETRIES_MAX) continue;
        if (kind === 'unknown' || kind === 'unavailable') throw error;
        if (batch.length === 1) {
          batch[0].reject(asEvidentError(error, `appending ${countRecords(batch)} records`, true));
          return;
        }
        for (const call of batch) await this.#attempt(client, [call]);
        return;
      }
    }
  }

  #settle(batch: Call[], results: Settled[]): void {
    let at = 0;
    for (const call of batch) {
      call.resolve(results.slice(at, at + call.records.length));
      at += call.records.length;
    }
    for (const listener of this.#onAppended) listener();
  }
}

function countRecords(batch: readonly Call[]): number {
  return batch.reduce((sum, call) => sum + call.records.length, 0);
}

async function callAppend(client: pg.PoolClient, batch: readonly Call[]): Promise<Settled[]> {
  const records = batch.length === 1 ? batch[0].records : batch.flatMap((call) => call.records);
  if (records.length === 0) return [];
  const { values, slotOf } = encodeAppend(records);
  const { rows } = await client.query<AppendRow>({ ...APPEND, values });
  return settleAppend(records, slotOf, rows[0]);
}
