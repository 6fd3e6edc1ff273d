/** Rows of valid records that nobody described: their time, if a well-known name holds one, and nothing else. */

import { guessedMicros, TIME_NAMES } from './event-time.ts';
import { parseJson } from './read-json.ts';
import { EMPTY_ROW, type EventRow } from './row.ts';
import { isObject } from './row-text.ts';

/** A larger body of a type that nobody described is not parsed for a time that may not be in it. */
const PARSED_BYTES_MAX = 1024 * 1024;

/** The row of a record of any type, whatever its body is. Never throws. */
export function unmappedRow(body: Uint8Array): EventRow {
  // Most bodies that are no JSON object say so by their first byte.
  if (body[0] !== 0x7b || body.length > PARSED_BYTES_MAX) return EMPTY_ROW;
  return unmappedRowOfJson(parseJson(body));
}

export function unmappedRowOfJson(value: unknown): EventRow {
  if (!isObject(value)) return EMPTY_ROW;
  const lookUp = (name: string): unknown => (Object.hasOwn(value, name) ? value[name] : undefined);
  return { ...EMPTY_ROW, eventTime: firstTime(lookUp) };
}

export function unmappedRowOfCsv(columns: readonly string[], fields: readonly string[]): EventRow {
  const lookUp = (name: string): unknown => fields[columns.indexOf(name)];
  return { ...EMPTY_ROW, eventTime: firstTime(lookUp) };
}

function firstTime(lookUp: (name: string) => unknown): bigint | null {
  for (const name of TIME_NAMES) {
    const time = guessedMicros(lookUp(name));
    if (time !== null) return time;
  }
  return null;
}
