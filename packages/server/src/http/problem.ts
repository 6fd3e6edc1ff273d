/** Problem documents (RFC 9457), and the one table from codes to statuses. */

import { ERRORS, type ErrorCode } from '@evident/core/errors.ts';

export const STATUS_OF: Readonly<Record<ErrorCode, number>> = {
  'field-invalid': 400,
  'field-reserved': 403,
  'field-unknown': 400,
  'json-invalid': 400,
  'json-duplicate-member': 400,
  'json-too-deep': 400,
  'body-too-large': 413,
  'batch-too-large': 413,
  'media-type-unsupported': 415,
  'id-reused': 409,
  'tenant-forbidden': 403,
  unauthenticated: 401,
  'credential-expired': 401,
  'api-key-ended': 409,
  forbidden: 403,
  'not-found': 404,
  'log-unknown': 404,
  'method-not-allowed': 405,
  'request-malformed': 400,
  'request-timeout': 408,
  'headers-too-large': 431,
  'usage-invalid': 400,
  overloaded: 503,
  'rate-limited': 429,
  'identity-unavailable': 503,
  'outcome-unknown': 503,
  'log-unavailable': 503,
  'partition-stopped': 503,
  'shutting-down': 503,
  internal: 500,
  'trim-not-archived': 409,
  'position-trimmed': 410,
  'cursor-invalid': 400,
  'read-unrecorded': 503,
  'query-too-slow': 422,
  'tenant-busy': 503,
  'not-sealed': 409,
  'not-anchored': 409,
  'position-lost': 410,
  'evidence-broken': 500,
  'windows-missing': 409,
  'view-behind': 503,
  'alert-rule-changed': 409,
  'replay-refused': 409,
  'view-changed': 409,
  'context-missing': 400,
  'context-ended': 400,
  'outbox-missing': 500,
  'outbox-refused': 400,
  'outbox-unavailable': 503,
  'sync-timeout': 504,
  'buffer-full': 503,
  'source-unknown': 404,
  'source-unavailable': 503,
  'outbox-damaged': 500,
  'cursor-moved': 409,
  'data-locked': 503,
  'data-unwritable': 500,
  'disk-full': 507,
  'data-version': 500,
  'engine-missing': 500,
  'engine-failed': 503,
  'postgres-version': 500,
  'key-mismatch': 500,
  'seal-break': 500,
  'window-conflict': 500,
  'signer-refused': 500,
  'witness-refused': 500,
  'signer-unreachable': 503,
  'inception-refused': 500,
};

export const PROBLEM_TYPE = 'application/problem+json';

export interface Problem {
  /** `/errors/<code>`: answers the catalogue entry. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly field?: string;
  readonly retryable: boolean;
  readonly action: string;
}

/** What a caller sent comes back in details and fields; no more of it than a person reads. */
const DETAIL_LENGTH_MAX = 500;
const FIELD_LENGTH_MAX = 200;

/** Faults whose detail is ours, and may be shown; that of any other quotes drivers and addresses. */
const SHOWN_FAULTS: ReadonlySet<ErrorCode> = new Set([
  'overloaded',
  'shutting-down',
  'partition-stopped',
  'identity-unavailable',
  'request-timeout',
  'read-unrecorded',
  'tenant-busy',
]);

function cut(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}…`.toWellFormed();
}

/** @param field the field at fault as a dotted path from the item, if one is */
export function problemOf(code: ErrorCode, detail: string, field?: string | null): Problem {
  const { sentence, retryable, action } = ERRORS[code];
  const status = STATUS_OF[code];
  const isShown = status < 500 || SHOWN_FAULTS.has(code);
  return {
    type: `/errors/${code}`,
    title: sentence,
    status,
    code,
    detail: isShown
      ? cut(detail, DETAIL_LENGTH_MAX)
      : `${sentence} The server log holds more under the request id.`,
    ...(typeof field === 'string' ? { field: cut(field, FIELD_LENGTH_MAX) } : {}),
    retryable,
    action,
  };
}
