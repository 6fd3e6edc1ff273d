/**
 * What a value looks like as JSON, without a silent loss: JSON.stringify drops functions, writes NaN as null, a Map
 * as {} and cannot write bigint at all. Here such a value becomes something honest or is refused by its path.
 *
 *   undefined           dropped from objects; null in arrays
 *   Date                ISO 8601 in UTC; an invalid one is refused
 *   bigint              decimal string
 *   toJSON()            what it returns (Temporal, Decimal, URL, …)
 *   Error               { name, message }
 *   bytes               { bytes, sha256 }: a log of who did what is no place for content, but can prove it
 *   NaN, ±Infinity, function, symbol, Map, Set, Promise, RegExp, a cycle: refused
 */

import { createHash } from 'node:crypto';
import { refuseField } from './refuse.ts';

/** Far below what the log takes (128): the body itself and its wrapping need a few levels. */
export const VALUE_DEPTH_MAX = 100;

/**
 * @param value left as it is; what needs no change is returned itself, not a copy
 * @param path names the value in errors
 * @throws field-invalid naming the member
 */
export function plainValue(value: unknown, path: string): unknown {
  return plain(value, [path], []);
}

function plain(value: unknown, steps: string[], ancestors: object[]): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return value;
    case 'number':
      if (!Number.isFinite(value)) refuse(steps, `${value} has no JSON form`);
      return value;
    case 'bigint':
      return value.toString();
    case 'object':
      return value === null ? null : plainObject(value, steps, ancestors);
    default:
      return refuse(steps, `a ${typeof value} has no JSON form`);
  }
}

function plainObject(value: object, steps: string[], ancestors: object[]): unknown {
  if (ancestors.length >= VALUE_DEPTH_MAX)
    refuse(steps, `it is nested deeper than ${VALUE_DEPTH_MAX} levels`);
  const special = specialForm(value, steps);
  if (special !== undefined) {
    // What toJSON returns may need the same care, and may be the object itself.
    return special === value
      ? members(value, steps, ancestors)
      : plain(special, steps, [...ancestors, value]);
  }
  return members(value, steps, ancestors);
}

function members(value: object, steps: string[], ancestors: object[]): unknown {
  if (ancestors.includes(value)) refuse(steps, 'the value contains itself');
  ancestors.push(value);
  const result = Array.isArray(value) ? elements(value, steps, ancestors) : fields(value, steps, ancestors);
  ancestors.pop();
  return result;
}

/** The form of objects that JSON.stringify would write badly; undefined for ordinary ones. */
function specialForm(value: object, steps: string[]): unknown {
  const prototype: unknown = Object.getPrototypeOf(value);
  const isOrdinary = prototype === Object.prototype || prototype === null || prototype === Array.prototype;
  if (isOrdinary && typeof (value as { toJSON?: unknown }).toJSON !== 'function') return undefined;
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? refuse(steps, 'an invalid date') : value.toISOString();
  }
  // Before toJSON: a Buffer has one, and it writes each byte as a number.
  if (value instanceof Uint8Array) {
    return { bytes: value.length, sha256: createHash('sha256').update(value).digest('hex') };
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    return (value as { toJSON(): unknown }).toJSON();
  }
  if (value instanceof Error) return { name: value.name, message: value.message };
  if (isLossy(value)) refuse(steps, `a ${value.constructor.name} has no JSON form; convert it first`);
  return undefined;
}

function isLossy(value: object): boolean {
  return (
    value instanceof Map ||
    value instanceof Set ||
    value instanceof Promise ||
    value instanceof RegExp ||
    value instanceof WeakMap ||
    value instanceof WeakSet ||
    value instanceof ArrayBuffer ||
    ArrayBuffer.isView(value)
  );
}

function elements(list: readonly unknown[], steps: string[], ancestors: object[]): unknown {
  let copy: unknown[] | null = null;
  for (let i = 0; i < list.length; i++) {
    steps.push(`[${i}]`);
    const form = plain(list[i], steps, ancestors) ?? null;
    steps.pop();
    if (form !== list[i]) {
      copy ??= list.slice();
      copy[i] = form;
    }
  }
  return copy ?? list;
}

function fields(object: object, steps: string[], ancestors: object[]): unknown {
  const names = Object.keys(object);
  let copy: Record<string, unknown> | null = null;
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    const member = (object as Record<string, unknown>)[name];
    steps.push(name);
    const form = plain(member, steps, ancestors);
    steps.pop();
    if (copy === null) {
      if (form === member && form !== undefined) continue;
      copy = {};
      for (let j = 0; j < i; j++) setOwn(copy, names[j], (object as Record<string, unknown>)[names[j]]);
    }
    // Left out, not deleted: an object that has lost a member is slow to check and to serialise.
    if (form !== undefined) setOwn(copy, name, form);
  }
  return copy ?? object;
}

/** Assigning to `__proto__` would set the prototype and lose the member. */
function setOwn(object: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== '__proto__') object[name] = value;
  else Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Whether two values that plainValue gave have the same JSON, whatever the order of their members. */
export function hasSameForm(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  if (names.length !== Object.keys(other).length) return false;
  return names.every(
    (name) =>
      Object.hasOwn(other, name) &&
      hasSameForm((one as Record<string, unknown>)[name], (other as Record<string, unknown>)[name]),
  );
}

function refuse(steps: readonly string[], reason: string): never {
  return refuseField(pathOf(steps), reason);
}

function pathOf(steps: readonly string[]): string {
  let path = steps[0];
  for (const step of steps.slice(1)) path += step.startsWith('[') ? step : `.${step}`;
  return path;
}
