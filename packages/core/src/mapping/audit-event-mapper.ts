/**
 * Rows of `audit.event`. What breaks its schema can only have come by way of an outbox, whose rows are taken verbatim
 * (design §4 Relay): here it becomes a dead letter.
 *
 * A correction is an event of its own, with the action `audit.correction`. It names the event that it corrects in
 * `details.corrects`, a UUID, or, when its resource is nothing else than that event, as resource
 * `{"type": "audit.event", "id": "<uuid>"}`. `details.corrects` goes first. Both must be of one tenant.
 */

import { type AuditEvent, checkAuditEvent } from '../audit-event.ts';
import { isEvidentError } from '../errors.ts';
import { scanDocument } from '../json/scan.ts';
import { type LogRecord, SYSTEM_SOURCE } from '../record.ts';
import { instantMicros } from './instant.ts';
import { mappingError, readJson } from './read-json.ts';
import type { EventRow, Mapper } from './row.ts';
import { isObject, rowText } from './row-text.ts';

const NAME = 'audit.event/1';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const auditEventMapper: Mapper = { type: 'audit.event', version: 1, map };

function map(record: LogRecord, body: Uint8Array): EventRow {
  const event = checked(record, body);
  const { actor, resource, context } = event;
  const eventTime = instantMicros(event.event_time);
  if (eventTime === null)
    throw mappingError(record, 'body.event_time: in UTC it is outside of the years 0001 to 9999');
  return {
    eventTime,
    actorId: rowText(actor.id),
    actorType: actor.type,
    action: rowText(event.action),
    resourceType: rowText(resource.type),
    resourceId: rowText(resource.id),
    result: event.result,
    correlationId: rowText(context?.correlation_id ?? context?.request_id),
    ip: rowText(actor.ip_address),
    corrects: event.action === 'audit.correction' ? correctedBy(event) : null,
    mapper: NAME,
  };
}

/** @throws MappingError naming the field */
function checked(record: LogRecord, body: Uint8Array): AuditEvent {
  if (record.schema !== 1) throw mappingError(record, `schema ${record.schema} of audit.event is not known`);
  const value = readJson(record, body);
  const event = checkedEvent(record, body, value);
  if (event.event_id.toLowerCase() !== record.id)
    throw mappingError(record, 'body.event_id: it is not the id of the record');
  return event;
}

function checkedEvent(record: LogRecord, body: Uint8Array, value: unknown): AuditEvent {
  const claimed = isObject(value) ? value.tenant : undefined;
  // The schema takes no reserved tenant; Evident's own events may have one.
  const isOwn = record.source === SYSTEM_SOURCE && record.tenant.startsWith('_') && claimed === record.tenant;
  try {
    // As capture is: two members of one name would show one thing here and another elsewhere.
    scanDocument(body, 0, body.length, { duplicates: 'refuse' });
    const event = checkAuditEvent(
      isOwn ? { ...(value as object), tenant: 'evident' } : value,
      'body',
      'well-formed',
    );
    if (claimed !== record.tenant)
      throw mappingError(record, 'body.tenant: it is not the tenant of the record');
    return event;
  } catch (error) {
    if (!isEvidentError(error)) throw error;
    throw mappingError(record, error.message);
  }
}

function correctedBy(event: AuditEvent): string | null {
  const named =
    event.details?.corrects ?? (event.resource.type === 'audit.event' ? event.resource.id : undefined);
  if (typeof named !== 'string' || named.length !== 36) return null;
  const id = named.toLowerCase();
  return UUID.test(id) ? id : null;
}
