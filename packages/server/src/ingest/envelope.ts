/**
 * Envelopes: what a writer sends for each record, `{id, type, key, schema, meta?, body}`. The bytes of `body` are
 * cut from the request as they stand; nothing is parsed and written anew.
 */

import { checkAuditEvent } from '@evident/core/audit-event.ts';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { arrayElements, objectMembers, scanDocument } from '@evident/core/json/scan.ts';
import {
  BODY_BYTES_MAX,
  checkId,
  checkKey,
  checkSchema,
  checkType,
  serialiseMeta,
} from '@evident/core/record.ts';

/** Most items of one request. */
export const BATCH_ITEMS_MAX = 5_000;

/** Where an item stands in the request. */
export interface ItemSpan {
  readonly start: number;
  readonly end: number;
}

/** What an item says, checked; the log adds who sent it. */
export interface Envelope {
  readonly id: string;
  readonly type: string;
  readonly key: string;
  readonly schema: number;
  readonly meta: string | null;
  readonly body: Uint8Array;
}

const MEMBERS = new Set(['id', 'type', 'key', 'schema', 'meta', 'body']);
const utf8 = new TextDecoder('utf-8', { fatal: true });

function tooMany(count: number): EvidentError {
  return new EvidentError(
    'batch-too-large',
    `the request holds ${count} items or more; the limit is ${BATCH_ITEMS_MAX}`,
  );
}

/**
 * Finds the items of a JSON request: an array of envelopes, or `{"records": [envelopes]}`. The whole request must
 * be JSON: a broken one is refused whole, because nobody can say where its items end.
 * @throws json-invalid, json-too-deep, field-unknown, field-invalid, batch-too-large
 */
export function splitJson(bytes: Uint8Array): ItemSpan[] {
  const options = { loneSurrogates: 'keep' } as const;
  let array: ItemSpan = { start: 0, end: bytes.length };
  const first = bytes.findIndex((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09);
  if (bytes[first] === 0x7b) {
    let records: ItemSpan | undefined;
    objectMembers(
      bytes,
      0,
      bytes.length,
      (name, start, end) => {
        if (name !== 'records')
          throw new EvidentError('field-unknown', `${name}: the request has no such member`, {
            context: { field: name },
          });
        if (records !== undefined)
          throw new EvidentError('json-duplicate-member', 'the request names records twice');
        records = { start, end };
      },
      options,
    );
    if (records === undefined)
      throw new EvidentError('field-invalid', 'records: it is missing', { context: { field: 'records' } });
    array = records;
  }
  const spans: ItemSpan[] = [];
  arrayElements(
    bytes,
    array.start,
    array.end,
    (start, end) => {
      if (spans.length >= BATCH_ITEMS_MAX) throw tooMany(spans.length + 1);
      spans.push({ start, end });
    },
    options,
  );
  return spans;
}

/**
 * Finds the items of an NDJSON request: one envelope a line. Empty lines are passed over. A broken line is that
 * item's fault alone.
 * @throws batch-too-large
 */
export function splitNdjson(bytes: Uint8Array): ItemSpan[] {
  const spans: ItemSpan[] = [];
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, start);
    const next = newline < 0 ? bytes.length : newline;
    const end = bytes[next - 1] === 0x0d ? next - 1 : next;
    if (end > start) {
      if (spans.length >= BATCH_ITEMS_MAX) throw tooMany(spans.length + 1);
      spans.push({ start, end });
    }
    start = next + 1;
  }
  return spans;
}

/** A string without escapes and beyond ASCII: what ids, types and keys nearly always are. Null for anything else. */
function plainString(bytes: Uint8Array, { start, end }: ItemSpan): string | null {
  if (end - start > 128 || bytes[start] !== 0x22) return null;
  let text = '';
  for (let at = start + 1; at < end - 1; at++) {
    const byte = bytes[at];
    if (byte === 0x5c || byte > 0x7e) return null;
    text += String.fromCharCode(byte);
  }
  return text;
}

function parseMember(bytes: Uint8Array, span: ItemSpan, field: string): unknown {
  try {
    return JSON.parse(utf8.decode(bytes.subarray(span.start, span.end)));
  } catch (cause) {
    throw new EvidentError('json-invalid', `${field}: it is not JSON`, { cause, context: { field } });
  }
}

/**
 * Reads one envelope.
 * @throws field-invalid, field-unknown, field-reserved, json-*, body-too-large; the detail names the field
 */
export function readEnvelope(bytes: Uint8Array, span: ItemSpan, tenant: string): Envelope {
  // One strict scan serves nearly every item. What it refuses may still be a foreign body that does what RFC 8259
  // allows: only then it is read again by the rules of its type, which also word the refusal.
  let members = membersOf(bytes, span, 'strict');
  const strict = members !== null;
  members ??= membersOf(bytes, span, 'lenient') as Map<string, ItemSpan>;
  const value = (name: string): unknown => {
    const at = members.get(name);
    return at === undefined ? undefined : (plainString(bytes, at) ?? parseMember(bytes, at, name));
  };
  const type = checkType(value('type'));
  const id = checkId(value('id'));
  const key = checkKey(value('key'));
  const schema = checkSchema(value('schema'), type);
  const at = members.get('meta');
  if (at !== undefined && !strict) scanDocument(bytes, at.start, at.end, { duplicates: 'refuse' });
  const meta = serialiseMeta(value('meta'));
  const body = bodyOf(bytes, members.get('body'));
  if (type === 'audit.event') checkAuditBody(body, { id, key, tenant, strict });
  return { id, type, key, schema, meta, body };
}

/**
 * The members of an envelope by name. `strict` refuses, at every depth, what an audit.event may not do (a member
 * named twice, half a surrogate pair), by answering null; `lenient` throws only for what no type may do.
 */
function membersOf(
  bytes: Uint8Array,
  span: ItemSpan,
  rules: 'strict' | 'lenient',
): Map<string, ItemSpan> | null {
  const members = new Map<string, ItemSpan>();
  const onMember = (name: string, start: number, end: number): void => {
    if (!MEMBERS.has(name))
      throw new EvidentError('field-unknown', `${name}: an envelope has no such member`, {
        context: { field: name },
      });
    if (members.has(name))
      throw new EvidentError('json-duplicate-member', `${name}: the envelope names it twice`, {
        context: { field: name },
      });
    members.set(name, { start, end });
  };
  if (rules === 'lenient') {
    objectMembers(bytes, span.start, span.end, onMember, { loneSurrogates: 'keep' });
    return members;
  }
  try {
    objectMembers(bytes, span.start, span.end, onMember, { duplicates: 'refuse', loneSurrogates: 'refuse' });
    return members;
  } catch (error) {
    if (isEvidentError(error)) return null;
    throw error;
  }
}

function bodyOf(bytes: Uint8Array, span: ItemSpan | undefined): Uint8Array {
  if (span === undefined)
    throw new EvidentError('field-invalid', 'body: it is missing', { context: { field: 'body' } });
  const length = span.end - span.start;
  if (length > BODY_BYTES_MAX) {
    throw new EvidentError('body-too-large', `body: it has ${length} bytes; the limit is ${BODY_BYTES_MAX}`, {
      context: { field: 'body' },
    });
  }
  return bytes.subarray(span.start, span.end);
}

function checkAuditBody(
  body: Uint8Array,
  { id, key, tenant, strict }: { id: string; key: string; tenant: string; strict: boolean },
): void {
  try {
    if (!strict) scanDocument(body, 0, body.length, { duplicates: 'refuse', loneSurrogates: 'refuse' });
  } catch (error) {
    if (!isEvidentError(error)) throw error;
    throw new EvidentError(error.code, `body: ${error.message}`, {
      cause: error,
      context: { ...error.context, field: 'body' },
    });
  }
  // The scan has refused every lone surrogate already.
  const event = checkAuditEvent(JSON.parse(utf8.decode(body)), 'body', 'well-formed');
  if (event.tenant !== tenant) {
    throw new EvidentError(
      'tenant-forbidden',
      `body.tenant: the event is of ${event.tenant}, the credential of ${tenant}`,
      {
        context: { field: 'body.tenant' },
      },
    );
  }
  if (event.event_id.toLowerCase() !== id) {
    throw new EvidentError('field-invalid', 'body.event_id: it is not the id of the envelope', {
      context: { field: 'body.event_id' },
    });
  }
  if (!key.startsWith(`${tenant}/`)) {
    throw new EvidentError(
      'field-invalid',
      `key: the key of an audit.event begins with its tenant, here ${tenant}/`,
      {
        context: { field: 'key' },
      },
    );
  }
}

/** How a body that is known to be JSON stands in the leaf: line breaks and tabs between its tokens need base64. */
export function knownJsonForm(body: Uint8Array): 'json' | 'base64' {
  // Indexed: an iterator over the bytes was the second largest line of an ingest profile (2026-11-21).
  for (let at = 0; at < body.length; at++) if (body[at] < 0x20) return 'base64';
  return 'json';
}
