/** Envelopes: what the client sends for each event. Checked here as the log checks them, so that a mistake is told at once. */

import { checkAuditEvent } from '@evident/core/audit-event.ts';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { scanDocument } from '@evident/core/json/scan.ts';
import {
  BODY_BYTES_MAX,
  checkId,
  checkKey,
  checkSchema,
  checkType,
  type Meta,
  serialiseMeta,
} from '@evident/core/record.ts';

/** One event as the caller hands it over. */
export interface HttpEvent {
  /** Any UUID, best a UUIDv7. Sent again with the same body it is a repeat, and stands in the log once. */
  readonly id: string;
  /** `audit.event`, or a name of your own. */
  readonly type: string;
  /** Events of one key keep their order; of an `audit.event` it is `<tenant>/<actor id>`. */
  readonly key: string;
  /** 1 for `audit.event`, 0 for every other type. */
  readonly schema: number;
  /** Facts of capture: strings and integers. */
  readonly meta?: Meta | null;
  /** The text or the bytes of a JSON value, which the log keeps as they are; or an object, serialised once, now. */
  readonly body: string | Uint8Array | object;
}

/** An event that is ready to be sent. */
export interface EncodedEvent {
  /** Lower-case UUID. */
  readonly id: string;
  /** The envelope as JSON. */
  readonly bytes: Uint8Array;
}

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * @param path of the event in what the caller gave, for messages
 * @throws field-invalid, field-unknown, field-reserved, json-*, body-too-large; the detail names the field
 */
export function encodeEvent(event: HttpEvent, path: string): EncodedEvent {
  if (typeof event !== 'object' || event === null) {
    throw new EvidentError('field-invalid', `${path}: an event is an object`, { context: { field: path } });
  }
  const type = checkType(event.type, `${path}.type`);
  const id = checkId(event.id, `${path}.id`);
  const key = checkKey(event.key, `${path}.key`);
  const schema = checkSchema(event.schema, type, `${path}.schema`);
  const meta = serialiseMeta(event.meta, `${path}.meta`);
  const body = bodyBytes(event.body, `${path}.body`);
  checkBody(body, { id, key, type }, `${path}.body`);
  const facts = meta === null ? '' : `,"meta":${meta}`;
  const head = utf8.encode(
    `{"id":"${id}","type":"${type}","key":${JSON.stringify(key)},"schema":${schema}${facts},"body":`,
  );
  const bytes = new Uint8Array(head.length + body.length + 1);
  bytes.set(head);
  bytes.set(body, head.length);
  bytes[bytes.length - 1] = 0x7d;
  return { id, bytes };
}

function bodyBytes(body: unknown, field: string): Uint8Array {
  const bytes = body instanceof Uint8Array ? body : utf8.encode(bodyText(body, field));
  if (bytes.length > BODY_BYTES_MAX) {
    throw new EvidentError(
      'body-too-large',
      `${field}: it has ${bytes.length} bytes; the limit is ${BODY_BYTES_MAX}`,
      {
        context: { field, limit: BODY_BYTES_MAX },
      },
    );
  }
  return bytes;
}

function bodyText(body: unknown, field: string): string {
  const text =
    typeof body === 'string' ? body : typeof body === 'object' ? serialise(body, field) : undefined;
  if (text === undefined) {
    throw new EvidentError(
      'field-invalid',
      `${field}: the text of a JSON value, its bytes, or an object is expected`,
      {
        context: { field },
      },
    );
  }
  // Encoding would turn half a surrogate pair into another character, silently.
  if (text.isWellFormed()) return text;
  throw new EvidentError('field-invalid', `${field}: it holds a lone surrogate`, { context: { field } });
}

function serialise(body: object | null, field: string): string | undefined {
  try {
    return JSON.stringify(body);
  } catch (cause) {
    throw new EvidentError('field-invalid', `${field}: it cannot be written as JSON: ${String(cause)}`, {
      cause,
      context: { field },
    });
  }
}

interface EventNames {
  readonly id: string;
  readonly key: string;
  readonly type: string;
}

/** One broken body would have the whole request refused, and everybody else's events with it. */
function checkBody(body: Uint8Array, { id, key, type }: EventNames, field: string): void {
  const isAudit = type === 'audit.event';
  const rule = isAudit ? 'refuse' : 'keep';
  try {
    scanDocument(body, 0, body.length, { duplicates: rule, loneSurrogates: rule });
  } catch (error) {
    if (!isEvidentError(error)) throw error;
    throw new EvidentError(error.code, `${field}: ${error.message}`, {
      cause: error,
      context: { ...error.context, field },
    });
  }
  if (!isAudit) return;
  const event = checkAuditEvent(JSON.parse(strictUtf8.decode(body)), field, 'well-formed');
  if (event.event_id.toLowerCase() !== id) refuse(`${field}.event_id`, 'it is not the id of the event');
  if (!key.startsWith(`${event.tenant}/`)) {
    refuse(
      field.replace(/body$/, 'key'),
      `the key of an audit.event begins with its tenant, here ${event.tenant}/`,
    );
  }
}

function refuse(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}
