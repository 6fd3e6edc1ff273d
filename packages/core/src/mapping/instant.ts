/** Times as sources write them, into microseconds since the Unix epoch. No clock is read, no time zone known. */

const ZERO = 0x30;
const SECONDS_MIN = -62_135_596_800; // 0001-01-01T00:00:00Z
const SECONDS_PAST = 253_402_300_800; // 10000-01-01T00:00:00Z
const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** A date and time of a wall clock, and how far that clock is ahead of UTC. */
export interface WallTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  /** 60 is a leap second: the first second of the next minute. */
  readonly second: number;
  readonly micros: number;
  readonly offsetSeconds: number;
}

/** Microseconds since the Unix epoch; null for a day that is not in the calendar, or outside of the years 1 to 9999 in UTC. */
export function microsOf(time: WallTime): bigint | null {
  const { year, month, day, hour, minute, second } = time;
  if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60) return null;
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (day > MONTH_DAYS[month - 1]! + (leap ? 1 : 0)) return null;
  const seconds =
    daysSinceEpoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - time.offsetSeconds;
  return microsOfSeconds(seconds, time.micros);
}

/** Days of the Gregorian calendar; years begin in March here, so that the leap day is the last. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

function microsOfSeconds(seconds: number, micros: number): bigint | null {
  if (!(seconds >= SECONDS_MIN && seconds < SECONDS_PAST)) return null;
  return BigInt(seconds) * 1_000_000n + BigInt(micros);
}

/** Microseconds of a number of units since the Unix epoch, to the nearest that a number can tell. Null outside of the years 1 to 9999. */
export function microsOfEpoch(value: number, unitsPerSecond: number): bigint | null {
  if (!Number.isFinite(value)) return null;
  const seconds = Math.floor(value / unitsPerSecond);
  const rest = value - seconds * unitsPerSecond;
  return microsOfSeconds(seconds, Math.min(999_999, Math.round((rest * 1_000_000) / unitsPerSecond)));
}

/** The number that the digits from `at` to `to` write, or -1 if one of them is none. */
export function digitsAt(text: string, at: number, to: number): number {
  if (to > text.length) return -1;
  let value = 0;
  for (let i = at; i < to; i++) {
    const digit = text.charCodeAt(i) - ZERO;
    if (!(digit >= 0 && digit <= 9)) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/**
 * An instant of RFC 3339, `2026-11-20T10:00:00.123456Z`; digits after the sixth of a fraction are dropped.
 * @param zoneless also `2026-11-20 10:00:00`: a space for the T, and no offset, which then is UTC
 * @returns null for anything else
 */
export function instantMicros(text: unknown, zoneless = false): bigint | null {
  if (typeof text !== 'string' || text.length < 19 || text.length > TEXT_LENGTH_MAX) return null;
  const year = digitsAt(text, 0, 4);
  const month = digitsAt(text, 5, 7);
  const day = digitsAt(text, 8, 10);
  const hour = digitsAt(text, 11, 13);
  const minute = digitsAt(text, 14, 16);
  const second = digitsAt(text, 17, 19);
  if (year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0) return null;
  if (text[4] !== '-' || text[7] !== '-' || text[13] !== ':' || text[16] !== ':') return null;
  if (text[10] !== 'T' && !(zoneless && text[10] === ' ')) return null;
  let at = 19;
  let micros = 0;
  if (text[19] === '.') {
    at = digitsEnd(text, 20);
    if (at === 20) return null;
    micros = fractionMicros(text, 20, at);
  }
  const offsetSeconds = at === text.length && zoneless ? 0 : offsetAt(text, at);
  if (offsetSeconds === null) return null;
  return microsOf({ year, month, day, hour, minute, second, micros, offsetSeconds });
}

const MONTHS = 'janfebmaraprmayjunjulaugsepoctnovdec';

/** 1 to 12 for the first three letters of an English month, in any case; else 0. */
export function monthOf(name: string): number {
  const at = name.length === 3 ? MONTHS.indexOf(name.toLowerCase()) : -1;
  return at >= 0 && at % 3 === 0 ? at / 3 + 1 : 0;
}

/** Longest text that is read as an instant. */
const TEXT_LENGTH_MAX = 64;

export function digitsEnd(text: string, at: number): number {
  let i = at;
  while (i < text.length && digitsAt(text, i, i + 1) >= 0) i++;
  return i;
}

/** Microseconds of the digits of a fraction. */
export function fractionMicros(text: string, at: number, to: number): number {
  const shown = Math.min(6, to - at);
  return digitsAt(text, at, at + shown) * 10 ** (6 - shown);
}

/** The offset that is the rest of the text, `Z`, `+02:00` or `+0200`, in seconds ahead of UTC; else null. */
export function offsetAt(text: string, at: number): number | null {
  const sign = text[at];
  const rest = text.length - at;
  if (sign === 'Z') return rest === 1 ? 0 : null;
  if (sign !== '+' && sign !== '-') return null;
  const colon = rest === 6 && text[at + 3] === ':';
  if (!colon && rest !== 5) return null;
  const hours = digitsAt(text, at + 1, at + 3);
  const minutes = digitsAt(text, colon ? at + 4 : at + 3, text.length);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return null;
  return (sign === '+' ? 1 : -1) * (hours * 3_600 + minutes * 60);
}
