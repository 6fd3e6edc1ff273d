/** What recovery needs of PostgreSQL: which leaves are there, and one transaction that carries the plan out. */

import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import type pg from 'pg';
import type { Recovery } from '../../seal/recover.ts';
import type { RecordReader } from '../../verify/ports.ts';
import { int8Array } from './binary.ts';
import { asEvidentError } from './faults.ts';
import type { TreeOfPartition } from './leaf-reader.ts';

/** Leaf hashes of `[from, to)`, null where there is no record. */
export async function readPresent(
  reader: RecordReader,
  log: string,
  partition: number,
  from: bigint,
  to: bigint,
): Promise<(Uint8Array | null)[]> {
  const run = await reader.readRun(log, partition, from, to);
  const present: (Uint8Array | null)[] = Array.from({ length: Number(to - from) }, () => null);
  for (const [index, position] of run.positions.entries()) {
    present[position - Number(from)] = run.hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
  }
  return present;
}

export async function commitRecovery(
  pool: pg.Pool,
  treeOf: TreeOfPartition,
  log: string,
  partition: number,
  recovery: Recovery,
): Promise<void> {
  const { head, lost } = recovery;
  try {
    await pool.query(
      `SELECT evident.recover_partition($1::int, $2::int, $3::bigint, $4::bytea, $5::bytea, $6::bytea, $7::bytea, $8::bigint,
         $9::uuid, $10::bytea, $11::bigint[], $12::bigint[], $13::bigint[])`,
      [
        treeOf(log, partition),
        recovery.epoch,
        head.size.toString(),
        Buffer.from(head.root),
        Buffer.from(head.chain),
        Buffer.from(head.edge),
        recovery.note === null ? null : Buffer.from(recovery.note),
        recovery.position.toString(),
        recovery.id,
        Buffer.from(recovery.body),
        int8Array(recovery.misplaced),
        int8Array(lost.map(({ from }) => from)),
        int8Array(lost.map(({ to }) => to)),
      ],
    );
  } catch (error) {
    throw asEvidentError(error, `recovering ${log}/${partition}`, true);
  }
}
