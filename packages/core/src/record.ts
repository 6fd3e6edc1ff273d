/**
 * A record: one entry of a partition, never changed once appended (design §3).
 *
 * Positions are bigint, instants are microseconds since the Unix epoch, bytes are `Uint8Array`.
 */

import { EvidentError } from './errors.ts';

/** Largest leaf in bytes: C2SP tlog-tiles gives an entry a 16-bit length. */
export const LEAF_BYTES_MAX = 65_535;
/** Largest body that stands verbatim in the leaf. */
export const BODY_INLINE_JSON_BYTES_MAX = 60_000;
/** Largest body that stands in the leaf as base64. */
export const BODY_INLINE_BASE64_BYTES_MAX = 45_000;
/** Largest body that the log takes at all; above the inline limits it lies in the object store. */
export const BODY_BYTES_MAX = 16 * 1024 * 1024;
export const TYPE_BYTES_MAX = 128;
export const KEY_BYTES_MAX = 512;
export const SOURCE_BYTES_MAX = 256;
export const SOURCE_SEQ_BYTES_MAX = 128;
/** Largest serialised `meta`; small enough that every leaf with an inline body fits. */
export const META_BYTES_MAX = 2_048;

export const SYSTEM_TENANT = '_system';
export const SYSTEM_SOURCE = 'evident';
/** Logs that Evident alone writes. */
export const RESERVED_LOGS: readonly string[] = ['heads', 'windows'];
/** Logs that anybody with a credential may read without its being recorded: they hold heads, and no name of a tenant. */
export const UNRECORDED_LOGS: readonly string[] = ['heads'];

/** How the body stands in the leaf. Decided once, at append, and stored. */
export type Body =
  | { readonly form: 'json'; readonly bytes: Uint8Array }
  | { readonly form: 'base64'; readonly bytes: Uint8Array }
  | { readonly form: 'object'; readonly sha256: Uint8Array; readonly size: bigint };

/** What a writer proposes; the log adds partition, position and time. */
export interface ProposedRecord {
  /** Lower-case UUID. */
  readonly id: string;
  readonly tenant: string;
  /** API key id, `oidc:<subject>`, `import:<run id>`, `outbox:<name>` or `evident`. */
  readonly source: string;
  readonly sourceSeq: string | null;
  readonly type: string;
  /** 1 for `audit.event`, 0 for foreign types. */
  readonly schema: number;
  readonly key: string;
  /** Serialised facts of capture (see `serialiseMeta`), or null. */
  readonly meta: string | null;
  readonly body: Body;
}

/** A record as the log holds it. */
export interface LogRecord extends ProposedRecord {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
  /** The log's clock, microseconds since the Unix epoch; never goes back within a partition. */
  readonly appendedAt: bigint;
}

const LOG_NAME = /^[a-z0-9-]{1,32}$/;
const TENANT = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
const TYPE = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
const CONTROL = /[\u0000-\u001f]/;
const RESERVED_TYPE = /^(?:(?:log|seal|key|relay)\..*|head|window)$/;

function refuse(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}

function refuseReserved(field: string, reason: string): never {
  throw new EvidentError('field-reserved', `${field}: ${reason}`, { context: { field } });
}

export function isReservedType(type: string): boolean {
  return RESERVED_TYPE.test(type);
}

export function isTenant(text: string): boolean {
  return TENANT.test(text);
}

/** @throws field-invalid when the name is not `[a-z0-9-]{1,32}` */
export function checkLogName(log: unknown, field = 'log'): string {
  if (typeof log !== 'string' || !LOG_NAME.test(log)) {
    refuse(field, 'a log name is 1 to 32 characters of a-z, 0-9 and -');
  }
  return log;
}

/** The name of a log that outside writers may append to. */
export function checkWritableLog(log: unknown): string {
  const name = checkLogName(log);
  if (RESERVED_LOGS.includes(name)) refuseReserved('log', `the log ${name} is written by Evident alone`);
  return name;
}

/** @throws field-invalid, or field-reserved for a tenant that begins with an underscore */
export function checkTenant(tenant: unknown, field = 'tenant'): string {
  if (typeof tenant !== 'string') refuse(field, 'a tenant is a string');
  if (tenant.startsWith('_')) {
    refuseReserved(field, 'tenants that begin with an underscore belong to Evident');
  }
  if (!TENANT.test(tenant)) {
    refuse(field, 'a tenant is 1 to 128 characters of A-Z a-z 0-9 . _ : - and begins with a letter or digit');
  }
  return tenant;
}

/** Any UUID; returned in lower case. */
export function checkId(id: unknown, field = 'id'): string {
  if (typeof id !== 'string' || !UUID.test(id))
    refuse(field, 'an id is a UUID such as 0198c0de-0000-7000-8000-000000000000');
  return id.toLowerCase();
}

/** @throws field-invalid, or field-reserved for `log.*`, `seal.*`, `key.*`, `relay.*`, `head`, `window` */
export function checkType(type: unknown, field = 'type'): string {
  if (typeof type !== 'string' || !TYPE.test(type)) {
    refuse(
      field,
      `a type is 1 to ${TYPE_BYTES_MAX} characters of A-Z a-z 0-9 . _ : - and begins with a letter or digit`,
    );
  }
  if (isReservedType(type)) refuseReserved(field, `the type ${type} belongs to Evident`);
  return type;
}

/**
 * A string that the leaf can hold: well-formed, no code point below U+0020, bounded in UTF-8 bytes.
 * Lone surrogates have no UTF-8 form, so two different strings could share one stored form.
 */
export function checkText(text: unknown, field: string, bytesMax: number): string {
  if (typeof text !== 'string') refuse(field, 'a string is expected');
  if (text.length === 0) refuse(field, 'it is empty');
  if (!text.isWellFormed()) refuse(field, 'it holds a lone surrogate');
  if (CONTROL.test(text)) refuse(field, 'it holds a character below U+0020');
  // UTF-8 needs at most three bytes per UTF-16 unit; count exactly only when that bound does not settle it.
  if (text.length * 3 > bytesMax && new TextEncoder().encode(text).length > bytesMax) {
    refuse(field, `it is longer than ${bytesMax} bytes`);
  }
  return text;
}

/**
 * A key. It never names a file, but it reaches shells, URLs and logs: one that walks directories is refused
 * here rather than trusted everywhere.
 */
export function checkKey(key: unknown, field = 'key'): string {
  const text = checkText(key, field, KEY_BYTES_MAX);
  if (text.startsWith('/') || /(?:^|[\\/])\.\.?(?:[\\/]|$)/.test(text)) {
    refuse(field, 'a key is not a path: it may not begin with / nor hold . or .. as a segment');
  }
  if (text === SYSTEM_TENANT || text.startsWith(`${SYSTEM_TENANT}/`)) {
    refuseReserved(field, `the key ${SYSTEM_TENANT} belongs to Evident`);
  }
  return text;
}

/** 1 for `audit.event`, 0 for every foreign type. */
export function checkSchema(schema: unknown, type: string, field = 'schema'): number {
  const expected = type === 'audit.event' ? 1 : 0;
  if (schema !== expected) refuse(field, `the schema of ${type} is ${expected}`);
  return expected;
}

/** Facts of capture: strings and safe integers. */
export type Meta = Readonly<Record<string, string | number>>;

/**
 * Serialises `meta` once: members sorted by code unit, no spaces. The result is stored and hashed as it is.
 * @returns null for an absent or empty meta
 * @throws field-invalid naming the member
 */
export function serialiseMeta(meta: unknown, field = 'meta'): string | null {
  if (meta === undefined || meta === null) return null;
  if (typeof meta !== 'object' || Array.isArray(meta))
    refuse(field, 'an object of strings and integers is expected');
  const names = Object.keys(meta).sort();
  if (names.length === 0) return null;
  const members: string[] = [];
  for (const name of names) {
    checkText(name, `${field}.${name}`, 128);
    const value: unknown = (meta as Record<string, unknown>)[name];
    if (typeof value === 'number') {
      if (!Number.isSafeInteger(value) || Object.is(value, -0))
        refuse(`${field}.${name}`, 'a number here is a safe integer');
      members.push(`${JSON.stringify(name)}:${value}`);
    } else if (value === '') {
      members.push(`${JSON.stringify(name)}:""`);
    } else {
      members.push(
        `${JSON.stringify(name)}:${JSON.stringify(checkText(value, `${field}.${name}`, META_BYTES_MAX))}`,
      );
    }
  }
  const text = `{${members.join(',')}}`;
  if (new TextEncoder().encode(text).length > META_BYTES_MAX)
    refuse(field, `serialised it is longer than ${META_BYTES_MAX} bytes`);
  return text;
}

/** Largest body of a form that stands in the leaf itself. */
export function bodyInlineBytesMax(form: 'json' | 'base64'): number {
  return form === 'json' ? BODY_INLINE_JSON_BYTES_MAX : BODY_INLINE_BASE64_BYTES_MAX;
}
