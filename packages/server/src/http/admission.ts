/**
 * Admission: decides before a body is read whether the server may hold it. So memory is bounded by the limit,
 * not by the number of clients (invariant I13), and what is refused was never begun.
 */

/** Bytes that were admitted. Owned by one request. */
export interface Ticket {
  /** Gives back what is not needed after all. */
  shrink(bytes: number): void;
  /** Gives back the rest; a second call does nothing. */
  release(): void;
}

export class Admission {
  readonly #bytesMax: number;
  readonly #waitingBytes: () => number;
  #bytes = 0;

  /** @param waitingBytes what others hold of the same bound */
  constructor(bytesMax: number, waitingBytes: () => number = () => 0) {
    this.#bytesMax = bytesMax;
    this.#waitingBytes = waitingBytes;
  }

  /** Bytes of admitted requests. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @returns null when there is no room. One alone is always admitted, or a bound set too low would refuse it for ever. */
  admit(bytes: number): Ticket | null {
    const held = this.#bytes + this.#waitingBytes();
    if (held > 0 && held + bytes > this.#bytesMax) return null;
    this.#bytes += bytes;
    let mine = bytes;
    const shrink = (to: number) => {
      if (to >= mine) return;
      this.#bytes -= mine - to;
      mine = to;
    };
    return { shrink, release: () => shrink(0) };
  }
}
