/**
 * The zip files that bundles travel in (APPNOTE.TXT 6.3.10, PKWARE), cut down until one list of files has one spelling:
 * stored, never compressed or encrypted; no comments, no attributes, all times 1980-01-01; every byte belongs to a file
 * or to the directory, in the order in which the files were written.
 *
 *   for each file   local header, name, bytes; then, if its length was not known when it began, a data descriptor
 *   directory       for each file one entry, and a zip64 field if a number in it does not fit 32 bits
 *   end             zip64 end and its locator, if a number in the end record does not fit; the end record
 */
import { encodeUtf8 } from '../bytes.ts';

const LOCAL = 0x04034b50;
const DESCRIPTOR = 0x08074b50;
const ENTRY = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;

export const LOCAL_HEADER_BYTES = 30;
export const ENTRY_BYTES = 46;
export const END_BYTES = 22;
export const END64_BYTES = 56;
export const LOCATOR64_BYTES = 20;

const VERSION = 20;
const VERSION_ZIP64 = 45;
/** Unix, with the specification's version 4.5: readers then take the permissions from the entry. */
const MADE_BY = (3 << 8) | VERSION_ZIP64;
/** A regular file, rw-r--r--. */
const PERMISSIONS = 0o100644 * 0x10000;
const FLAG_DESCRIPTOR = 8;
const DATE = 0x21;
const UINT32_MAX = 0xffffffff;
const UINT16_MAX = 0xffff;
const ZIP64_TAG = 1;
const PATH_BYTES_MAX = 1_024;

/** One file in a zip. Numbers are exact below 2^53. */
export interface ZipEntry {
  readonly path: string;
  readonly size: number;
  readonly crc: number;
  /** Where its local header begins. */
  readonly offset: number;
  /** Whether size and checksum follow behind its bytes: it was written before they were known. */
  readonly isStreamed: boolean;
}

/** Appends little-endian numbers to a fixed buffer. */
class Fields {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
  }

  u16(...values: readonly number[]): this {
    for (const value of values) this.#view.setUint16((this.#at += 2) - 2, value, true);
    return this;
  }

  u32(...values: readonly number[]): this {
    for (const value of values) this.#view.setUint32((this.#at += 4) - 4, value, true);
    return this;
  }

  u64(...values: readonly number[]): this {
    for (const value of values) this.#view.setBigUint64((this.#at += 8) - 8, BigInt(value), true);
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }
}

const isLarge = (value: number): boolean => value >= UINT32_MAX;
const small = (value: number): number => Math.min(value, UINT32_MAX);

/** The local header of a file, its name included. A large file is always streamed, so sizes fit here. */
export function localHeader({ path, size, crc, isStreamed }: ZipEntry): Uint8Array {
  const name = encodeUtf8(path);
  const [shownCrc, shownSize] = isStreamed ? [0, 0] : [crc, size];
  return new Fields(LOCAL_HEADER_BYTES + name.length)
    .u32(LOCAL)
    .u16(VERSION, isStreamed ? FLAG_DESCRIPTOR : 0, 0, 0, DATE)
    .u32(shownCrc, shownSize, shownSize)
    .u16(name.length, 0)
    .raw(name).bytes;
}

/** What follows the bytes of a file; nothing unless it was streamed. */
export function dataDescriptor({ size, crc, isStreamed }: ZipEntry): Uint8Array {
  if (!isStreamed) return new Uint8Array(0);
  const fields = new Fields(isLarge(size) ? 24 : 16).u32(DESCRIPTOR, crc);
  return (isLarge(size) ? fields.u64(size, size) : fields.u32(size, size)).bytes;
}

/** The directory entry of a file. */
export function directoryEntry({ path, size, crc, offset, isStreamed }: ZipEntry): Uint8Array {
  const name = encodeUtf8(path);
  const large = [...(isLarge(size) ? [size, size] : []), ...(isLarge(offset) ? [offset] : [])];
  const extra = large.length === 0 ? 0 : 4 + 8 * large.length;
  const fields = new Fields(ENTRY_BYTES + name.length + extra)
    .u32(ENTRY)
    .u16(MADE_BY, extra === 0 ? VERSION : VERSION_ZIP64, isStreamed ? FLAG_DESCRIPTOR : 0, 0, 0, DATE)
    .u32(crc, small(size), small(size))
    .u16(name.length, extra, 0, 0, 0)
    .u32(PERMISSIONS, small(offset))
    .raw(name);
  if (extra > 0) fields.u16(ZIP64_TAG, 8 * large.length).u64(...large);
  return fields.bytes;
}

/** Everything behind the directory, which begins at `offset` and has `size` bytes. */
export function endRecords(count: number, size: number, offset: number): Uint8Array {
  const is64 = count >= UINT16_MAX || isLarge(size) || isLarge(offset);
  const fields = new Fields((is64 ? END64_BYTES + LOCATOR64_BYTES : 0) + END_BYTES);
  if (is64) {
    fields
      .u32(END64)
      .u64(END64_BYTES - 12)
      .u16(MADE_BY, VERSION_ZIP64)
      .u32(0, 0)
      .u64(count, count, size, offset);
    fields
      .u32(LOCATOR64, 0)
      .u64(offset + size)
      .u32(1);
  }
  const shown = Math.min(count, UINT16_MAX);
  return fields.u32(END).u16(0, 0, shown, shown).u32(small(size), small(offset)).u16(0).bytes;
}

/** Reads one directory entry at `at`, with what it needs of the next bytes; null unless it is as written here. */
export function parseDirectoryEntry(
  directory: Uint8Array,
  at: number,
): { entry: ZipEntry; end: number } | null {
  if (at + ENTRY_BYTES > directory.length) return null;
  const view = new DataView(directory.buffer, directory.byteOffset, directory.length);
  const nameLength = view.getUint16(at + 28, true);
  const extraLength = view.getUint16(at + 30, true);
  const nameAt = at + ENTRY_BYTES;
  const end = nameAt + nameLength + extraLength;
  if (end > directory.length || nameLength > PATH_BYTES_MAX) return null;
  const path = String.fromCharCode(...directory.subarray(nameAt, nameAt + nameLength));
  let size = view.getUint32(at + 24, true);
  let offset = view.getUint32(at + 42, true);
  let extraAt = nameAt + nameLength + 4;
  const wide = (): number => {
    if (extraAt + 8 > end) return 0;
    const value = view.getBigUint64((extraAt += 8) - 8, true);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : 0;
  };
  if (size === UINT32_MAX) {
    size = wide();
    extraAt += 8;
  }
  if (offset === UINT32_MAX) offset = wide();
  const isStreamed = view.getUint16(at + 8, true) === FLAG_DESCRIPTOR;
  const entry = { path, size, crc: view.getUint32(at + 16, true), offset, isStreamed };
  // Writing it again finds everything else: other flags, times, fields, a zip64 field that is not needed.
  const again = /^[!-~]+$/.test(path) ? directoryEntry(entry) : null;
  return again !== null && matches(again, directory, at, end) ? { entry, end } : null;
}

function matches(part: Uint8Array, bytes: Uint8Array, at: number, end: number): boolean {
  if (part.length !== end - at) return false;
  for (let i = 0; i < part.length; i++) if (part[i] !== bytes[at + i]) return false;
  return true;
}

/** Where the directory stands, from the last bytes of the file; null unless they are as `endRecords` writes them. */
export function parseEnd(
  tail: Uint8Array,
  fileSize: number,
): { count: number; size: number; offset: number } | null {
  if (tail.length < END_BYTES) return null;
  const view = new DataView(tail.buffer, tail.byteOffset, tail.length);
  const at = tail.length - END_BYTES;
  let count = view.getUint16(at + 10, true);
  let size = view.getUint32(at + 12, true);
  let offset = view.getUint32(at + 16, true);
  if (count === UINT16_MAX || size === UINT32_MAX || offset === UINT32_MAX) {
    const at64 = at - LOCATOR64_BYTES - END64_BYTES;
    if (at64 < 0) return null;
    const wide = (from: number): number => {
      const value = view.getBigUint64(at64 + from, true);
      return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : -1;
    };
    [count, size, offset] = [wide(32), wide(40), wide(48)];
  }
  if (count < 0 || size < 0 || offset < 0) return null;
  const again = endRecords(count, size, offset);
  const from = tail.length - again.length;
  const fits = from >= 0 && offset + size + again.length === fileSize;
  return fits && matches(again, tail, from, tail.length) ? { count, size, offset } : null;
}
