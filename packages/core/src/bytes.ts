/** Bytes and their spellings. Every reader here is strict: one value has one spelling, all others are refused. */

// `ignoreBOM` keeps a leading byte order mark in the text. Without it two different byte strings would decode
// to one text, and what was signed would no longer be what is shown.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf8 = new TextEncoder();

/** Joins byte strings, in order, into a new one. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/**
 * Whether two byte strings are the same. It stops at the first difference, so its time tells where that is:
 * for hashes and roots, which are public, and never for secrets.
 */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Reads hexadecimal of an even number of lower-case digits; null for anything else. */
export function fromHex(text: string): Uint8Array | null {
  return /^(?:[0-9a-f]{2})*$/.test(text) ? Uint8Array.fromHex(text) : null;
}

/** Standard base64 with padding (RFC 4648 §4). */
export function toBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/**
 * Reads standard base64 (RFC 4648 §4); null unless the text is exactly what `toBase64` writes for the bytes:
 * padded, without whitespace, with zero trailing bits (§3.5).
 */
export function fromBase64(text: string): Uint8Array | null {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(text, { lastChunkHandling: 'strict' });
  } catch {
    return null;
  }
  // The platform's strict mode still skips ASCII whitespace. Writing the bytes again finds that, and anything
  // else that is not the one spelling.
  return bytes.toBase64() === text ? bytes : null;
}

/**
 * The UTF-8 bytes of a text.
 * @throws RangeError for a lone surrogate: it has no UTF-8, and a silent replacement would hash other text.
 */
export function encodeUtf8(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new RangeError('the text holds a lone surrogate and has no UTF-8 form');
  return utf8.encode(text);
}

/** The text of UTF-8 bytes, a byte order mark included; null if they are not valid UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return null;
  }
}
