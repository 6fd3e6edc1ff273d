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

/** The 16 bytes of a UUID; the text has been checked. */
export function parseUuid(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) bytes[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
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
