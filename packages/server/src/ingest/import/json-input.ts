/** The bytes of a JSON stream that are held, and the few questions that the splitter asks of them. */

import { INCOMPLETE, valueEnd } from '@evident/core/json/scan.ts';

/** Instead of an offset: only more bytes can tell. */
export const WAIT = -1;
/** Instead of an offset: the grammar is broken. */
export const BROKEN = -2;

const ROOM_BYTES_MIN = 64 * 1024;
const QUOTE = 0x22;
const COLON = 0x3a;

export class JsonInput {
  bytes = new Uint8Array(ROOM_BYTES_MIN);
  /** How many of `bytes` are filled. */
  end = 0;
  /** Where `bytes[0]` stands in the stream. */
  base = 0;

  /**
   * Appends a chunk; what stands before `keep` may be let go. Half of the buffer is free after a move, so that a
   * byte is moved once in the mean, whatever the size of the chunks.
   *
   * @returns by how much every offset into `bytes` got smaller
   */
  append(chunk: Uint8Array, keep: number): number {
    let moved = 0;
    if (this.end + chunk.length > this.bytes.length) {
      const kept = this.bytes.subarray(keep, this.end);
      const room = Math.max(ROOM_BYTES_MIN, 2 * (kept.length + chunk.length));
      const fits = room <= this.bytes.length && room * 4 > this.bytes.length;
      const target = fits ? this.bytes : new Uint8Array(room);
      target.set(kept);
      this.bytes = target;
      this.base += keep;
      this.end -= keep;
      moved = keep;
    }
    this.bytes.set(chunk, this.end);
    this.end += chunk.length;
    return moved;
  }

  /** The offset of the first such byte at or after `from`, or -1. */
  indexOf(byte: number, from: number): number {
    const found = this.bytes.subarray(from, this.end).indexOf(byte);
    return found < 0 ? -1 : from + found;
  }

  skipSpace(start: number, limit = this.end): number {
    const { bytes } = this;
    let i = start;
    while (i < limit) {
      const byte = bytes[i]!;
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
      i++;
    }
    return i;
  }

  /** The end of the value at `start`, WAIT or BROKEN. A number or literal is complete when something follows it. */
  valueEnd(start: number, limit: number): number {
    const end = valueEnd(this.bytes, start, limit);
    if (end < 0) return end === INCOMPLETE ? WAIT : BROKEN;
    if (end < limit) return end;
    const byte = this.bytes[start];
    return byte === QUOTE || byte === 0x7b || byte === 0x5b ? end : WAIT;
  }

  /** Where the value of the member begins whose name stands at `start`; WAIT or BROKEN. */
  memberValue(start: number, limit: number): number {
    if (start >= limit) return WAIT;
    if (this.bytes[start] !== QUOTE) return BROKEN;
    const name = this.valueEnd(start, limit);
    if (name < 0) return name;
    const colon = this.skipSpace(name, limit);
    if (colon >= limit) return WAIT;
    if (this.bytes[colon] !== COLON) return BROKEN;
    const value = this.skipSpace(colon + 1, limit);
    return value < limit ? value : WAIT;
  }

  /** Whether the name at `start` is this one, quotes included. */
  isNamed(start: number, name: Uint8Array): boolean {
    for (let i = 0; i < name.length; i++) if (this.bytes[start + i] !== name[i]) return false;
    return true;
  }
}
