/** Times as people write them: RFC 3339, or a date. */

const INSTANT =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2}))?$/;
const DAY_US = 86_400_000_000n;
const MINUTE_US = 60_000_000n;
/** 0001-01-01 and 10000-01-01: what a row's time can be. */
const FIRST_US = -62_135_596_800_000_000n;
const END_US = 253_402_300_800_000_000n;

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

function daysIn(year: number, month: number): number {
  return [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] ?? 0;
}

/** Days from 1970-01-01 to a date of the Gregorian calendar. */
function dayNumber(year: number, month: number, day: number): number {
  const whole = year - 1;
  let days = whole * 365 + Math.floor(whole / 4) - Math.floor(whole / 100) + Math.floor(whole / 400);
  for (let m = 1; m < month; m++) days += daysIn(year, m);
  return days + day - 1 - 719_162;
}

/** Minutes that a zone is ahead of UTC, or null. */
function zoneMinutes(zone: string): number | null {
  if (zone === 'Z' || zone === 'z') return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(4))];
  if (hours > 23 || minutes > 59) return null;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}

/**
 * Microseconds since the Unix epoch of an RFC 3339 time, years 1 to 9999, digits beyond the microsecond dropped; of a
 * date its first instant in UTC. Null for anything else, leap seconds among them.
 */
export function parseInstant(text: string): bigint | null {
  const parts = INSTANT.exec(text);
  if (parts === null) return null;
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map((part) => Number(part ?? 0));
  const zone = zoneMinutes(parts[8] ?? 'Z');
  if (day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 || zone === null)
    return null;
  const fraction = BigInt((parts[7] ?? '').padEnd(6, '0').slice(0, 6));
  const seconds = BigInt(hour * 3_600 + minute * 60 + second);
  const us =
    BigInt(dayNumber(year, month, day)) * DAY_US + seconds * 1_000_000n + fraction - BigInt(zone) * MINUTE_US;
  return us < FIRST_US || us >= END_US ? null : us;
}
