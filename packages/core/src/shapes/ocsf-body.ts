/** What OCSF has a place for beside the columns of a row, read from the bodies of the known types. */

import { decodeUtf8 } from '../bytes.ts';
import type { LogRecord } from '../record.ts';

type Json = Readonly<Record<string, unknown>>;

/** Members that are missing are undefined, those of another kind as well. */
export interface OcsfExtra {
  readonly product: { readonly name: string; readonly vendor_name: string };
  readonly service?: string;
  readonly requestUid?: string;
  readonly error?: string;
  readonly errorMessage?: string;
  readonly userAgent?: string;
  readonly sessionUid?: string;
  readonly cloud?: {
    readonly provider: string;
    readonly region?: string;
    readonly account?: { readonly uid: string };
  };
  /** To whom something was done, where it isn't the resource of the row. */
  readonly targetUser?: string;
  readonly privileges?: readonly string[];
  /** What is managed, where the row names no resource. */
  readonly entity?: string;
  readonly http?: HttpExchange;
  /** The name of what something was done to, beside its id. */
  readonly resourceName?: string;
  /** The machine that it happened on. */
  readonly host?: string;
  /** The group that is managed, where it isn't the resource of the row. */
  readonly group?: string;
  /** The bucket, or the table, that a request of AWS names. */
  readonly bucket?: string;
  readonly table?: string;
}

export interface HttpExchange {
  readonly method: string | null;
  readonly target: string | null;
  readonly status: number | null;
  readonly size: number | null;
  readonly referrer: string | null;
}

const EVIDENT = { name: 'Evident', vendor_name: 'Evident' };
/** Above this a body is not parsed for what would only be an addition. */
const BODY_PARSED_BYTES_MAX = 1_048_576;

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;
const object = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};

function parse(body: Uint8Array): Json {
  const decoded = body.length > BODY_PARSED_BYTES_MAX ? null : decodeUtf8(body);
  if (decoded === null) return {};
  try {
    return object(JSON.parse(decoded));
  } catch {
    return {};
  }
}

function cloudTrail(body: Json): OcsfExtra {
  const request = object(body.requestParameters);
  const session = object(object(body.userIdentity).sessionContext);
  const account = text(body.recipientAccountId);
  const policy = text(request.policyName) ?? text(request.policyArn);
  return {
    product: { name: 'CloudTrail', vendor_name: 'AWS' },
    service: text(body.eventSource),
    requestUid: text(body.requestID),
    error: text(body.errorCode),
    errorMessage: text(body.errorMessage),
    userAgent: text(body.userAgent),
    sessionUid: text(session.creationDate) && text(object(body.userIdentity).accessKeyId),
    cloud: {
      provider: 'AWS',
      ...(text(body.awsRegion) === undefined ? {} : { region: text(body.awsRegion) }),
      ...(account === undefined ? {} : { account: { uid: account } }),
    },
    targetUser: text(request.userName),
    entity:
      text(request.roleName) ??
      text(request.groupName) ??
      text(request.policyName) ??
      text(request.instanceProfileName),
    group: text(request.groupName),
    bucket: text(request.bucketName),
    table: text(request.tableName),
    ...(policy === undefined ? {} : { privileges: [policy] }),
  };
}

function auditEvent(body: Json): OcsfExtra {
  const context = object(body.context);
  const details = object(body.details);
  const privileges = [details.role, details.permission, details.privilege].flatMap((one) => text(one) ?? []);
  return {
    product: EVIDENT,
    requestUid: text(context.request_id),
    error: text(body.error),
    errorMessage: text(body.reason),
    userAgent: text(object(body.actor).user_agent),
    sessionUid: text(context.session_id),
    resourceName: text(object(body.resource).name),
    host: text(details.host),
    group: text(details.group),
    targetUser: text(details.user) ?? text(details.user_id) ?? text(details.subject),
    ...(privileges.length === 0 ? {} : { privileges }),
  };
}

function kubernetes(body: Json): OcsfExtra {
  const status = object(body.responseStatus);
  return {
    product: { name: 'Kubernetes', vendor_name: 'Kubernetes' },
    service: text(object(body.objectRef).apiGroup),
    requestUid: text(body.auditID),
    error: text(status.reason),
    errorMessage: text(status.message),
    userAgent: text(body.userAgent),
  };
}

/** `host ident user [time] "GET /path HTTP/1.1" 200 1234`, and in the combined format `"referrer" "agent"`. */
const APACHE = /" ([0-9]{3}) ([0-9]+|-)(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?\r?$/s;
const APACHE_REQUEST = /^[^"]*"([^ "]+) ((?:[^"\\ ]|\\.)+)(?: [^"]*)?"/s;

function apache(body: Uint8Array): OcsfExtra {
  const product = { name: 'HTTP Server', vendor_name: 'Apache' };
  // Lines of logs are rarely UTF-8; every byte is one character here, and none of them is lost.
  const line = body.length > 65_536 ? '' : Array.from(body, (byte) => String.fromCharCode(byte)).join('');
  const rest = APACHE.exec(line);
  const request = APACHE_REQUEST.exec(line);
  if (rest === null) return { product };
  const [, status, size, referrer = '-', agent = '-'] = rest;
  return {
    product,
    ...(agent === '-' || agent === '' ? {} : { userAgent: agent }),
    http: {
      method: request?.[1] ?? null,
      target: request?.[2] ?? null,
      status: Number(status),
      size: size === '-' ? null : Number(size),
      referrer: referrer === '-' || referrer === '' ? null : referrer,
    },
  };
}

/** What the body of a record adds; the product alone where its type is not known or it can't be read. */
export function extraOf(record: LogRecord, body: Uint8Array): OcsfExtra {
  switch (record.type) {
    case 'audit.event':
      return auditEvent(parse(body));
    case 'cloudtrail':
      return cloudTrail(parse(body));
    case 'k8s':
      return kubernetes(parse(body));
    case 'fhir':
      return { product: { name: 'FHIR AuditEvent', vendor_name: 'HL7' } };
    case 'apache':
      return apache(body);
    default:
      return { product: { name: record.type, vendor_name: 'unknown' } };
  }
}
