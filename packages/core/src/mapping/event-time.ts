/** Times of sources that nobody described: well-known names, and what numbers can only mean. */

import { instantMicros, microsOfEpoch } from './instant.ts';

/** Members and columns that hold the event's own time, first found first. */
export const TIME_NAMES: readonly string[] = [
  'event_time',
  'eventTime',
  'time',
  'timestamp',
  '@timestamp',
  'ts',
  'datetime',
  'occurred_at',
  'occurredAt',
  'created_at',
  'createdAt',
  'recorded',
  'published',
];

/** Years 2001 to 2100 in seconds: any such number in another unit is a time of 1970 or of a far future. */
const SECONDS_MIN = 978_307_200;
const SECONDS_PAST = 4_102_444_800;
const UNITS_PER_SECOND: readonly number[] = [1, 1e3, 1e6, 1e9];

/**
 * A time by its look: RFC 3339, the same with a space for the T or without an offset, which then is UTC, and numbers,
 * also as text, that are seconds, milliseconds, microseconds or nanoseconds since 1970 in the years 2001 to 2100.
 */
export function guessedMicros(value: unknown): bigint | null {
  if (typeof value === 'string') {
    return instantMicros(value, true) ?? (isNumeral(value) ? guessedMicros(Number(value)) : null);
  }
  if (typeof value !== 'number') return null;
  const unit = UNITS_PER_SECOND.find((per) => value >= SECONDS_MIN * per && value < SECONDS_PAST * per);
  return unit === undefined ? null : microsOfEpoch(value, unit);
}

function isNumeral(text: string): boolean {
  return text.length >= 9 && text.length <= 30 && /^\d+(?:\.\d+)?$/.test(text);
}
