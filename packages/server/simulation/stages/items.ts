/** What callers send: items as request bytes, with what the log must then hold of each. */

import { hash } from 'node:crypto';
import { concatBytes, encodeUtf8, equalBytes } from '@evident/core/bytes.ts';
import { formatUuid } from '@evident/core/derived-id.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Random } from '../random.ts';

/** Of the design, written down again: the simulation must not take its expectations from the code. */
const INLINE_BYTES_MAX = 60_000;

export interface Item {
  readonly id: string;
  readonly tenant: string;
  readonly source: string;
  readonly key: string;
  readonly type: string;
  readonly schema: number;
  readonly meta: string | null;
  readonly body: Uint8Array;
  /** Null when ingest takes it, or the code with which it refuses it. */
  readonly refusal: string | null;
}

export interface Caller {
  readonly tenant: string;
  readonly source: string;
  readonly keys: readonly string[];
}

export type Format = 'json' | 'ndjson';

export function drawItem(
  random: Random,
  caller: Caller,
  format: Format,
  id = formatUuid(random.bytes(16)),
): Item {
  const { tenant, source } = caller;
  const audit = random.chance(1, 6);
  const base = {
    id,
    tenant,
    source,
    key: random.pick(caller.keys),
    type: audit ? 'audit.event' : random.pick(['note', 'app.change', 'X:y-1']),
    schema: audit ? 1 : 0,
    meta: random.chance(1, 4) ? `{"importer":"x","rate":${random.below(100)}}` : null,
  };
  const body = encodeUtf8(audit ? auditBody(random, id, tenant) : foreignBody(random, format));
  const bad = random.below(40);
  if (bad === 0) return { ...base, body, type: 'seal.recovery', schema: 0, refusal: 'field-reserved' };
  if (bad === 1) return { ...base, body, schema: 7, refusal: 'field-invalid' };
  if (bad === 2) return { ...base, body, key: '../up', refusal: 'field-invalid' };
  return { ...base, body, refusal: null };
}

function foreignBody(random: Random, format: Format): string {
  const serial = random.uint32();
  switch (random.below(8)) {
    case 0:
      return `{ "a" : 1.50e2 , "a":"twice", "n":${serial} }`;
    case 1:
      // Line breaks would end an NDJSON item; tabs are below 0x20 as well.
      return format === 'json' ? `{\n  "n": ${serial}\n}` : `{"n":\t${serial}}`;
    case 2:
      return `["\\u0041ö€😀\\ud800", ${serial}]`;
    case 3:
      return random.chance(1, 6) ? `"${serial}${'x'.repeat(INLINE_BYTES_MAX)}"` : `"${serial}"`;
    default:
      return `{"n":${serial}}`;
  }
}

function auditBody(random: Random, id: string, tenant: string): string {
  const event = {
    event_id: id,
    event_time: '2027-01-15T08:00:00Z',
    tenant,
    actor: { id: `usr_${random.below(9)}`, type: 'user' },
    action: 'document.update',
    resource: { type: 'document', id: `${random.uint32()}` },
    result: 'success',
    criticality: 'normal',
  };
  return JSON.stringify(event);
}

/** The request as it goes over the wire. */
export function requestBytes(random: Random, format: Format, items: readonly Item[]): Uint8Array {
  const envelopes = items.map(({ id, key, type, schema, meta, body }) => {
    const shown = random.chance(1, 4) ? id.toUpperCase() : id;
    // Members of `meta` the other way round: the log sorts them.
    const swapped = meta?.replace(/^\{(.*),(.*)\}$/, '{"$2,$1}').replace('{"', '{');
    const head = `{"id":"${shown}","key":${JSON.stringify(key)},"type":"${type}", "schema":${schema}${swapped === undefined ? '' : `,"meta":${swapped}`},"body": `;
    return concatBytes([encodeUtf8(head), body, encodeUtf8('}')]);
  });
  if (format === 'ndjson')
    return concatBytes(
      envelopes.flatMap((bytes) => [bytes, encodeUtf8(random.pick(['\n', '\r\n', '\n\n']))]),
    );
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"records": [', ']}\n'],
  ]);
  const listed = envelopes.flatMap((bytes, index) => (index === 0 ? [bytes] : [encodeUtf8(', '), bytes]));
  return concatBytes([encodeUtf8(open), ...listed, encodeUtf8(close)]);
}

export function bodyHash(body: Uint8Array): Uint8Array {
  return new Uint8Array(hash('sha256', body, 'buffer'));
}

/** Whether the log holds the item exactly as it was given, whatever place and time it got. */
export function holds(record: LogRecord, item: Item): boolean {
  if (
    record.id !== item.id ||
    record.tenant !== item.tenant ||
    record.source !== item.source ||
    record.sourceSeq !== null
  )
    return false;
  if (
    record.type !== item.type ||
    record.schema !== item.schema ||
    record.key !== item.key ||
    record.meta !== item.meta
  )
    return false;
  const { body } = record;
  if (body.form === 'object') {
    return (
      item.body.length > INLINE_BYTES_MAX &&
      body.size === BigInt(item.body.length) &&
      equalBytes(body.sha256, bodyHash(item.body))
    );
  }
  const form = item.body.some((byte) => byte < 0x20) ? 'base64' : 'json';
  return item.body.length <= INLINE_BYTES_MAX && body.form === form && equalBytes(body.bytes, item.body);
}
