/**
 * Writes the windows of one hour, and what exists if the process dies at each step:
 *
 *   1 roots of a pass of tenants, from tiles   nothing
 *   2 their records `window` are appended      windows without marker: the next process finds them by tenant and hour,
 *                                              writes the others, and repeats none. The first stands, whatever follows
 *   … the next pass of tenants                 the same
 *   3 the record `log.windows` is appended     the hour is done: the next process goes on behind it
 *
 * Two processes may do this at once: ids follow from log, hour and tenant, so of each window one is appended and the
 * other is a repeat of it.
 */

import { encodeUtf8 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { type TenantPass, type TenantRoot, TenantTrees } from '@evident/core/evidence/tenant-trees.ts';
import {
  formatWindowBody,
  type PositionRange,
  WINDOW_TYPE,
  windowId,
} from '@evident/core/evidence/window.ts';
import {
  formatMarkerBody,
  hourName,
  MARKER_TYPE,
  markerId,
  readWindowsRecord,
} from '@evident/core/evidence/window-hours.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { CompactRange, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { SYSTEM_SOURCE, SYSTEM_TENANT } from '@evident/core/record.ts';
import { hashLeaf, sha256 } from '@evident/core/sha256.ts';
import type { Log, Proposal } from '../log/log.ts';
import { type TileStore, tileLog } from '../seal/ports.ts';
import type { HourPlan } from './plan-hour.ts';
import type { HourSource, IndexedHour, IndexedWindow, WindowIndex } from './ports.ts';

/** Tenants of one pass over an hour: their trees take up to 25 MiB. An hour with more is read once more for each so many. */
const PASS_TENANTS_MAX = 4_096;
/** Positions read at once: 2 MiB of hashes. */
const RUN_POSITIONS = 65_536n;
/** Windows of one append, and the bytes of their bodies. */
const APPEND_WINDOWS_MAX = 1_000;
const APPEND_BYTES_MAX = 4 * 1024 * 1024;
/** Records of the log `windows` read at once. */
const PAGE_RECORDS = 2_000;

export interface WindowDeps {
  readonly source: HourSource;
  readonly index: WindowIndex;
  readonly tiles: Pick<TileStore, 'read'>;
  /** The log `windows`. */
  readonly windows: Log;
  /** Says between two reads that the process is to stop. */
  readonly isStopping: () => boolean;
  /** Tenants of one pass; for tests. Default: PASS_TENANTS_MAX. */
  readonly passTenantsMax?: number;
}

export interface WrittenHour {
  readonly windows: bigint;
  readonly records: bigint;
}

/** Brings the index up to the end of the log `windows`. */
export async function catchUpIndex({ index, windows }: Pick<WindowDeps, 'index' | 'windows'>): Promise<void> {
  for (;;) {
    const from = await index.next();
    const page = await windows.read(0, from, PAGE_RECORDS);
    const last = page.at(-1);
    if (last === undefined) return;
    const found: IndexedWindow[] = [];
    const hours: IndexedHour[] = [];
    for (const record of page) {
      const entry = readWindowsRecord(record);
      // What is malformed is for verify to tell; here it counts for nothing.
      if (entry === null || !entry.ok) continue;
      const { position } = record;
      const { hour } = entry.value;
      if (entry.value.kind === 'marker') {
        const { log, ranges } = entry.value.marker;
        hours.push({ log, hour, position, ends: ranges.map(({ to }) => to) });
      } else {
        const { log, tenant } = entry.value.window;
        found.push({ log, tenant, hour, position, leafHash: hashLeaf(leafOf(record)) });
      }
    }
    await index.put(from, last.position + 1n, found, hours);
  }
}

/** @returns what was written; null when the process is to stop: what is missing is written at the next start */
export async function writeHour(deps: WindowDeps, plan: HourPlan): Promise<WrittenHour | null> {
  let records = 0n;
  for (let after: string | null = null, more = true; more; ) {
    const trees: TenantTrees = new TenantTrees(deps.passTenantsMax ?? PASS_TENANTS_MAX, after);
    for (const [partition, range] of plan.ranges.entries())
      if (!(await readRange(deps, plan, partition, range, trees))) return null;
    const { roots, next }: TenantPass = trees.finish();
    await appendWindows(deps, plan, roots);
    records += roots.reduce((sum, { count }) => sum + count, 0n);
    after = next;
    more = next !== null;
  }
  await catchUpIndex(deps);
  const windows = await appendMarker(deps, plan);
  await catchUpIndex(deps);
  return { windows, records };
}

/** Leaf hashes of one partition's part of the hour, to their tenants. @returns false when the process is to stop */
async function readRange(
  { source, tiles, isStopping }: WindowDeps,
  { log, epochs, hour }: HourPlan,
  partition: number,
  range: PositionRange,
  trees: TenantTrees,
): Promise<boolean> {
  let first: number | undefined;
  for (let from = range.from; from < range.to; from += RUN_POSITIONS) {
    if (isStopping()) return false;
    const to = from + RUN_POSITIONS < range.to ? from + RUN_POSITIONS : range.to;
    const run = await source.readTenants(log, partition, from, to);
    first ??= run.positions[0];
    // Where the log.hour at the beginning was lost, the next one may be the first record that is there.
    const inside = run.hours.find((position) => BigInt(position) > range.from && position !== first);
    if (inside !== undefined)
      throw new Error(
        `${log}/${partition}: the hour ${hourName(hour)} was planned past the log.hour at ${inside}`,
      );
    const hashes = await tiles.read(tileLog(log, epochs[partition]), partition, 0, from, Number(to - from));
    if (hashes === null)
      throw new EvidentError('log-unavailable', `tiles of ${log}/${partition} are missing from ${from} on`);
    const found = run.tenants.map((tenant) => trees.treeOf(tenant));
    const start = Number(from);
    for (let i = 0; i < run.positions.length; i++)
      found[run.tenantAt[i]]?.append(hashes, (run.positions[i] - start) * HASH_BYTES);
  }
  return true;
}

async function appendWindows(deps: WindowDeps, plan: HourPlan, roots: readonly TenantRoot[]): Promise<void> {
  const { log, hour, ranges } = plan;
  const name = hourName(hour);
  for (let from = 0; from < roots.length; from += APPEND_WINDOWS_MAX) {
    const part = roots.slice(from, from + APPEND_WINDOWS_MAX);
    const newest = await deps.index.newest(
      log,
      hour,
      part.map(({ tenant }) => tenant),
    );
    const proposals: Proposal[] = [];
    let bytes = 0;
    for (const { tenant, count, root } of part) {
      const before = newest.get(tenant);
      if (before?.hour === hour) continue;
      const body = encodeUtf8(
        formatWindowBody({
          log,
          hour: name,
          tenant,
          count,
          root,
          ranges,
          previous: before?.leafHash ?? null,
        }),
      );
      if (bytes + body.length > APPEND_BYTES_MAX) {
        await appendOwn(deps.windows, proposals.splice(0));
        bytes = 0;
      }
      proposals.push(propose(windowId(log, name, tenant), tenant, WINDOW_TYPE, body));
      bytes += body.length;
    }
    await appendOwn(deps.windows, proposals);
  }
}

async function appendMarker(deps: WindowDeps, { log, hour, ranges }: HourPlan): Promise<bigint> {
  const tree = new CompactRange();
  for (let after = -1n; ; ) {
    const page = await deps.index.ofHour(log, hour, after, PAGE_RECORDS);
    for (const { leafHash } of page) tree.append(leafHash);
    if (page.length < PAGE_RECORDS) break;
    after = page[page.length - 1].position;
  }
  const name = hourName(hour);
  const body = formatMarkerBody({ log, hour: name, windows: tree.size, ranges, root: tree.root() });
  await appendOwn(deps.windows, [propose(markerId(log, name), SYSTEM_TENANT, MARKER_TYPE, body)]);
  return tree.size;
}

function propose(id: string, tenant: string, type: string, bytes: Uint8Array): Proposal {
  return {
    bodyHash: sha256(bytes),
    reused: 'refuse',
    record: {
      id,
      tenant,
      source: SYSTEM_SOURCE,
      sourceSeq: null,
      type,
      schema: 0,
      key: SYSTEM_TENANT,
      meta: null,
      body: { form: 'json', bytes },
    },
  };
}

/** @throws window-conflict when another window of that tenant and hour stands there: it stays, and verify judges it */
async function appendOwn(windows: Log, proposals: readonly Proposal[]): Promise<void> {
  if (proposals.length === 0) return;
  const outcomes = await windows.appendOnce(proposals);
  const at = outcomes.findIndex(({ kind }) => kind === 'reused');
  if (at < 0) return;
  const { tenant, id, type } = proposals[at].record;
  throw new EvidentError(
    'window-conflict',
    `position ${outcomes[at].position} of windows/0 holds another ${type} of ${tenant} under the id ${id}`,
    { context: { log: windows.name, partition: 0, position: outcomes[at].position } },
  );
}
