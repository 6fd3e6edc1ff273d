/** Filters as they are written outside: in addresses, in JSON, on the command line. Names there are in snake_case. */

import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { checkFilter, describeFilter, FILTER_MEMBERS } from './check-filter.ts';
import type { EventFilter } from './filter.ts';

function nameOf(member: string): string {
  return member.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const MEMBER_OF: ReadonlyMap<string, string> = new Map(
  FILTER_MEMBERS.map((member) => [nameOf(member), member]),
);

/** `actor`, `action_prefix`, … in the order of `FILTER_MEMBERS`. */
export const FILTER_NAMES: readonly string[] = [...MEMBER_OF.keys()];

/**
 * A filter from outside names. Undefined members are absent.
 * @throws field-invalid, field-unknown; message and `context.field` have the name of outside
 */
export function filterOfNames(input: Readonly<Record<string, unknown>>): EventFilter {
  const members: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(input)) {
    const member = MEMBER_OF.get(name);
    if (member === undefined)
      throw new EvidentError(
        'field-unknown',
        `${name}: a filter has no such member; it has ${FILTER_NAMES.join(', ')}`,
        { context: { field: name } },
      );
    members[member] = value;
  }
  try {
    return checkFilter(members);
  } catch (error) {
    throw withOutsideNames(error);
  }
}

/** `filterOfNames` makes the same filter of it. */
export function namesOfFilter(filter: EventFilter): Record<string, string> {
  return Object.fromEntries(
    Object.entries(describeFilter(filter)).map(([member, value]) => [nameOf(member), value]),
  );
}

function withOutsideNames(error: unknown): unknown {
  if (!isEvidentError(error)) return error;
  const message = FILTER_MEMBERS.reduce(
    (text, member) => text.replaceAll(member, nameOf(member)),
    error.message,
  );
  const { field } = error.context;
  return new EvidentError(error.code, message, {
    cause: error,
    context: { ...error.context, ...(typeof field === 'string' ? { field: nameOf(field) } : {}) },
  });
}
