/**
 * Cuts CloudTrail files into their events, each byte for byte. Three forms are told apart as they come, document by
 * document, so that one file may hold several:
 *
 *   {…, "Records": [ event, event, … ], …}     as CloudTrail delivers them; the other members are passed over
 *   [ event, event, … ]                        the bare array
 *   {event} LF {event} LF …                    one event after another, usually one a line
 *
 *              ┌────────── } ──────────┐
 *              ▼                       │
 *   ┌──► document ──{──► members ──"Records":[──► elements ──]──► tail ──} ──► document
 *   │        └──[──► elements                        │
 *   │                                                │ what cannot be taken, anywhere
 *   └────────────── a new line ──── remainder ◄──────┘
 *
 * Nothing is dropped where the grammar breaks. An element that is not strict JSON, but whose brackets match, is cut as
 * an element and says why. Otherwise a remainder begins at the first byte that cannot be taken. Outside of an array it
 * ends with its line. Inside of one it ends before the next line that begins with `{`, from where events are taken
 * one after another, and the separators that the broken document left there are passed over. What was read ahead is
 * read again from there: at most once for each level of nesting, because a value can only run over such a line inside
 * of a deeper one.
 */

import { BracketMatcher, MISMATCHED, UNENDED } from './bracket-matcher.ts';
import { faultIn } from './json-fault.ts';
import { BROKEN, JsonInput, WAIT } from './json-input.ts';
import { PIECE_BYTES_MAX, type Piece } from './piece.ts';

/** A remainder is cut into pieces of this size. */
export const REMAINDER_BYTES_MAX = 1024 * 1024;

const LF = 0x0a;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const RECORDS = new TextEncoder().encode('"Records"');

/** @param elementBytesMax a longer element is passed over and reported with its size; bytes */
export function splitCloudTrail(
  source: AsyncIterable<Uint8Array>,
  elementBytesMax = PIECE_BYTES_MAX,
): AsyncGenerator<Piece[]> {
  return splitByList(source, RECORDS, elementBytesMax);
}

/**
 * The same for every format whose envelope holds its elements in one list.
 * @param listName the name of its member, quotes included
 */
export async function* splitByList(
  source: AsyncIterable<Uint8Array>,
  listName: Uint8Array,
  elementBytesMax = PIECE_BYTES_MAX,
): AsyncGenerator<Piece[]> {
  const splitter = new ElementSplitter(elementBytesMax, listName);
  try {
    for await (const chunk of source) {
      const pieces = splitter.push(chunk);
      if (pieces.length > 0) yield pieces;
    }
  } catch (error) {
    const pieces = splitter.complete();
    if (pieces.length > 0) yield pieces;
    throw error;
  }
  const pieces = splitter.end();
  if (pieces.length > 0) yield pieces;
}

type State = 'document' | 'members' | 'elements' | 'tail' | 'remainder' | 'passing';

/** Beside WAIT and BROKEN, instead of an offset. */
const TOO_LONG = -3;

class ElementSplitter {
  readonly #elementBytesMax: number;
  readonly #listName: Uint8Array;
  readonly #input = new JsonInput();
  /** What stands before it in the input is taken. */
  #at = 0;
  #ended = false;
  #state: State = 'document';
  /** Where the object begins whose members are read; -1 elsewhere. It is an event unless "Records" turns up. */
  #unit = -1;
  #inObject = false;
  #first = false;
  #comma = false;
  /** Bytes that must lie before `#at` until a value is tried again: doubling, so that no chunk size is slow. */
  #tryAt = 0;
  #recovered = false;
  #number = 1;
  #pieces: Piece[] = [];
  #broken = '';
  #byLine = false;
  /** How much of the remainder at `#at` was searched for the line that ends it. */
  #searched = 0;
  #matcher: BracketMatcher | null = null;
  #passed = 0;
  #passedInto: State = 'document';

  constructor(elementBytesMax: number, listName: Uint8Array) {
    this.#elementBytesMax = elementBytesMax;
    this.#listName = listName;
  }

  push(chunk: Uint8Array): Piece[] {
    const moved = this.#input.append(chunk, this.#unit >= 0 ? this.#unit : this.#at);
    this.#at -= moved;
    if (this.#unit >= 0) this.#unit -= moved;
    return this.#run();
  }

  /** What is complete already, when the source fails. */
  complete(): Piece[] {
    this.#tryAt = 0;
    return this.#run();
  }

  end(): Piece[] {
    this.#ended = true;
    this.#tryAt = 0;
    return this.#run();
  }

  #run(): Piece[] {
    while (this.#step());
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  /** One step of the state machine; false when only more bytes can bring it on, or all is read. */
  #step(): boolean {
    switch (this.#state) {
      case 'document':
        return this.#document();
      case 'members':
        return this.#members();
      case 'elements':
        return this.#elements();
      case 'tail':
        return this.#tail();
      case 'remainder':
        return this.#remainder();
      case 'passing':
        return this.#passing();
    }
  }

  #document(): boolean {
    this.#at = this.#input.skipSpace(this.#at);
    if (this.#at >= this.#input.end) return false;
    const byte = this.#input.bytes[this.#at]!;
    if (this.#input.base + this.#at === 0 && byte === 0xef) {
      if (this.#input.end < 3 && !this.#ended) return false;
      if (this.#input.end >= 3 && this.#input.bytes[1] === 0xbb && this.#input.bytes[2] === 0xbf) {
        this.#at = 3;
        return true;
      }
    }
    if (byte === OPEN_OBJECT) {
      this.#unit = this.#at++;
      this.#enter('members', true);
    } else if (byte === OPEN_ARRAY) {
      this.#at++;
      this.#enter('elements', false);
    } else if (this.#recovered && (byte === COMMA || byte === CLOSE_ARRAY || byte === CLOSE_OBJECT))
      this.#at++;
    else this.#break(this.#at, true, 'an event is expected here');
    return true;
  }

  #enter(state: State, inObject: boolean): void {
    this.#state = state;
    this.#inObject = inObject;
    this.#first = true;
    this.#comma = false;
    this.#tryAt = 0;
  }

  /** One member of an object that is an event or, once "Records" turns up, an envelope. */
  #members(): boolean {
    if (this.#input.end - this.#at < this.#tryAt) return false;
    const limit = Math.min(this.#input.end, this.#unit + this.#elementBytesMax + 1);
    let i = this.#input.skipSpace(this.#at, limit);
    if (this.#first && i < limit && this.#input.bytes[i] === CLOSE_OBJECT) return this.#eventEnds(i + 1);
    const value = this.#input.memberValue(i, limit);
    if (
      value >= 0 &&
      value < limit &&
      this.#input.bytes[value] === OPEN_ARRAY &&
      this.#input.isNamed(i, this.#listName)
    ) {
      this.#unit = -1;
      this.#at = value + 1;
      this.#recovered = false;
      this.#enter('elements', true);
      return true;
    }
    i = value < 0 ? value : this.#input.valueEnd(value, limit);
    if (i >= 0) i = this.#input.skipSpace(i, limit);
    if (i === WAIT || i === limit) return this.#waitInEvent(limit);
    if (i >= 0 && this.#input.bytes[i] === CLOSE_OBJECT) return this.#eventEnds(i + 1);
    if (i < 0 || this.#input.bytes[i] !== COMMA) return this.#breakEvent(limit);
    this.#at = i + 1;
    this.#first = false;
    this.#tryAt = 0;
    return true;
  }

  #waitInEvent(limit: number): boolean {
    if (limit - this.#unit > this.#elementBytesMax) return this.#pass(this.#unit, 'document');
    if (!this.#ended) return this.#wait();
    this.#break(this.#unit, true, 'the file ends inside of this event');
    return true;
  }

  #breakEvent(limit: number): boolean {
    this.#break(this.#unit, true, faultIn(this.#input.bytes.subarray(this.#unit, limit)));
    return true;
  }

  #eventEnds(end: number): boolean {
    if (end - this.#unit > this.#elementBytesMax) return this.#pass(this.#unit, 'document');
    this.#take(this.#unit, end, null);
    this.#at = end;
    this.#unit = -1;
    this.#state = 'document';
    return true;
  }

  /** A comma unless it is the first, and one element; or the end of the array. */
  #elements(): boolean {
    if (this.#input.end - this.#at < this.#tryAt) return false;
    this.#at = this.#input.skipSpace(this.#at);
    if (this.#at >= this.#input.end) return this.#endsHere('the file ends inside of the array of events');
    const byte = this.#input.bytes[this.#at]!;
    if (!this.#comma && byte === CLOSE_ARRAY) {
      this.#at++;
      this.#state = this.#inObject ? 'tail' : 'document';
      return true;
    }
    if (!this.#first && !this.#comma) {
      if (byte === COMMA) {
        this.#comma = true;
        this.#at++;
      } else this.#break(this.#at, false, 'a comma or the end of the array is expected here');
      return true;
    }
    return this.#element();
  }

  #element(): boolean {
    const start = this.#at;
    const limit = Math.min(this.#input.end, start + this.#elementBytesMax + 1);
    let end = this.#input.valueEnd(start, limit);
    let broken: string | null = null;
    if (end === BROKEN) {
      broken = faultIn(this.#input.bytes.subarray(start, limit));
      end = this.#matchedEnd(start, limit);
    }
    if (end > start + this.#elementBytesMax) end = TOO_LONG;
    if (end === WAIT && limit - start > this.#elementBytesMax) end = broken === null ? TOO_LONG : BROKEN;
    if (end === WAIT && !this.#ended) return this.#wait();
    if (end === TOO_LONG) return this.#pass(start, 'elements');
    if (end < 0) {
      this.#break(start, false, broken ?? 'the file ends inside of this element');
      return true;
    }
    this.#take(start, end, broken);
    this.#at = end;
    this.#afterElement();
    return true;
  }

  #afterElement(): void {
    this.#first = false;
    this.#comma = false;
    this.#tryAt = 0;
  }

  /** Where an element that is not JSON ends by its brackets; only if a comma or the end of the array follows. */
  #matchedEnd(start: number, limit: number): number {
    const end = new BracketMatcher().read(this.#input.bytes, start, limit);
    if (end === UNENDED) return WAIT;
    if (end === MISMATCHED) return BROKEN;
    const next = this.#input.skipSpace(end, limit);
    if (next === limit) return WAIT;
    return this.#input.bytes[next] === COMMA || this.#input.bytes[next] === CLOSE_ARRAY ? end : BROKEN;
  }

  /** What follows the array in its envelope: other members, another "Records", the end. */
  #tail(): boolean {
    if (this.#input.end - this.#at < this.#tryAt) return false;
    this.#at = this.#input.skipSpace(this.#at);
    if (this.#at >= this.#input.end)
      return this.#endsHere('the file ends inside of the document around the events');
    const byte = this.#input.bytes[this.#at]!;
    if (!this.#comma && (byte === COMMA || byte === CLOSE_OBJECT)) {
      this.#at++;
      this.#comma = byte === COMMA;
      if (byte === CLOSE_OBJECT) this.#state = 'document';
      return true;
    }
    const limit = Math.min(this.#input.end, this.#at + this.#elementBytesMax + 1);
    const value = this.#comma ? this.#input.memberValue(this.#at, limit) : BROKEN;
    if (
      value >= 0 &&
      value < limit &&
      this.#input.bytes[value] === OPEN_ARRAY &&
      this.#input.isNamed(this.#at, this.#listName)
    ) {
      this.#at = value + 1;
      this.#enter('elements', true);
      return true;
    }
    const end = value < 0 ? value : this.#input.valueEnd(value, limit);
    if (end === WAIT && limit - this.#at > this.#elementBytesMax && value >= 0)
      return this.#pass(value, 'tail');
    if (end === WAIT && !this.#ended) return this.#wait();
    if (end < 0) this.#break(this.#at, false, 'the document around the events breaks off here');
    else {
      this.#at = end;
      this.#comma = false;
      this.#tryAt = 0;
    }
    return true;
  }

  /** The remainder, piece by piece, up to the line from which events are taken again. */
  #remainder(): boolean {
    const limit = this.#at + REMAINDER_BYTES_MAX;
    const lf = this.#resumption(limit);
    if (lf >= 0 && lf <= limit) {
      if (lf + 1 === this.#input.end && !this.#byLine && !this.#ended) return false;
      this.#take(this.#at, lf, this.#broken);
      this.#at = lf + 1;
      this.#state = 'document';
      return true;
    }
    if (this.#input.end <= limit && !this.#ended) return false;
    this.#searched = 0;
    const end = Math.min(this.#input.end, limit);
    this.#take(this.#at, end, this.#broken);
    this.#at = end;
    if (end === this.#input.end && this.#ended) this.#state = 'document';
    return true;
  }

  /** The LF, up to `limit`, after which events are taken again, or the last LF if what follows is not known; or -1. */
  #resumption(limit: number): number {
    const { bytes, end } = this.#input;
    let lf = this.#input.indexOf(LF, this.#at + this.#searched);
    while (lf >= 0 && lf <= limit && !this.#byLine && lf + 1 < end && bytes[lf + 1] !== OPEN_OBJECT) {
      lf = this.#input.indexOf(LF, lf + 1);
    }
    this.#searched = (lf >= 0 ? lf : end) - this.#at;
    return lf;
  }

  /** A value that is too long to be held. */
  #passing(): boolean {
    const end = this.#matcher!.read(this.#input.bytes, this.#at, this.#input.end);
    if (end === UNENDED) {
      this.#passed += this.#input.end - this.#at;
      this.#at = this.#input.end;
      if (!this.#ended) return false;
    } else {
      const stop = end === MISMATCHED ? this.#matcher!.mismatch : end;
      this.#passed += stop - this.#at;
      this.#at = stop;
    }
    const offset = this.#input.base + this.#at - this.#passed;
    if (this.#passedInto !== 'tail') {
      this.#pieces.push({ tooLong: true, number: this.#number++, offset, size: this.#passed });
    }
    this.#state = this.#passedInto;
    if (this.#passedInto === 'elements') this.#afterElement();
    this.#comma = false;
    this.#tryAt = 0;
    if (end === MISMATCHED)
      this.#break(this.#at, false, 'the brackets of an element that is too long do not match');
    return true;
  }

  #pass(from: number, into: State): boolean {
    this.#unit = -1;
    this.#at = from;
    this.#matcher = new BracketMatcher();
    this.#passed = 0;
    this.#passedInto = into;
    this.#state = 'passing';
    return true;
  }

  #break(from: number, byLine: boolean, reason: string): void {
    this.#unit = -1;
    this.#at = from;
    this.#broken = reason;
    this.#byLine = byLine;
    this.#searched = 0;
    if (!byLine) this.#recovered = true;
    this.#state = 'remainder';
  }

  /** Nothing remains of a document that broke off between its parts: an empty piece says so. */
  #endsHere(reason: string): boolean {
    if (!this.#ended) return false;
    this.#take(this.#at, this.#at, reason);
    this.#state = 'document';
    return true;
  }

  #wait(): boolean {
    this.#tryAt = 2 * (this.#input.end - this.#at);
    return false;
  }

  #take(start: number, end: number, broken: string | null): void {
    const bytes = this.#input.bytes.slice(start, end);
    this.#pieces.push({
      tooLong: false,
      number: this.#number++,
      offset: this.#input.base + start,
      bytes,
      broken,
    });
  }
}
