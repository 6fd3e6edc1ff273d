/**
 * Rows of `apache`: lines of the common and the combined format.
 *
 * The actor is the authenticated user, and nobody where there is none: an address is no actor, it may be shared, and
 * it is personal, so that it stands in `ip` alone. The resource is the path without its query, which would make every
 * search of a page a resource of its own. Escapes of the log (`\x22`) stay as they stand.
 */

import type { LogRecord } from '../record.ts';
import { APACHE_FIELDS, type ApacheSpans, apacheFields } from './apache-line.ts';
import { digitsAt, microsOf, monthOf, offsetAt } from './instant.ts';
import { mappingError } from './read-json.ts';
import { type EventResult, type EventRow, type Mapper, ROW_TEXT_BYTES_MAX } from './row.ts';
import { rowText } from './row-text.ts';

/** What is decoded of a field: enough for a row, whatever the length of the line. */
const FIELD_BYTES_MAX = 8 * ROW_TEXT_BYTES_MAX;

const decoder = new TextDecoder();

export const apacheMapper: Mapper = { type: 'apache', version: 1, map };

function map(record: LogRecord, body: Uint8Array): EventRow {
  const spans = apacheFields(body);
  if (typeof spans === 'string') throw mappingError(record, spans);
  const field = (index: number): string => fieldOf(body, spans, index);
  const user = field(APACHE_FIELDS.user);
  const actorId = user === '-' || user === '""' ? null : rowText(user);
  const { method, path } = requestOf(field(APACHE_FIELDS.request));
  return {
    eventTime: timeOf(field(APACHE_FIELDS.time)),
    actorId,
    actorType: actorId === null ? null : 'user',
    action: method,
    resourceType: path === null ? null : 'path',
    resourceId: path,
    result: resultOfStatus(digitsAt(field(APACHE_FIELDS.status), 0, 3)),
    correlationId: null,
    ip: rowText(field(APACHE_FIELDS.host)),
    corrects: null,
    mapper: 'apache/1',
  };
}

function fieldOf(body: Uint8Array, spans: ApacheSpans, index: number): string {
  const start = spans[2 * index]!;
  const end = Math.min(spans[2 * index + 1]!, start + FIELD_BYTES_MAX);
  return decoder.decode(body.subarray(start, end));
}

/** `[17/May/2015:10:05:03 +0000]`; null for a day that is not in the calendar. */
function timeOf(text: string): bigint | null {
  const offsetSeconds = offsetAt(text.slice(22, 27), 0);
  if (offsetSeconds === null) return null;
  return microsOf({
    year: digitsAt(text, 8, 12),
    month: monthOf(text.slice(4, 7)),
    day: digitsAt(text, 1, 3),
    hour: digitsAt(text, 13, 15),
    minute: digitsAt(text, 16, 18),
    second: digitsAt(text, 19, 21),
    micros: 0,
    offsetSeconds,
  });
}

/** `"GET /a?b HTTP/1.1"`; what is no request of HTTP, such as `"-"` or bytes of TLS, has neither method nor path. */
function requestOf(quoted: string): { method: string | null; path: string | null } {
  const text = quoted.slice(1, quoted.endsWith('"') ? -1 : undefined);
  const space = text.indexOf(' ');
  const method = text.slice(0, Math.max(0, space));
  if (!/^[A-Za-z][A-Za-z-]{0,31}$/.test(method)) return { method: null, path: null };
  const targetEnd = text.indexOf(' ', space + 1);
  const target = text.slice(space + 1, targetEnd < 0 ? undefined : targetEnd);
  const query = target.indexOf('?');
  return { method, path: rowText(query < 0 ? target : target.slice(0, query)) };
}

/** What a status of HTTP says of the act: 401 and 403 deny it, other 4xx and 5xx fail it. */
export function resultOfStatus(status: number): EventResult {
  if (status === 401 || status === 403) return 'denied';
  return status >= 400 ? 'failure' : 'success';
}
