/**
 * A strict reader of DER (X.690 §10): lengths definite and minimal, strings primitive, nothing behind the end. What a
 * lenient reader takes in two ways would be two files that show one thing.
 */

import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';

/** One element: tag, and where its content stands. */
export interface DerElement {
  /** Identifier octet: class, constructed bit, number. */
  readonly tag: number;
  /** The element with tag and length. */
  readonly bytes: Uint8Array;
  readonly content: Uint8Array;
  /** Of a constructed element; else none. */
  readonly children: readonly DerElement[];
}

const DEPTH_MAX = 32;
const ELEMENTS_MAX = 20_000;
const CONSTRUCTED = 0x20;
const SEQUENCE = 16;
const SET = 17;

class DerFault extends Error {}

/** Reads one element that takes all of the bytes. */
export function parseDer(bytes: Uint8Array): Parsed<DerElement> {
  const left = { count: ELEMENTS_MAX };
  try {
    const element = read(bytes, 0, DEPTH_MAX, left);
    if (element.bytes.length !== bytes.length) return refuse('there are bytes behind the end');
    return accept(element);
  } catch (error) {
    if (error instanceof DerFault) return refuse(error.message);
    throw error;
  }
}

function read(bytes: Uint8Array, at: number, depth: number, left: { count: number }): DerElement {
  if (depth === 0) throw new DerFault(`it is nested deeper than ${DEPTH_MAX}`);
  if (left.count-- === 0) throw new DerFault(`it has more than ${ELEMENTS_MAX} elements`);
  const tag = bytes[at];
  if (tag === undefined) throw new DerFault('it ends within an element');
  if ((tag & 0x1f) === 0x1f) throw new DerFault('a tag has a number above 30');
  const { from, length } = readLength(bytes, at + 1);
  const end = from + length;
  if (end > bytes.length) throw new DerFault('an element is longer than what holds it');
  const isConstructed = (tag & CONSTRUCTED) !== 0;
  // Universal types: sequences and sets are constructed, all others are not. A string in parts would be BER.
  const number = tag & 0x1f;
  if ((tag & 0xc0) === 0 && isConstructed !== (number === SEQUENCE || number === SET))
    throw new DerFault('a universal type is constructed that must not be, or the other way round');
  const children: DerElement[] = [];
  for (let next = from; isConstructed && next < end; ) {
    const child = read(bytes.subarray(0, end), next, depth - 1, left);
    children.push(child);
    next += child.bytes.length;
  }
  return { tag, bytes: bytes.subarray(at, end), content: bytes.subarray(from, end), children };
}

function readLength(bytes: Uint8Array, at: number): { from: number; length: number } {
  const first = bytes[at];
  if (first === undefined) throw new DerFault('it ends within a length');
  if (first < 0x80) return { from: at + 1, length: first };
  const octets = first & 0x7f;
  if (octets === 0) throw new DerFault('a length is indefinite, which DER does not have');
  if (octets > 3 || at + octets >= bytes.length) throw new DerFault('a length is longer than what holds it');
  let length = 0;
  for (let i = 1; i <= octets; i++) length = (length << 8) | bytes[at + i]!;
  if (length < 0x80 || (octets > 1 && length < 1 << (8 * (octets - 1))))
    throw new DerFault('a length is not written in the shortest way');
  return { from: at + 1 + octets, length };
}

/** Dotted form of the content of an OBJECT IDENTIFIER; null for one that is malformed. */
export function oidOf({ tag, content }: DerElement): string | null {
  if (tag !== 0x06 || content.length === 0 || content.length > 64 || content.at(-1)! >= 0x80) return null;
  const arcs: bigint[] = [];
  let arc = 0n;
  let isFirstOctet = true;
  for (const octet of content) {
    if (isFirstOctet && octet === 0x80) return null;
    arc = (arc << 7n) | BigInt(octet & 0x7f);
    isFirstOctet = octet < 0x80;
    if (!isFirstOctet) continue;
    arcs.push(arc);
    arc = 0n;
  }
  const first = arcs[0]!;
  const top = first < 80n ? first / 40n : 2n;
  return [top, first - top * 40n, ...arcs.slice(1)].join('.');
}

/** Value of an INTEGER that is not negative, in its shortest form; null for anything else. */
export function wholeNumberOf({ tag, content }: DerElement): bigint | null {
  if (tag !== 0x02 || content.length === 0 || content.length > 64 || content[0]! >= 0x80) return null;
  if (content.length > 1 && content[0] === 0 && content[1]! < 0x80) return null;
  return BigInt(`0x${content.toHex()}`);
}
