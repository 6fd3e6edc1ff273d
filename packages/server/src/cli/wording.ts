/** Numbers and spans of time as people read them. */

/** `1 record`, `2,000 records`. @param many where it is not the noun and an s */
export function countOf(count: number | bigint, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en')} ${count === 1 || count === 1n ? one : many}`;
}

const UNITS: readonly (readonly [us: bigint, unit: string])[] = [
  [86_400_000_000n, 'd'],
  [3_600_000_000n, 'h'],
  [60_000_000n, 'min'],
  [1_000_000n, 's'],
];

/** `850 µs`, `12.3 ms`, `4.2 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`: two units at most; the rest is dropped. */
function spanOf(us: bigint): string {
  if (us < 1_000n) return `${us} µs`;
  if (us < 1_000_000n) return `${Math.floor(Number(us) / 100) / 10} ms`;
  if (us < 60_000_000n) return `${Math.floor(Number(us) / 100_000) / 10} s`;
  const at = UNITS.findIndex(([size]) => us >= size);
  const [[size, unit], [smaller, lesser]] = [UNITS[at], UNITS[at + 1]];
  const rest = (us % size) / smaller;
  return `${(us / size).toLocaleString('en')} ${unit}${rest === 0n ? '' : ` ${rest} ${lesser}`}`;
}

/**
 * How far an event's own time and its append lie apart.
 * @param text microseconds, as JSON has them: more than zero where it was appended later than it happened
 */
export function driftText(text: string): string {
  const us = BigInt(text);
  if (us === 0n) return 'none';
  return us < 0n ? `${spanOf(-us)} ahead of the log` : spanOf(us);
}
