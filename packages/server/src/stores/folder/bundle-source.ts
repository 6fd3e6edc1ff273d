/**
 * Evidence bundles as they lie on a disk: a folder, or a zip. Nothing in one is trusted: links and devices are refused,
 * and what can't be read is said.
 */

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BUNDLE_FILES_MAX, BUNDLE_PATH_LENGTH_MAX } from '@evident/core/evidence/bundle-layout.ts';
import type { BundleSource, SourceFile } from '@evident/core/evidence/bundle-source.ts';
import { openZip } from '@evident/core/evidence/zip-reader.ts';
import type { HashStream } from '@evident/core/sha256-stream.ts';

const PIECE_BYTES = 1024 * 1024;
/** Tiles lie deepest: tlog/<log>/<partition>/tile/<L>/ and up to seven groups of digits. */
const DEPTH_MAX = 16;

export interface OpenedBundle {
  readonly source: BundleSource;
  close(): Promise<void>;
}

/** SHA-256 of the platform: several times as fast as the one of core. */
export function nodeSha256(): HashStream {
  const hash = createHash('sha256');
  return {
    update: (piece) => {
      hash.update(piece);
    },
    digest: () => new Uint8Array(hash.digest()),
  };
}

/**
 * Opens a bundle. A zip that is none opens all the same: its list throws the reason, so that a check can report it.
 * @throws the error of the file system if there is no such path, or it may not be read
 */
export async function openBundle(path: string): Promise<OpenedBundle> {
  if ((await stat(path)).isDirectory()) return { source: folderSource(path), close: async () => undefined };
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const zip = await openZip((from, to) => readRange(file, from, to), size, crc32);
    const source: BundleSource = zip.ok
      ? zip.value
      : { list: () => Promise.reject(new Error(zip.reason)), read: () => refuseToRead(zip.reason) };
    return { source, close: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

// biome-ignore lint/correctness/useYield: it has nothing to give
async function* refuseToRead(reason: string): AsyncGenerator<Uint8Array> {
  throw new Error(reason);
}

async function readRange(file: FileHandle, from: number, to: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.max(0, to - from));
  let filled = 0;
  while (filled < bytes.length) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, from + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

function folderSource(folder: string): BundleSource {
  return {
    list: async () => {
      const files: SourceFile[] = [];
      await listInto(files, folder, '', 0);
      return files;
    },
    read: (path) => readFile(join(folder, path)),
  };
}

async function listInto(files: SourceFile[], folder: string, prefix: string, depth: number): Promise<void> {
  if (depth > DEPTH_MAX) throw new Error(`${prefix} lies deeper than any file of a bundle`);
  for await (const entry of await opendir(join(folder, prefix))) {
    const path = `${prefix}${entry.name}`;
    if (path.length > BUNDLE_PATH_LENGTH_MAX) throw new Error(`${path.slice(0, 200)}… is too long a path`);
    if (entry.isDirectory()) await listInto(files, folder, `${path}/`, depth + 1);
    else if (!entry.isFile()) throw new Error(`${path} is neither a file nor a folder`);
    else {
      if (files.length >= BUNDLE_FILES_MAX) throw new Error(`there are over ${BUNDLE_FILES_MAX} files`);
      const { size } = await stat(join(folder, path), { bigint: true });
      files.push({ path, size });
    }
  }
}

async function* readFile(path: string): AsyncGenerator<Uint8Array> {
  // Not through a link that took the file's place since it was listed.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, Math.max(1, size)));
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
