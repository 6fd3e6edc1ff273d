/** Reads the body of a record as JSON, and says where a record stands that can't be read. */

import { decodeUtf8 } from '../bytes.ts';
import { isEvidentError } from '../errors.ts';
import { scanDocument } from '../json/scan.ts';
import type { LogRecord } from '../record.ts';
import { MappingError } from './row.ts';
import { isObject, type JsonObject, objectOf, rowText } from './row-text.ts';

/**
 * Deepest nesting that is read. A body of twice as many bytes can't be deeper, so that only larger ones are scanned:
 * JSON.parse keeps some sixty bytes for each bracket that is open, which 16 MiB of brackets would make a gigabyte.
 */
const DEPTH_MAX = 32_768;

/** The JSON value, or undefined where the bytes hold none. */
export function parseJson(body: Uint8Array): unknown {
  if (body.length > 2 * DEPTH_MAX && deepFault(body) !== null) return undefined;
  const text = decodeUtf8(body);
  if (text === null) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function deepFault(body: Uint8Array): string | null {
  try {
    scanDocument(body, 0, body.length, { depthMax: DEPTH_MAX, loneSurrogates: 'keep' });
    return null;
  } catch (error) {
    if (!isEvidentError(error)) throw error;
    return `byte ${error.context.offset}: ${error.context.reason}`;
  }
}

/** @throws MappingError when the body is not JSON */
export function readJson(record: LogRecord, body: Uint8Array): unknown {
  const value = parseJson(body);
  if (value === undefined)
    throw mappingError(record, `it is not JSON: ${deepFault(body) ?? 'it is not UTF-8'}`);
  return value;
}

/** @throws MappingError when the body is not a JSON object */
export function readObject(record: LogRecord, body: Uint8Array): JsonObject {
  const value = readJson(record, body);
  if (!isObject(value)) throw mappingError(record, `it is ${kindOf(value)}, and an object is expected`);
  return value;
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

/** A MappingError that says where the record came from, `line 8899 of access.log: …`, as far as it is known. */
export function mappingError(record: LogRecord, reason: string): MappingError {
  const message = `${placeOf(record)}${reason}`;
  // The reason may quote a member's name, which may hold anything.
  return new MappingError(rowText(message) ?? message);
}

function placeOf(record: LogRecord): string {
  const meta = metaOf(record);
  const unit = typeof meta.line === 'number' ? 'line' : typeof meta.element === 'number' ? 'element' : null;
  const file = typeof meta.file === 'string' ? ` of ${meta.file}` : '';
  if (unit !== null) return `${unit} ${meta[unit]}${file}: `;
  return record.sourceSeq === null ? '' : `${record.source} ${record.sourceSeq}: `;
}

/** The facts of capture of a record. */
export function metaOf(record: LogRecord): JsonObject {
  if (record.meta === null) return {};
  try {
    return objectOf(JSON.parse(record.meta));
  } catch {
    return {};
  }
}
