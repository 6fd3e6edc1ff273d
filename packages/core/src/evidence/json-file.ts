/**
 * The JSON files of a bundle: one line, `JSON.stringify` and LF, with the members in one order. A file is what
 * writing its value again gives, byte for byte: so no member is unknown, doubled or out of its place, and no value
 * has a second spelling.
 */
import { decodeUtf8, encodeUtf8, equalBytes } from '../bytes.ts';
import { parseDecimal } from '../checkpoint.ts';
import { isStrictJson } from '../json/scan.ts';
import { accept, type Parsed, refuse } from '../parsed.ts';

/** Largest JSON file of a bundle that is read: a manifest has about 200 bytes a file. */
export const JSON_FILE_BYTES_MAX = 448 * 1024 * 1024;
/** Most values in one: a manifest has four for each of 2,000,000 files. JSON.parse takes about 100 bytes for each. */
export const JSON_FILE_VALUES_MAX = 12_000_000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;

/** Thrown inside of `readJsonFile` only: what is wrong with a value, in words. */
class Unreadable extends Error {}

export function formatJsonFile(value: unknown): Uint8Array {
  return encodeUtf8(`${JSON.stringify(value)}\n`);
}

/**
 * Reads a JSON file strictly.
 * @param read makes the value of what JSON.parse gave, with the readers below
 * @param write gives back what `formatJsonFile` takes
 */
export function readJsonFile<T>(
  bytes: Uint8Array,
  name: string,
  read: (json: unknown) => T,
  write: (value: T) => unknown,
): Parsed<T> {
  return readJson(bytes, name, read, (value) => formatJsonFile(write(value)));
}

/** As `readJsonFile`, for the JSON body of a record: without LF. */
export function readJsonBody<T>(
  bytes: Uint8Array,
  name: string,
  read: (json: unknown) => T,
  write: (value: T) => unknown,
): Parsed<T> {
  return readJson(bytes, name, read, (value) => encodeUtf8(JSON.stringify(write(value))));
}

function readJson<T>(
  bytes: Uint8Array,
  name: string,
  read: (json: unknown) => T,
  format: (value: T) => Uint8Array,
): Parsed<T> {
  if (bytes.length > JSON_FILE_BYTES_MAX) {
    return refuse(`${name} is larger than ${JSON_FILE_BYTES_MAX} bytes`);
  }
  // Strict UTF-8, bounded nesting, not more values than memory has room for: JSON.parse sees nothing else.
  const text = isStrictJson(bytes) ? decodeUtf8(bytes) : null;
  if (text === null) return refuse(`${name} is not JSON`);
  if (hasMoreValues(bytes, JSON_FILE_VALUES_MAX)) {
    return refuse(`${name} holds over ${JSON_FILE_VALUES_MAX} values`);
  }
  try {
    const value = read(JSON.parse(text));
    return equalBytes(format(value), bytes)
      ? accept(value)
      : refuse(`${name} is not spelled as Evident spells it: a member is unknown, doubled or out of place`);
  } catch (error) {
    if (error instanceof Unreadable) return refuse(`${name}: ${error.message}`);
    throw error;
  }
}

/** Counts commas and opening brackets outside of strings, in bytes that are strict JSON. */
function hasMoreValues(bytes: Uint8Array, max: number): boolean {
  let count = 0;
  let isInString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) isInString = !isInString;
    else if (isInString) {
      if (byte === BACKSLASH) i++;
    } else if (byte === COMMA || byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (++count > max) return true;
    }
  }
  return false;
}

export function readMembers(json: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new Unreadable(`${what} is no object`);
  }
  return json as Readonly<Record<string, unknown>>;
}

export function readList<T>(json: unknown, what: string, max: number, item: (json: unknown) => T): T[] {
  if (!Array.isArray(json)) throw new Unreadable(`${what} is no array`);
  if (json.length > max) throw new Unreadable(`${what} has over ${max} elements`);
  return json.map(item);
}

export function readText(json: unknown, what: string, pattern: RegExp, lengthMax: number): string {
  if (typeof json !== 'string' || json.length > lengthMax || !pattern.test(json) || !json.isWellFormed()) {
    throw new Unreadable(`${what} has a value that it cannot have`);
  }
  return json;
}

/** A size or position: a decimal string. */
export function readDecimal(json: unknown, what: string): bigint {
  const value = typeof json === 'string' ? parseDecimal(json) : null;
  if (value === null) throw new Unreadable(`${what} is no decimal number from 0 to 2^63-1, as a string`);
  return value;
}

export function readCount(json: unknown, what: string, max: number): number {
  if (!Number.isInteger(json) || (json as number) < 0 || (json as number) > max || Object.is(json, -0)) {
    throw new Unreadable(`${what} is no whole number up to ${max}`);
  }
  return json as number;
}

export function readOneOf<const T extends string>(json: unknown, what: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === json);
  if (found === undefined) throw new Unreadable(`${what} is none of ${allowed.join(', ')}`);
  return found;
}

export function unreadable(reason: string): never {
  throw new Unreadable(reason);
}
