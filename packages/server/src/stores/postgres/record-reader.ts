/** Records for verification: leaf hashes, and what a record itself shows to be wrong. */

import {
  BODY_FORMS,
  formatInstant,
  type LeafSource,
  type LeafWriter,
  makeLeafWriter,
} from '@evident/core/leaf.ts';
import { partitionOf } from '@evident/core/partition.ts';
import { isReservedType, SYSTEM_SOURCE } from '@evident/core/record.ts';
import type pg from 'pg';
import type { StoredHead } from '../../seal/ports.ts';
import type {
  HeadReader,
  HeadRow,
  ObjectRef,
  RecordFault,
  RecordReader,
  RecordRun,
} from '../../verify/ports.ts';
import { asEvidentError } from './faults.ts';
import { HashSink } from './hash-sink.ts';
import type { TreeOfPartition } from './leaf-reader.ts';
import { copyRows, rowsQuery } from './record-rows.ts';

/** Keys whose partition is remembered: most records share theirs with a recent one. */
const KEYS_MAX = 65_536;
/** First letters of log., seal., key., relay., head, window. */
const RESERVED_INITIALS = new Set(Buffer.from('lskrhw'));
/** Most faults of one run that are kept. */
const FAULTS_MAX = 1_000;

export class PostgresRecordReader implements RecordReader, HeadReader {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;
  readonly #partitionsOf: (log: string) => number;
  readonly #sink = new HashSink();
  readonly #keys = new Map<string, number>();
  /** The number of partitions that the remembered keys are placed for. */
  #keysOf = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(pool: pg.Pool, treeOf: TreeOfPartition, partitionsOf: (log: string) => number) {
    this.#pool = pool;
    this.#treeOf = treeOf;
    this.#partitionsOf = partitionsOf;
  }

  readRun(log: string, partition: number, from: bigint, to: bigint): Promise<RecordRun> {
    const turn = this.#turn.then(() => this.#read(log, partition, from, to));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #read(log: string, partition: number, from: bigint, to: bigint): Promise<RecordRun> {
    const limit = Number(to - from);
    const run = new RunBuilder(this.#sink, makeLeafWriter(log, partition), limit);
    const partitions = this.#partitionsOf(log);
    await this.#withClient(`reading ${log}/${partition} from ${from} to ${to}`, (client) =>
      copyRows(client, rowsQuery(this.#treeOf(log, partition), from, to, limit), (row) => {
        run.add(row);
        const wrong = this.#faultOf(row, partition, partitions);
        if (wrong !== null) run.fault(wrong);
      }),
    );
    return run.finish();
  }

  #faultOf(row: LeafSource, partition: number, partitions: number): RecordFault | null {
    // Evident's own records stand in every partition.
    if (holdsText(row, row.sourceAt, row.sourceLength, SYSTEM_SOURCE)) return null;
    const { position } = row;
    if (partitions > 1 && this.#partitionOfKey(row, partitions) !== partition) {
      return {
        position,
        check: 'partition-of-key',
        detail: 'the key of this record belongs into another partition',
      };
    }
    // Reserved types begin with one of these letters; the others need no decoding.
    if (!RESERVED_INITIALS.has(row.bytes[row.typeAt])) return null;
    const type = ascii(row, row.typeAt, row.typeLength);
    if (!isReservedType(type)) return null;
    const source = ascii(row, row.sourceAt, row.sourceLength);
    const detail = `the type ${type} belongs to Evident, but the source is ${source}`;
    return { position, check: 'reserved-name', detail };
  }

  #partitionOfKey(row: LeafSource, partitions: number): number {
    if (this.#keysOf !== partitions || this.#keys.size >= KEYS_MAX) {
      this.#keys.clear();
      this.#keysOf = partitions;
    }
    const key = ascii(row, row.keyAt, row.keyLength);
    let partition = this.#keys.get(key);
    if (partition === undefined) {
      partition = partitionOf(row.bytes.subarray(row.keyAt, row.keyAt + row.keyLength), partitions);
      this.#keys.set(key, partition);
    }
    return partition;
  }

  async readHeads(
    log: string,
    partition: number,
    epoch: number,
    after: bigint,
    limit: number,
  ): Promise<HeadRow[]> {
    return this.#withClient(`reading heads of ${log}/${partition}`, async (client) => {
      const { rows } = await client.query<{ size: string; root: Buffer; chain: Buffer; note: Buffer }>(
        'SELECT size, root, chain, note FROM evident.heads WHERE tree = $1 AND epoch = $2 AND size > $3 ORDER BY size LIMIT $4',
        [this.#treeOf(log, partition), epoch, after.toString(), limit],
      );
      return rows.map((row) => ({ ...row, size: BigInt(row.size) }));
    });
  }

  async readSeal(log: string, partition: number): Promise<StoredHead | null> {
    return this.#withClient(`reading the stored head of ${log}/${partition}`, async (client) => {
      const { rows } = await client.query<{
        epoch: number;
        size: string;
        root: Buffer;
        chain: Buffer;
        edge: Buffer;
      }>('SELECT epoch, size, root, chain, edge FROM evident.seals WHERE tree = $1', [
        this.#treeOf(log, partition),
      ]);
      return rows.length === 0 ? null : { ...rows[0], size: BigInt(rows[0].size) };
    });
  }

  async readLost(
    log: string,
    partition: number,
  ): Promise<{ from: bigint; to: bigint; recovery: string; recordAt: bigint }[]> {
    return this.#withClient(`reading lost positions of ${log}/${partition}`, async (client) => {
      const { rows } = await client.query<{
        from_position: string;
        to_position: string;
        recovery: string;
        record_at: string;
      }>(
        'SELECT from_position, to_position, recovery, record_at FROM evident.lost WHERE tree = $1 ORDER BY from_position',
        [this.#treeOf(log, partition)],
      );
      return rows.map((row) => ({
        from: BigInt(row.from_position),
        to: BigInt(row.to_position),
        recovery: row.recovery,
        recordAt: BigInt(row.record_at),
      }));
    });
  }

  async #withClient<T>(what: string, use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#pool.connect();
      return await use(client);
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, what, false);
    } finally {
      client?.release(broken);
    }
  }
}

function holdsText(row: LeafSource, at: number, length: number, text: string): boolean {
  if (length !== text.length) return false;
  for (let i = 0; i < length; i++) if (row.bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** Bytes as a string that tells different bytes apart; only compared, or shown where they are ASCII. */
function ascii(row: LeafSource, at: number, length: number): string {
  return (row.bytes as Buffer).toString('latin1', at, at + length);
}

class RunBuilder {
  readonly #sink: HashSink;
  readonly #writer: LeafWriter;
  readonly #positions: Float64Array;
  readonly #faults: RecordFault[] = [];
  readonly #objects: ObjectRef[] = [];
  #count = 0;
  #lastAppendedAt = 0;

  constructor(sink: HashSink, writer: LeafWriter, limit: number) {
    this.#sink = sink;
    this.#writer = writer;
    this.#positions = new Float64Array(limit);
    sink.start(limit);
  }

  add(row: LeafSource): void {
    const { position } = row;
    this.#positions[this.#count++] = position;
    if (!this.#sink.add(this.#writer, row)) {
      this.fault({
        position,
        check: 'leaf-length',
        detail: 'the record is longer than any that an append makes',
      });
    }
    if (row.appendedAt < this.#lastAppendedAt) {
      const detail = `appended_at ${formatInstant(row.appendedAt)} is before that of the record before it`;
      this.fault({ position, check: 'time-order', detail });
    }
    this.#lastAppendedAt = row.appendedAt;
    if (row.form === BODY_FORMS.object) {
      const sha256 = new Uint8Array(row.bytes.subarray(row.bodyAt, row.bodyAt + row.bodyLength));
      this.#objects.push({
        position,
        tenant: ascii(row, row.tenantAt, row.tenantLength),
        sha256,
        size: row.bodySize,
      });
    }
  }

  fault(fault: RecordFault): void {
    if (this.#faults.length < FAULTS_MAX) this.#faults.push(fault);
  }

  finish(): RecordRun {
    return {
      positions: this.#positions.subarray(0, this.#count),
      hashes: this.#sink.finish(),
      faults: this.#faults,
      objects: this.#objects,
    };
  }
}
