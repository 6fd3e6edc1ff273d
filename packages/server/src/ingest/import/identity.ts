/**
 * The ids of imported records (design §3). They are derived, so that importing a file again finds what is in the log,
 * and keyed with a secret of the tenant, so that nobody can guess a record from its leaf hash:
 *
 *   HMAC-SHA-256(tenant secret, format ‖ 0x00 ‖ 'i' ‖ id of the format)
 *   HMAC-SHA-256(tenant secret, format ‖ 0x00 ‖ 'l' ‖ n, decimal ‖ 0x00 ‖ line)     n-th occurrence in its file, from 1
 *   HMAC-SHA-256(tenant secret, format ‖ 0x00 ‖ 'h' ‖ n ‖ 0x00 ‖ length of heading, decimal ‖ 0x00 ‖ heading ‖ line)
 *
 * The first 16 bytes are a UUID of version 8 (RFC 9562, section 5.8), which leaves 122 keyed bits.
 */

import { createHmac } from 'node:crypto';

/** HMAC-SHA-256 of the parts, one after another: 32 bytes. */
export type HmacSha256 = (key: Uint8Array, parts: readonly Uint8Array[]) => Uint8Array;

/** `HmacSha256` by node:crypto. */
export function nodeHmacSha256(key: Uint8Array, parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac('sha256', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

export type IdentityParts =
  | { readonly format: string; readonly formatId: string }
  | {
      readonly format: string;
      readonly occurrence: number;
      readonly line: Uint8Array;
      /** What gives the line its meaning: equal lines under the headers of two CSV files are two things. */
      readonly heading?: Uint8Array;
    };

const encoder = new TextEncoder();

/** The id of an imported record: a lower-case UUID. */
export function importId(hmacSha256: HmacSha256, tenantSecret: Uint8Array, parts: IdentityParts): string {
  return uuidOfVersion8(hmacSha256(tenantSecret, messageOf(parts)));
}

function messageOf(parts: IdentityParts): Uint8Array[] {
  if ('formatId' in parts) return [encoder.encode(`${parts.format}\0i${parts.formatId}`)];
  const { format, occurrence, heading, line } = parts;
  if (heading === undefined) return [encoder.encode(`${format}\0l${occurrence}\0`), line];
  return [encoder.encode(`${format}\0h${occurrence}\0${heading.length}\0`), heading, line];
}

function uuidOfVersion8(digest: Uint8Array): string {
  const bytes = digest.slice(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toHex();
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
