/**
 * Hours of a log, and the records that say that one is done (design §5; bodies of windows: `window.ts`).
 *
 * For every log but `heads` and `windows`, hours are decided by position alone. A partition is cut at its records
 * `log.hour`, each of which begins a segment; a segment is named by the hour of `appended_at` of its first record that
 * is there. Hours of a log are done one after the other:
 *
 *   from       the positions behind the hour before (at first: 0)
 *   name       of a partition: that of the segment which begins at `from`, but never an hour that is done already
 *   hour       the least name of all partitions
 *   [from, to) of a partition with that name: its segment. Of any other: empty, for what it has is of a later hour
 *
 * Per tenant with records in those ranges there is one record `window`, then one record `log.windows`, the marker: the
 * hour is done. Its body: {"log","hour","windows":"n","ranges":[["from","to"],…],"root":"<base64>"}; root of RFC 6962 over the
 * leaf hashes of this hour's windows, in the order of the log `windows`.
 */

import { encodeUtf8, fromBase64, toBase64 } from '../bytes.ts';
import { derivedId } from '../derived-id.ts';
import { formatHour } from '../leaf.ts';
import { HASH_BYTES } from '../merkle/tree.ts';
import { accept, type Parsed, refuse } from '../parsed.ts';
import { SYSTEM_SOURCE, SYSTEM_TENANT } from '../record.ts';
import { readDecimal, readJsonBody, readList, readMembers, readText, unreadable } from './json-file.ts';
import { type PositionRange, parseWindowBody, WINDOW_TYPE, type WindowBody, windowId } from './window.ts';

/** Type of the record that says that an hour's windows are all there. */
export const MARKER_TYPE = 'log.windows';

/** Most partitions of a log: so many ranges a body holds at most. */
const PARTITIONS_MAX = 1_024;
const HOUR_US = 3_600_000_000n;
const LOG = /^[a-z0-9-]{1,32}$/;
const HOUR = /^\d{4}-\d{2}-\d{2}T\d{2}$/;

export interface MarkerBody {
  readonly log: string;
  /** "2026-11-20T10". */
  readonly hour: string;
  /** Windows of this hour. */
  readonly windows: bigint;
  /** One for each partition of the log. */
  readonly ranges: readonly PositionRange[];
  readonly root: Uint8Array;
}

/** The hour, counted from 1970-01-01T00 UTC, in which an instant (microseconds since then) lies. */
export function hourOf(microseconds: bigint): number {
  return Number(microseconds / HOUR_US);
}

/** "2026-11-20T10". */
export function hourName(hour: number): string {
  return formatHour(BigInt(hour) * HOUR_US);
}

/** Reads "2026-11-20T10"; null for any other spelling. */
export function parseHour(text: string): number | null {
  if (!HOUR.test(text)) return null;
  const hour = Date.parse(`${text}:00:00Z`) / 3_600_000;
  // A day that the month does not have becomes another one: writing it again tells.
  return Number.isInteger(hour) && hour >= 0 && hourName(hour) === text ? hour : null;
}

export function markerId(log: string, hour: string): string {
  return derivedId(`log.windows:${log}:${hour}`);
}

export function formatMarkerBody(marker: MarkerBody): Uint8Array {
  return encodeUtf8(JSON.stringify(writeMarker(marker)));
}

/** Reads the body of a record `log.windows`: exactly what `formatMarkerBody` writes. */
export function parseMarkerBody(bytes: Uint8Array): Parsed<MarkerBody> {
  return readJsonBody(bytes, 'the marker', readMarker, writeMarker);
}

function readMarker(json: unknown): MarkerBody {
  const members = readMembers(json, 'it');
  const root = fromBase64(readText(members.root, 'root', /^[A-Za-z0-9+/=]+$/, 44));
  if (root?.length !== HASH_BYTES) return unreadable('root is not the base64 of 32 bytes');
  return {
    log: readText(members.log, 'log', LOG, 32),
    hour: readText(members.hour, 'hour', HOUR, 13),
    windows: readDecimal(members.windows, 'windows'),
    ranges: readList(members.ranges, 'ranges', PARTITIONS_MAX, readRange),
    root,
  };
}

function readRange(json: unknown): PositionRange {
  const [from, to] = readList(json, 'a range', 2, (one) => readDecimal(one, 'a position'));
  if (from === undefined || to === undefined || from > to) return unreadable('a range is no [from, to)');
  return { from, to };
}

function writeMarker({ log, hour, windows, ranges, root }: MarkerBody): unknown {
  return {
    log,
    hour,
    windows: windows.toString(),
    ranges: ranges.map(({ from, to }) => [from.toString(), to.toString()]),
    root: toBase64(root),
  };
}

/** What a record of the log `windows` needs so that readers honour it. */
export interface WindowsRecord {
  readonly id: string;
  readonly tenant: string;
  readonly source: string;
  readonly type: string;
  readonly body: { readonly form: string; readonly bytes?: Uint8Array };
}

/** `hour` counts from 1970-01-01T00 UTC, as in `hourOf`. */
export type WindowsEntry =
  | { readonly kind: 'window'; readonly hour: number; readonly window: WindowBody }
  | { readonly kind: 'marker'; readonly hour: number; readonly marker: MarkerBody };

/**
 * A record of the log `windows` as what it says. Reserved types are honoured with source `evident` only.
 * @returns null for a record of another type, or of another source: readers pass over it
 */
export function readWindowsRecord({
  type,
  source,
  body,
  id,
  tenant,
}: WindowsRecord): Parsed<WindowsEntry> | null {
  if (source !== SYSTEM_SOURCE || (type !== WINDOW_TYPE && type !== MARKER_TYPE)) return null;
  if (body.form !== 'json' || body.bytes === undefined) return refuse('the body is not JSON');
  if (type === MARKER_TYPE) {
    const parsed = parseMarkerBody(body.bytes);
    if (!parsed.ok) return parsed;
    const marker = parsed.value;
    const hour = parseHour(marker.hour);
    if (hour === null) return refuse('there is no such hour');
    if (tenant !== SYSTEM_TENANT || id !== markerId(marker.log, marker.hour))
      return refuse('tenant or id is not that of this marker');
    return accept({ kind: 'marker', hour, marker });
  }
  const parsed = parseWindowBody(body.bytes);
  if (!parsed.ok) return parsed;
  const window = parsed.value;
  const hour = parseHour(window.hour);
  if (hour === null) return refuse('there is no such hour');
  if (tenant !== window.tenant || id !== windowId(window.log, window.hour, tenant))
    return refuse('tenant or id is not that of this window');
  return accept({ kind: 'window', hour, window });
}

/** How far the hours of a log are done: the fold of its markers. */
export interface DoneHours {
  /** The last hour that is done; null: none. */
  readonly hour: number | null;
  /** By partition the position behind it; null while no hour is done: then every one is 0. */
  readonly ends: readonly bigint[] | null;
}

export const NO_HOURS: DoneHours = { hour: null, ends: null };

/**
 * What is done after one more hour. Pure.
 * @returns why the hour can't follow on what is done, if it can't
 */
export function foldHour(done: DoneHours, hour: number, ranges: readonly PositionRange[]): Parsed<DoneHours> {
  if (done.hour !== null && hour <= done.hour) return refuse(`the hour ${hourName(hour)} is done already`);
  if (done.ends !== null && done.ends.length !== ranges.length)
    return refuse(`there are ${ranges.length} ranges, but the hour before has ${done.ends.length}`);
  for (const [partition, { from }] of ranges.entries()) {
    const expected = done.ends?.[partition] ?? 0n;
    if (from !== expected)
      return refuse(
        `in partition ${partition} it begins at ${from}, but the hour before ends at ${expected}`,
      );
  }
  return accept({ hour, ends: ranges.map(({ to }) => to) });
}

/** The hour that the records behind what is done belong to, by the time of the first of them that is there. */
export function nameOfSegment(done: Pick<DoneHours, 'hour'>, firstAppendedAt: bigint): number {
  const hour = hourOf(firstAppendedAt);
  // Where a log.hour was lost, or the clock was set back before a recovery, the name may be one that is done.
  return done.hour !== null && hour <= done.hour ? done.hour + 1 : hour;
}
