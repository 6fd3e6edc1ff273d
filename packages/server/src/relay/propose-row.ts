/**
 * From a row of the outbox to the record that the log shall take. The relay never stops at a row: what may not be
 * written as it is becomes a record `relay.rejected` that holds the row and the reason.
 */

import { createHash } from 'node:crypto';
import { decodeUtf8, encodeUtf8, toBase64, toHex } from '@evident/core/bytes.ts';
import { derivedId } from '@evident/core/derived-id.ts';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { jsonBodyForm } from '@evident/core/json/scan.ts';
import {
  BODY_BYTES_MAX,
  checkKey,
  checkSchema,
  checkTenant,
  checkType,
  SYSTEM_SOURCE,
  SYSTEM_TENANT,
  serialiseMeta,
} from '@evident/core/record.ts';
import type { Proposal } from '../log/log.ts';
import { type ObjectStore, propose } from '../log/propose.ts';
import type { OutboxRow, Source } from './ports.ts';

export const REJECTED_TYPE = 'relay.rejected';
export const EPOCH_TYPE = 'relay.epoch';

/** Facts of capture repeat from row to row: texts that were checked and stand as they have to. */
const METAS_MAX = 1_024;
const knownMetas = new Set<string>();

/** Some texts of `meta` that are known to stand in their one form, the newest last. */
export function knownMetaTexts(most: number): string[] {
  return [...knownMetas].slice(-most);
}

/** What the row at a cursor is recognised by. */
export function hashRow(row: OutboxRow): string {
  const hash = createHash('sha256');
  for (const text of [row.eventId, row.tenant, row.type, row.key, row.meta ?? '']) hash.update(`${text}\n`);
  return hash.update(row.body).digest('hex');
}

/** @returns why a row can't be the record that it wants to be, or null */
export function faultOf(row: OutboxRow, source: Source): EvidentError | null {
  try {
    checkTenant(row.tenant);
    if (source.tenants !== null && !source.tenants.includes(row.tenant)) {
      throw new EvidentError(
        'tenant-forbidden',
        `tenant: the source ${source.name} may not write for ${row.tenant}`,
        { context: { field: 'tenant' } },
      );
    }
    checkType(row.type);
    checkKey(row.key);
    checkSchema(row.schema, row.type);
    checkMeta(row.meta);
    return null;
  } catch (error) {
    if (isEvidentError(error)) return error;
    throw error;
  }
}

/** `meta` is hashed as it stands: only its one serialised form is taken. */
function checkMeta(meta: string | null): void {
  if (meta === null || knownMetas.has(meta)) return;
  let parsed: unknown;
  try {
    parsed = JSON.parse(meta);
  } catch (cause) {
    throw new EvidentError('field-invalid', 'meta: it is not JSON', { cause, context: { field: 'meta' } });
  }
  if (serialiseMeta(parsed) !== meta) {
    throw new EvidentError('field-invalid', 'meta: its members are not sorted, or hold spaces', {
      context: { field: 'meta' },
    });
  }
  if (knownMetas.size >= METAS_MAX) knownMetas.clear();
  knownMetas.add(meta);
}

/** The record of a row, or the one that says why there is none. */
export async function proposeRow(
  objects: ObjectStore,
  row: OutboxRow,
  source: Source,
  epoch: number,
): Promise<{ proposal: Proposal; fault: EvidentError | null }> {
  const fault = faultOf(row, source);
  const sourceSeq = `${epoch}.${row.id}`;
  if (fault !== null)
    return { proposal: await proposeRejected(objects, row, source, sourceSeq, fault), fault };
  const item = {
    id: row.eventId,
    type: row.type,
    key: row.key,
    schema: row.schema,
    meta: row.meta,
    body: row.body,
    sourceSeq,
  };
  const from = { tenant: row.tenant, source: `outbox:${source.name}` };
  return { proposal: await propose(objects, item, jsonBodyForm(row.body), from, 'take'), fault };
}

/** Its id follows from the row, not from the epoch: read again after a restore it is a repeat. */
async function proposeRejected(
  objects: ObjectStore,
  row: OutboxRow,
  source: Source,
  sourceSeq: string,
  fault: EvidentError,
): Promise<Proposal> {
  const { tenant, type, key, schema, meta } = row;
  const said = { event_id: row.eventId, tenant, type, key, schema, meta };
  const bodyOf = (content: object): Uint8Array =>
    encodeUtf8(
      JSON.stringify({
        source: source.name,
        code: fault.code,
        reason: fault.message,
        row: { ...said, ...content },
      }),
    );
  const text = decodeUtf8(row.body);
  let body = bodyOf(text === null ? { body_base64: toBase64(row.body) } : { body: text });
  if (body.length > BODY_BYTES_MAX) {
    // Escaped, the largest bodies outgrow a record: theirs lies beside it, under its hash.
    const sha256 = createHash('sha256').update(row.body).digest();
    await objects.put(SYSTEM_TENANT, sha256, row.body);
    body = bodyOf({ body_sha256: toHex(sha256), body_size: String(row.body.length) });
  }
  const what = createHash('sha256').update(body).digest();
  const item = {
    id: derivedId(`${REJECTED_TYPE}:${source.name}:${row.eventId}:${toHex(what)}`),
    type: REJECTED_TYPE,
    key: SYSTEM_TENANT,
    schema: 0,
    meta: null,
    body,
    sourceSeq,
  };
  return propose(objects, item, 'json', { tenant: SYSTEM_TENANT, source: SYSTEM_SOURCE }, 'take');
}

/** The record that says that the database of a source was not the one known before. */
export async function proposeEpoch(
  objects: ObjectStore,
  source: Source,
  epoch: number,
  reason: string,
): Promise<Proposal> {
  const item = {
    id: derivedId(`${EPOCH_TYPE}:${source.name}:${epoch}`),
    type: EPOCH_TYPE,
    key: SYSTEM_TENANT,
    schema: 0,
    meta: null,
    body: encodeUtf8(JSON.stringify({ source: source.name, epoch, reason })),
  };
  return propose(objects, item, 'json', { tenant: SYSTEM_TENANT, source: SYSTEM_SOURCE }, 'take');
}
