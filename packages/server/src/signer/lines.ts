/** Cuts a stream of bytes into lines, of bounded length. */

const LF = 0x0a;

export class LineTooLong extends Error {}

export class LineBuffer {
  readonly #bytesMax: number;
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /** @param bytesMax of one line, its LF included */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Whether a line has begun and not ended. */
  get isWithin(): boolean {
    return this.#bytes > 0;
  }

  /** Takes bytes as they come. @returns the lines that they end, without LF. @throws LineTooLong */
  push(chunk: Uint8Array): Uint8Array[] {
    const lines: Uint8Array[] = [];
    for (let from = 0; from < chunk.length; ) {
      const at = chunk.indexOf(LF, from);
      const end = at < 0 ? chunk.length : at + 1;
      this.#bytes += end - from;
      if (this.#bytes > this.#bytesMax)
        throw new LineTooLong(`a line is longer than ${this.#bytesMax} bytes`);
      this.#parts.push(chunk.subarray(from, end));
      if (at >= 0) lines.push(this.#take());
      from = end;
    }
    return lines;
  }

  #take(): Uint8Array {
    const line = Buffer.concat(this.#parts, this.#bytes);
    this.#parts = [];
    this.#bytes = 0;
    return line.subarray(0, line.length - 1);
  }
}
