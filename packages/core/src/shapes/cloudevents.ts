/**
 * A record as an event of CloudEvents 1.0, JSON format (https://github.com/cloudevents/spec, v1.0.2).
 *
 * What stands in `data` is the body as it arrived, byte for byte, when it is JSON on one line; anything else stands
 * in `data_base64`. (source, id) is unique, as the specification wants it: the source names log and tenant.
 */

import { decodeUtf8, toBase64 } from '../bytes.ts';
import type { EventRow } from '../mapping/row.ts';
import type { LogRecord } from '../record.ts';
import { instantText } from './instant.ts';

/** An event as `toCloudEvent` gives it. Beside the members of the specification it has extension attributes. */
export interface CloudEvent {
  readonly specversion: '1.0';
  readonly id: string;
  /** `//<installation>/<log>/<tenant>`. */
  readonly source: string;
  /** The type of the record, such as `audit.event`. */
  readonly type: string;
  /** `<resource type>/<resource id>`, where the event names one. */
  readonly subject?: string;
  /** The event's own time, or the time of its append where it tells none. */
  readonly time: string;
  readonly datacontenttype: string;
  readonly data?: unknown;
  readonly data_base64?: string;
  readonly [extension: string]: unknown;
}

/** Extension attributes: names are a-z and 0-9; a position doesn't fit their 32-bit integer and is a string. */
function extensions(record: LogRecord, row: EventRow | null): Record<string, string | number> {
  return {
    log: record.log,
    partition: record.partition,
    position: record.position.toString(),
    tenant: record.tenant,
    appendedat: instantText(record.appendedAt),
    capturesource: record.source,
    // https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/partitioning.md
    partitionkey: record.key,
    ...(row?.actorId == null ? {} : { actor: row.actorId }),
    ...(row?.action == null ? {} : { action: row.action }),
    ...(row?.result == null ? {} : { result: row.result }),
    ...(row?.correlationId == null ? {} : { correlationid: row.correlationId }),
  };
}

function attributesOf(record: LogRecord, row: EventRow | null, installation: string) {
  const segments = [...installation.split('/'), record.log, record.tenant];
  const subject = [row?.resourceType, row?.resourceId].filter((part) => part != null && part !== '');
  return {
    specversion: '1.0' as const,
    id: record.id,
    source: `//${segments.map(encodeURIComponent).join('/')}`,
    type: record.type,
    ...(subject.length === 0 ? {} : { subject: subject.join('/') }),
    time: instantText(row?.eventTime ?? record.appendedAt),
    ...extensions(record, row),
  };
}

/** The body as text if it is JSON that fits on one line, else null. */
function jsonLine(body: Uint8Array): string | null {
  if (body.some((byte) => byte < 0x20)) return null;
  const text = decodeUtf8(body);
  if (text === null) return null;
  try {
    JSON.parse(text);
    return text;
  } catch {
    return null;
  }
}

/**
 * The event as one line of JSON, in which the body stands as it arrived: numbers of any length, members in their
 * order, repeated members.
 *
 * @param body the bytes of the body, wherever they are stored
 * @param installation name of the installation, as the origins of its trees begin
 */
export function cloudEventLine(
  record: LogRecord,
  row: EventRow | null,
  body: Uint8Array,
  installation: string,
): string {
  const attributes = attributesOf(record, row, installation);
  const json = jsonLine(body);
  if (json === null) {
    const data = toBase64(body);
    return JSON.stringify({ ...attributes, datacontenttype: 'application/octet-stream', data_base64: data });
  }
  const head = JSON.stringify({ ...attributes, datacontenttype: 'application/json' });
  return `${head.slice(0, -1)},"data":${json}}`;
}

/** The event as an object; a body is parsed, with what that costs its numbers. `cloudEventLine` keeps them. */
export function toCloudEvent(
  record: LogRecord,
  row: EventRow | null,
  body: Uint8Array,
  installation: string,
): CloudEvent {
  return JSON.parse(cloudEventLine(record, row, body, installation)) as CloudEvent;
}
