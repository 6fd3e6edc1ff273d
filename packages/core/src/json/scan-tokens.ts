/**
 * The tokens of JSON (RFC 8259) over bytes: white space, strings, numbers, literals.
 *
 * Every function takes the offset where its token begins and returns the offset just past it, or a *failure*: a
 * negative number that holds the offset and the reason (`failure`). Numbers instead of exceptions, because a body
 * that is not JSON is an ordinary case at append, and instead of objects, because nothing may be allocated per token.
 */

export const ENDS = 0;
export const DEEP = 1;
export const DUPLICATE = 2;
const CONTROL = 3;
const ESCAPE = 4;
const HEX = 5;
const SURROGATE = 6;
const UTF8 = 7;
const NUMBER = 8;
const LEADING_ZERO = 9;
const VALUE = 10;
const BOM = 11;
export const NAME = 12;
export const COLON = 13;
export const COMMA_OR_BRACKET = 14;
export const TRAILING = 15;
export const NOT_OBJECT = 16;
export const NOT_ARRAY = 17;

/** What each reason means, for a person. */
export const REASON_SENTENCES: readonly string[] = [
  'the text ends before the value is complete',
  'the value is nested too deep',
  'the object names this member a second time',
  'a string holds a control character that is not escaped',
  'a backslash is followed by a character that JSON does not escape',
  '\\u is not followed by four hexadecimal digits',
  'a \\u escape names half of a surrogate pair without the other half',
  'a string holds bytes that are not UTF-8',
  'a number is not written as JSON writes numbers',
  'a number begins with a zero that is followed by another digit',
  'a value is expected here',
  'the text begins with a byte order mark',
  'a member name in double quotes is expected here',
  'a colon is expected after the member name',
  'a comma or the closing bracket is expected here',
  'something follows after the value',
  'an object is expected here',
  'an array is expected here',
];

const REASONS_MAX = 32;

/** A failure as one negative number: reason and offset. */
export function failure(offset: number, reason: number): number {
  return -(offset * REASONS_MAX + reason) - 1;
}

export function failureReason(failed: number): number {
  return (-failed - 1) % REASONS_MAX;
}

export function failureOffset(failed: number): number {
  return Math.floor((-failed - 1) / REASONS_MAX);
}

/** 1 for a byte that stands for itself in a string: ASCII from U+0020, without quote and backslash. */
const PLAIN = tableOf((byte) => byte >= 0x20 && byte < 0x80 && byte !== 0x22 && byte !== 0x5c);

/** White space of RFC 8259. */
export const WHITE_SPACE = tableOf(
  (byte) => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d,
);

/** White space of a body that stands verbatim in a leaf: nothing below 0x20. */
export const SPACE_ONLY = tableOf((byte) => byte === 0x20);

function tableOf(claim: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (claim(byte) ? 1 : 0));
}

export function skipSpace(bytes: Uint8Array, start: number, end: number, space: Uint8Array): number {
  let i = start;
  while (i < end && space[bytes[i]!] === 1) i++;
  return i;
}

/** Scans a string; `start` is just past its opening quote. */
export function scanString(bytes: Uint8Array, start: number, end: number, loneSurrogates: boolean): number {
  let i = start;
  for (;;) {
    while (i + 4 <= end) {
      if ((PLAIN[bytes[i]!]! & PLAIN[bytes[i + 1]!]! & PLAIN[bytes[i + 2]!]! & PLAIN[bytes[i + 3]!]!) === 0)
        break;
      i += 4;
    }
    while (i < end && PLAIN[bytes[i]!] === 1) i++;
    if (i >= end) return failure(end, ENDS);
    const byte = bytes[i]!;
    if (byte === 0x22) return i + 1;
    if (byte === 0x5c) i = scanEscape(bytes, i, end, loneSurrogates);
    else if (byte >= 0x80) i = scanMultiByte(bytes, i, end);
    else return failure(i, CONTROL);
    if (i < 0) return i;
  }
}

/** Scans one escape (both halves of a surrogate pair); `start` is its backslash. */
function scanEscape(bytes: Uint8Array, start: number, end: number, loneSurrogates: boolean): number {
  if (start + 1 >= end) return failure(end, ENDS);
  switch (bytes[start + 1]) {
    case 0x22: // "
    case 0x2f: // /
    case 0x5c: // \
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return start + 2;
    case 0x75: // u
      break;
    default:
      return failure(start, ESCAPE);
  }
  const unit = hexUnit(bytes, start + 2, end);
  if (unit < 0) return unit;
  if (loneSurrogates || unit < 0xd800 || unit > 0xdfff) return start + 6;
  if (unit >= 0xdc00) return failure(start, SURROGATE);
  return scanLowSurrogate(bytes, start, end);
}

/** The second half of a pair whose first half is escaped at `start`. */
function scanLowSurrogate(bytes: Uint8Array, start: number, end: number): number {
  const second = start + 6;
  if (second >= end) return failure(end, ENDS);
  if (bytes[second] !== 0x5c) return failure(start, SURROGATE);
  if (second + 1 >= end) return failure(end, ENDS);
  if (bytes[second + 1] !== 0x75) return failure(start, SURROGATE);
  const unit = hexUnit(bytes, second + 2, end);
  if (unit < 0) return unit;
  return unit >= 0xdc00 && unit <= 0xdfff ? second + 6 : failure(start, SURROGATE);
}

function hexUnit(bytes: Uint8Array, start: number, end: number): number {
  let unit = 0;
  for (let i = start; i < start + 4; i++) {
    if (i >= end) return failure(end, ENDS);
    const byte = bytes[i]!;
    const letter = byte | 0x20;
    if (byte >= 0x30 && byte <= 0x39) unit = unit * 16 + byte - 0x30;
    else if (letter >= 0x61 && letter <= 0x66) unit = unit * 16 + letter - 0x57;
    else return failure(start - 2, HEX);
  }
  return unit;
}

/**
 * Scans one code point of two to four bytes. The bounds of the second byte shut out overlong forms, surrogates and
 * everything past U+10FFFF (The Unicode Standard, table 3-7).
 */
function scanMultiByte(bytes: Uint8Array, start: number, end: number): number {
  const lead = bytes[start]!;
  let low = 0x80;
  let high = 0xbf;
  let length = 2;
  if (lead >= 0xc2 && lead <= 0xdf) length = 2;
  else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead === 0xe0) low = 0xa0;
    if (lead === 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead === 0xf0) low = 0x90;
    if (lead === 0xf4) high = 0x8f;
  } else return failure(start, UTF8);
  for (let i = start + 1; i < start + length; i++) {
    if (i >= end) return failure(end, ENDS);
    const byte = bytes[i]!;
    if (byte < low || byte > high) return failure(start, UTF8);
    low = 0x80;
    high = 0xbf;
  }
  return start + length;
}

/** Scans a number or a literal. */
export function scanScalar(bytes: Uint8Array, start: number, end: number): number {
  const byte = bytes[start]!;
  if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) return scanNumber(bytes, start, end);
  if (byte === 0x74) return scanLiteral(bytes, start, end, TRUE);
  if (byte === 0x66) return scanLiteral(bytes, start, end, FALSE);
  if (byte === 0x6e) return scanLiteral(bytes, start, end, NULL);
  if (byte === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) return failure(start, BOM);
  return failure(start, VALUE);
}

const TRUE = Uint8Array.of(0x74, 0x72, 0x75, 0x65);
const FALSE = Uint8Array.of(0x66, 0x61, 0x6c, 0x73, 0x65);
const NULL = Uint8Array.of(0x6e, 0x75, 0x6c, 0x6c);

function scanLiteral(bytes: Uint8Array, start: number, end: number, literal: Uint8Array): number {
  for (let i = 0; i < literal.length; i++) {
    if (start + i >= end) return failure(end, ENDS);
    if (bytes[start + i] !== literal[i]) return failure(start, VALUE);
  }
  return start + literal.length;
}

function scanNumber(bytes: Uint8Array, start: number, end: number): number {
  let i = bytes[start] === 0x2d ? start + 1 : start;
  if (i >= end) return failure(end, ENDS);
  if (bytes[i] === 0x30) {
    i++;
    if (i < end && isDigit(bytes[i]!)) return failure(start, LEADING_ZERO);
  } else {
    i = scanDigits(bytes, i, end, start);
    if (i < 0) return i;
  }
  if (i < end && bytes[i] === 0x2e) {
    i = scanDigits(bytes, i + 1, end, start);
    if (i < 0) return i;
  }
  if (i < end && (bytes[i]! | 0x20) === 0x65) {
    i++;
    if (i < end && (bytes[i] === 0x2b || bytes[i] === 0x2d)) i++;
    i = scanDigits(bytes, i, end, start);
  }
  return i;
}

/** At least one digit. */
function scanDigits(bytes: Uint8Array, start: number, end: number, number: number): number {
  let i = start;
  while (i < end && isDigit(bytes[i]!)) i++;
  if (i > start) return i;
  return i >= end ? failure(end, ENDS) : failure(number, NUMBER);
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
