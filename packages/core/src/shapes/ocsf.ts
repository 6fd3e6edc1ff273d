/**
 * A record as an event of OCSF 1.8.0 (https://schema.ocsf.io/1.8.0), a pure function of record, row and body.
 *
 * What the event does not tell is said to be unknown, never made up. Where OCSF requires an endpoint or an actor
 * that the event does not name, the source that captured it stands there.
 */

import { decodeUtf8 } from '../bytes.ts';
import { isIpAddress } from '../ip-address.ts';
import type { EventRow } from '../mapping/row.ts';
import type { LogRecord } from '../record.ts';
import { instantMillis, instantText } from './instant.ts';
import { extraOf, type HttpExchange, type OcsfExtra } from './ocsf-body.ts';
import { apiChoice, chooseClass, httpChoice, OCSF_CLASSES, type OcsfChoice } from './ocsf-class.ts';
import { datastoreOf, fileOf, groupOf } from './ocsf-stores.ts';

export const OCSF_VERSION = '1.8.0';

/** Longest body that is repeated as `raw_data`; its hash and place are told in any case. */
const RAW_DATA_BYTES_MAX = 60_000;
/** Largest integer that the 32 bits of `integer_t` hold; a position beyond it stands in `unmapped` alone. */
const INTEGER_MAX = 2_147_483_647n;

export interface OcsfEvent {
  readonly class_uid: number;
  readonly category_uid: number;
  readonly activity_id: number;
  readonly type_uid: number;
  /** Milliseconds since the Unix epoch. */
  readonly time: number;
  readonly severity_id: number;
  readonly [attribute: string]: unknown;
}

interface Parts {
  readonly record: LogRecord;
  readonly row: EventRow | null;
  readonly extra: OcsfExtra;
}

/** Only what is there: OCSF knows no null. */
function present(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(members).filter(([, value]) => value !== undefined && value !== null),
  );
}

const USER_TYPES: ReadonlyMap<string, readonly [id: number, caption: string]> = new Map([
  ['user', [1, 'User']],
  ['admin', [2, 'Admin']],
  ['system', [3, 'System']],
  ['service', [4, 'Service']],
  // CloudTrail's; a role may be anybody's.
  ['iamuser', [1, 'User']],
  ['root', [2, 'Admin']],
  ['awsservice', [4, 'Service']],
]);

function userOf(id: string, type: string | null) {
  const known = USER_TYPES.get(type?.toLowerCase() ?? '');
  const [type_id, caption] = known ?? (type === null ? [0, 'Unknown'] : [99, type]);
  return { uid: id, type_id, type: caption };
}

function actorOf({ record, row, extra }: Parts) {
  return present({
    ...(row?.actorId == null ? { app_uid: record.source } : { user: userOf(row.actorId, row.actorType) }),
    session: extra.sessionUid === undefined ? undefined : { uid: extra.sessionUid },
  });
}

function endpointOf({ record, row }: Parts) {
  if (row?.ip == null) return { svc_name: record.source };
  return isIpAddress(row.ip) ? { ip: row.ip } : { name: row.ip };
}

/** Success and failure; `denied` is a failure whose detail says so. */
function statusOf({ row, extra }: Parts) {
  const result = row?.result ?? null;
  const [status_id, status] =
    result === null ? [0, 'Unknown'] : result === 'success' ? [1, 'Success'] : [2, 'Failure'];
  const detail = extra.errorMessage ?? extra.error ?? (result === 'denied' ? 'denied' : undefined);
  return present({ status_id, status, status_code: extra.error, status_detail: detail });
}

function metadataOf({ record, row, extra }: Parts) {
  return present({
    version: OCSF_VERSION,
    product: extra.product,
    uid: record.id,
    tenant_uid: record.tenant,
    log_name: record.log,
    log_provider: 'Evident',
    log_source: record.source,
    event_code: record.type,
    logged_time: instantMillis(record.appendedAt),
    original_time: row?.eventTime == null ? undefined : instantText(row.eventTime),
    sequence: record.position <= INTEGER_MAX ? Number(record.position) : undefined,
    correlation_uid: row?.correlationId,
    profiles: extra.cloud === undefined ? undefined : ['cloud'],
  });
}

function urlOf(target: string) {
  const question = target.indexOf('?');
  const path = question < 0 ? target : target.slice(0, question);
  return present({
    // The target of a proxy request is a whole address; one of OPTIONS may be a star.
    path: path === '' ? '/' : path,
    query_string: question < 0 ? undefined : target.slice(question + 1),
  });
}

const METHODS = ['OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'TRACE', 'CONNECT', 'PATCH'];

function httpOf(http: HttpExchange, userAgent: string | undefined) {
  return present({
    http_request: present({
      http_method: http.method !== null && METHODS.includes(http.method) ? http.method : undefined,
      url: http.target === null ? undefined : urlOf(http.target),
      user_agent: userAgent,
      referrer: http.referrer ?? undefined,
    }),
    http_response: http.status === null ? undefined : present({ code: http.status, length: http.size }),
  });
}

function resourceOf({ row, extra }: Parts) {
  if (row === null || row.resourceId === null) return undefined;
  return present({
    uid: row.resourceId,
    type: row.resourceType,
    region: extra.cloud?.region,
  });
}

const ENTITY_TYPES: readonly (readonly [RegExp, number, string])[] = [
  [/user/i, 2, 'User'],
  [/group|team/i, 3, 'Group'],
  [/org|tenant|department/i, 4, 'Organization'],
  [/polic/i, 5, 'Policy'],
];

function entityOf({ row, extra }: Parts) {
  const uid = row?.resourceId ?? extra.entity;
  if (uid === undefined) return null;
  const type = row?.resourceType ?? 'unknown';
  const [, type_id, caption] = ENTITY_TYPES.find(([pattern]) => pattern.test(type)) ?? [null, 99, type];
  return { uid, type_id, type: caption };
}

/** The user to whom something was done, if the event names one. */
function targetOf({ row, extra }: Parts): string | null {
  if (extra.targetUser !== undefined) return extra.targetUser;
  return row !== null && /user|member|identity/i.test(row.resourceType ?? '') ? row.resourceId : null;
}

/** What the class has beside what all have; null where it requires what the event doesn't tell. */
function specifics(choice: OcsfChoice, parts: Parts): Record<string, unknown> | null {
  const { row, extra, record } = parts;
  const common = present({
    actor: actorOf(parts),
    src_endpoint: endpointOf(parts),
    http_request: extra.userAgent === undefined ? undefined : { user_agent: extra.userAgent },
  });
  const resource = resourceOf(parts);
  const target = targetOf(parts);
  switch (choice.name) {
    case 'base_event':
      return {};
    case 'http_activity':
      return extra.http === undefined
        ? null
        : { src_endpoint: endpointOf(parts), ...httpOf(extra.http, extra.userAgent) };
    case 'api_activity': {
      const api = present({
        operation: row?.action,
        service: extra.service === undefined ? undefined : { name: extra.service },
        request: extra.requestUid === undefined ? undefined : { uid: extra.requestUid },
        response: extra.error === undefined ? undefined : present({ error: extra.error }),
      });
      return present({ ...common, api, resources: resource === undefined ? undefined : [resource] });
    }
    case 'authentication': {
      const who = target ?? row?.actorId ?? null;
      if (who === null) return null;
      const user = userOf(who, who === row?.actorId ? row.actorType : null);
      return { ...common, user, service: { name: extra.service ?? record.source } };
    }
    case 'account_change':
      return target === null ? null : { ...common, user: userOf(target, null) };
    case 'user_access': {
      const privileges =
        extra.privileges ?? (/role|permission/i.test(row?.resourceType ?? '') ? [row?.resourceId] : []);
      if (target === null || privileges.length === 0) return null;
      return present({ ...common, user: userOf(target, null), privileges, resource });
    }
    case 'file_activity': {
      const file = fileOf(parts);
      return file === null ? null : { actor: actorOf(parts), ...file };
    }
    case 'datastore_activity': {
      const store = datastoreOf(parts);
      return store === null ? null : { ...common, ...store };
    }
    case 'group_management': {
      const group = groupOf(parts);
      const user = target === null ? undefined : userOf(target, null);
      return group === null ? null : present({ ...common, group, user, privileges: extra.privileges });
    }
    case 'entity_management': {
      const entity = entityOf(parts);
      return entity === null ? null : { ...common, entity };
    }
  }
}

function choose(parts: Parts): { choice: OcsfChoice; own: Record<string, unknown> } {
  const { record, row, extra } = parts;
  const none: OcsfChoice = { name: 'base_event', activity: 0, caption: 'Unknown' };
  const action = row?.action ?? null;
  const wanted =
    extra.http !== undefined
      ? httpChoice(extra.http.method)
      : action === null
        ? none
        : chooseClass(record.type, action, row?.resourceType ?? null);
  const own = specifics(wanted, parts);
  if (own !== null) return { choice: wanted, own };
  const choice = action === null ? none : apiChoice(action);
  return { choice, own: specifics(choice, parts) ?? {} };
}

/**
 * @param body the bytes of the body, wherever they are stored
 * @returns attributes in a fixed order; `raw_data` is the body where it is text of at most 60,000 bytes
 */
export function toOcsf(record: LogRecord, row: EventRow | null, body: Uint8Array): OcsfEvent {
  const parts: Parts = { record, row, extra: extraOf(record, body) };
  const { choice, own } = choose(parts);
  const { uid, caption, category } = OCSF_CLASSES[choice.name];
  const failed = row?.result === 'failure' || row?.result === 'denied';
  const raw = body.length <= RAW_DATA_BYTES_MAX ? decodeUtf8(body) : null;
  return {
    class_uid: uid,
    class_name: caption,
    category_uid: category[0],
    category_name: category[1],
    activity_id: choice.activity,
    activity_name: choice.caption,
    type_uid: uid * 100 + choice.activity,
    type_name: `${caption}: ${choice.activity === 99 ? 'Other' : choice.caption}`,
    time: instantMillis(row?.eventTime ?? record.appendedAt),
    severity_id: failed ? 2 : 1,
    severity: failed ? 'Low' : 'Informational',
    ...statusOf(parts),
    metadata: metadataOf(parts),
    ...(row?.action == null ? {} : { message: row.action }),
    ...own,
    ...(parts.extra.cloud === undefined ? {} : { cloud: parts.extra.cloud }),
    ...(raw === null ? {} : { raw_data: raw }),
    raw_data_size: body.length,
    unmapped: present({
      log: record.log,
      partition: record.partition,
      position: record.position.toString(),
      mapper: row?.mapper,
      result: row?.result,
      corrects: row?.corrects,
    }),
  };
}
