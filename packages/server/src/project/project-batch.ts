/** One batch into a view: rows, dead letters and progress in one transaction; taken apart when the store refuses it. */

import { EvidentError } from '@evident/core/errors.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Breaker } from './breaker.ts';
import { type FillDeps, fillOutput, newTally, type Part, spanOf, type Tally } from './fill-output.ts';
import { type CommitOutcome, OutputRefused, type ViewRef, type ViewStore } from './ports.ts';

export interface BatchDeps extends Omit<FillDeps, 'breaker' | 'refused' | 'haltedKeys'> {
  readonly store: ViewStore;
  readonly ref: ViewRef;
  /** Counts of what is stored; a batch is counted in a draft. */
  breaker: Breaker;
  /** As of what is stored; a batch adds to a draft. */
  haltedKeys: ReadonlySet<string>;
  /** What was stored, in the order in which it was. */
  readonly onStored: (stored: Stored) => void;
}

export interface Stored {
  readonly parts: readonly Part[];
  readonly tally: Tally;
  readonly repeats: number;
  readonly reused: number;
}

/** Halvings until one record is alone: 2^20 records are more than any batch holds. */
const HALVINGS_MAX = 20;

/**
 * Maps and stores, in one transaction or, when the store refuses the data, in several: the batch is halved until the
 * record at fault is alone, and becomes a dead letter. Each transaction moves the checkpoints over what it holds, so
 * that dying between them repeats nothing.
 *
 * @param attempts what the checkpoints count from here on
 * @throws BreakerTripped, log-unavailable, disk-full: nothing more than `onStored` told was stored
 */
export async function projectBatch(
  deps: BatchDeps,
  parts: readonly Part[],
  attempts: number,
): Promise<CommitOutcome['kind']> {
  return projectParts(deps, parts, attempts, new Map(), 0);
}

async function projectParts(
  deps: BatchDeps,
  parts: readonly Part[],
  attempts: number,
  refused: ReadonlyMap<LogRecord, Error>,
  depth: number,
): Promise<CommitOutcome['kind']> {
  const breaker = deps.breaker.draft();
  const haltedKeys = new Set(deps.haltedKeys);
  const tally = newTally();
  const sorted = [...parts].sort((a, b) => a.tree - b.tree);
  const output = deps.store.newOutput(sorted.map(({ tree }) => tree));
  const filled = await fillOutput({ ...deps, breaker, haltedKeys, refused }, sorted, output, tally);
  let outcome: CommitOutcome;
  try {
    outcome = await deps.store.commit(deps.ref, filled.map(spanOf), output, attempts);
  } catch (error) {
    if (!(error instanceof OutputRefused)) throw error;
    return takeApart(deps, sorted, attempts, error, refused.size > 0 || depth > HALVINGS_MAX, depth);
  }
  if (outcome.kind !== 'committed') return outcome.kind;
  deps.breaker = breaker;
  deps.haltedKeys = haltedKeys;
  deps.onStored({ parts: filled, tally, repeats: outcome.repeats, reused: outcome.reused });
  return outcome.kind;
}

async function takeApart(
  deps: BatchDeps,
  parts: readonly Part[],
  attempts: number,
  error: OutputRefused,
  isHopeless: boolean,
  depth: number,
): Promise<CommitOutcome['kind']> {
  const count = parts.reduce((sum, { records }) => sum + records.length, 0);
  if (isHopeless || count === 0)
    throw new EvidentError('internal', `the view does not take a dead letter: ${error.message}`, {
      cause: error,
    });
  if (count === 1) {
    const record = parts.flatMap(({ records }) => records)[0];
    return projectParts(deps, parts, attempts, new Map([[record, error]]), depth);
  }
  const [left, right] = halve(parts, count >> 1);
  const outcome = await projectParts(deps, left, attempts, new Map(), depth + 1);
  if (outcome !== 'committed') return outcome;
  return projectParts(deps, right, attempts, new Map(), depth + 1);
}

/** The first `count` records, and the others; a part that is cut hands over where the first of the others begins. */
export function halve(parts: readonly Part[], count: number): [Part[], Part[]] {
  const left: Part[] = [];
  const right: Part[] = [];
  let room = count;
  for (const part of parts) {
    const { tree, from, to, records } = part;
    if (records.length <= room) left.push(part);
    else if (room === 0) right.push(part);
    else {
      const cut = records[room].position;
      left.push({ tree, from, to: cut, records: records.slice(0, room) });
      right.push({ tree, from: cut, to, records: records.slice(room) });
    }
    room = Math.max(0, room - records.length);
  }
  return [left, right];
}
