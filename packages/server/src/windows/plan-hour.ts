/**
 * Which hour of a log is to be done next, and where in each partition it ends. Decided by sealed positions alone:
 * whatever is appended from now on stands behind the `log.hour` that ends the hour, however late it commits.
 *
 * A partition without a sealed record behind what is done holds the hour back, also one that never had a record: the
 * append transaction that locked its counter in this hour may still be open. It is let go by its `log.hour`, which
 * `evident.close_hours` writes into it under that same lock, so behind that append, and with a time read after it.
 */

import type { PositionRange } from '@evident/core/evidence/window.ts';
import { hourOf, nameOfSegment } from '@evident/core/evidence/window-hours.ts';
import type { HourSource, IndexedHour, PartitionState, PlacedTime } from './ports.ts';

/** Positions of the first step of a search; each is twice the one before. */
const STEP_FIRST = 256n;

export interface HourPlan {
  readonly kind: 'ready';
  readonly log: string;
  readonly hour: number;
  /** By partition. */
  readonly ranges: readonly PositionRange[];
  /** By partition the tree whose tiles hold the leaf hashes. */
  readonly epochs: readonly number[];
}

export interface OpenHour {
  readonly kind: 'open';
  /** The hour that is waited for, or one before it; null: the log has no sealed record. */
  readonly hour: number | null;
  /** Partitions that hold it back, and why they do if they are stopped. */
  readonly waiting: readonly { readonly partition: number; readonly stopped: string | null }[];
}

/** @param last the hour that was done last; null: none */
export async function planHour(
  source: HourSource,
  log: string,
  last: IndexedHour | null,
): Promise<HourPlan | OpenHour> {
  const partitions = await source.partitions(log);
  const starts = partitions.map((_, index) => last?.ends[index] ?? 0n);
  if (last !== null) {
    // No hour but a later one comes next: a partition whose last record lies in none yet is not closed. No look needed.
    const least = last.hour + 1;
    const early = partitions.filter(({ lastAppendedAt }) => hourOf(lastAppendedAt) <= least);
    if (early.length > 0) return { kind: 'open', hour: least, waiting: early.map(waitingOf) };
  }
  const firsts: (PlacedTime | null)[] = [];
  for (const { partition, sealed } of partitions)
    firsts.push(await source.firstRecord(log, partition, starts[partition], sealed));
  const names = firsts.map((first) =>
    first === null ? null : nameOfSegment({ hour: last?.hour ?? null }, first.appendedAt),
  );
  const known = names.filter((name) => name !== null);
  const hour = known.length === 0 ? (last === null ? null : last.hour + 1) : Math.min(...known);
  const ranges: PositionRange[] = [];
  const waiting: PartitionState[] = [];
  for (const state of partitions) {
    const first = firsts[state.partition];
    const from = starts[state.partition];
    const to =
      names[state.partition] === hour && first !== null
        ? await findEnd(source, log, state, from, first)
        : first === null
          ? null
          : from;
    if (to === null) waiting.push(state);
    else ranges.push({ from, to });
  }
  if (hour === null || waiting.length > 0) return { kind: 'open', hour, waiting: waiting.map(waitingOf) };
  return { kind: 'ready', log, hour, ranges, epochs: partitions.map(({ epoch }) => epoch) };
}

function waitingOf({ partition, stopped }: PartitionState): OpenHour['waiting'][number] {
  return { partition, stopped };
}

/**
 * The sealed `log.hour` that ends the segment of `first`. Times never go back within a partition, and a record of a
 * later hour than the one before it is a `log.hour`, or a `seal.recovery`, which ends nothing: so it is found by halving.
 */
async function findEnd(
  source: HourSource,
  log: string,
  { partition, sealed }: PartitionState,
  from: bigint,
  first: PlacedTime,
): Promise<bigint | null> {
  // Where the log.hour at `from` was lost, another may be the first record that is there: it begins nothing before it.
  for (let at = first; ; ) {
    const later = await firstOfLaterHour(source, log, partition, at, sealed);
    if (later === null) return null;
    if (later.isHour && later.position > from) return later.position;
    at = later;
  }
}

/** The first record behind `at` that lies in a later hour. */
async function firstOfLaterHour(
  source: HourSource,
  log: string,
  partition: number,
  at: PlacedTime,
  sealed: bigint,
): Promise<PlacedTime | null> {
  const hour = hourOf(at.appendedAt);
  const look = (position: bigint) => source.firstRecord(log, partition, position, sealed);
  let low = at.position + 1n;
  let found: PlacedTime | null = null;
  for (let step = STEP_FIRST; found === null; step *= 2n) {
    const probe = await look(low + step);
    if (probe === null) break;
    if (hourOf(probe.appendedAt) > hour) found = probe;
    else low = probe.position + 1n;
  }
  // From `low` on, and not beyond `found`, if one is known: everything below `low` lies in the hour.
  for (let high = found?.position ?? sealed; low < high; ) {
    const middle = (low + high) / 2n;
    const probe = await look(middle);
    if (probe !== null && hourOf(probe.appendedAt) <= hour) low = probe.position + 1n;
    else {
      high = middle;
      if (probe !== null) found = probe;
    }
  }
  return found;
}
