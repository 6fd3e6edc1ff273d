/** Single records of the log by place; many of them in a row are read with `record-rows.ts`. */

import type { Body, LogRecord } from '@evident/core/record.ts';
import { micros } from './event-rows.ts';

/** Columns in terms of the table `r`. */
export const RECORD_COLUMNS = `r.position, ${micros('r.appended_at')} AS appended_us, r.id, r.tenant, r.source, r.source_seq, r.type, r.schema, r.key, r.meta, r.body_form, r.body, r.body_sha256, r.body_size`;

export interface PlacedRow {
  /** Which of the places that were asked for, from 1. */
  number: number;
  position: string;
  appended_us: string;
  id: string;
  tenant: string;
  source: string;
  source_seq: string | null;
  type: string;
  schema: number;
  key: string;
  meta: string | null;
  body_form: number;
  body: Buffer | null;
  body_sha256: Buffer | null;
  body_size: string | null;
}

function bodyOf({ body_form, body, body_sha256, body_size }: PlacedRow): Body {
  if (body_form === 2) {
    return { form: 'object', sha256: new Uint8Array(body_sha256 ?? []), size: BigInt(body_size ?? 0) };
  }
  return { form: body_form === 0 ? 'json' : 'base64', bytes: new Uint8Array(body ?? []) };
}

export function recordOfRow(
  row: PlacedRow,
  place: { readonly log: string; readonly partition: number },
): LogRecord {
  return {
    ...place,
    position: BigInt(row.position),
    appendedAt: BigInt(row.appended_us),
    id: row.id,
    tenant: row.tenant,
    source: row.source,
    sourceSeq: row.source_seq,
    type: row.type,
    schema: row.schema,
    key: row.key,
    meta: row.meta,
    body: bodyOf(row),
  };
}
