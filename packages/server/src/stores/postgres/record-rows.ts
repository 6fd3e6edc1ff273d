/** Records out of the log's table, without an object per row. */

import { BODY_FORMS, type BodyForm, type LeafSource } from '@evident/core/leaf.ts';
import type pg from 'pg';
import { copyBinary, type FieldPlaces, fieldPlaces, POSTGRES_EPOCH_US, readInt8 } from './copy-binary.ts';

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

/** Query for the rows of one tree in `[from, to)`. The numbers are checked; COPY takes no parameters. */
export function rowsQuery(tree: number, from: bigint, to: bigint, limit: number): string {
  if (!Number.isSafeInteger(tree) || !Number.isSafeInteger(limit))
    throw new RangeError('tree and limit are integers');
  return `COPY (SELECT ${COLUMNS.join(', ')} FROM evident.records WHERE tree = ${tree} AND position >= ${from} AND position < ${to} ORDER BY position LIMIT ${limit}) TO STDOUT (FORMAT binary)`;
}

/** Query for the rows of one tree at these positions, in their order. */
export function placedRowsQuery(tree: number, positions: Float64Array): string {
  if (!Number.isSafeInteger(tree) || !positions.every(Number.isSafeInteger))
    throw new RangeError('tree and positions are integers');
  // OFFSET 0: one look into the primary key a place, whatever the planner thinks of the array.
  return `COPY (SELECT ${COLUMNS.map((column) => `r.${column}`).join(', ')} FROM unnest('{${positions.join(',')}}'::bigint[]) WITH ORDINALITY s(place, number)
    CROSS JOIN LATERAL (SELECT * FROM evident.records x WHERE x.tree = ${tree} AND x.position = s.place OFFSET 0) r ORDER BY s.number) TO STDOUT (FORMAT binary)`;
}

const FIELDS = fieldPlaces(COLUMNS.length);

/** With the tree behind them, for rows of several. */
const FIELDS_AND_TREE = fieldPlaces(COLUMNS.length + 1);

/**
 * Query for rows of several trees in one go, tree by tree, each from its own position on.
 *
 * @param span positions that are looked at; null: all. Without it PostgreSQL, which knows little of a table that grows,
 *   fetches and sorts all that follows to give the first rows (98 ms instead of 2 for 1,000 of 40,000 rows, 2026-11-21)
 */
export function treeRowsQuery(
  from: readonly { readonly tree: number; readonly position: bigint }[],
  limit: number,
  span: number | null,
): string {
  if (!Number.isSafeInteger(limit)) throw new RangeError('limit is an integer');
  const parts = from.map(({ tree, position }) => {
    if (!Number.isSafeInteger(tree)) throw new RangeError('a tree is an integer');
    const end = span === null ? '' : ` AND position < ${position + BigInt(span)}`;
    return `(SELECT ${COLUMNS.join(', ')}, tree FROM evident.records WHERE tree = ${tree} AND position >= ${position}${end} ORDER BY position LIMIT ${limit})`;
  });
  return `COPY (${parts.join(' UNION ALL ')}) TO STDOUT (FORMAT binary)`;
}

/** Where the fields of `row` lie. */
function placeRow(bytes: Uint8Array, view: DataView, row: LeafSource, fields: FieldPlaces): void {
  const { places, lengths } = fields;
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
}

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
  const row = emptyRow();
  await copyBinary(client, query, FIELDS, (bytes, view) => {
    placeRow(bytes, view, row, FIELDS);
    onRow(row);
  });
}

/** As `copyRows`, for a query of `treeRowsQuery`. */
export async function copyTreeRows(
  client: pg.ClientBase,
  query: string,
  onRow: (tree: number, row: LeafSource) => void,
): Promise<void> {
  const row = emptyRow();
  const tree = FIELDS_AND_TREE.places;
  await copyBinary(client, query, FIELDS_AND_TREE, (bytes, view) => {
    placeRow(bytes, view, row, FIELDS_AND_TREE);
    onRow(view.getInt32(tree[COLUMNS.length]), row);
  });
}
