/**
 * What changed between two states of an object, field by field, as the `changes` of an audit event.
 *
 * - Objects are compared member by member, and a field is named by its dotted path: `address.city`.
 * - Arrays, dates, bytes and whatever has toJSON are values: they changed as a whole or not at all.
 * - A missing member, undefined and null are the same: JSON holds no undefined, so a change between them would read
 *   `{old: null, new: null}`. A missing state (a created or a deleted object) is an object without members.
 * - Values stand in their JSON form (see plain-value.ts), and it is that form which is compared: 1n and '1' are equal.
 */

import { hasSameForm, plainValue } from './plain-value.ts';
import { refuseField } from './refuse.ts';

/** More changed fields than a person reads; a table of them belongs to details, or behind `ignore`. */
export const CHANGES_MAX = 1_000;
/** Deeper objects are compared and recorded as values. */
export const CHANGES_DEPTH_MAX = 8;
/** What stands for a masked value. */
export const MASKED = '[masked]';

export type Changes = Record<string, { old: unknown; new: unknown }>;

export interface ChangesOptions {
  /** Fields that are left out, with all below them, such as `updated_at`. */
  readonly ignore?: readonly string[];
  /** Fields of which only that they changed is recorded, with all below them, such as `password_hash`. */
  readonly mask?: readonly string[];
}

/** An object of any type: rows and entities have no index signature. */
export type State = object | null | undefined;

/**
 * @param before the state before; null or undefined if there was none
 * @param after the state after; null or undefined if there is none any more
 * @throws field-invalid when a value has no JSON form, or more than CHANGES_MAX fields changed
 */
export function changesBetween(before: State, after: State, options: ChangesOptions = {}): Changes {
  const found = new Map<string, { old: unknown; new: unknown }>();
  compareMembers(asMembers(before) ?? {}, asMembers(after) ?? {}, '', 0, { found, options });
  return Object.fromEntries(found);
}

interface Comparison {
  readonly found: Map<string, { old: unknown; new: unknown }>;
  readonly options: ChangesOptions;
}

type Members = Readonly<Record<string, unknown>>;

function compareMembers(before: Members, after: Members, path: string, depth: number, to: Comparison): void {
  for (const name of Object.keys(before)) {
    compareField(before[name], own(after, name), path, name, depth, to);
  }
  for (const name of Object.keys(after)) {
    if (!Object.hasOwn(before, name)) compareField(undefined, after[name], path, name, depth, to);
  }
}

/** A member named `constructor` or `__proto__` that an object lacks is not the one that it inherits. */
function own(members: Members, name: string): unknown {
  return Object.hasOwn(members, name) ? members[name] : undefined;
}

function compareField(
  old: unknown,
  now: unknown,
  parent: string,
  name: string,
  depth: number,
  to: Comparison,
): void {
  const path = parent === '' ? name : `${parent}.${name}`;
  if (old === now || isBelow(path, to.options.ignore)) return;
  const [oldMembers, newMembers] = [asMembers(old), asMembers(now)];
  const isMasked = isBelow(path, to.options.mask);
  const descends =
    depth + 1 < CHANGES_DEPTH_MAX &&
    !isMasked &&
    (oldMembers !== null || newMembers !== null) &&
    (oldMembers !== null || old === undefined || old === null) &&
    (newMembers !== null || now === undefined || now === null) &&
    // An empty object on one side has no member that could tell of it.
    Object.keys(oldMembers ?? {}).length + Object.keys(newMembers ?? {}).length > 0;
  if (descends) {
    compareMembers(oldMembers ?? {}, newMembers ?? {}, path, depth + 1, to);
    return;
  }
  const change = {
    old: plainValue(old, `changes.${path}.old`) ?? null,
    new: plainValue(now, `changes.${path}.new`) ?? null,
  };
  if (hasSameForm(change.old, change.new)) return;
  if (to.found.size >= CHANGES_MAX) {
    refuseField('changes', `more than ${CHANGES_MAX} fields changed; name some in ignore`);
  }
  if (to.found.has(path)) refuseField(`changes.${path}`, 'two members have this path: a name holds a dot');
  to.found.set(path, isMasked ? { old: MASKED, new: MASKED } : change);
}

/** The members of an object that is compared member by member; null for values. */
function asMembers(value: unknown): Members | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  if (value instanceof Date || ArrayBuffer.isView(value) || value instanceof Error) return null;
  if (value instanceof Map || value instanceof Set) return null;
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return null;
  return value as Members;
}

function isBelow(path: string, fields: readonly string[] | undefined): boolean {
  if (fields === undefined) return false;
  return fields.some((field) => path === field || path.startsWith(`${field}.`));
}
