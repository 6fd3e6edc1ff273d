/**
 * A strict scanner for JSON (RFC 8259) over bytes: it says whether bytes are JSON and where the parts of a value
 * stand, and builds nothing. So the body of a record can be cut from a request byte for byte.
 *
 * Stricter than JSON.parse over decoded text: bytes inside strings are strict UTF-8 (no overlong form, no encoded
 * surrogate, nothing past U+10FFFF), no byte order mark, nesting is limited, and by option an object names no member
 * twice and no escape names half of a surrogate pair. Equal to it in everything else: a property test holds that.
 *
 * The nesting is kept in an explicit stack: no input can overflow the call stack.
 */

import { EvidentError } from '../errors.ts';
import { decodeName, MemberNames } from './member-names.ts';
import {
  COLON,
  COMMA_OR_BRACKET,
  DEEP,
  DUPLICATE,
  ENDS,
  failure,
  failureOffset,
  failureReason,
  NAME,
  NOT_ARRAY,
  NOT_OBJECT,
  REASON_SENTENCES,
  SPACE_ONLY,
  scanScalar,
  scanString,
  skipSpace,
  TRAILING,
  WHITE_SPACE,
} from './scan-tokens.ts';

/** How deep arrays and objects may nest unless a caller says otherwise; a scalar has depth 0, `[]` depth 1. */
export const JSON_DEPTH_MAX = 128;

export interface ScanOptions {
  /** Deepest nesting that is taken; default JSON_DEPTH_MAX. */
  depthMax?: number;
  /** Whether an object at any depth may name a member twice; default 'keep' (it may). */
  duplicates?: 'refuse' | 'keep';
  /** Whether a `\uD800` may stand without its other half, which RFC 8259 allows; default 'refuse'. */
  loneSurrogates?: 'refuse' | 'keep';
}

interface Rules {
  readonly depthMax: number;
  readonly loneSurrogates: boolean;
  readonly space: Uint8Array;
  readonly names: MemberNames | null;
}

const FOREIGN: Rules = { depthMax: JSON_DEPTH_MAX, loneSurrogates: true, space: WHITE_SPACE, names: null };
const FOREIGN_VERBATIM: Rules = { ...FOREIGN, space: SPACE_ONLY };

function rulesOf(options: ScanOptions): Rules {
  return {
    depthMax: options.depthMax ?? JSON_DEPTH_MAX,
    loneSurrogates: options.loneSurrogates === 'keep',
    space: WHITE_SPACE,
    names: options.duplicates === 'refuse' ? new MemberNames() : null,
  };
}

/**
 * Scans one value and the white space before it.
 *
 * @returns the offset just past the value; what follows is not looked at
 * @throws EvidentError `json-invalid`, `json-too-deep` or `json-duplicate-member`, with `context.offset`
 *   and, in words, `context.reason`
 */
export function scanValue(bytes: Uint8Array, start: number, end: number, options: ScanOptions = {}): number {
  const rules = rulesOf(options);
  return orThrow(scan(bytes, start, end, rules.depthMax, rules), bytes, rules);
}

/** Scans one value that fills the span, white space around it aside; throws as `scanValue` does. */
export function scanDocument(bytes: Uint8Array, start: number, end: number, options: ScanOptions = {}): void {
  const rules = rulesOf(options);
  orThrow(toTheEnd(bytes, scan(bytes, start, end, rules.depthMax, rules), end, rules), bytes, rules);
}

/** `valueEnd`: the bytes end inside the value; more of them may complete it. */
export const INCOMPLETE = -1;
/** `valueEnd`: no further bytes can make this a value. */
export const INVALID = -2;

/**
 * For readers of streams: the offset just past the value at `start`, or INCOMPLETE, or INVALID. Never throws. A
 * number that reaches `end` counts as complete. Duplicates and lone surrogates are kept, as in every foreign body.
 */
export function valueEnd(bytes: Uint8Array, start: number, end: number): number {
  const offset = scan(bytes, start, end, FOREIGN.depthMax, FOREIGN);
  if (offset >= 0) return offset;
  return failureReason(offset) === ENDS ? INCOMPLETE : INVALID;
}

/** Whether the bytes are one JSON value of RFC 8259 in strict UTF-8, not deeper than JSON_DEPTH_MAX. Never throws. */
export function isStrictJson(bytes: Uint8Array): boolean {
  const end = bytes.length;
  return toTheEnd(bytes, scan(bytes, 0, end, FOREIGN.depthMax, FOREIGN), end, FOREIGN) >= 0;
}

/**
 * How a body stands in its leaf (design §3): `json`, verbatim, if it is strict JSON without a byte below 0x20, and
 * else `base64`. Escapes of lone surrogates are legal JSON text and stay; a body deeper than JSON_DEPTH_MAX goes
 * to base64, because common parsers could not read its leaf.
 */
export function jsonBodyForm(bytes: Uint8Array): 'json' | 'base64' {
  const end = bytes.length;
  const scanned = scan(bytes, 0, end, FOREIGN.depthMax, FOREIGN_VERBATIM);
  return toTheEnd(bytes, scanned, end, FOREIGN_VERBATIM) >= 0 ? 'json' : 'base64';
}

/**
 * Walks the members of the object that fills the span, in their order, and scans everything in it.
 *
 * @param onMember gets the decoded name and the span of the value, without white space around it. Members before a
 *   fault have been reported when the walk throws: act on them only after it returns
 * @throws EvidentError as `scanValue`; also if the span holds something else than one object
 */
export function objectMembers(
  bytes: Uint8Array,
  start: number,
  end: number,
  onMember: (name: string, valueStart: number, valueEnd: number) => void,
  options: ScanOptions = {},
): void {
  const rules = rulesOf(options);
  orThrow(toTheEnd(bytes, walkObject(bytes, start, end, onMember, rules), end, rules), bytes, rules);
}

/** Walks the elements of the array that fills the span; as `objectMembers`. `index` counts from 0. */
export function arrayElements(
  bytes: Uint8Array,
  start: number,
  end: number,
  onElement: (elementStart: number, elementEnd: number, index: number) => void,
  options: ScanOptions = {},
): void {
  const rules = rulesOf(options);
  orThrow(toTheEnd(bytes, walkArray(bytes, start, end, onElement, rules), end, rules), bytes, rules);
}

function orThrow(scanned: number, bytes: Uint8Array, rules: Rules): number {
  if (scanned >= 0) return scanned;
  const offset = failureOffset(scanned);
  const reason = failureReason(scanned);
  const context = { offset, reason: REASON_SENTENCES[reason]! };
  if (reason === DEEP) {
    const detail = `The JSON is nested deeper than ${rules.depthMax} levels at byte ${offset}.`;
    throw new EvidentError('json-too-deep', detail, { context });
  }
  if (reason === DUPLICATE) {
    const name = decodeName(bytes, offset + 1, scanString(bytes, offset + 1, bytes.length, true) - 1);
    const shown = JSON.stringify(name.slice(0, 64).toWellFormed());
    const detail = `The object names the member ${shown} a second time at byte ${offset}.`;
    throw new EvidentError('json-duplicate-member', detail, { context });
  }
  throw new EvidentError('json-invalid', `Not JSON at byte ${offset}: ${context.reason}.`, {
    context,
  });
}

/** Passes a failure on; else only white space may follow `scanned`. */
function toTheEnd(bytes: Uint8Array, scanned: number, end: number, rules: Rules): number {
  if (scanned < 0) return scanned;
  const offset = skipSpace(bytes, scanned, end, rules.space);
  return offset === end ? end : failure(offset, TRAILING);
}

const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;
/** Both closing brackets stand two above their opening one in ASCII. */
const CLOSE = 2;

/** Scratch for the kinds of the open brackets. `scan` calls nothing of a caller, so only one scan uses it at a time. */
const KINDS = new Uint8Array(JSON_DEPTH_MAX);

/** Scans the white space at `start` and one value; the offset past it, or a failure. */
function scan(bytes: Uint8Array, start: number, end: number, depthMax: number, rules: Rules): number {
  const { loneSurrogates, space, names } = rules;
  let kinds = KINDS;
  let depth = 0;
  let i = start;
  for (;;) {
    // A value is expected.
    if (i < end && bytes[i]! <= 0x20) i = skipSpace(bytes, i, end, space);
    if (i >= end) return failure(end, ENDS);
    const byte = bytes[i]!;
    if (byte === 0x22) i = scanString(bytes, i + 1, end, loneSurrogates);
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (depth >= depthMax) return failure(i, DEEP);
      const first = skipSpace(bytes, i + 1, end, space);
      if (first < end && bytes[first] === byte + CLOSE) i = first + 1;
      else {
        if (depth === kinds.length) kinds = twiceAsLong(kinds);
        kinds[depth++] = byte;
        i = byte === OPEN_ARRAY ? first : scanFirstName(bytes, first, end, rules);
        if (i < 0) return i;
        continue;
      }
    } else i = scanScalar(bytes, i, end);
    if (i < 0) return i;
    // A value has ended: close what ends with it, up to a comma.
    for (;;) {
      if (depth === 0) return i;
      if (i < end && bytes[i]! <= 0x20) i = skipSpace(bytes, i, end, space);
      if (i >= end) return failure(end, ENDS);
      const next = bytes[i]!;
      const kind = kinds[depth - 1]!;
      if (next === 0x2c) {
        i = kind === OPEN_ARRAY ? i + 1 : scanName(bytes, i + 1, end, rules);
        if (i < 0) return i;
        break;
      }
      if (next !== kind + CLOSE) return failure(i, COMMA_OR_BRACKET);
      if (names !== null && kind === OPEN_OBJECT) names.close();
      depth--;
      i++;
    }
  }
}

function twiceAsLong(kinds: Uint8Array): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(kinds.length * 2);
  longer.set(kinds);
  return longer;
}

function scanFirstName(bytes: Uint8Array, start: number, end: number, rules: Rules): number {
  rules.names?.open();
  return scanName(bytes, start, end, rules);
}

/** Scans white space, a member name and its colon. */
function scanName(bytes: Uint8Array, start: number, end: number, rules: Rules): number {
  const quote = start < end && bytes[start] === 0x22 ? start : skipSpace(bytes, start, end, rules.space);
  if (quote >= end) return failure(end, ENDS);
  if (bytes[quote] !== 0x22) return failure(quote, NAME);
  const past = scanString(bytes, quote + 1, end, rules.loneSurrogates);
  if (past < 0) return past;
  if (rules.names !== null && !rules.names.add(bytes, quote + 1, past - 1)) return failure(quote, DUPLICATE);
  if (past < end && bytes[past] === 0x3a) return past + 1;
  const colon = skipSpace(bytes, past, end, rules.space);
  if (colon >= end) return failure(end, ENDS);
  return bytes[colon] === 0x3a ? colon + 1 : failure(colon, COLON);
}

/** The opening bracket of a walk; the offset of the first byte in it that is not white space. */
function enter(bytes: Uint8Array, start: number, end: number, bracket: number, rules: Rules): number {
  const open = skipSpace(bytes, start, end, rules.space);
  if (open >= end) return failure(end, ENDS);
  if (bytes[open] !== bracket) return failure(open, bracket === OPEN_OBJECT ? NOT_OBJECT : NOT_ARRAY);
  if (rules.depthMax < 1) return failure(open, DEEP);
  return skipSpace(bytes, open + 1, end, rules.space);
}

type OnMember = (name: string, valueStart: number, valueEnd: number) => void;

function walkObject(bytes: Uint8Array, start: number, end: number, onMember: OnMember, rules: Rules): number {
  let i = enter(bytes, start, end, OPEN_OBJECT, rules);
  if (i < 0) return i;
  if (i < end && bytes[i] === OPEN_OBJECT + CLOSE) return i + 1;
  rules.names?.open();
  for (;;) {
    const quote = skipSpace(bytes, i, end, rules.space);
    i = scanName(bytes, quote, end, rules);
    if (i < 0) return i;
    const name = decodeName(bytes, quote + 1, scanString(bytes, quote + 1, end, true) - 1);
    const value = skipSpace(bytes, i, end, rules.space);
    i = scan(bytes, value, end, rules.depthMax - 1, rules);
    if (i < 0) return i;
    onMember(name, value, i);
    i = skipSpace(bytes, i, end, rules.space);
    if (i >= end) return failure(end, ENDS);
    if (bytes[i] === OPEN_OBJECT + CLOSE) return i + 1;
    if (bytes[i] !== 0x2c) return failure(i, COMMA_OR_BRACKET);
    i++;
  }
}

type OnElement = (elementStart: number, elementEnd: number, index: number) => void;

function walkArray(
  bytes: Uint8Array,
  start: number,
  end: number,
  onElement: OnElement,
  rules: Rules,
): number {
  let i = enter(bytes, start, end, OPEN_ARRAY, rules);
  if (i < 0) return i;
  if (i < end && bytes[i] === OPEN_ARRAY + CLOSE) return i + 1;
  for (let index = 0; ; index++) {
    const value = skipSpace(bytes, i, end, rules.space);
    i = scan(bytes, value, end, rules.depthMax - 1, rules);
    if (i < 0) return i;
    onElement(value, i, index);
    i = skipSpace(bytes, i, end, rules.space);
    if (i >= end) return failure(end, ENDS);
    if (bytes[i] === OPEN_ARRAY + CLOSE) return i + 1;
    if (bytes[i] !== 0x2c) return failure(i, COMMA_OR_BRACKET);
    i++;
  }
}
