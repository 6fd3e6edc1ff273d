/** Cuts lines from pieces of a file, into memory of the caller's: nothing is allocated per line. */

/** Where the next line goes. */
export interface LineSink {
  /** Room for a line of this many bytes; it is copied to `memory` from the offset on. */
  room(length: number): number | Promise<number>;
  readonly memory: Uint8Array;
  /** The line stands in memory. */
  line(offset: number, length: number): void;
  /** A line was longer than any may be; its bytes are lost. */
  tooLong(): void;
}

const LF = 0x0a;

export class LineCutter {
  readonly #sink: LineSink;
  readonly #lengthMax: number;
  /** What is left of the piece before: the beginning of a line. */
  readonly #carry: Uint8Array;
  #carried = 0;
  #isSkipping = false;

  constructor(sink: LineSink, lengthMax: number) {
    this.#sink = sink;
    this.#lengthMax = lengthMax;
    this.#carry = new Uint8Array(lengthMax);
  }

  /** Whether the last line lacks its LF. */
  get isUnended(): boolean {
    return this.#carried > 0 || this.#isSkipping;
  }

  async take(piece: Uint8Array): Promise<void> {
    let from = 0;
    for (;;) {
      const end = piece.indexOf(LF, from);
      if (end < 0) break;
      const length = this.#carried + end - from;
      if (this.#isSkipping) this.#isSkipping = false;
      else if (length > this.#lengthMax) this.#sink.tooLong();
      else {
        const room = this.#sink.room(length);
        const offset = typeof room === 'number' ? room : await room;
        const { memory } = this.#sink;
        if (this.#carried > 0) memory.set(this.#carry.subarray(0, this.#carried), offset);
        memory.set(piece.subarray(from, end), offset + this.#carried);
        this.#sink.line(offset, length);
      }
      this.#carried = 0;
      from = end + 1;
    }
    this.#keep(piece.subarray(from));
  }

  #keep(rest: Uint8Array): void {
    if (this.#isSkipping) return;
    if (this.#carried + rest.length > this.#lengthMax) {
      this.#sink.tooLong();
      this.#isSkipping = true;
      this.#carried = 0;
      return;
    }
    this.#carry.set(rest, this.#carried);
    this.#carried += rest.length;
  }
}
