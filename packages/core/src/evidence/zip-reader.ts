/**
 * Reads the zip of a bundle: only what `writeZip` writes. Every byte of the file is accounted for: headers and
 * descriptors are compared with those that the directory calls for, files follow each other without a gap, and nothing
 * stands before, between or behind.
 */
import { equalBytes } from '../bytes.ts';
import { accept, type Parsed, refuse } from '../parsed.ts';
import { BUNDLE_FILES_MAX } from './bundle-layout.ts';
import type { BundleSource } from './bundle-source.ts';
import { type Crc32, crc32 as ownCrc32 } from './crc32.ts';
import {
  dataDescriptor,
  END_BYTES,
  END64_BYTES,
  LOCATOR64_BYTES,
  localHeader,
  parseDirectoryEntry,
  parseEnd,
  type ZipEntry,
} from './zip-format.ts';

/** Bytes [from, to) of the zip: of a file, or of a Blob. May give fewer only if the file ends there. */
export type ReadRange = (from: number, to: number) => Promise<Uint8Array>;

/** Programs that pack a folder compress, and add what no bundle has. */
const REPACKED = '; if it was packed again, unpack it and check the folder';
const PIECE_BYTES = 1024 * 1024;
const DIRECTORY_BYTES_MAX = 512 * 1024 * 1024;

/** Opens a zip. The content of a file is held against its checksum when it is read. */
export async function openZip(
  read: ReadRange,
  size: number,
  crc32: Crc32 = ownCrc32,
): Promise<Parsed<BundleSource>> {
  const tailBytes = Math.min(size, END_BYTES + END64_BYTES + LOCATOR64_BYTES);
  const end = parseEnd(await read(size - tailBytes, size), size);
  if (end === null) return refuse(`the zip does not end as a bundle does${REPACKED}`);
  if (end.count > BUNDLE_FILES_MAX || end.size > DIRECTORY_BYTES_MAX) {
    return refuse(`the zip has over ${BUNDLE_FILES_MAX} files`);
  }
  const directory = await read(end.offset, end.offset + end.size);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  let offset = 0;
  while (at < directory.length) {
    const next = parseDirectoryEntry(directory, at);
    if (next === null)
      return refuse(`entry ${entries.size + 1} of the zip's directory is not as a bundle has it${REPACKED}`);
    const { entry } = next;
    if (entries.has(entry.path)) return refuse(`the zip holds ${entry.path} twice`);
    if (entry.offset !== offset)
      return refuse(`there is a gap before ${entry.path} in the zip, or an overlap`);
    offset += localHeader(entry).length + entry.size + dataDescriptor(entry).length;
    entries.set(entry.path, entry);
    at = next.end;
  }
  if (entries.size !== end.count || offset !== end.offset) {
    return refuse('the directory of the zip does not account for all of its bytes');
  }
  return accept({
    list: async () => [...entries.values()].map((entry) => ({ path: entry.path, size: BigInt(entry.size) })),
    read: (path) => readEntry(read, entries.get(path), path, crc32),
  });
}

async function* readEntry(
  read: ReadRange,
  entry: ZipEntry | undefined,
  path: string,
  crc32: Crc32,
): AsyncGenerator<Uint8Array> {
  if (entry === undefined) throw new Error(`the zip does not hold ${path}`);
  const header = localHeader(entry);
  const begin = entry.offset + header.length;
  const end = begin + entry.size;
  const descriptor = dataDescriptor(entry);
  // A small file is one read: header, bytes, descriptor.
  const first = await read(entry.offset, Math.min(end + descriptor.length, begin + PIECE_BYTES));
  if (!equalBytes(first.subarray(0, header.length), header)) {
    throw new Error(`the header of ${path} in the zip is not the one that its directory calls for`);
  }
  let crc = 0;
  let at = begin;
  let piece = first.subarray(header.length, header.length + Math.min(entry.size, PIECE_BYTES));
  while (at < end) {
    if (piece.length === 0) throw new Error(`the zip ends inside of ${path}`);
    crc = crc32(piece, crc);
    at += piece.length;
    yield piece;
    if (at < end) piece = await read(at, Math.min(end, at + PIECE_BYTES));
  }
  if (crc !== entry.crc) throw new Error(`the checksum of ${path} in the zip is not that of its bytes`);
  if (descriptor.length > 0 && !equalBytes(await read(end, end + descriptor.length), descriptor)) {
    throw new Error(`what follows ${path} in the zip is not what its directory calls for`);
  }
}
