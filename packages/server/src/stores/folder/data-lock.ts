/**
 * The data directory: made, checked and held by one process at a time.
 *
 * The lock is an fcntl lock on `<dir>/lock`, held through SQLite. The kernel drops it when the process dies,
 * however it dies, so there is no stale lock to clean up. SQLite is used because Node offers no file locks.
 */

import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { EvidentError } from '@evident/core/errors.ts';
import { errnoOf, storageFault, writeFileDurably } from '../durable-file.ts';

/** Of the layout of the directory as a whole; the engines inside have versions of their own. */
const DIRECTORY_FORMAT = 1;
const PROBE_BYTES = 8192;
/** Two first starts at the same instant both see the other's lock; SQLite waits this long to let one win. */
const LOCK_WAIT_MS_MAX = 200;
const SQLITE_BUSY = 5;

export interface DataLock {
  release(): void;
}

/**
 * Lock files held by this process, as `device:inode`. fcntl locks belong to the process: a second one would
 * be granted, and closing any other descriptor of the file would drop the first. So a file in this set is never opened.
 */
const held = new Set<string>();

/**
 * Makes the directory if need be, and checks that it can be written and has this format. Changes nothing in a
 * directory of another format. Returns the real path.
 *
 * The mode is 0700; for root 0711, so that the account PostgreSQL runs as can pass through without listing. The
 * mode of a directory that holds somebody else's files is left alone.
 *
 * @throws EvidentError data-unwritable, disk-full, data-version
 */
export function prepareDataDirectory(dir: string): string {
  const directory = resolve(dir);
  try {
    mkdirSync(directory, { recursive: true, mode: directoryMode() });
  } catch (error) {
    throw storageFault(error, directory, 'create it');
  }
  try {
    const path = realpathSync(directory);
    const known = readFormat(path);
    restrictMode(path, known);
    probe(path);
    // Crash window: without evident.json the directory is taken for a new one, and this line runs again.
    if (!known) writeFileDurably(join(path, 'evident.json'), `{"format":${DIRECTORY_FORMAT}}\n`, 0o600);
    return path;
  } catch (error) {
    throw storageFault(error, directory, 'write and sync a file in it');
  }
}

function directoryMode(): number {
  return process.getuid?.() === 0 ? 0o711 : 0o700;
}

/** Whether the directory is ours already. */
function readFormat(path: string): boolean {
  let text: string;
  try {
    text = readFileSync(join(path, 'evident.json'), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
  let format: unknown;
  try {
    format = (JSON.parse(text) as { format?: unknown } | null)?.format;
  } catch {
    format = 'unreadable';
  }
  if (format === DIRECTORY_FORMAT) return true;
  throw new EvidentError(
    'data-version',
    `${path} has format ${String(format)} in evident.json; this version reads format ${DIRECTORY_FORMAT}. Nothing was changed.`,
    { context: { directory: path, format } },
  );
}

function restrictMode(path: string, known: boolean): void {
  const ours = known || readdirSync(path).every((name) => name === 'lost+found');
  const status = statSync(path);
  if (!ours || status.uid !== process.getuid?.()) return;
  // Stripping only: a mode that the operator made narrower stays, except that root's must let PostgreSQL through.
  const wanted = (status.mode & 0o700) | (directoryMode() & 0o077);
  if ((status.mode & 0o777) !== wanted) chmodSync(path, wanted);
}

/** Writes, syncs and removes: a full disk or a read-only mount says so here and not inside an engine. */
function probe(path: string): void {
  const name = join(path, `probe-${process.pid}`);
  try {
    const file = openSync(name, 'w', 0o600);
    try {
      const bytes = Buffer.alloc(PROBE_BYTES, 1);
      for (let offset = 0; offset < bytes.length; ) offset += writeSync(file, bytes, offset);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } finally {
    rmSync(name, { force: true });
  }
}

/**
 * Takes the directory for this process, until release or the end of the process. The directory must exist.
 *
 * @throws EvidentError data-locked when another process, or this one, holds it; data-unwritable, disk-full
 */
export function lockDataDirectory(dir: string): DataLock {
  const file = join(dir, 'lock');
  const key = lockFileKey(dir, file);
  if (held.has(key)) throw locked(dir, `this process (pid ${process.pid})`);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: LOCK_WAIT_MS_MAX });
    // In memory, so that the lock leaves no journal behind. BEGIN EXCLUSIVE takes the lock and writes nothing.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database?.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY)
      throw locked(dir, describeHolder(dir), error);
    throw storageFault(error, dir, 'lock its file "lock"');
  }
  held.add(key);
  return { release: () => release(database, key) };
}

function release(database: DatabaseSync, key: string): void {
  if (!held.delete(key)) return;
  database.close();
}

/** Makes the lock file when it is missing: an existing one is not opened, see `held`. */
function lockFileKey(dir: string, file: string): string {
  try {
    let status = statSync(file, { throwIfNoEntry: false });
    if (status === undefined) {
      closeSync(openSync(file, 'a', 0o600));
      status = statSync(file);
    }
    return `${status.dev}:${status.ino}`;
  } catch (error) {
    throw storageFault(error, dir, 'create its file "lock"');
  }
}

function locked(dir: string, holder: string, cause?: unknown): EvidentError {
  return new EvidentError('data-locked', `The data directory ${dir} is held by ${holder}.`, {
    cause,
    context: { directory: dir, holder },
  });
}

/** From the file that the running server left; it may be missing, or not yet written by a holder that is starting. */
function describeHolder(dir: string): string {
  try {
    const server = JSON.parse(readFileSync(join(dir, 'server.json'), 'utf8')) as Record<string, unknown>;
    const address = server.address ?? server.url;
    if (typeof server.pid !== 'number') return 'another Evident process';
    process.kill(server.pid, 0);
    return `another Evident process (pid ${server.pid}${address === undefined ? '' : `, ${String(address)}`})`;
  } catch (error) {
    // EPERM: the process lives, under another account. Anything else: the file is stale or unreadable.
    return errnoOf(error) === 'EPERM' ? 'an Evident process of another account' : 'another Evident process';
  }
}

/** Whether a process holds the directory now. A directory that is not there is held by nobody. */
export function isDirectoryHeld(dir: string): boolean {
  let path: string;
  try {
    path = realpathSync(resolve(dir));
    statSync(join(path, 'lock'));
  } catch {
    return false;
  }
  try {
    lockDataDirectory(path).release();
    return false;
  } catch (error) {
    if (error instanceof EvidentError && error.code === 'data-locked') return true;
    throw error;
  }
}
