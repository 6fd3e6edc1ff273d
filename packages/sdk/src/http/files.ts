/** The file system as the disk buffer uses it. */

import type { FileHandle } from 'node:fs/promises';
import { EvidentError } from '@evident/core/errors.ts';

/** The calls of node:fs/promises that are used, so that tests can break each. */
export interface Files {
  open(path: string, flags: string, mode?: number): Promise<FileHandle>;
  rm(path: string): Promise<void>;
}

/** Makes the names in a folder durable. Windows can't open a folder; NTFS keeps names in a journal of its own. */
export async function syncFolder(files: Files, path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await files.open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

export async function writeAll(
  file: FileHandle,
  parts: readonly Uint8Array[],
  position: number,
): Promise<void> {
  const bytes = Buffer.concat(parts);
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** The bytes from `from` on, fewer where the file ends. */
export async function readAll(file: FileHandle, from: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  while (at < length) {
    const { bytesRead } = await file.read(bytes, at, length - at, from + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return bytes.subarray(0, at);
}

/** What the file system's refusal means. */
export function storageError(error: unknown, attempted: string): EvidentError {
  if (error instanceof EvidentError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  return new EvidentError(isFull ? 'disk-full' : 'data-unwritable', `${attempted}: ${message}`, {
    cause: error,
  });
}
