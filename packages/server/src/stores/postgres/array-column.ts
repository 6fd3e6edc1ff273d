/**
 * PostgreSQL's binary arrays, grown element by element in one buffer each (the layout is in binary.ts): what a batch of
 * rows is sent in, without an object per row or a second copy.
 */

import { OID } from './binary.ts';
import { POSTGRES_EPOCH_US } from './copy-binary.ts';

const HEADER_BYTES = 20;
const START_BYTES = 16 * 1024;
const EPOCH_US = BigInt(POSTGRES_EPOCH_US);
export const TIMESTAMPTZ_OID = 1184;

/** Text up to this length is copied character by character, if it is ASCII: a call into the runtime costs more. */
const SHORT_TEXT = 40;

/** One array. Elements are appended; `finish` gives the bytes, which stay valid until `reset`. */
export class ArrayColumn {
  readonly #oid: number;
  #buffer = Buffer.allocUnsafeSlow(START_BYTES);
  #view = new DataView(this.#buffer.buffer);
  #at = HEADER_BYTES;
  #count = 0;
  #hasNull = false;

  constructor(oid: number) {
    this.#oid = oid;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
    this.#view = new DataView(grown.buffer);
  }

  addNull(): void {
    this.#room(4);
    this.#view.setInt32(this.#at, -1);
    this.#at += 4;
    this.#hasNull = true;
    this.#count++;
  }

  addInt4(value: number): void {
    this.#room(8);
    this.#view.setInt32(this.#at, 4);
    this.#view.setInt32(this.#at + 4, value);
    this.#at += 8;
    this.#count++;
  }

  addInt8(value: bigint): void {
    this.#room(12);
    this.#view.setInt32(this.#at, 8);
    this.#view.setBigInt64(this.#at + 4, value);
    this.#at += 12;
    this.#count++;
  }

  addBool(value: boolean): void {
    this.#room(5);
    this.#view.setInt32(this.#at, 1);
    this.#buffer[this.#at + 4] = value ? 1 : 0;
    this.#at += 5;
    this.#count++;
  }

  /** @param value microseconds since the Unix epoch */
  addInstant(value: bigint): void {
    this.addInt8(value - EPOCH_US);
  }

  addText(value: string): void {
    // A UTF-16 unit takes at most three bytes.
    this.#room(4 + value.length * 3);
    const length = this.#putText(value, this.#at + 4);
    this.#view.setInt32(this.#at, length);
    this.#at += 4 + length;
    this.#count++;
  }

  addTextOrNull(value: string | null): void {
    if (value === null) this.addNull();
    else this.addText(value);
  }

  /** @param value lower-case, with hyphens */
  addUuid(value: string): void {
    this.#room(20);
    this.#view.setInt32(this.#at, 16);
    let at = this.#at + 4;
    for (let i = 0; i < 36; i += 2) {
      if (value.charCodeAt(i) === HYPHEN) i++;
      this.#buffer[at++] = (DIGITS[value.charCodeAt(i)] << 4) | DIGITS[value.charCodeAt(i + 1)];
    }
    this.#at = at;
    this.#count++;
  }

  /** The 16 bytes of a UUID that lie at `from`. */
  addUuidBytes(bytes: Uint8Array, from: number): void {
    this.#room(20);
    this.#view.setInt32(this.#at, 16);
    const at = this.#at + 4;
    for (let i = 0; i < 16; i++) this.#buffer[at + i] = bytes[from + i];
    this.#at = at + 16;
    this.#count++;
  }

  finish(): Buffer {
    const view = this.#view;
    view.setInt32(0, 1);
    view.setInt32(4, this.#hasNull ? 1 : 0);
    view.setUint32(8, this.#oid);
    view.setInt32(12, this.#count);
    view.setInt32(16, 1);
    return this.#buffer.subarray(0, this.#at);
  }

  reset(): void {
    this.#at = HEADER_BYTES;
    this.#count = 0;
    this.#hasNull = false;
  }

  /** @returns how many bytes it took */
  #putText(value: string, at: number): number {
    const { length } = value;
    if (length > SHORT_TEXT) return this.#buffer.write(value, at);
    const buffer = this.#buffer;
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i);
      if (unit > 0x7f) return buffer.write(value, at);
      buffer[at + i] = unit;
    }
    return length;
  }
}

const HYPHEN = 0x2d;
/** Value of a hexadecimal digit by its character. */
const DIGITS = new Uint8Array(128);
for (const [value, digit] of [...'0123456789abcdef'].entries()) DIGITS[digit.charCodeAt(0)] = value;

export const textColumn = (): ArrayColumn => new ArrayColumn(OID.text);
