/** For tests: records with a body, and what a mapper refuses. */

import assert from 'node:assert/strict';
import { encodeUtf8 } from '../bytes.ts';
import type { LogRecord } from '../record.ts';
import { type EventRow, MappingError } from './row.ts';

export const ID = '0198c0de-0000-7000-8000-000000000001';

/** A record as an importer makes it. */
export function recordOf(type: string, facts: Partial<LogRecord> = {}): LogRecord {
  return {
    log: 'audit',
    partition: 0,
    position: 17n,
    appendedAt: 1_795_000_000_000_000n,
    id: ID,
    tenant: 'acme',
    source: 'import:run-1',
    sourceSeq: '8',
    type,
    schema: type === 'audit.event' ? 1 : 0,
    key: 'acme/k',
    meta: null,
    body: { form: 'json', bytes: new Uint8Array() },
    ...facts,
  };
}

/** The bytes of a body: of a text as it is, of anything else as JSON. */
export function bytesOf(body: unknown): Uint8Array {
  return encodeUtf8(typeof body === 'string' ? body : JSON.stringify(body));
}

/** What of a row is not null, without the mapper. */
export function told(row: EventRow | null): Record<string, unknown> {
  assert.ok(row !== null);
  return Object.fromEntries(
    Object.entries(row).filter(([name, value]) => value !== null && name !== 'mapper'),
  );
}

/** Whether an error is the refusal of a record whose message matches. */
export function refusal(message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof MappingError, String(error));
    assert.match(error.message, message);
    return true;
  };
}

/** Microseconds of an RFC 3339 instant, by the platform. */
export function at(instant: string): bigint {
  return BigInt(new Date(instant).getTime()) * 1000n;
}
