/** Records and rows of our own for the tests of shapes. */

import { encodeUtf8 } from '../bytes.ts';
import type { EventRow } from '../mapping/row.ts';
import type { LogRecord } from '../record.ts';

export const INSTALLATION = 'evident.invalid/0123456789abcdef';

export function recordOf(body: string | Uint8Array, over: Partial<LogRecord> = {}): LogRecord {
  const bytes = typeof body === 'string' ? encodeUtf8(body) : body;
  return {
    log: 'audit',
    partition: 3,
    position: 1234n,
    appendedAt: 1_795_000_000_123_456n,
    id: '0198c0de-0000-7000-8000-000000000001',
    tenant: 'acme',
    source: 'outbox:bank',
    sourceSeq: '1.991',
    type: 'audit.event',
    schema: 1,
    key: 'acme/usr_456',
    meta: null,
    body: { form: typeof body === 'string' ? 'json' : 'base64', bytes },
    ...over,
  };
}

export function rowOf(over: Partial<EventRow> = {}): EventRow {
  return {
    eventTime: 1_794_999_999_000_001n,
    actorId: 'usr_456',
    actorType: 'user',
    action: 'document.update',
    resourceType: 'document',
    resourceId: 'doc_1',
    result: 'success',
    correlationId: null,
    ip: '203.0.113.9',
    corrects: null,
    mapper: 'audit.event/1',
    ...over,
  };
}
