/** All records of a tenant in whole hours, with the windows in which the log committed to them. */

import { EvidentError } from '@evident/core/errors.ts';
import { BUNDLE_WINDOWS_MAX } from '@evident/core/evidence/bundle-files.ts';
import { hourName, markerId, parseHour } from '@evident/core/evidence/window-hours.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { SYSTEM_TENANT } from '@evident/core/record.ts';
import { recordAt } from './inclusion.ts';
import { countPlaces, type PartitionPlaces, PlaceGatherer } from './places.ts';
import { type EvidenceDeps, OWN_SPAN_MAX, type PlacedWindow } from './ports.ts';
import type { CoveredHeads } from './select.ts';

export const WINDOWS_LOG = 'windows';

/** Identities of markers that are looked for at once. */
const MARKERS_AT_ONCE = 1_000;

export interface TenantHours {
  readonly log: string;
  readonly tenant: string;
  /** First and last hour, "2026-11-20T10". */
  readonly from: string;
  readonly to: string;
}

/** A record `window` and its place. */
export interface WindowAt {
  readonly position: bigint;
  readonly leaf: Uint8Array;
}

export interface TenantSelection {
  readonly places: readonly PartitionPlaces[];
  /** The tenant's window before the span, those of the span, the first behind it. */
  readonly previous: WindowAt | null;
  readonly windows: readonly WindowAt[];
  readonly next: WindowAt | null;
}

/** "2026-11-20T10..2026-11-20T12", or one hour. @throws field-invalid */
export function parseHours(text: string): { readonly from: string; readonly to: string } {
  const [from, to = from, ...more] = text.split('..');
  if (more.length > 0 || parseHour(from) === null || parseHour(to) === null || from > to)
    throw new EvidentError(
      'field-invalid',
      'hours: it is two hours of UTC such as 2026-11-20T10..2026-11-20T12, both of them included',
      { context: { field: 'hours' } },
    );
  return { from, to };
}

/** Hours since 1970-01-01T00 UTC; the text was checked. */
function hourNumber(hour: string): number {
  const number = parseHour(hour);
  if (number === null) throw new RangeError(`${hour} is no hour`);
  return number;
}

/**
 * Looks up what the log committed to for a tenant and some hours, and the records that this names.
 * @throws windows-missing while an hour of the span is not done below the head; not-anchored, evidence-broken
 */
export async function selectTenantHours(
  deps: EvidenceDeps,
  covered: CoveredHeads,
  span: TenantHours,
): Promise<TenantSelection> {
  if (!deps.logs.has(span.log))
    throw new EvidentError('log-unknown', `log: there is no log ${span.log}`, { context: { field: 'log' } });
  const below = await covered.end(WINDOWS_LOG, 0);
  await requireDone(deps, span, below);
  const found = await findWindows(deps, span, below);
  const places = new PlaceGatherer();
  let committed = 0n;
  for (const { ranges, count } of found.windows) {
    committed += count;
    for (const [partition, range] of ranges.entries())
      await gather(deps, covered, span, partition, range, places);
  }
  const gathered = places.finish();
  if (BigInt(countPlaces(gathered)) !== committed)
    throw new EvidentError(
      'evidence-broken',
      `the log holds ${countPlaces(gathered)} records of ${span.tenant} in these hours, and committed to ${committed}`,
      { context: { log: span.log } },
    );
  return { ...found, places: gathered };
}

/** Every hour up to one with a marker is done: hours are processed in order. */
async function requireDone(deps: EvidenceDeps, { log, to }: TenantHours, below: bigint): Promise<void> {
  const last = await deps.windows.lastHour(log);
  const wanted = hourNumber(to);
  if (last !== null && last.hour >= wanted) {
    if (last.position < below) return;
    // The newest marker is not covered; an earlier one may be.
    for (let from = wanted; from < last.hour; from += MARKERS_AT_ONCE) {
      const hours = Array.from({ length: Math.min(MARKERS_AT_ONCE, last.hour - from) }, (_, at) => from + at);
      const sought = hours.map((hour) => ({
        log: WINDOWS_LOG,
        tenant: SYSTEM_TENANT,
        id: markerId(log, hourName(hour)),
      }));
      const places = await deps.identities(sought);
      if (places.some((place) => place !== null && place.position < below)) return;
    }
  }
  throw new EvidentError(
    'windows-missing',
    `hours: the log has not committed to all of ${log} up to ${to} yet, or no head covers that`,
    { context: { field: 'hours', log } },
  );
}

interface ReadWindow extends WindowAt {
  readonly count: bigint;
  readonly ranges: readonly (readonly [from: bigint, to: bigint])[];
}

async function findWindows(
  deps: EvidenceDeps,
  { log, tenant, from, to }: TenantHours,
  below: bigint,
): Promise<Pick<TenantSelection, 'previous' | 'next'> & { windows: readonly ReadWindow[] }> {
  const [first, last] = [hourNumber(from), hourNumber(to)];
  const later = await deps.windows.ofTenant(log, tenant, first, BUNDLE_WINDOWS_MAX + 1);
  const inSpan = later.filter(({ hour }) => hour <= last);
  if (inSpan.length > BUNDLE_WINDOWS_MAX)
    throw new EvidentError('field-invalid', `hours: a bundle holds at most ${BUNDLE_WINDOWS_MAX} windows`, {
      context: { field: 'hours' },
    });
  const windows: ReadWindow[] = [];
  // One after the other: two years of them at once would be as many questions to the log.
  for (const window of inSpan) windows.push(await readWindow(deps, window));
  const behind = later.find(({ hour, position }) => hour > last && position < below);
  const before = (await deps.windows.newest(log, first - 1, [tenant])).get(tenant);
  return {
    previous: before === undefined ? null : await readWindow(deps, before),
    windows,
    next: behind === undefined ? null : await readWindow(deps, behind),
  };
}

async function readWindow(deps: EvidenceDeps, { position }: PlacedWindow): Promise<ReadWindow> {
  const record = await recordAt(deps, WINDOWS_LOG, 0, position);
  const text = record.body.form === 'json' ? new TextDecoder().decode(record.body.bytes) : '{}';
  const { count, ranges } = JSON.parse(text) as { count?: string; ranges?: [string, string][] };
  if (record.type !== 'window' || count === undefined || ranges === undefined)
    throw new EvidentError('evidence-broken', `${WINDOWS_LOG}/0/${position} is no window`);
  return {
    position,
    leaf: leafOf(record),
    count: BigInt(count),
    ranges: ranges.map(([from, to]) => [BigInt(from), BigInt(to)]),
  };
}

async function gather(
  deps: EvidenceDeps,
  covered: CoveredHeads,
  { log, tenant }: TenantHours,
  partition: number,
  [start, end]: readonly [from: bigint, to: bigint],
  places: PlaceGatherer,
): Promise<void> {
  if (end > (await covered.end(log, partition)))
    throw new EvidentError('not-anchored', `no head covers ${log}/${partition} up to position ${end} yet`, {
      context: { log, partition },
    });
  for (let from = start; from < end; from += OWN_SPAN_MAX) {
    const to = from + OWN_SPAN_MAX < end ? from + OWN_SPAN_MAX : end;
    for (const position of await deps.leaves.positionsOf(tenant, log, partition, from, to))
      places.add(log, partition, position);
  }
}
