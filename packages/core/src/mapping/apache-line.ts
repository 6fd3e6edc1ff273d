/**
 * The Apache combined log format, and the common one, which ends after the size:
 *
 *   host ident user [17/May/2015:10:05:03 +0000] "request" 200 203023 "referer" "user-agent"
 *
 * A reader of bytes instead of a regular expression: a line may be 16 MiB long, and the reason can name the field.
 */

const SPACE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const TIME_PATTERN = '[dd/Mon/dddd:dd:dd:dd sdddd]';

/** Where the fields stand: start and end of each in the order of APACHE_FIELDS, quotes and brackets included. */
export type ApacheSpans = readonly number[];

/** The combined format; the common format ends with the size. */
export const APACHE_FIELDS = {
  host: 0,
  ident: 1,
  user: 2,
  time: 3,
  request: 4,
  status: 5,
  size: 6,
  referer: 7,
  userAgent: 8,
} as const;

/** The fields of a line of the combined or the common format, or in words why it is none. A CR at its end is passed over. */
export function apacheFields(line: Uint8Array): ApacheSpans | string {
  const end = line[line.length - 1] === 0x0d ? line.length - 1 : line.length;
  const spans: number[] = [];
  let at = 0;
  for (const [name, read] of FIELDS) {
    if (at > 0) {
      if (at === end && name === 'referer') return spans;
      if (line[at] !== SPACE || at >= end) return `a space and the ${name} are expected at byte ${at}`;
      at++;
    }
    const next = read(line, at, end);
    if (next < 0) return `the ${name} that begins at byte ${at} is not complete`;
    spans.push(at, next);
    at = next;
  }
  return at === end ? spans : `something follows after the user agent at byte ${at}`;
}

type FieldReader = (line: Uint8Array, start: number, end: number) => number;

const FIELDS: readonly (readonly [name: string, read: FieldReader])[] = [
  ['host', word],
  ['ident', word],
  ['user', user],
  ['time', time],
  ['request', quoted],
  ['status', status],
  ['size', size],
  ['referer', quoted],
  ['user agent', quoted],
];

function word(line: Uint8Array, start: number, end: number): number {
  let i = start;
  while (i < end && line[i]! > SPACE) i++;
  return i > start ? i : -1;
}

/** A user name may hold spaces: it reaches to the bracket of the time. */
function user(line: Uint8Array, start: number, end: number): number {
  for (let i = start; i + 1 < end; i++) {
    if (line[i] === SPACE && line[i + 1] === 0x5b) return i > start ? i : -1;
    if (line[i]! < SPACE || line[i] === QUOTE) return -1;
  }
  return -1;
}

function time(line: Uint8Array, start: number, end: number): number {
  if (start + TIME_PATTERN.length > end) return -1;
  for (let i = 0; i < TIME_PATTERN.length; i++) {
    if (!fits(line[start + i]!, TIME_PATTERN[i]!)) return -1;
  }
  return start + TIME_PATTERN.length;
}

function fits(byte: number, mark: string): boolean {
  if (mark === 'd') return isDigit(byte);
  if (mark === 's') return byte === 0x2b || byte === 0x2d;
  if (mark === 'M' || mark === 'o' || mark === 'n') return (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
  return byte === mark.charCodeAt(0);
}

/** A text in double quotes; a backslash takes the byte after it along. */
function quoted(line: Uint8Array, start: number, end: number): number {
  if (start >= end || line[start] !== QUOTE) return -1;
  for (let i = start + 1; i < end; i++) {
    if (line[i] === QUOTE) return i + 1;
    if (line[i] === BACKSLASH) i++;
  }
  return -1;
}

function status(line: Uint8Array, start: number, end: number): number {
  const past = digits(line, start, end);
  return past === start + 3 ? past : -1;
}

function size(line: Uint8Array, start: number, end: number): number {
  return start < end && line[start] === 0x2d ? start + 1 : digits(line, start, end);
}

function digits(line: Uint8Array, start: number, end: number): number {
  let i = start;
  while (i < end && isDigit(line[i]!)) i++;
  return i > start ? i : -1;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
