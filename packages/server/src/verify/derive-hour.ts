/** One hour of a log, derived again: where it ends in each partition, and what each tenant has in it. */

import { equalBytes, toBase64 } from '@evident/core/bytes.ts';
import { type TenantPass, type TenantRoot, TenantTrees } from '@evident/core/evidence/tenant-trees.ts';
import type { PositionRange, WindowBody } from '@evident/core/evidence/window.ts';
import { type DoneHours, hourName, nameOfSegment } from '@evident/core/evidence/window-hours.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import type { Log } from '../log/log.ts';
import type { PartitionScope } from './partition-scope.ts';
import type { TenantLeafReader } from './ports.ts';
import type { NoteWindow } from './verify-windows.ts';

/** Tenants of one pass over an hour: their trees take up to 25 MiB. An hour with more is read once more for each so many. */
const PASS_TENANTS_MAX = 4_096;
/** Positions read at once: 1 MiB of hashes. */
const RUN_POSITIONS = 32_768n;

export interface DeriveDeps {
  readonly tenantLeaves: TenantLeafReader;
  readonly passTenantsMax?: number;
  readonly onPositions: (positions: bigint) => void;
}

export interface HourUnderCheck {
  readonly log: Log;
  readonly hour: number;
  /** By partition, as the windows say. */
  readonly ranges: readonly PositionRange[];
  /** What was done before this hour. */
  readonly done: DoneHours;
  /** There is a marker: then no window is missing. */
  readonly isDone: boolean;
  /** Of the partitions of the log. */
  readonly scopes: readonly PartitionScope[];
  /** Position in the log `windows` at which it is said that one is missing. */
  readonly saidAt: bigint;
  /** The windows of the hour that stand there, with their positions; may be asked for again. */
  readonly windows: () => AsyncIterable<readonly [bigint, WindowBody]>;
}

export async function deriveHour(deps: DeriveDeps, hour: HourUnderCheck, note: NoteWindow): Promise<void> {
  const { log, ranges, saidAt } = hour;
  if (ranges.length !== log.partitions) {
    const detail = `${ranges.length} ranges; ${log.name} has ${log.partitions} partitions`;
    note('tampered', 'window-hour', saidAt, detail);
    return;
  }
  try {
    for (const [partition, range] of ranges.entries())
      if (!(await checkEnds(deps, hour, partition, range, note))) return;
    for (let after: string | null = null, more = true; more; ) {
      const trees: TenantTrees = new TenantTrees(deps.passTenantsMax ?? PASS_TENANTS_MAX, after);
      for (const [partition, range] of ranges.entries())
        await readRange(deps, hour, partition, range, trees, after === null ? note : null);
      const pass: TenantPass = trees.finish();
      await compare(hour, pass, after, note);
      after = pass.next;
      more = pass.next !== null;
    }
  } catch (error) {
    const detail = `${log.name} can't be read in the hour ${hourName(hour.hour)}: ${(error as Error).message}`;
    note('not checked', 'storage', saidAt, detail);
  }
}

/** Whether positions of a partition are gone, so that what was there can't be derived. */
function isLost({ scopes }: HourUnderCheck, partition: number, { from, to }: PositionRange): boolean {
  const scope = scopes.find((one) => one.partition === partition);
  return (
    scope !== undefined &&
    (scope.counter.first > from || scope.lost.some((lost) => lost.from < to && lost.to > from))
  );
}

/** That the hour ends where it says: at a sealed `log.hour`, or, where nothing of it is, before a later hour. */
async function checkEnds(
  deps: DeriveDeps,
  hour: HourUnderCheck,
  partition: number,
  { from, to }: PositionRange,
  note: NoteWindow,
): Promise<boolean> {
  const { log, done, saidAt, scopes } = hour;
  const wrong = (at: bigint, reason: string): boolean => {
    const isGone = isLost(hour, partition, { from: at, to: at + 1n });
    const detail = `${log.name}/${partition}, hour ${hourName(hour.hour)}: ${reason}`;
    note(isGone ? 'not checked' : 'tampered', 'window-hour', saidAt, detail);
    return isGone;
  };
  const sealed = scopes.find((one) => one.partition === partition)?.sealed ?? 0n;
  if (to >= sealed && wrong(to, `it ends at ${to}, but only ${sealed} positions are sealed`) === false)
    return false;
  if (from === to) {
    const [first] = await log.read(partition, from, 1);
    if (first === undefined || nameOfSegment(done, first.appendedAt) <= hour.hour)
      wrong(from, `it has nothing of it, but what stands from ${from} on is of no later hour`);
    return true;
  }
  const { hours } = await deps.tenantLeaves.readTenantLeaves(log.name, partition, to, to + 1n);
  if (hours.length === 0) wrong(to, `it ends at ${to}, where no log.hour stands`);
  return true;
}

/** Leaf hashes of one partition's part of the hour, to their tenants. @param note null: what it tells was told before */
async function readRange(
  { tenantLeaves, onPositions }: DeriveDeps,
  hour: HourUnderCheck,
  partition: number,
  range: PositionRange,
  trees: TenantTrees,
  note: NoteWindow | null,
): Promise<void> {
  const { log, done, saidAt } = hour;
  let first: number | undefined;
  for (let from = range.from; from < range.to; from += RUN_POSITIONS) {
    const to = from + RUN_POSITIONS < range.to ? from + RUN_POSITIONS : range.to;
    const leaves = await tenantLeaves.readTenantLeaves(log.name, partition, from, to);
    if (first === undefined && leaves.firstAppendedAt !== null) {
      first = leaves.positions[0];
      const name = nameOfSegment(done, leaves.firstAppendedAt);
      if (name !== hour.hour)
        note?.(
          isLost(hour, partition, range) ? 'not checked' : 'tampered',
          'window-hour',
          saidAt,
          `${log.name}/${partition}: what stands from ${range.from} on is of the hour ${hourName(name)}, not ${hourName(hour.hour)}`,
        );
    }
    // Where the log.hour at the beginning was lost, the next one may be the first record that is there.
    const inside = leaves.hours.find((position) => BigInt(position) > range.from && position !== first);
    if (inside !== undefined)
      note?.(
        'tampered',
        'window-hour',
        saidAt,
        `${log.name}/${partition}: the hour ends at ${inside} already`,
      );
    const found = leaves.tenants.map((tenant) => trees.treeOf(tenant));
    for (let i = 0; i < leaves.positions.length; i++)
      found[leaves.tenantAt[i]]?.append(leaves.hashes, i * HASH_BYTES);
    if (note !== null) onPositions(to - from);
  }
}

/** The windows that stand there, against what the records give. */
async function compare(
  hour: HourUnderCheck,
  { roots, next }: TenantPass,
  after: string | null,
  note: NoteWindow,
): Promise<void> {
  const derived = new Map<string, TenantRoot>(roots.map((root) => [root.tenant, root]));
  const name = `${hour.log.name}, hour ${hourName(hour.hour)}`;
  const isGone = hour.ranges.some((range, partition) => isLost(hour, partition, range));
  const verdict = isGone ? 'not checked' : 'tampered';
  const seen = new Set<string>();
  for await (const [position, { tenant, count, root }] of hour.windows()) {
    if ((after !== null && tenant <= after) || (next !== null && tenant > next)) continue;
    if (seen.has(tenant)) {
      note('tampered', 'window', position, `a second window of ${tenant} in ${name}`);
      continue;
    }
    seen.add(tenant);
    const given = derived.get(tenant);
    if (given === undefined) {
      note(verdict, 'window-extra', position, `a window of ${tenant} in ${name}, where it has no record`);
    } else if (given.count !== count) {
      const detail = `the window of ${tenant} in ${name} counts ${count} records; there are ${given.count}`;
      note(verdict, 'window', position, detail);
    } else if (!equalBytes(given.root, root)) {
      const detail = `the window of ${tenant} in ${name} has the root ${toBase64(root)}; the records give ${toBase64(given.root)}`;
      note(verdict, 'window', position, detail);
    }
    derived.delete(tenant);
  }
  if (!hour.isDone) return;
  for (const [tenant, { count }] of derived)
    note(verdict, 'window-missing', hour.saidAt, `${tenant} has ${count} records in ${name}, and no window`);
}
