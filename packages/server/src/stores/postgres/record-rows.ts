/**
 * Records out of PostgreSQL as `COPY … TO STDOUT (FORMAT binary)`, without an object per row.
 *
 * The stream: 11 bytes signature, int32 flags, int32 length of an extension, then rows of int16 field count and
 * per field int32 length (-1 for null) and bytes, then int16 -1. Rows are cut from the chunks as they come;
 * only a row that straddles two chunks is copied.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { BODY_FORMS, type BodyForm, type LeafSource } from '@evident/core/leaf.ts';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';

/** The columns, in the order in which `parseRow` expects them. */
const COLUMNS = [
  'position',
  'appended_at',
  'id',
  'tenant',
  'source',
  'source_seq',
  'type',
  'schema',
  'key',
  'meta',
  'body_form',
  'body',
  'body_sha256',
  'body_size',
] as const;

/** Microseconds between the epochs of Unix (1970) and PostgreSQL (2000). */
const POSTGRES_EPOCH_US = 946_684_800_000_000;
const SIGNATURE_BYTES = 19;
/** A row can't be longer than this: the largest inline body, and the bounded text fields beside it, doubled. */
const ROW_BYTES_MAX = 64 * 1024 * 1024;

/** Query for the rows of one tree in `[from, to)`. The numbers are checked; COPY takes no parameters. */
export function rowsQuery(tree: number, from: bigint, to: bigint, limit: number): string {
  if (!Number.isSafeInteger(tree) || !Number.isSafeInteger(limit))
    throw new RangeError('tree and limit are integers');
  return `COPY (SELECT ${COLUMNS.join(', ')} FROM evident.records WHERE tree = ${tree} AND position >= ${from} AND position < ${to} ORDER BY position LIMIT ${limit}) TO STDOUT (FORMAT binary)`;
}

function readInt8(view: DataView, at: number): number {
  return view.getInt32(at) * 4294967296 + view.getUint32(at + 4);
}

const malformed = (what: string): EvidentError =>
  new EvidentError('log-unavailable', `PostgreSQL sent a row with ${what}`);

/**
 * Parses one row at `at` into `row`. Returns the offset behind it, or -1 when the chunk ends before the row does.
 */
function parseRow(bytes: Uint8Array, view: DataView, start: number, row: LeafSource): number {
  const size = bytes.length;
  if (start + 2 > size) return -1;
  if (view.getInt16(start) !== COLUMNS.length) throw malformed('another number of fields');
  let at = start + 2;
  // Offsets and lengths of the fields, in column order; `lengths` and `places` are reused from row to row.
  for (let field = 0; field < COLUMNS.length; field++) {
    if (at + 4 > size) return -1;
    const length = view.getInt32(at);
    at += 4;
    places[field] = at;
    lengths[field] = length;
    if (length > 0) at += length;
    if (at > size) return -1;
  }
  row.bytes = bytes;
  row.position = readInt8(view, places[0]);
  row.appendedAt = readInt8(view, places[1]) + POSTGRES_EPOCH_US;
  row.idAt = places[2];
  row.tenantAt = places[3];
  row.tenantLength = lengths[3];
  row.sourceAt = places[4];
  row.sourceLength = lengths[4];
  row.sourceSeqAt = places[5];
  row.sourceSeqLength = lengths[5];
  row.typeAt = places[6];
  row.typeLength = lengths[6];
  row.schema = view.getInt32(places[7]);
  row.keyAt = places[8];
  row.keyLength = lengths[8];
  row.metaAt = places[9];
  row.metaLength = lengths[9];
  row.form = view.getInt16(places[10]) as BodyForm;
  const body = row.form === BODY_FORMS.object ? 12 : 11;
  row.bodyAt = places[body];
  row.bodyLength = Math.max(0, lengths[body]);
  row.bodySize = lengths[13] === 8 ? readInt8(view, places[13]) : 0;
  return at;
}

const places = new Int32Array(COLUMNS.length);
const lengths = new Int32Array(COLUMNS.length);

export function emptyRow(): LeafSource {
  return {
    bytes: new Uint8Array(0),
    position: 0,
    appendedAt: 0,
    idAt: 0,
    tenantAt: 0,
    tenantLength: 0,
    sourceAt: 0,
    sourceLength: 0,
    sourceSeqAt: 0,
    sourceSeqLength: -1,
    typeAt: 0,
    typeLength: 0,
    schema: 0,
    keyAt: 0,
    keyLength: 0,
    metaAt: 0,
    metaLength: -1,
    form: BODY_FORMS.json,
    bodyAt: 0,
    bodyLength: 0,
    bodySize: 0,
  };
}

/**
 * Streams rows to `onRow`, in order. The row object is one and the same for all calls, and its bytes are only
 * valid during the call.
 */
export async function copyRows(
  client: pg.ClientBase,
  query: string,
  onRow: (row: LeafSource) => void,
): Promise<void> {
  const stream = client.query(copyTo(query));
  const row = emptyRow();
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
    at = takeRows(bytes, view, at, row, onRow);
    rest = at < bytes.length ? bytes.subarray(at) : null;
    if (rest !== null && rest.length > ROW_BYTES_MAX) throw malformed(`more than ${ROW_BYTES_MAX} bytes`);
  }
  if (rest !== null) throw malformed('fewer bytes than it says');
}

function takeRows(
  bytes: Buffer,
  view: DataView,
  start: number,
  row: LeafSource,
  onRow: (row: LeafSource) => void,
): number {
  let at = start;
  while (at + 2 <= bytes.length) {
    if (view.getInt16(at) === -1) return at + 2;
    const end = parseRow(bytes, view, at, row);
    if (end < 0) return at;
    onRow(row);
    at = end;
  }
  return at;
}
