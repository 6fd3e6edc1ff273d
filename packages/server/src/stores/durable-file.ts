/** Small files that must be there, whole, after a crash; and what the file system's refusals mean. */

import { closeSync, fchownSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';

/** Makes the names in a directory durable: a rename is on disk only after the directory is. */
export function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/**
 * Replaces the file at `path` in one step: readers see the old bytes or the new ones.
 * Crash window: dying before the rename leaves `<path>.new-<pid>`, which nothing reads.
 */
export function writeFileDurably(
  path: string,
  content: string,
  mode: number,
  owner?: { uid: number; gid: number },
): void {
  const temporary = `${path}.new-${process.pid}`;
  try {
    const file = openSync(temporary, 'w', mode);
    try {
      if (owner !== undefined) fchownSync(file, owner.uid, owner.gid);
      const bytes = Buffer.from(content);
      for (let offset = 0; offset < bytes.length; ) offset += writeSync(file, bytes, offset);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** Where a test lets a process die inside `replaceFileDurably`. */
export type WriteStep = 'written' | 'synced' | 'renamed' | 'durable';

/**
 * As `writeFileDurably`, without holding up the event loop: two fsyncs take milliseconds under load.
 * @param passed told of each step that is done
 */
export async function replaceFileDurably(
  path: string,
  content: string,
  mode: number,
  passed: (step: WriteStep) => void = () => undefined,
): Promise<void> {
  const temporary = `${path}.new-${process.pid}`;
  try {
    const file = await open(temporary, 'w', mode);
    try {
      await file.writeFile(content);
      passed('written');
      await file.sync();
      passed('synced');
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    passed('renamed');
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
    passed('durable');
  } finally {
    await directory.close();
  }
}

export function errnoOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | undefined)?.code ?? '';
}

/** The error to report when the file system refused `attempted` below a data directory. */
export function storageFault(error: unknown, directory: string, attempted: string): EvidentError {
  if (error instanceof EvidentError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const full = ['ENOSPC', 'EDQUOT'].includes(errnoOf(error));
  return new EvidentError(
    full ? 'disk-full' : 'data-unwritable',
    full
      ? `The file system of ${directory} has no space left: could not ${attempted} (${reason}). Free space and start again.`
      : `The data directory ${directory} cannot be used: could not ${attempted} (${reason}).`,
    { cause: error, context: { directory } },
  );
}
