/** How a mapping file says that a time is written. */

import {
  digitsAt,
  digitsEnd,
  fractionMicros,
  instantMicros,
  microsOf,
  microsOfEpoch,
  monthOf,
  offsetAt,
} from './instant.ts';

/** Microseconds since the Unix epoch of what a field holds, or null where it is not written so. */
export type ReadTime = (value: unknown) => bigint | null;

const EPOCHS: Readonly<Record<string, number>> = {
  'epoch-s': 1,
  'epoch-ms': 1e3,
  'epoch-us': 1e6,
  'epoch-ns': 1e9,
};

/**
 * The reader of a format, or in words why it is none: `rfc3339`; `iso`, which also takes a space for the T and, without
 * an offset, is UTC; `epoch-s`, `epoch-ms`, `epoch-us`, `epoch-ns`; or a pattern of strptime with %Y %m %d %H %M %S
 * (of two and %Y of four digits), %b (an English month of three letters), %f (a fraction of a second, 1 to 9 digits),
 * %z (Z, +02:00 or +0200, the last of the pattern) and %%. Without %z it is UTC.
 */
export function timeReader(format: string): ReadTime | string {
  if (format === 'rfc3339') return (value) => instantMicros(value);
  if (format === 'iso') return (value) => instantMicros(value, true);
  if (Object.hasOwn(EPOCHS, format)) {
    const per = EPOCHS[format]!;
    return (value) => epochMicros(value, per);
  }
  if (!format.includes('%'))
    return 'one of rfc3339, iso, epoch-s, epoch-ms, epoch-us, epoch-ns or a pattern such as %d.%m.%Y %H:%M:%S is expected';
  const fault = patternFault(format);
  return fault ?? ((value) => (typeof value === 'string' ? patternMicros(format, value) : null));
}

function epochMicros(value: unknown, per: number): bigint | null {
  if (typeof value === 'number') return microsOfEpoch(value, per);
  if (typeof value !== 'string' || value.length > 30 || !/^-?\d+(?:\.\d+)?$/.test(value)) return null;
  return microsOfEpoch(Number(value), per);
}

const FIELD_DIGITS: Readonly<Record<string, number>> = { Y: 4, m: 2, d: 2, H: 2, M: 2, S: 2 };

function patternFault(pattern: string): string | null {
  const seen = new Set<string>();
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] !== '%') continue;
    const field = pattern[++i] ?? '';
    if (field === '%') continue;
    if (!Object.hasOwn(FIELD_DIGITS, field) && !['b', 'f', 'z'].includes(field))
      return `%${field} is not known; %Y %m %d %H %M %S %b %f %z and %% are`;
    if (seen.has(field)) return `%${field} stands twice`;
    if (field === 'z' && i !== pattern.length - 1) return '%z is the last of a pattern';
    seen.add(field);
  }
  if (!seen.has('Y') || !seen.has('d') || seen.has('m') === seen.has('b'))
    return '%Y, %d and one of %m and %b are expected';
  return null;
}

function patternMicros(pattern: string, text: string): bigint | null {
  const found: Record<string, number> = { Y: 0, m: 0, d: 0, H: 0, M: 0, S: 0, f: 0, z: 0 };
  let at = 0;
  for (let i = 0; i < pattern.length; i++) {
    const literal = pattern[i] !== '%' || pattern[i + 1] === '%';
    if (pattern[i] === '%') i++;
    if (literal) {
      if (text[at++] !== pattern[i]) return null;
      continue;
    }
    const next = readField(pattern[i]!, text, at, found);
    if (next < 0) return null;
    at = next;
  }
  if (at !== text.length) return null;
  const { Y, m, d, H, M, S, f, z } = found as Record<'Y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'f' | 'z', number>;
  return microsOf({ year: Y, month: m, day: d, hour: H, minute: M, second: S, micros: f, offsetSeconds: z });
}

/** Reads one field of the text at `at`; where it ends, or -1. */
function readField(field: string, text: string, at: number, found: Record<string, number>): number {
  if (field === 'z') {
    const offset = offsetAt(text, at);
    found.z = offset ?? 0;
    return offset === null ? -1 : text.length;
  }
  if (field === 'f') {
    const end = digitsEnd(text, at);
    if (end === at || end > at + 9) return -1;
    found.f = fractionMicros(text, at, end);
    return end;
  }
  if (field === 'b') {
    found.m = monthOf(text.slice(at, at + 3));
    return found.m === 0 ? -1 : at + 3;
  }
  const end = at + FIELD_DIGITS[field]!;
  found[field] = digitsAt(text, at, end);
  return found[field] < 0 ? -1 : end;
}
