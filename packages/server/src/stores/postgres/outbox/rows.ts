/** Rows of the outbox by COPY in binary: what the relay reads most. */

import { formatUuid } from '@evident/core/derived-id.ts';
import type pg from 'pg';
import type { OutboxRow, ReadBounds, RowPlace, SweepBounds } from '../../../relay/ports.ts';
import { copyBinary, fieldPlaces } from '../copy-binary.ts';

const COLUMNS = 'slot, xid, id, event_id, tenant, type, key, schema, meta, body';

/** Numbers are checked bigints: COPY takes no parameters. */
function placeText({ xid, id }: RowPlace): string {
  return `('${xid}'::xid8, ${id})`;
}

/**
 * The first rows of a condition in (xid, id) order, as many as the bounds take, one at least. The sum runs over
 * lengths alone: a long body is fetched only if it is answered.
 */
function rowsQuery(table: string, condition: string, { rowsMax, bytesMax }: ReadBounds): string {
  return `COPY (SELECT ${COLUMNS} FROM (
      SELECT ${COLUMNS}, sum(octet_length(body)) OVER (ORDER BY xid, id ROWS UNBOUNDED PRECEDING) - octet_length(body) AS before
        FROM (SELECT ${COLUMNS} FROM ${table} WHERE ${condition} ORDER BY xid, id LIMIT ${rowsMax}) found
    ) counted WHERE before < ${bytesMax} ORDER BY xid, id) TO STDOUT (FORMAT binary)`;
}

const EVENTS = 'evident_outbox.events';

/** `pg_snapshot_xmin` is of the snapshot that the statement itself reads by: what is below it can't grow any more. */
export function settledRows(after: RowPlace, bounds: ReadBounds): string {
  const condition = `(xid, id) > ${placeText(after)} AND xid < pg_snapshot_xmin(pg_current_snapshot())`;
  return rowsQuery(EVENTS, condition, bounds);
}

/** What lies in the future is asked now: of a transaction begun since the sweep's bound it would be a guess. */
export function sweptRows(after: RowPlace, { through, horizon }: SweepBounds, bounds: ReadBounds): string {
  const condition = `(xid, id) > ${placeText(after)} AND (xid, id) <= ${placeText(through)} AND (xid < '${horizon}' OR xid >= pg_snapshot_xmax(pg_current_snapshot()))`;
  return rowsQuery(EVENTS, condition, bounds);
}

/** Everything that the snapshot of the transaction shows. */
export function visibleRows(after: RowPlace, bounds: ReadBounds): string {
  return rowsQuery(EVENTS, `(xid, id) > ${placeText(after)}`, bounds);
}

export function restoredRows(slot: number, after: RowPlace, bounds: ReadBounds): string {
  const condition = `slot = ${Math.trunc(slot)} AND (xid, id) > ${placeText(after)} AND xid >= pg_snapshot_xmax(pg_current_snapshot())`;
  return rowsQuery(EVENTS, condition, bounds);
}

export function oneRow(place: RowPlace): string {
  return rowsQuery(EVENTS, `(xid, id) = ${placeText(place)}`, { rowsMax: 1, bytesMax: 1 });
}

const FIELDS = fieldPlaces(10);
const utf8 = new TextDecoder();

function rowOf(bytes: Buffer, view: DataView): OutboxRow {
  const { places, lengths } = FIELDS;
  const text = (field: number): string =>
    utf8.decode(bytes.subarray(places[field], places[field] + lengths[field]));
  return {
    slot: view.getInt16(places[0]),
    xid: view.getBigUint64(places[1]),
    id: view.getBigInt64(places[2]),
    eventId: formatUuid(bytes, places[3]),
    tenant: text(4),
    type: text(5),
    key: text(6),
    schema: view.getInt32(places[7]),
    meta: lengths[8] < 0 ? null : text(8),
    // A Buffer's slice is a view of memory that the next chunk overwrites: copy.
    body: new Uint8Array(bytes.subarray(places[9], places[9] + lengths[9])),
  };
}

export async function readOutboxRows(client: pg.ClientBase, query: string): Promise<OutboxRow[]> {
  const rows: OutboxRow[] = [];
  await copyBinary(client, query, FIELDS, (bytes, view) => {
    rows.push(rowOf(bytes, view));
  });
  return rows;
}
