/**
 * UUIDv7 (RFC 9562 §5.7): the milliseconds keep ids of one time close together in outbox and log.
 *
 *   48 bits milliseconds · version 7 · 12 bits random · variant · 62 bits random
 *
 * All 74 bits are fresh for every id, rather than a counter within the millisecond: a leaf whose hash is shown to
 * others must not be guessable from the id of a neighbour (design §3), and nothing depends on the order of ids.
 */

import { randomFillSync } from 'node:crypto';

/** Random bytes are fetched for many ids at once: a call for ten bytes costs as much as one for thousands. */
const POOL_BYTES = 4_096;
const BYTES_EACH = 10;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** A source of ids over a clock in milliseconds. */
export function createUuidv7(now: () => number): () => string {
  const pool = new Uint8Array(POOL_BYTES);
  let used = POOL_BYTES;
  let time = '';
  let timeMs = -1;
  return () => {
    if (used + BYTES_EACH > POOL_BYTES) {
      randomFillSync(pool);
      used = 0;
    }
    const ms = now();
    if (ms !== timeMs) {
      const hex = ms.toString(16).padStart(12, '0');
      time = `${hex.slice(0, 8)}-${hex.slice(8)}-7`;
      timeMs = ms;
    }
    const at = used;
    used += BYTES_EACH;
    const first = HEX[pool[at] & 0x0f][1] + HEX[pool[at + 1]];
    let tail = `${HEX[(pool[at + 2] & 0x3f) | 0x80]}${HEX[pool[at + 3]]}-`;
    for (let byte = at + 4; byte < at + BYTES_EACH; byte++) tail += HEX[pool[byte]];
    return `${time}${first}-${tail}`;
  };
}
