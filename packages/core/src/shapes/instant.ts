/** Instants of events, which may lie before 1970, where those of records never do. */

import { formatInstant } from '../leaf.ts';

/** RFC 3339 text of microseconds since the Unix epoch, years 1 to 9999. */
export function instantText(microseconds: bigint): string {
  if (microseconds >= 0n) return formatInstant(microseconds);
  const rest = ((microseconds % 1000n) + 1000n) % 1000n;
  const millis = Number((microseconds - rest) / 1000n);
  return `${new Date(millis).toISOString().slice(0, 23)}${rest.toString().padStart(3, '0')}Z`;
}

/** Whole milliseconds since the epoch, rounded down. */
export function instantMillis(microseconds: bigint): number {
  return Math.floor(Number(microseconds) / 1_000);
}
