/**
 * Cuts a file into its lines, byte for byte. The LF is not part of a line, a CR before it is. An empty line is a
 * line like any other; only after the last LF there is none.
 */

import { GrowingBytes } from './growing-bytes.ts';
import { PIECE_BYTES_MAX, type Piece } from './piece.ts';

const LF = 0x0a;
/** Lines that are given at once: one await per line would cost more than the line. */
const PIECES_MAX = 1_000;

/** @param lineBytesMax a longer line is passed over and reported with its size; bytes */
export async function* splitLines(
  source: AsyncIterable<Uint8Array>,
  lineBytesMax = PIECE_BYTES_MAX,
): AsyncGenerator<Piece[]> {
  const splitter = new LineSplitter(lineBytesMax);
  for await (const chunk of source) {
    let from = 0;
    while (from < chunk.length) {
      const pieces: Piece[] = [];
      from = splitter.take(chunk, from, pieces);
      if (pieces.length > 0) yield pieces;
    }
  }
  const last = splitter.last();
  if (last !== null) yield [last];
}

class LineSplitter {
  readonly #lineBytesMax: number;
  /** The beginning of a line whose end is in a later chunk; empty once the line is known to be too long. */
  readonly #begun = new GrowingBytes();
  /** Bytes of the begun line, those included that are no longer held. */
  #begunSize = 0;
  #number = 1;
  #offset = 0;

  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax;
  }

  /** Takes up to PIECES_MAX lines of the chunk; the offset in it from which to go on. */
  take(chunk: Uint8Array, start: number, pieces: Piece[]): number {
    let from = start;
    while (pieces.length < PIECES_MAX) {
      const end = chunk.indexOf(LF, from);
      if (end < 0) {
        this.#begin(chunk.subarray(from));
        return chunk.length;
      }
      pieces.push(this.#line(chunk.subarray(from, end)));
      this.#offset++;
      from = end + 1;
      if (from === chunk.length) break;
    }
    return from;
  }

  /** The line that no LF ends, if there is one. */
  last(): Piece | null {
    return this.#begunSize === 0 ? null : this.#line(new Uint8Array());
  }

  #begin(part: Uint8Array): void {
    this.#begunSize += part.length;
    if (this.#begunSize <= this.#lineBytesMax) this.#begun.append(part);
    else this.#begun.clear();
  }

  #line(rest: Uint8Array): Piece {
    const size = this.#begunSize + rest.length;
    const place = { number: this.#number++, offset: this.#offset };
    this.#offset += size;
    if (size > this.#lineBytesMax) {
      this.#begun.clear();
      this.#begunSize = 0;
      return { tooLong: true, ...place, size };
    }
    if (this.#begunSize === 0) return { tooLong: false, ...place, bytes: rest, broken: null };
    this.#begun.append(rest);
    this.#begunSize = 0;
    return { tooLong: false, ...place, bytes: this.#begun.take(), broken: null };
  }
}
