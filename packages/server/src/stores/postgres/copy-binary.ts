/**
 * Rows out of PostgreSQL as `COPY … TO STDOUT (FORMAT binary)`, without an object per row.
 *
 * The stream: 11 bytes signature, int32 flags, int32 length of an extension, then rows of int16 field count and
 * per field int32 length (-1 for null) and bytes, then int16 -1. Rows are cut from the chunks as they come;
 * only a row that straddles two chunks is copied.
 */

import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';

/** Microseconds between the epochs of Unix (1970) and PostgreSQL (2000). */
export const POSTGRES_EPOCH_US = 946_684_800_000_000;
const SIGNATURE_BYTES = 19;
/** A row can't be longer than this: the largest inline body, and the bounded text fields beside it, doubled. */
const ROW_BYTES_MAX = 64 * 1024 * 1024;

const malformed = (what: string): EvidentError =>
  new EvidentError('log-unavailable', `PostgreSQL sent a row with ${what}`);

/** Where the fields of the row at hand lie; reused from row to row. */
export interface FieldPlaces {
  readonly places: Int32Array;
  readonly lengths: Int32Array;
}

export function fieldPlaces(count: number): FieldPlaces {
  return { places: new Int32Array(count), lengths: new Int32Array(count) };
}

export function readInt8(view: DataView, at: number): number {
  return view.getInt32(at) * 4294967296 + view.getUint32(at + 4);
}

/** Finds the fields of the row at `start`. Returns the offset behind it, or -1 when the chunk ends before the row does. */
function findFields(bytes: Uint8Array, view: DataView, start: number, fields: FieldPlaces): number {
  const { places, lengths } = fields;
  const size = bytes.length;
  if (start + 2 > size) return -1;
  if (view.getInt16(start) !== places.length) throw malformed('another number of fields');
  let at = start + 2;
  for (let field = 0; field < places.length; field++) {
    if (at + 4 > size) return -1;
    const length = view.getInt32(at);
    at += 4;
    places[field] = at;
    lengths[field] = length;
    if (length > 0) at += length;
    if (at > size) return -1;
  }
  return at;
}

/** Streams rows to `onRow`, in order: the bytes hold the fields at the places, and are valid during the call only. */
export async function copyBinary(
  client: pg.ClientBase,
  query: string,
  fields: FieldPlaces,
  onRow: (bytes: Buffer, view: DataView) => void,
): Promise<void> {
  const stream = client.query(copyTo(query));
  let rest: Buffer | null = null;
  let begun = false;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const bytes: Buffer = rest === null ? chunk : Buffer.concat([rest, chunk]);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    if (!begun) {
      if (bytes.length < SIGNATURE_BYTES) {
        rest = bytes;
        continue;
      }
      at = SIGNATURE_BYTES;
      begun = true;
    }
    at = takeRows(bytes, view, at, fields, onRow);
    rest = at < bytes.length ? bytes.subarray(at) : null;
    if (rest !== null && rest.length > ROW_BYTES_MAX) throw malformed(`more than ${ROW_BYTES_MAX} bytes`);
  }
  if (rest !== null) throw malformed('fewer bytes than it says');
}

function takeRows(
  bytes: Buffer,
  view: DataView,
  start: number,
  fields: FieldPlaces,
  onRow: (bytes: Buffer, view: DataView) => void,
): number {
  let at = start;
  while (at + 2 <= bytes.length) {
    if (view.getInt16(at) === -1) return at + 2;
    const end = findFields(bytes, view, at, fields);
    if (end < 0) return at;
    onRow(bytes, view);
    at = end;
  }
  return at;
}
