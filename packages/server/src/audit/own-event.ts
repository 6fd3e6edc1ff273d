/**
 * Evident's own audit events: who read, who resolved a dead letter, who was refused. They stand in the log `audit` as
 * any other event does, and are found by the same search.
 */

import { encodeUtf8 } from '@evident/core/bytes.ts';
import { type ProposedRecord, SYSTEM_SOURCE, SYSTEM_TENANT } from '@evident/core/record.ts';

/** Who acted: an API key (`key:<id>`), a subject of the identity provider (`oidc:<subject>`), or the operator at the machine. */
export interface OwnActor {
  readonly id: string;
  readonly role: string;
  readonly ip?: string;
}

export interface OwnEvent {
  readonly actor: OwnActor;
  /** Dotted, such as `audit.read`. */
  readonly action: string;
  readonly resource: { readonly type: string; readonly id: string };
  readonly result: 'success' | 'failure' | 'denied';
  /** Whose data it concerns; null: nobody's in particular, or everybody's. */
  readonly tenant: string | null;
  readonly reason?: string;
  readonly error?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly requestId?: string;
}

export interface OwnEventDeps {
  /** A new UUID. */
  readonly newId: () => string;
  /** Microseconds since the Unix epoch, as RFC 3339 text. */
  readonly instant: () => string;
}

/** Largest body that is written; details that would make it longer are cut down to their names. */
const BODY_BYTES_MAX = 32_768;

/** The record of one such event. Its key is `<tenant>/<actor>`, so that what one reader did stands in order. */
export function ownEventRecord({ newId, instant }: OwnEventDeps, event: OwnEvent): ProposedRecord {
  const id = newId();
  const tenant = event.tenant ?? SYSTEM_TENANT;
  const { actor, details, requestId } = event;
  const body = {
    event_id: id,
    event_time: instant(),
    tenant,
    actor: {
      id: actor.id,
      type: 'user',
      role: actor.role,
      ...(actor.ip === undefined ? {} : { ip_address: actor.ip }),
    },
    action: event.action,
    resource: event.resource,
    result: event.result,
    ...(event.reason === undefined ? {} : { reason: event.reason }),
    ...(event.error === undefined ? {} : { error: event.error }),
    ...(details === undefined ? {} : { details }),
    ...(requestId === undefined ? {} : { context: { request_id: requestId } }),
    criticality: 'critical',
  };
  let bytes = encodeUtf8(JSON.stringify(body));
  if (bytes.length > BODY_BYTES_MAX && details !== undefined)
    bytes = encodeUtf8(JSON.stringify({ ...body, details: { cut: Object.keys(details).slice(0, 100) } }));
  return {
    id,
    tenant,
    source: SYSTEM_SOURCE,
    sourceSeq: null,
    type: 'audit.event',
    schema: 1,
    key: `${tenant}/${actor.id}`,
    meta: null,
    body: { form: 'json', bytes },
  };
}
