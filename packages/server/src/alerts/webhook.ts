/**
 * What is sent to a webhook, and how it is signed: https://github.com/standard-webhooks/standard-webhooks.
 *
 *     webhook-id         the same for every attempt: a receiver that has seen it has a repeat
 *     webhook-timestamp  seconds since the Unix epoch, of this attempt
 *     webhook-signature  v1,<base64 of HMAC-SHA256 over "<id>.<timestamp>.<body>">
 */

import { createHmac } from 'node:crypto';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import { checkText, type LogRecord } from '@evident/core/record.ts';
import { cloudEventLine } from '@evident/core/shapes/cloudevents.ts';
import { instantText } from '@evident/core/shapes/instant.ts';
import { toOcsf } from '@evident/core/shapes/ocsf.ts';
import { parsePlace } from './evaluate.ts';
import { type Alert, type Delivery, PAYLOADS, type Payload, type ReadPlaces } from './ports.ts';

/** Standard Webhooks asks for 24 to 64. */
export const SECRET_BYTES = 32;
const SECRET_PREFIX = 'whsec_';
const NAME_BYTES_MAX = 128;
const URL_BYTES_MAX = 2_048;
const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/;

/** The text of a secret, as receivers' libraries take it. */
export function secretText(secret: Uint8Array): string {
  return `${SECRET_PREFIX}${Buffer.from(secret).toString('base64')}`;
}

export function signature(secret: Uint8Array, id: string, seconds: bigint, body: Uint8Array): string {
  const mac = createHmac('sha256', secret).update(`${id}.${seconds}.`).update(body).digest('base64');
  return `v1,${mac}`;
}

function refuse(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}

/** Where a webhook may point to, as far as its address tells: https, or http on this machine. No credentials in it. */
function checkUrl(value: unknown): string {
  const text = checkText(value, 'url', URL_BYTES_MAX);
  const url = URL.canParse(text) ? new URL(text) : refuse('url', 'it is no address');
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.test(url.hostname)))
    refuse('url', 'an address with https is expected (http on a loopback address alone)');
  if (url.username !== '' || url.password !== '') refuse('url', 'it may not hold a name or a password');
  if (url.hash !== '') refuse('url', 'it may not hold a fragment');
  return url.href;
}

export interface NewWebhook {
  readonly name: string;
  readonly url: string;
  readonly payload: Payload;
}

/** @throws field-invalid naming the member */
export function checkWebhook({
  name,
  url,
  payload = 'alert',
}: Readonly<Record<string, unknown>>): NewWebhook {
  return {
    name: checkText(name, 'name', NAME_BYTES_MAX),
    url: checkUrl(url),
    payload:
      PAYLOADS.find((one) => one === payload) ??
      refuse('payload', `one of ${PAYLOADS.join(', ')} is expected`),
  };
}

/** An alert as JSON has it: positions and counts as text, instants in RFC 3339. */
export function shownAlert(alert: Alert) {
  const instant = (value: bigint | null) => (value === null ? null : instantText(value));
  return {
    id: alert.id,
    tenant: alert.tenant,
    rule: alert.rule,
    name: alert.name,
    severity: alert.severity,
    group_by: alert.groupBy,
    subject: alert.subject,
    others: alert.others,
    window_start: instant(alert.windowStart),
    window_end: instant(alert.windowEnd),
    threshold: alert.threshold === null ? null : alert.threshold.toString(),
    count: alert.count.toString(),
    events: alert.places.map((place) => {
      const { log, partition, position } = parsePlace(place);
      return { log, partition, position: position.toString() };
    }),
    detail: alert.detail,
    opened_at: instantText(alert.openedAt),
    closed_at: instant(alert.closedAt),
    acknowledged_at: instant(alert.acknowledgedAt),
    acknowledged_by: alert.acknowledgedBy,
    note: alert.note,
  };
}

export interface PayloadDeps {
  /** Name of the installation. */
  readonly installation: string;
  readonly readPlaces: ReadPlaces;
  readonly rowOf: (record: LogRecord, body: Uint8Array) => EventRow | null;
}

function alertEvent(installation: string, alert: Alert): string {
  const source = [...installation.split('/'), 'alerts'].map(encodeURIComponent).join('/');
  // What was acknowledged or closed between two attempts is not in it: each sends the same.
  const {
    closed_at: _,
    acknowledged_at: _at,
    acknowledged_by: _by,
    note: _note,
    ...data
  } = shownAlert(alert);
  return JSON.stringify({
    specversion: '1.0',
    id: alert.id,
    source: `//${source}`,
    type: 'evident.alert',
    subject: alert.name,
    time: instantText(alert.openedAt),
    tenant: alert.tenant,
    severity: alert.severity,
    datacontenttype: 'application/json',
    data,
  });
}

/** @throws log-unavailable */
export async function payloadOf(
  { installation, readPlaces, rowOf }: PayloadDeps,
  { webhook, alert }: Delivery,
): Promise<{ type: string; body: Uint8Array }> {
  if (webhook.payload === 'alert')
    return { type: 'application/cloudevents+json', body: encodeUtf8(alertEvent(installation, alert)) };
  const events = (await readPlaces(alert.places)).map(({ record, body }) => {
    const row = rowOrNull(rowOf, record, body);
    return webhook.payload === 'ocsf'
      ? JSON.stringify(toOcsf(record, row, body))
      : cloudEventLine(record, row, body, installation);
  });
  const type = webhook.payload === 'ocsf' ? 'application/json' : 'application/cloudevents-batch+json';
  return { type, body: encodeUtf8(`[${events.join(',')}]`) };
}

function rowOrNull(rowOf: PayloadDeps['rowOf'], record: LogRecord, body: Uint8Array): EventRow | null {
  try {
    return rowOf(record, body);
  } catch {
    return null;
  }
}
