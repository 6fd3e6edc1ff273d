/** Writes the zip of a bundle as a stream: what was given out is never gone back to. */

import { type Crc32, crc32 as ownCrc32 } from './crc32.ts';
import { dataDescriptor, directoryEntry, endRecords, localHeader, type ZipEntry } from './zip-format.ts';

/** A file whose bytes are there, or come in pieces. */
export interface ZipFile {
  readonly path: string;
  readonly bytes: Uint8Array | AsyncIterable<Uint8Array>;
}

/**
 * The bytes of a zip, in order. The directory is kept until the end: about 100 bytes a file.
 * @param crc32 a faster checksum of the platform, if it has one
 * @throws RangeError for a path that is doubled or not printable ASCII; whatever `files` throws
 */
export async function* writeZip(
  files: AsyncIterable<ZipFile> | Iterable<ZipFile>,
  crc32: Crc32 = ownCrc32,
): AsyncGenerator<Uint8Array> {
  const entries: ZipEntry[] = [];
  const paths = new Set<string>();
  let offset = 0;
  for await (const { path, bytes } of files) {
    if (!/^[!-~]{1,1024}$/.test(path) || paths.has(path)) {
      throw new RangeError(
        `a zip cannot hold the path ${JSON.stringify(path.slice(0, 100))}, or holds it twice`,
      );
    }
    paths.add(path);
    const isStreamed = !(bytes instanceof Uint8Array);
    let entry: ZipEntry = {
      path,
      size: isStreamed ? 0 : bytes.length,
      crc: isStreamed ? 0 : crc32(bytes, 0),
      offset,
      isStreamed,
    };
    const header = localHeader(entry);
    yield header;
    if (isStreamed) {
      for await (const piece of bytes) {
        entry = { ...entry, size: entry.size + piece.length, crc: crc32(piece, entry.crc) };
        yield piece;
      }
    } else if (bytes.length > 0) yield bytes;
    const descriptor = dataDescriptor(entry);
    if (descriptor.length > 0) yield descriptor;
    offset += header.length + entry.size + descriptor.length;
    entries.push(entry);
  }
  let size = 0;
  for (const entry of entries) {
    const bytes = directoryEntry(entry);
    size += bytes.length;
    yield bytes;
  }
  yield endRecords(entries.length, size, offset);
}
