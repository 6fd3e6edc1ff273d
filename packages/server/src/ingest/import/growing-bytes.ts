/** How much memory is kept for the next use after a large content was taken. */
const KEPT_BYTES_MAX = 1024 * 1024;

/** Bytes that are gathered from chunks; doubling, so that a line in one-byte chunks costs its length only. */
export class GrowingBytes {
  #bytes = new Uint8Array(4096);
  length = 0;

  append(part: Uint8Array): void {
    const needed = this.length + part.length;
    if (needed > this.#bytes.length) {
      const longer = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      longer.set(this.#bytes.subarray(0, this.length));
      this.#bytes = longer;
    }
    this.#bytes.set(part, this.length);
    this.length = needed;
  }

  /** A copy of what was gathered; the next content begins. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.length);
    this.clear();
    return taken;
  }

  clear(): void {
    this.length = 0;
    if (this.#bytes.length > KEPT_BYTES_MAX) this.#bytes = new Uint8Array(4096);
  }
}
