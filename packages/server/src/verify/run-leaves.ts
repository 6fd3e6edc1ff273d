/** The leaf hashes of a run of records, laid out by position. */

import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import type { RecordRun } from './ports.ts';

/** For each position of `[from, to)` the index of its hash in the run, or -1. */
export function presence(run: RecordRun, from: bigint, to: bigint): Int32Array {
  const present = new Int32Array(Number(to - from)).fill(-1);
  const start = Number(from);
  for (let i = 0; i < run.positions.length; i++) present[run.positions[i] - start] = i;
  return present;
}

/** Leaf hashes by position. Where a record is excused (lost, unreadable) the tile's hash stands in for it. */
export function fillDerived(
  run: RecordRun,
  present: Int32Array,
  count: number,
  tiles: Uint8Array | null,
  excused: (index: number) => boolean,
): Uint8Array {
  if (run.positions.length === present.length) return run.hashes.subarray(0, count * HASH_BYTES);
  const derived = new Uint8Array(count * HASH_BYTES);
  for (let index = 0; index < count; index++) {
    const at = index * HASH_BYTES;
    const place = present[index];
    if (place >= 0) derived.set(run.hashes.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES), at);
    else if (tiles !== null && excused(index)) derived.set(tiles.subarray(at, at + HASH_BYTES), at);
  }
  return derived;
}
