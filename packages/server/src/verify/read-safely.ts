/** Reading that goes on around what can't be read. */

import { type EvidentError, isEvidentError } from '@evident/core/errors.ts';
import type { RecordReader, RecordRun } from './ports.ts';

export interface Unreadable {
  readonly from: bigint;
  readonly to: bigint;
  readonly reason: string;
}

/** Most reads that one run may take to find out where exactly storage fails. */
const PROBES_MAX = 64;

const EMPTY: RecordRun = {
  positions: new Float64Array(0),
  hashes: new Uint8Array(0),
  faults: [],
  objects: [],
};

/**
 * Reads `[from, to)`; where that fails, halves of it, until the unreadable positions are known or the probes are
 * used up. Never throws for storage: what can't be read is named.
 */
export async function readSafely(
  reader: RecordReader,
  log: string,
  partition: number,
  from: bigint,
  to: bigint,
): Promise<{ run: RecordRun; unreadable: Unreadable[] }> {
  const runs: RecordRun[] = [];
  const unreadable: Unreadable[] = [];
  const waiting: [bigint, bigint][] = [[from, to]];
  for (let probes = 0; waiting.length > 0; probes++) {
    const [start, end] = waiting.shift() as [bigint, bigint];
    try {
      runs.push(await reader.readRun(log, partition, start, end));
    } catch (error) {
      if (!isEvidentError(error)) throw error;
      const middle = (start + end) / 2n;
      if (end - start > 1n && probes < PROBES_MAX && isLocal(error))
        waiting.unshift([start, middle], [middle, end]);
      else unreadable.push({ from: start, to: end, reason: error.message });
    }
  }
  return { run: runs.length === 1 ? runs[0] : joinRuns(runs), unreadable };
}

/** Whether the fault may lie in some rows only; a server that is gone is gone for all of them. */
function isLocal(error: EvidentError): boolean {
  const code = (error.cause as { code?: string } | undefined)?.code ?? '';
  return /^(?:XX|58|22)/.test(code);
}

function joinRuns(runs: RecordRun[]): RecordRun {
  if (runs.length === 0) return EMPTY;
  const count = runs.reduce((sum, { positions }) => sum + positions.length, 0);
  const positions = new Float64Array(count);
  let at = 0;
  for (const run of runs) {
    positions.set(run.positions, at);
    at += run.positions.length;
  }
  return {
    positions,
    hashes: Buffer.concat(runs.map(({ hashes }) => hashes)),
    faults: runs.flatMap(({ faults }) => faults),
    objects: runs.flatMap(({ objects }) => objects),
  };
}
