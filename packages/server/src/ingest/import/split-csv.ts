/**
 * Cuts CSV (RFC 4180) into its records, byte for byte. The LF that ends a record is not part of it, a CR before it is;
 * a line break inside of quotes is. A record has the number of the line on which it begins.
 *
 * The first record names the columns. It is a record like the others, marked `part: header`; each other one gets its
 * text as `header`, so that it can be read alone, unless it is longer than HEADER_BYTES_MAX or can't stand in `meta`:
 * then a mapping file names the columns.
 *
 * A record that breaks the grammar, or runs over lines and has another number of fields than the header, is cut at its
 * first line, which says why, and reading goes on at the next line: one quote too many costs the line that it stands on,
 * not the rest of the file. What was read ahead is read again at most
 * once: a line on which an odd number of quotes stands is the only kind that can begin to run over others.
 */

import { decodeUtf8 } from '@evident/core/bytes.ts';
import { csvFields } from '@evident/core/mapping/csv-fields.ts';
import { JsonInput } from './json-input.ts';
import { PIECE_BYTES_MAX, type Piece, type TakenPiece } from './piece.ts';

/** Longest header that stands in the meta of each record, as JSON; beside it stand at most 800 bytes. */
const HEADER_BYTES_MAX = 1_024;

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const COMMA = 0x2c;

const RUNS_OVER = 'a quote is opened on this line and not closed as CSV closes one';
const BARE_QUOTE = 'a quote stands in a field that is not quoted';
const AFTER_QUOTE = 'something follows a quote that closes a field';

/** @param recordBytesMax a longer line is passed over and reported with its size; bytes */
export async function* splitCsv(
  source: AsyncIterable<Uint8Array>,
  recordBytesMax = PIECE_BYTES_MAX,
): AsyncGenerator<Piece[]> {
  const splitter = new CsvSplitter(recordBytesMax);
  for await (const chunk of source) {
    const pieces = splitter.push(chunk);
    if (pieces.length > 0) yield pieces;
  }
  const pieces = splitter.end();
  if (pieces.length > 0) yield pieces;
}

/**
 *   field ──"──► quoted ──"──► closed ──"──► quoted
 *     │                          │  └──CR──► closedCr
 *     └──else──► plain           │
 *
 * A comma leads from field, plain and closed to field; a LF from everywhere but quoted to the next record. What
 * nothing of this leads on from makes the line `broken`; `passing` is a line that is too long to be held.
 */
type State = 'field' | 'plain' | 'quoted' | 'closed' | 'closedCr' | 'broken' | 'passing';

class CsvSplitter {
  readonly #recordBytesMax: number;
  readonly #input = new JsonInput();
  /** Where the record begins that is read, and how far it was read. */
  #at = 0;
  #next = 0;
  #state: State = 'field';
  /** Where the first line of the record ends, if it is read already; else -1. */
  #lineEnd = -1;
  #fields = 1;
  #broken = '';
  /** Number of the line at which the record begins. */
  #line = 1;
  /** Bytes of a line that is passed over which are no longer held. */
  #passed = 0;
  #pieces: Piece[] = [];
  #header: {
    readonly bytes: Uint8Array;
    readonly columns: number;
    readonly meta: TakenPiece['meta'];
  } | null = null;
  #isFirst = true;

  constructor(recordBytesMax: number) {
    this.#recordBytesMax = recordBytesMax;
  }

  push(chunk: Uint8Array): Piece[] {
    if (this.#state === 'passing') this.#letGo();
    const moved = this.#input.append(chunk, this.#at);
    this.#at -= moved;
    this.#next -= moved;
    if (this.#lineEnd >= 0) this.#lineEnd -= moved;
    return this.#run(false);
  }

  end(): Piece[] {
    return this.#run(true);
  }

  #letGo(): void {
    this.#passed += this.#next - this.#at;
    this.#at = this.#next;
  }

  #run(ended: boolean): Piece[] {
    for (;;) {
      const end = this.#recordEnd();
      if (end >= 0) this.#take(end, end + 1);
      else if (this.#runsOver(ended)) this.#cutLine();
      else if (ended && (this.#at < this.#input.end || this.#passed > 0))
        this.#take(this.#input.end, this.#input.end);
      else break;
    }
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  /** Whether the record that is not complete can't be one: the next line has to be read by itself. */
  #runsOver(ended: boolean): boolean {
    if (this.#lineEnd < 0) {
      const isTooLong = this.#next - this.#at > this.#recordBytesMax;
      if (isTooLong && this.#state !== 'passing') this.#state = 'passing';
      return false;
    }
    if (this.#state === 'broken' || this.#next - this.#at > this.#recordBytesMax) return true;
    return ended && this.#state === 'quoted';
  }

  /** Reads on; the offset of the LF that ends the record, or -1. */
  #recordEnd(): number {
    const { bytes, end } = this.#input;
    for (; this.#next < end; this.#next++) {
      const byte = bytes[this.#next]!;
      if (byte === LF) {
        if (this.#state !== 'quoted') return this.#next;
        if (this.#lineEnd < 0) this.#lineEnd = this.#next;
      } else if (this.#state !== 'passing') {
        this.#read(byte);
        if (this.#state === 'broken' && this.#lineEnd >= 0) return -1;
      }
    }
    return -1;
  }

  #read(byte: number): void {
    switch (this.#state) {
      case 'quoted':
        if (byte === QUOTE) this.#state = 'closed';
        return;
      case 'plain':
        if (byte === COMMA) this.#nextField();
        else if (byte === QUOTE) this.#break(BARE_QUOTE);
        return;
      case 'field':
        if (byte === QUOTE) this.#state = 'quoted';
        else if (byte === COMMA) this.#nextField();
        else if (!this.#isMark()) this.#state = 'plain';
        return;
      case 'closed':
        if (byte === QUOTE) this.#state = 'quoted';
        else if (byte === COMMA) this.#nextField();
        else if (byte === CR) this.#state = 'closedCr';
        else this.#break(AFTER_QUOTE);
        return;
      case 'closedCr':
        this.#break(AFTER_QUOTE);
        return;
      case 'broken':
      case 'passing':
        return;
    }
  }

  /** Whether the byte is of the byte order mark before the first field, after which that field may still be quoted. */
  #isMark(): boolean {
    const { base, bytes } = this.#input;
    const place = base + this.#next;
    return place < MARK.length && bytes[this.#next] === MARK[place];
  }

  #nextField(): void {
    this.#fields++;
    this.#state = 'field';
  }

  #break(reason: string): void {
    this.#state = 'broken';
    this.#broken = reason;
  }

  #cutLine(): void {
    const end = this.#lineEnd;
    this.#break(RUNS_OVER);
    this.#take(end, end + 1);
  }

  /** The record ends at `end`; the next begins at `next`. */
  #take(end: number, next: number): void {
    const { base, bytes } = this.#input;
    const size = this.#passed + end - this.#at;
    const place = { number: this.#line, offset: base + this.#at - this.#passed };
    const isWrong = size > this.#recordBytesMax || !this.#hasAllFields();
    if (isWrong && this.#lineEnd >= 0 && this.#state !== 'broken') {
      this.#cutLine();
      return;
    }
    if (size > this.#recordBytesMax) this.#pieces.push({ tooLong: true, ...place, size });
    else this.#pieces.push(this.#piece(bytes.slice(this.#at, end), place));
    this.#line += this.#lineEnd < 0 ? 1 : linesIn(bytes.subarray(this.#at, next));
    this.#at = next;
    this.#next = next;
    this.#state = 'field';
    this.#lineEnd = -1;
    this.#fields = 1;
    this.#passed = 0;
    this.#isFirst = false;
  }

  #piece(bytes: Uint8Array, place: { number: number; offset: number }): TakenPiece {
    const piece = { tooLong: false, ...place, bytes } as const;
    if (this.#state === 'quoted') this.#break(RUNS_OVER);
    const broken = this.#state === 'broken' ? this.#broken : null;
    if (this.#isFirst && broken === null) {
      this.#header = { bytes, columns: this.#fields, meta: headerMeta(bytes) };
      return { ...piece, broken, meta: { part: 'header' } };
    }
    if (this.#header === null) return { ...piece, broken };
    const { bytes: heading, columns, meta } = this.#header;
    const known = { ...piece, heading, ...(meta === undefined ? {} : { meta }) };
    if (broken !== null || this.#hasAllFields()) return { ...known, broken };
    return { ...known, broken: `it has ${this.#fields} fields, and there are ${columns} columns` };
  }

  #hasAllFields(): boolean {
    return this.#header === null || this.#header.columns === this.#fields;
  }
}

const MARK = [0xef, 0xbb, 0xbf];

function linesIn(bytes: Uint8Array): number {
  let lines = 0;
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) lines++;
  return lines;
}

/** The header as the meta of other records holds it, if it can. */
function headerMeta(bytes: Uint8Array): TakenPiece['meta'] {
  const text = decodeUtf8(bytes)
    ?.replace(/^\ufeff/, '')
    .replace(/\r$/, '');
  if (text === undefined || text === '' || typeof csvFields(text) === 'string') return undefined;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return undefined;
  return Buffer.byteLength(JSON.stringify(text)) > HEADER_BYTES_MAX ? undefined : { header: text };
}
