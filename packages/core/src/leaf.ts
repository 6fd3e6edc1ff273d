/**
 * The leaf: the line of JSON that the tree hashes and that an auditor is shown (design §3).
 *
 *   {"v":1,"log":"audit","partition":3,"position":"1234","appended_at":"2026-11-20T10:00:00.123456Z",
 *    "id":"<uuid>","tenant":…,"source":…,"source_seq":…,"type":…,"schema":1,"key":…,"meta":…,"body":<bytes>}
 *
 * without spaces or line breaks. `"body"` stands verbatim, or is `"body_base64":"…"`, or is
 * `"body_sha256":"<hex>","body_size":"<decimal>"`. No member is ever omitted; a missing value is null.
 *
 * The writer works on bytes: a record comes from storage as UTF-8 already, and need not be decoded to strings only
 * to be encoded again.
 */

import { parseUuid } from './derived-id.ts';
import { EvidentError } from './errors.ts';
import { LEAF_BYTES_MAX, type LogRecord } from './record.ts';

const utf8 = new TextEncoder();

/** A record whose fields are byte ranges of one buffer. Reused from row to row: nothing is allocated per record. */
export interface LeafSource {
  bytes: Uint8Array;
  position: number;
  /** Microseconds since the Unix epoch; exact in a double until the year 2255. */
  appendedAt: number;
  /** Where the 16 bytes of the id begin. */
  idAt: number;
  tenantAt: number;
  tenantLength: number;
  sourceAt: number;
  sourceLength: number;
  sourceSeqAt: number;
  /** -1 for null. */
  sourceSeqLength: number;
  typeAt: number;
  typeLength: number;
  schema: number;
  keyAt: number;
  keyLength: number;
  metaAt: number;
  /** -1 for null. */
  metaLength: number;
  form: BodyForm;
  /** The body, or for an object the 32 bytes of its SHA-256. */
  bodyAt: number;
  bodyLength: number;
  /** Size of the object; unused for the other forms. */
  bodySize: number;
}

/** The stored form of a body; the numbers are what the database holds. */
export const BODY_FORMS = { json: 0, base64: 1, object: 2 } as const;
export type BodyForm = 0 | 1 | 2;

export type LeafWriter = (target: Uint8Array, at: number, source: LeafSource) => number;

const HEX_DIGITS = utf8.encode('0123456789abcdef');
const BASE64_DIGITS = utf8.encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const NULL = utf8.encode('null');
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

const PART = {
  appendedAt: utf8.encode('","appended_at":"'),
  id: utf8.encode('","id":"'),
  tenant: utf8.encode('","tenant":"'),
  source: utf8.encode('","source":"'),
  sourceSeq: utf8.encode('","source_seq":'),
  type: utf8.encode(',"type":"'),
  schema: utf8.encode('","schema":'),
  key: utf8.encode(',"key":"'),
  meta: utf8.encode('","meta":'),
  body: utf8.encode(',"body":'),
  bodyBase64: utf8.encode(',"body_base64":"'),
  bodySha256: utf8.encode(',"body_sha256":"'),
  bodySize: utf8.encode('","body_size":"'),
};

function put(target: Uint8Array, at: number, part: Uint8Array): number {
  // Parts are short: a loop spares the view and the call that TypedArray.set would need.
  const { length } = part;
  for (let i = 0; i < length; i++) target[at + i] = part[i];
  return at + length;
}

function putBytes(target: Uint8Array, at: number, source: Uint8Array, from: number, length: number): number {
  if (length < 48) {
    for (let i = 0; i < length; i++) target[at + i] = source[from + i];
  } else {
    target.set(source.subarray(from, from + length), at);
  }
  return at + length;
}

/** UTF-8 bytes as JSON.stringify would write them; a byte below 0x20 never gets here. */
function putEscaped(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  from: number,
  length: number,
): number {
  let to = at;
  for (let i = from; i < from + length; i++) {
    const byte = source[i];
    if (byte === QUOTE || byte === BACKSLASH) target[to++] = BACKSLASH;
    target[to++] = byte;
  }
  return to;
}

function putDecimal(target: Uint8Array, at: number, value: number): number {
  let digits = 1;
  for (let limit = 10; value >= limit; limit *= 10) digits++;
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    const next = Math.floor(rest / 10);
    target[i] = 0x30 + (rest - next * 10);
    rest = next;
  }
  return at + digits;
}

function putHex(target: Uint8Array, at: number, source: Uint8Array, from: number, length: number): number {
  let to = at;
  for (let i = from; i < from + length; i++) {
    target[to++] = HEX_DIGITS[source[i] >> 4];
    target[to++] = HEX_DIGITS[source[i] & 15];
  }
  return to;
}

function putUuid(target: Uint8Array, at: number, source: Uint8Array, from: number): number {
  let to = at;
  for (let i = 0; i < 16; i++) {
    const byte = source[from + i];
    target[to++] = HEX_DIGITS[byte >> 4];
    target[to++] = HEX_DIGITS[byte & 15];
    if (i === 3 || i === 5 || i === 7 || i === 9) target[to++] = 0x2d;
  }
  return to;
}

function putBase64(target: Uint8Array, at: number, source: Uint8Array, from: number, length: number): number {
  let to = at;
  let i = from;
  const end = from + length;
  for (; i + 2 < end; i += 3) {
    const bits = (source[i] << 16) | (source[i + 1] << 8) | source[i + 2];
    target[to++] = BASE64_DIGITS[bits >> 18];
    target[to++] = BASE64_DIGITS[(bits >> 12) & 63];
    target[to++] = BASE64_DIGITS[(bits >> 6) & 63];
    target[to++] = BASE64_DIGITS[bits & 63];
  }
  if (i < end) {
    const two = i + 1 < end;
    const bits = (source[i] << 16) | (two ? source[i + 1] << 8 : 0);
    target[to++] = BASE64_DIGITS[bits >> 18];
    target[to++] = BASE64_DIGITS[(bits >> 12) & 63];
    target[to++] = two ? BASE64_DIGITS[(bits >> 6) & 63] : 0x3d;
    target[to++] = 0x3d;
  }
  return to;
}

/** `2026-11-20T10:00:00.123456Z` of microseconds since the Unix epoch. Years 1970 to 9999. */
export function formatInstant(microseconds: bigint | number): string {
  // Records of one transaction share their time: the last answer is nearly always the next one.
  if (microseconds === lastInstant.of) return lastInstant.text;
  const us = BigInt(microseconds);
  const millis = us / 1000n;
  const rest = us % 1000n;
  const text = `${new Date(Number(millis)).toISOString().slice(0, 23)}${rest.toString().padStart(3, '0')}Z`;
  lastInstant = { of: microseconds, text };
  return text;
}

let lastInstant: { of: bigint | number; text: string } = { of: 0n, text: '1970-01-01T00:00:00.000000Z' };

/** "2026-11-20T10": the hour that an instant lies in. */
export function formatHour(microseconds: bigint | number): string {
  return formatInstant(microseconds).slice(0, 13);
}

/** Upper bound of the leaf's length, without writing it. */
export function leafBytesBound(source: LeafSource): number {
  const text =
    source.sourceLength + source.typeLength + source.keyLength + Math.max(0, source.sourceSeqLength);
  const body = source.form === BODY_FORMS.base64 ? Math.ceil(source.bodyLength / 3) * 4 : source.bodyLength;
  return 400 + source.tenantLength + 2 * text + Math.max(4, source.metaLength) + Math.max(128, body);
}

/**
 * Makes the leaf writer of one partition. It writes the leaf of `source` into `target` at `at` and returns
 * the offset behind it. The caller has made room for `leafBytesBound(source)` bytes.
 */
export function makeLeafWriter(log: string, partition: number): LeafWriter {
  const prefix = utf8.encode(`{"v":1,"log":${JSON.stringify(log)},"partition":${partition},"position":"`);
  // Records of one transaction share their time, so the last formatted instant is nearly always the next one.
  let instantOf = -1;
  let instant = new Uint8Array(0);
  return (target, start, source) => {
    const bytes = source.bytes;
    let at = put(target, start, prefix);
    at = putDecimal(target, at, source.position);
    at = put(target, at, PART.appendedAt);
    if (source.appendedAt !== instantOf) {
      instantOf = source.appendedAt;
      instant = utf8.encode(formatInstant(instantOf));
    }
    at = put(target, at, instant);
    at = put(target, at, PART.id);
    at = putUuid(target, at, bytes, source.idAt);
    at = put(target, at, PART.tenant);
    at = putEscaped(target, at, bytes, source.tenantAt, source.tenantLength);
    at = put(target, at, PART.source);
    at = putEscaped(target, at, bytes, source.sourceAt, source.sourceLength);
    at = putSourceSeq(target, put(target, at, PART.sourceSeq), source);
    at = put(target, at, PART.type);
    at = putEscaped(target, at, bytes, source.typeAt, source.typeLength);
    at = put(target, at, PART.schema);
    at = putDecimal(target, at, source.schema);
    at = put(target, at, PART.key);
    at = putEscaped(target, at, bytes, source.keyAt, source.keyLength);
    at = put(target, at, PART.meta);
    at =
      source.metaLength < 0
        ? put(target, at, NULL)
        : putBytes(target, at, bytes, source.metaAt, source.metaLength);
    at = putBody(target, at, source);
    target[at] = 0x7d;
    return at + 1;
  };
}

function putSourceSeq(target: Uint8Array, start: number, source: LeafSource): number {
  if (source.sourceSeqLength < 0) return put(target, start, NULL);
  target[start] = QUOTE;
  const at = putEscaped(target, start + 1, source.bytes, source.sourceSeqAt, source.sourceSeqLength);
  target[at] = QUOTE;
  return at + 1;
}

function putBody(target: Uint8Array, start: number, source: LeafSource): number {
  const bytes = source.bytes;
  if (source.form === BODY_FORMS.json) {
    return putBytes(target, put(target, start, PART.body), bytes, source.bodyAt, source.bodyLength);
  }
  let at: number;
  if (source.form === BODY_FORMS.base64) {
    at = putBase64(target, put(target, start, PART.bodyBase64), bytes, source.bodyAt, source.bodyLength);
  } else {
    at = putHex(target, put(target, start, PART.bodySha256), bytes, source.bodyAt, source.bodyLength);
    at = putDecimal(target, put(target, at, PART.bodySize), source.bodySize);
  }
  target[at] = QUOTE;
  return at + 1;
}

/** Lays the fields of a record out in one buffer, as the writer wants them. */
export function leafSourceOf(record: LogRecord): LeafSource {
  const parts: Uint8Array[] = [];
  let length = 0;
  const place = (part: Uint8Array): number => {
    parts.push(part);
    length += part.length;
    return length - part.length;
  };
  const text = (value: string): [number, number] => {
    const encoded = utf8.encode(value);
    return [place(encoded), encoded.length];
  };
  const nullable = (value: string | null): [number, number] => (value === null ? [0, -1] : text(value));
  const idAt = place(parseUuid(record.id));
  const [tenantAt, tenantLength] = text(record.tenant);
  const [sourceAt, sourceLength] = text(record.source);
  const [sourceSeqAt, sourceSeqLength] = nullable(record.sourceSeq);
  const [typeAt, typeLength] = text(record.type);
  const [keyAt, keyLength] = text(record.key);
  const [metaAt, metaLength] = nullable(record.meta);
  const stored = record.body.form === 'object' ? record.body.sha256 : record.body.bytes;
  const bodyAt = place(stored);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return {
    bytes,
    position: Number(record.position),
    appendedAt: Number(record.appendedAt),
    idAt,
    tenantAt,
    tenantLength,
    sourceAt,
    sourceLength,
    sourceSeqAt,
    sourceSeqLength,
    typeAt,
    typeLength,
    schema: record.schema,
    keyAt,
    keyLength,
    metaAt,
    metaLength,
    form: BODY_FORMS[record.body.form],
    bodyAt,
    bodyLength: stored.length,
    bodySize: record.body.form === 'object' ? Number(record.body.size) : 0,
  };
}

/**
 * The leaf of one record.
 * @throws field-invalid when it would be longer than 65,535 bytes, which the bounds of `record.ts` exclude
 */
export function leafOf(record: LogRecord): Uint8Array {
  const source = leafSourceOf(record);
  const target = new Uint8Array(leafBytesBound(source));
  const end = makeLeafWriter(record.log, record.partition)(target, 0, source);
  if (end > LEAF_BYTES_MAX) {
    throw new EvidentError(
      'field-invalid',
      `the leaf would be ${end} bytes; the limit is ${LEAF_BYTES_MAX}`,
      {
        context: { log: record.log, partition: record.partition, position: record.position },
      },
    );
  }
  return target.slice(0, end);
}

/**
 * The leaf that stands for a lost position when a tree begins anew under another origin: there is no record any
 * more, and the recovery that says so is named instead.
 */
export function lostLeaf(log: string, partition: number, position: bigint, recovery: string): Uint8Array {
  return utf8.encode(
    `{"v":1,"log":${JSON.stringify(log)},"partition":${partition},"position":"${position}","lost":"${recovery}"}`,
  );
}
