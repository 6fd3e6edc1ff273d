/**
 * The folder of a disk buffer belongs to one process at a time.
 *
 * The lock is an fcntl lock on `<folder>/lock`, held through SQLite, because Node offers no file locks. The kernel
 * drops it when the process dies, however it dies: there is no stale lock to clean up.
 */

import { chmodSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';

/** Two starts at one instant both see the other's lock; SQLite waits this long to let one win. */
const LOCK_WAIT_MS_MAX = 200;
const SQLITE_BUSY = 5;

export interface FolderLock {
  release(): void;
}

/** @throws data-locked when somebody holds it; usage-invalid on a Node without SQLite (before 22.13) */
export function lockFolder(folder: string): FolderLock {
  const { DatabaseSync } = loadSqlite();
  const file = join(folder, 'lock');
  let database: InstanceType<typeof DatabaseSync> | undefined;
  try {
    database = new DatabaseSync(file);
    chmodSync(file, 0o600);
    // In memory, so that the lock leaves no journal behind. BEGIN EXCLUSIVE takes the lock and writes nothing.
    database.exec(`PRAGMA busy_timeout = ${LOCK_WAIT_MS_MAX}; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE`);
  } catch (error) {
    database?.close();
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error;
    throw new EvidentError(
      'data-locked',
      `the folder ${folder} is held by another client, here or in another process`,
      {
        cause: error,
        context: { folder },
      },
    );
  }
  const held = database;
  return { release: () => held.close() };
}

/** Not imported at the top: only the disk buffer needs it, and an early Node 22 has it behind a flag. */
function loadSqlite(): typeof import('node:sqlite') {
  try {
    return createRequire(import.meta.url)('node:sqlite') as typeof import('node:sqlite');
  } catch (cause) {
    throw new EvidentError(
      'usage-invalid',
      `buffer: a buffer on disk needs Node 22.13 or later; this is ${process.version}`,
      {
        cause,
        context: { field: 'buffer' },
      },
    );
  }
}
