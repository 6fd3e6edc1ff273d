/** Filters from outside: query strings, JSON, saved searches. Strict: a member that is not known is refused, never ignored. */

import { EvidentError } from '@evident/core/errors.ts';
import { isIpAddress } from '@evident/core/ip-address.ts';
import { type EventResult, ROW_TEXT_BYTES_MAX } from '@evident/core/mapping/row.ts';
import { checkLogName, checkText, isTenant, SYSTEM_TENANT, TYPE_BYTES_MAX } from '@evident/core/record.ts';
import { instantText } from '@evident/core/shapes/instant.ts';
import type { EventFilter } from './filter.ts';
import { parseInstant } from './instant.ts';

/** Longest text that is sought in bodies, UTF-8 bytes. */
export const SOUGHT_TEXT_BYTES_MAX = 256;
/** Shortest, in characters: one letter stands in every body. */
export const SOUGHT_TEXT_CHARACTERS_MIN = 2;

const RESULTS: readonly EventResult[] = ['success', 'failure', 'denied'];
const TYPE = /^[A-Za-z0-9][A-Za-z0-9._:-]*$/;

function refuse(member: string, reason: string): never {
  throw new EvidentError('field-invalid', `${member}: ${reason}`, { context: { field: member } });
}

function rowText(value: unknown, member: string): string {
  return checkText(value, member, ROW_TEXT_BYTES_MAX);
}

function instant(value: unknown, member: string): bigint {
  const parsed = typeof value === 'string' ? parseInstant(value) : null;
  return parsed ?? refuse(member, 'it is a time such as 2026-11-20T10:00:00Z, or a date such as 2026-11-20');
}

/** How each member is checked; the order is that of `describeFilter`. */
const CHECKS: { readonly [M in keyof EventFilter]-?: (value: unknown, member: string) => EventFilter[M] } = {
  log: checkLogName,
  tenant: (value, member) =>
    typeof value === 'string' && (isTenant(value) || value === SYSTEM_TENANT)
      ? value
      : refuse(member, 'it is no name of a tenant'),
  type: (value, member) => {
    const type = checkText(value, member, TYPE_BYTES_MAX);
    return TYPE.test(type) ? type : refuse(member, 'a type is made of A-Z a-z 0-9 . _ : -');
  },
  actor: rowText,
  actorType: rowText,
  action: rowText,
  actionPrefix: rowText,
  resourceType: rowText,
  resource: rowText,
  result: (value, member) =>
    RESULTS.find((result) => result === value) ?? refuse(member, `it is one of ${RESULTS.join(', ')}`),
  correlationId: rowText,
  ip: (value, member) => {
    const ip = checkText(value, member, 64);
    return isIpAddress(ip) ? ip : refuse(member, 'it is no IPv4 or IPv6 address');
  },
  from: instant,
  to: instant,
  appendedFrom: instant,
  appendedTo: instant,
  text: (value, member) => {
    const text = checkText(value, member, SOUGHT_TEXT_BYTES_MAX);
    if (text.length < SOUGHT_TEXT_CHARACTERS_MIN)
      refuse(member, `it has at least ${SOUGHT_TEXT_CHARACTERS_MIN} characters`);
    return text;
  },
};

/** The members that a filter may have. */
export const FILTER_MEMBERS = Object.keys(CHECKS) as readonly (keyof EventFilter)[];

function checkSpan(from: bigint | undefined, to: bigint | undefined, member: string, other: string): void {
  if (from !== undefined && to !== undefined && from >= to)
    refuse(member, `it is not later than ${other}: the span is empty`);
}

/**
 * A filter from names and texts, as a query string or a JSON object holds them. A member that is undefined is absent.
 * Times are RFC 3339, or a date: its first instant in UTC. `from` and `appendedFrom` are inclusive, `to` and
 * `appendedTo` exclusive.
 *
 * @throws field-invalid, field-unknown; the message and `context.field` name the member
 */
export function checkFilter(input: Readonly<Record<string, unknown>>): EventFilter {
  const filter: Record<string, unknown> = {};
  for (const [member, value] of Object.entries(input)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(CHECKS, member))
      throw new EvidentError(
        'field-unknown',
        `${member}: a filter has no such member; it has ${FILTER_MEMBERS.join(', ')}`,
        { context: { field: member } },
      );
    if (Array.isArray(value)) refuse(member, 'it is given more than once');
    filter[member] = CHECKS[member as keyof EventFilter](value, member);
  }
  const checked = filter as EventFilter;
  checkSpan(checked.from, checked.to, 'to', 'from');
  checkSpan(checked.appendedFrom, checked.appendedTo, 'appendedTo', 'appendedFrom');
  return checked;
}

/** The filter as names and texts: `checkFilter` makes the same of it. One order of members, so that equal filters give equal texts. */
export function describeFilter(filter: EventFilter): Record<string, string> {
  const described: Record<string, string> = {};
  for (const member of FILTER_MEMBERS) {
    const value = filter[member];
    if (value !== undefined) described[member] = typeof value === 'bigint' ? instantText(value) : value;
  }
  return described;
}
