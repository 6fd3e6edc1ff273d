/** Records for the verification of windows: tenant and leaf hash out of the same row. */

import { makeLeafWriter } from '@evident/core/leaf.ts';
import type pg from 'pg';
import type { TenantLeafReader, TenantLeaves } from '../../verify/ports.ts';
import { asEvidentError } from './faults.ts';
import { HashSink } from './hash-sink.ts';
import type { TreeOfPartition } from './leaf-reader.ts';
import { copyRows, rowsQuery } from './record-rows.ts';
import { RunOfTenants } from './run-of-tenants.ts';

/** Reads one run at a time. */
export class PostgresTenantLeaves implements TenantLeafReader {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;
  readonly #sink = new HashSink();
  #turn: Promise<unknown> = Promise.resolve();

  /** @param pool connections that see all tenants */
  constructor(pool: pg.Pool, treeOf: TreeOfPartition) {
    this.#pool = pool;
    this.#treeOf = treeOf;
  }

  readTenantLeaves(log: string, partition: number, from: bigint, to: bigint): Promise<TenantLeaves> {
    const turn = this.#turn.then(() => this.#read(log, partition, from, to));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #read(log: string, partition: number, from: bigint, to: bigint): Promise<TenantLeaves> {
    const limit = Number(to - from);
    const run = new RunOfTenants(limit);
    const writer = makeLeafWriter(log, partition);
    let firstAppendedAt: bigint | null = null;
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    this.#sink.start(limit);
    try {
      client = await this.#pool.connect();
      await copyRows(client, rowsQuery(this.#treeOf(log, partition), from, to, limit), (row) => {
        firstAppendedAt ??= BigInt(row.appendedAt);
        const bytes = row.bytes as Buffer;
        const isHour = isAscii(row, 'log.hour', row.typeAt, row.typeLength);
        const isOwn = isHour && isAscii(row, 'evident', row.sourceAt, row.sourceLength);
        run.add(row.position, bytes, row.tenantAt, row.tenantLength, isOwn);
        // One that is too long has a hash of zeros: it is no leaf of anything.
        this.#sink.add(writer, row);
      });
      return { ...run.finish(), hashes: this.#sink.finish(), firstAppendedAt };
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, `reading ${log}/${partition} from ${from} to ${to}`, false);
    } finally {
      client?.release(broken);
    }
  }
}

function isAscii({ bytes }: { bytes: Uint8Array }, text: string, at: number, length: number): boolean {
  if (length !== text.length) return false;
  for (let i = 0; i < length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}
