import { sha256 } from './sha256.ts';

const utf8 = new TextEncoder();
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Formats 16 bytes as a lower-case UUID. */
export function formatUuid(bytes: Uint8Array, at = 0): string {
  let text = '';
  for (let i = 0; i < 16; i++) {
    text += HEX[bytes[at + i]];
    if (i === 3 || i === 5 || i === 7 || i === 9) text += '-';
  }
  return text;
}

/** Value of a hexadecimal digit by its code; 0 for anything else. */
const NIBBLES = new Uint8Array(128);
for (let digit = 0; digit < 16; digit++) {
  NIBBLES[digit.toString(16).charCodeAt(0)] = digit;
  NIBBLES[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}
/** Where in the text of a UUID its bytes stand. */
const PAIRS = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/** The 16 bytes of a UUID; the text has been checked. */
export function parseUuid(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) {
    const at = PAIRS[i];
    bytes[i] = (NIBBLES[text.charCodeAt(at)] << 4) | NIBBLES[text.charCodeAt(at + 1)];
  }
  return bytes;
}

/** Marks 16 bytes as a UUID of version 8 (RFC 9562 §5.8: the content is ours to define). */
export function markVersion8(bytes: Uint8Array): Uint8Array {
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes;
}

/**
 * The id of a record that Evident itself writes: a function of what the record says, so that the same fact
 * written twice is one identity. `evident.derived_id` in SQL computes the same.
 */
export function derivedId(text: string): string {
  return formatUuid(markVersion8(sha256(utf8.encode(`evident:${text}`)).slice(0, 16)));
}

/** Id of the record that closes every hour up to `closes` ("2026-11-20T10") in a partition. */
export function hourId(log: string, partition: number, closes: string): string {
  return derivedId(`log.hour:${log}/${partition}:${closes}`);
}

/** Id of the record that lists a tree head in the log `heads`. */
export function headId(origin: string, size: bigint, rootBase64: string): string {
  return derivedId(`head:${origin}:${size}:${rootBase64}`);
}
