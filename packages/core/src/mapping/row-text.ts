/** Makes what a source wrote into what a row may hold. */

import { ROW_TEXT_BYTES_MAX } from './row.ts';

/** UTF-8 needs at most three bytes per UTF-16 unit: shorter texts need no count. */
const UNITS_SURE = Math.floor(ROW_TEXT_BYTES_MAX / 3);

/**
 * A string as rows hold it, or null for an empty one and for everything that is no string. U+0000, which PostgreSQL
 * doesn't take, and halves of surrogate pairs become U+FFFD, so that the place where they stood is seen; what is over
 * ROW_TEXT_BYTES_MAX is cut before the code point that crosses it. Whoever compares with rows sends his text through
 * here as well.
 */
export function rowText(value: unknown): string | null {
  if (typeof value !== 'string' || value === '') return null;
  // Cut first: a text of 16 MiB is not looked through for what its first bytes decide.
  const short = value.length <= UNITS_SURE ? value : value.slice(0, ROW_TEXT_BYTES_MAX + 1);
  const sound = short.isWellFormed() ? short : short.toWellFormed();
  const text = sound.includes('\0') ? sound.replaceAll('\0', '\ufffd') : sound;
  return text.length <= UNITS_SURE ? text : cutToBytes(text, ROW_TEXT_BYTES_MAX);
}

/** As `rowText`, for identifiers, which some sources write as numbers. */
export function rowId(value: unknown): string | null {
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : null;
  return rowText(value);
}

/** The longest beginning of a well-formed text whose UTF-8 form has at most so many bytes; no code point is cut. */
function cutToBytes(text: string, bytesMax: number): string {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    const isPair = unit >= 0xd800 && unit <= 0xdbff;
    bytes += unit < 0x80 ? 1 : unit < 0x800 ? 2 : isPair ? 4 : 3;
    if (bytes > bytesMax) return text.slice(0, i);
    if (isPair) i++;
  }
  return text;
}

/** What `rowOf` of every mapper may assume nothing about. */
export type JsonObject = Readonly<Record<string, unknown>>;

const EMPTY: JsonObject = Object.freeze({});

/** The value if it is an object, else an object without members: reading on gives `undefined`, which is no text. */
export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : EMPTY;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The first elements of an array; of anything else, none. */
export function elementsOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) return [];
  return value.length <= ELEMENTS_MAX ? value : value.slice(0, ELEMENTS_MAX);
}

/** Elements of a list that a mapper looks at: what comes later can't be the first that fits in any real event. */
const ELEMENTS_MAX = 64;
