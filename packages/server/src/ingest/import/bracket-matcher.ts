/**
 * Finds where a JSON-like value ends by its brackets and quotes alone. Two uses: to pass over a value that is too
 * long to be held, and to cut an element that is not strict JSON from its neighbours. It reads a value in any number
 * of parts and holds a few bytes.
 */

const DEPTH_MAX = 1_024;

export const UNENDED = -1;
export const MISMATCHED = -2;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;

export class BracketMatcher {
  readonly #kinds: number[] = [];
  #inString = false;
  #escaped = false;
  #begun = false;
  /** After MISMATCHED: the offset of the byte that does not match. */
  mismatch = -1;

  /**
   * Reads on from `from` to `to`.
   *
   * @returns the offset just past the value, UNENDED, or MISMATCHED: a bracket closes another one, a string runs
   *   over the end of a line, or the nesting is deeper than 1,024
   */
  read(bytes: Uint8Array, from: number, to: number): number {
    for (let i = from; i < to; i++) {
      const byte = bytes[i]!;
      if (this.#inString) {
        if (byte === 0x0a) return this.#mismatched(i);
        this.#readInString(byte);
        if (!this.#inString && this.#kinds.length === 0) return i + 1;
      } else if (byte === QUOTE) {
        this.#inString = true;
        this.#begun = true;
      } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        if (this.#kinds.push(byte) > DEPTH_MAX) return this.#mismatched(i);
        this.#begun = true;
      } else if (byte === OPEN_OBJECT + 2 || byte === OPEN_ARRAY + 2) {
        // A bare word ends at the bracket of what surrounds it.
        if (this.#kinds.length === 0) return this.#begun ? i : this.#mismatched(i);
        if (this.#kinds.pop()! + 2 !== byte) return this.#mismatched(i);
        if (this.#kinds.length === 0) return i + 1;
      } else if (this.#kinds.length === 0) {
        if (byte <= 0x20 || byte === 0x2c) return this.#begun ? i : this.#mismatched(i);
        this.#begun = true;
      }
    }
    return UNENDED;
  }

  #mismatched(at: number): number {
    this.mismatch = at;
    return MISMATCHED;
  }

  #readInString(byte: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (byte === BACKSLASH) this.#escaped = true;
    else if (byte === QUOTE) this.#inString = false;
  }
}
