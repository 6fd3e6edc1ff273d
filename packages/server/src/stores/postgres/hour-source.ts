/** The logs as windows read them: where hours end, and whose the records are. The port `HourSource` on PostgreSQL. */

import type pg from 'pg';
import type { HourSource, PartitionState, PlacedTime, TenantRun } from '../../windows/ports.ts';
import { ask } from './ask.ts';
import { copyBinary, fieldPlaces, readInt8 } from './copy-binary.ts';
import { asEvidentError } from './faults.ts';
import type { TreeOfPartition } from './leaf-reader.ts';
import { RunOfTenants } from './run-of-tenants.ts';

interface PartitionRow {
  partition: number;
  epoch: number | null;
  size: string | null;
  last_us: string;
  stopped: string | null;
}

interface FirstRow {
  position: string;
  us: string;
  is_hour: boolean;
}

const PARTITIONS = `SELECT p.partition, s.epoch, s.size, (extract(epoch FROM p.last_appended_at) * 1000000)::bigint AS last_us, p.stopped
   FROM evident.partitions p JOIN evident.logs l USING (log_id) LEFT JOIN evident.seals s USING (tree)
  WHERE l.log = $1 ORDER BY p.partition`;

const FIRST = `SELECT position, (extract(epoch FROM appended_at) * 1000000)::bigint AS us,
         type = 'log.hour' AND source = 'evident' AS is_hour
    FROM evident.records WHERE tree = $1 AND position >= $2 AND position < $3 ORDER BY position LIMIT 1`;

/** position, tenant, whether a log.hour of Evident's own. */
const FIELDS = fieldPlaces(3);

export class PostgresHourSource implements HourSource {
  readonly #pool: pg.Pool;
  readonly #treeOf: TreeOfPartition;

  /** @param pool connections that see all tenants */
  constructor(pool: pg.Pool, treeOf: TreeOfPartition) {
    this.#pool = pool;
    this.#treeOf = treeOf;
  }

  async partitions(log: string): Promise<readonly PartitionState[]> {
    const { rows } = await ask<PartitionRow>(
      this.#pool,
      `reading how far ${log} is sealed`,
      { name: 'window-partitions', text: PARTITIONS },
      [log],
    );
    return rows.map(({ partition, epoch, size, last_us, stopped }) => ({
      partition,
      epoch: epoch ?? 0,
      sealed: BigInt(size ?? 0),
      lastAppendedAt: BigInt(last_us),
      stopped,
    }));
  }

  async firstRecord(log: string, partition: number, from: bigint, below: bigint): Promise<PlacedTime | null> {
    const tree = this.#treeOf(log, partition);
    const look = async (to: bigint): Promise<PlacedTime | null> => {
      const { rows } = await ask<FirstRow>(
        this.#pool,
        `looking for the first record of ${log}/${partition} from ${from} on`,
        { name: 'window-first', text: FIRST },
        [tree, from.toString(), to.toString()],
      );
      const row = rows.at(0);
      return row === undefined
        ? null
        : { position: BigInt(row.position), appendedAt: BigInt(row.us), isHour: row.is_hour };
    };
    if (from >= below) return null;
    // One place first: without an upper bound nearby PostgreSQL may fetch and sort all that follows (`log.ts`). Positions
    // are gapless but where some were lost.
    return (await look(from + 1n)) ?? (from + 1n < below ? look(below) : null);
  }

  async readTenants(log: string, partition: number, from: bigint, to: bigint): Promise<TenantRun> {
    const tree = this.#treeOf(log, partition);
    const run = new RunOfTenants(Number(to - from));
    let client: pg.PoolClient | undefined;
    let broken: Error | undefined;
    try {
      client = await this.#pool.connect();
      const { places, lengths } = FIELDS;
      await copyBinary(
        client,
        `COPY (SELECT position, tenant, type = 'log.hour' AND source = 'evident' FROM evident.records WHERE tree = ${tree} AND position >= ${from} AND position < ${to} ORDER BY position) TO STDOUT (FORMAT binary)`,
        FIELDS,
        (bytes, view) => {
          const position = readInt8(view, places[0]);
          run.add(position, bytes, places[1], lengths[1], bytes[places[2]] === 1);
        },
      );
      return run.finish();
    } catch (error) {
      broken = error as Error;
      throw asEvidentError(error, `reading tenants of ${log}/${partition} from ${from}`, false);
    } finally {
      client?.release(broken);
    }
  }
}
