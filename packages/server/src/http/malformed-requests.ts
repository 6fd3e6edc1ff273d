/** Requests that are refused: what is sent, and the status, the code and the field of the answer. */

import { randomUUID } from 'node:crypto';
import type { InjectOptions } from 'fastify';
import { auditEvent, envelope } from './http-fixture.ts';
import { MALFORMED_READS } from './malformed-reads.ts';

export type Row = [
  what: string,
  request: InjectOptions & { as?: string },
  status: number,
  code: string,
  field?: string,
];

export const RECORDS = '/v1/logs/audit/records';
const PAGE = '/v1/logs/audit/partitions';
export const json = (payload: unknown, over: InjectOptions = {}): InjectOptions => ({
  method: 'POST',
  url: RECORDS,
  headers: { 'content-type': 'application/json' },
  payload: typeof payload === 'string' || payload instanceof Buffer ? payload : JSON.stringify(payload),
  ...over,
});
export const ndjson = (payload: string | Buffer): InjectOptions =>
  json(payload, { headers: { 'content-type': 'application/x-ndjson' } });
export const item = (over: Record<string, unknown>): InjectOptions => json([envelope(over)]);
export const event = (bodyOver: Record<string, unknown>, over: Record<string, unknown> = {}) =>
  json([auditEvent(over, bodyOver)]);
export const deep = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
export const body = (text: string) =>
  `[{"id":"${randomUUID()}","type":"note","key":"k","schema":0,"body":${text}}]`;
export const SQL = `'; DROP TABLE evident.records; --`;

export const WHOLE_REQUEST: Row[] = [
  ['no body', json(''), 400, 'json-invalid'],
  ['text that is not JSON', json('hello'), 400, 'json-invalid'],
  ['a truncated array', json('[{"id":'), 400, 'json-invalid'],
  ['two documents', json('[] []'), 400, 'json-invalid'],
  ['a byte order mark', json('\ufeff[]'), 400, 'json-invalid'],
  ['null', json('null'), 400, 'json-invalid'],
  ['a number', json('42'), 400, 'json-invalid'],
  ['a string', json('"records"'), 400, 'json-invalid'],
  ['an empty array', json([]), 400, 'field-invalid', 'records'],
  ['only empty lines', ndjson('\n\r\n\n'), 400, 'field-invalid', 'records'],
  ['an object without records', json({}), 400, 'field-invalid', 'records'],
  ['records that are no array', json({ records: 'x' }), 400, 'json-invalid'],
  ['an unknown member beside records', json({ records: [], tenant: 'acme' }), 400, 'field-unknown', 'tenant'],
  [
    'a member name of a megabyte',
    json({ ['x'.repeat(1_000_000)]: 1 }),
    400,
    'field-unknown',
    `${'x'.repeat(199)}…`,
  ],
  ['records twice', json('{"records":[],"records":[]}'), 400, 'json-duplicate-member'],
  ['nesting of 100,000', json(deep(100_000)), 400, 'json-too-deep'],
  ['a body nested 200 deep', json(body(deep(200))), 400, 'json-too-deep'],
  ['a byte that is not UTF-8', json(Buffer.from([0x5b, 0x22, 0xff, 0x22, 0x5d])), 400, 'json-invalid'],
  ['an overlong UTF-8 form', json(Buffer.from([0x5b, 0x22, 0xc0, 0xaf, 0x22, 0x5d])), 400, 'json-invalid'],
  [
    'a surrogate in UTF-8',
    json(Buffer.from([0x5b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x5d])),
    400,
    'json-invalid',
  ],
  ['NUL bytes', json(Buffer.alloc(1_000)), 400, 'json-invalid'],
  ['UTF-16', json(Buffer.from('[]', 'utf16le')), 400, 'json-invalid'],
  ['NaN', json(body('NaN')), 400, 'json-invalid'],
  ['a number with a leading zero', json(body('01')), 400, 'json-invalid'],
  ['5,001 items', ndjson('{}\n'.repeat(5_001)), 413, 'batch-too-large'],
  ['20 MiB', json(Buffer.alloc(20 * 1024 * 1024, 0x20)), 413, 'body-too-large'],
  [
    'a packed body',
    json('[]', { headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' } }),
    415,
    'media-type-unsupported',
  ],
  ['text/plain', json('[]', { headers: { 'content-type': 'text/plain' } }), 415, 'media-type-unsupported'],
  [
    'a form',
    json('a=1', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }),
    415,
    'media-type-unsupported',
  ],
  [
    'no media type',
    { method: 'POST', url: RECORDS, payload: Buffer.from('[]') },
    415,
    'media-type-unsupported',
  ],
  [
    'a media type that is none',
    json('[]', { headers: { 'content-type': ';;;' } }),
    415,
    'media-type-unsupported',
  ],
  ['an unknown log', json([], { url: '/v1/logs/nothing/records' }), 404, 'log-unknown', 'log'],
  ['a log that is a path', json([], { url: '/v1/logs/..%2f..%2fetc/records' }), 400, 'field-invalid', 'log'],
  ['a log of dots', json([], { url: '/v1/logs/a..b/records' }), 400, 'field-invalid', 'log'],
  [
    'a log of SQL',
    json([], { url: `/v1/logs/${encodeURIComponent(SQL)}/records` }),
    400,
    'field-invalid',
    'log',
  ],
  ['a log named __proto__', json([], { url: '/v1/logs/__proto__/records' }), 400, 'field-invalid', 'log'],
  ['the log heads', json([], { url: '/v1/logs/heads/records' }), 403, 'field-reserved', 'log'],
  ['the log windows', json([], { url: '/v1/logs/windows/records' }), 403, 'field-reserved', 'log'],
  ['an unknown query parameter', json([], { url: `${RECORDS}?dry_run=1` }), 400, 'field-unknown', 'dry_run'],
  ['an address with a broken escape', json([], { url: '/v1/logs/%zz/records' }), 400, 'request-malformed'],
];

export const ITEMS: Row[] = [
  ['an item that is no object', json([42]), 400, 'json-invalid'],
  ['an item that is null', json([null]), 400, 'json-invalid'],
  ['a line that is not JSON', ndjson('nonsense\n'), 400, 'json-invalid'],
  ['a line with bytes that are not UTF-8', ndjson(Buffer.from([0x7b, 0xff, 0x7d])), 400, 'json-invalid'],
  ['an unknown member', item({ tenant: 'other' }), 400, 'field-unknown', 'tenant'],
  ['a member twice', json(body('1,"key":"k2"')), 400, 'json-duplicate-member', 'key'],
  ['no id', item({ id: undefined }), 400, 'field-invalid', 'id'],
  ['an id that is a number', item({ id: 7 }), 400, 'field-invalid', 'id'],
  ['an id that is a path', item({ id: '../../etc/passwd' }), 400, 'field-invalid', 'id'],
  ['an id of SQL', item({ id: SQL }), 400, 'field-invalid', 'id'],
  ['no type', item({ type: undefined }), 400, 'field-invalid', 'type'],
  ['a type that is a list', item({ type: ['note'] }), 400, 'field-invalid', 'type'],
  ['a type that is a path', item({ type: '../note' }), 400, 'field-invalid', 'type'],
  ['a type of SQL', item({ type: SQL }), 400, 'field-invalid', 'type'],
  ['a type of 129 characters', item({ type: 'x'.repeat(129) }), 400, 'field-invalid', 'type'],
  ['the type log.hour', item({ type: 'log.hour' }), 403, 'field-reserved', 'type'],
  ['the type head', item({ type: 'head' }), 403, 'field-reserved', 'type'],
  ['the type key.rotation', item({ type: 'key.rotation' }), 403, 'field-reserved', 'type'],
  ['no key', item({ key: undefined }), 400, 'field-invalid', 'key'],
  ['an empty key', item({ key: '' }), 400, 'field-invalid', 'key'],
  ['a key that is a path', item({ key: 'acme/../../etc' }), 400, 'field-invalid', 'key'],
  ['a key that begins at the root', item({ key: '/etc/passwd' }), 400, 'field-invalid', 'key'],
  ['a key with NUL', item({ key: 'a\u0000b' }), 400, 'field-invalid', 'key'],
  [
    'a key with half a surrogate pair',
    json(body('1').replace('"k"', '"\\ud800"')),
    400,
    'field-invalid',
    'key',
  ],
  ['a key of 513 bytes', item({ key: 'k'.repeat(513) }), 400, 'field-invalid', 'key'],
  ['the key _system', item({ key: '_system' }), 403, 'field-reserved', 'key'],
  ['a schema that is text', item({ schema: '0' }), 400, 'field-invalid', 'schema'],
  ['a schema that does not exist', item({ schema: 99 }), 400, 'field-invalid', 'schema'],
  ['a meta that is a list', item({ meta: [1] }), 400, 'field-invalid', 'meta'],
  ['a meta with an object', item({ meta: { a: {} } }), 400, 'field-invalid', 'meta.a'],
  ['a meta with a fraction', item({ meta: { a: 1.5 } }), 400, 'field-invalid', 'meta.a'],
  ['a meta that names a member twice', json(body('1,"meta":{"a":1,"a":2}')), 400, 'json-duplicate-member'],
  ['no body member', item({ body: undefined }), 400, 'field-invalid', 'body'],
  ['an audit event without actor', event({ actor: undefined }), 400, 'field-invalid', 'body.actor'],
  ['an audit event with an unknown member', event({ colour: 'red' }), 400, 'field-unknown', 'body.colour'],
  ['an audit event of another tenant', event({ tenant: 'other' }), 403, 'tenant-forbidden', 'body.tenant'],
  ['an audit event of the system tenant', event({ tenant: '_system' }), 400, 'field-invalid', 'body.tenant'],
  [
    'an audit event of year 0',
    event({ event_time: '0000-01-01T00:00:00Z' }),
    400,
    'field-invalid',
    'body.event_time',
  ],
  [
    'an audit event of 30 February',
    event({ event_time: '2026-02-30T00:00:00Z' }),
    400,
    'field-invalid',
    'body.event_time',
  ],
  ['an audit event under another id', event({}, { id: randomUUID() }), 400, 'field-invalid', 'body.event_id'],
  [
    'an audit event under a key of another tenant',
    event({}, { key: 'other/usr_1' }),
    400,
    'field-invalid',
    'key',
  ],
];

const AUDITOR = { as: 'auditor', method: 'GET' } as const;
const ADMIN = {
  as: 'admin',
  method: 'POST',
  url: '/v1/api-keys',
  headers: { 'content-type': 'application/json' },
} as const;
const key = (payload: unknown): Row[1] => ({ ...ADMIN, payload: JSON.stringify(payload) });
const IMPORT = {
  method: 'POST',
  headers: { 'content-type': 'application/octet-stream' },
  payload: '{}',
} as const;

export const OTHER_ROUTES: Row[] = [
  ...MALFORMED_READS,
  ['an unknown route', { method: 'GET', url: '/v2/everything' }, 404, 'not-found'],
  ['a path that climbs', { method: 'GET', url: '/v1/../../etc/passwd' }, 404, 'not-found'],
  ['a wrong method', { method: 'PUT', url: RECORDS, payload: '[]' }, 405, 'method-not-allowed'],
  ['a partition that is text', { ...AUDITOR, url: `${PAGE}/x/records` }, 400, 'field-invalid', 'partition'],
  [
    'a partition that is negative',
    { ...AUDITOR, url: `${PAGE}/-1/records` },
    400,
    'field-invalid',
    'partition',
  ],
  ['a partition past the last', { ...AUDITOR, url: `${PAGE}/3/records` }, 404, 'not-found', 'partition'],
  [
    'a position that is text',
    { ...AUDITOR, url: `${PAGE}/0/records?from=abc` },
    400,
    'field-invalid',
    'from',
  ],
  [
    'a position past 64 bits',
    { ...AUDITOR, url: `${PAGE}/0/records?from=99999999999999999999` },
    400,
    'field-invalid',
    'from',
  ],
  ['a limit of 0', { ...AUDITOR, url: `${PAGE}/0/records?limit=0` }, 400, 'field-invalid', 'limit'],
  ['a limit of 1,001', { ...AUDITOR, url: `${PAGE}/0/records?limit=1001` }, 400, 'field-invalid', 'limit'],
  [
    'a Last-Event-ID that is no vector',
    { ...AUDITOR, url: '/v1/logs/audit/tail', headers: { 'last-event-id': '1,2' } },
    400,
    'field-invalid',
    'Last-Event-ID',
  ],
  [
    'a Last-Event-ID in the future',
    { ...AUDITOR, url: '/v1/logs/audit/tail', headers: { 'last-event-id': '9,9,9' } },
    400,
    'field-invalid',
    'Last-Event-ID',
  ],
  ['a key without role', key({}), 400, 'field-invalid', 'role'],
  ['a key of an unknown role', key({ role: 'root' }), 400, 'field-invalid', 'role'],
  ['a writer without tenant', key({ role: 'writer' }), 400, 'field-invalid', 'tenant'],
  ['a key of the system tenant', key({ role: 'writer', tenant: '_system' }), 403, 'field-reserved', 'tenant'],
  [
    'a key of a tenant that is a path',
    key({ role: 'writer', tenant: '../acme' }),
    400,
    'field-invalid',
    'tenant',
  ],
  ['a key of a tenant of SQL', key({ role: 'writer', tenant: SQL }), 400, 'field-invalid', 'tenant'],
  [
    'a key with a note of 257 bytes',
    key({ role: 'admin', note: 'x'.repeat(257) }),
    400,
    'field-invalid',
    'note',
  ],
  ['a key with an unknown member', key({ role: 'admin', scopes: [] }), 400, 'field-unknown', 'scopes'],
  [
    'a key with a member twice',
    { ...ADMIN, payload: '{"role":"writer","role":"admin"}' },
    400,
    'json-duplicate-member',
  ],
  ['a key that is not JSON', { ...ADMIN, payload: '{' }, 400, 'json-invalid'],
  ['a key of 65 KiB', { ...ADMIN, payload: ' '.repeat(66_000) }, 413, 'body-too-large'],
  ['an import of an unknown format', { ...IMPORT, url: '/v1/imports/exe' }, 404, 'not-found', 'format'],
  ['an import into heads', { ...IMPORT, url: '/v1/imports/ndjson?log=heads' }, 403, 'field-reserved', 'log'],
  [
    'an import for another tenant',
    { ...IMPORT, url: '/v1/imports/ndjson?tenant=other' },
    403,
    'tenant-forbidden',
    'tenant',
  ],
  [
    'an import as JSON',
    { ...IMPORT, url: '/v1/imports/ndjson', headers: { 'content-type': 'application/json' } },
    415,
    'media-type-unsupported',
  ],
  [
    'an import of broken gzip',
    { ...IMPORT, url: '/v1/imports/ndjson', payload: Buffer.from([0x1f, 0x8b, 1, 2, 3]) },
    400,
    'field-invalid',
    'file',
  ],
];
