/**
 * The data directory of PostgreSQL, `<data>/postgres`: made once, in a directory beside it that is renamed
 * into place when it is whole. So `<data>/postgres` is there complete or not at all.
 */

import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { errnoOf, storageFault, syncDirectory, writeFileDurably } from '../../durable-file.ts';
import { type Launcher, runCommand } from './account.ts';
import { type Binaries, POSTGRES_MAJOR } from './binaries.ts';
import { engineFault } from './engine-fault.ts';
import { killProcessesIn } from './orphan.ts';

export const OWNER = 'evident_owner';
const INITDB_MS_MAX = 120_000;
const PASSWORD_BYTES = 24;
const NEW = 'postgres.new';

export interface Cluster {
  directory: string;
  /** Of the superuser `evident_owner`. */
  password: string;
}

export function clusterDirectory(dataDir: string): string {
  return join(dataDir, 'postgres');
}

/**
 * Opens the cluster, or makes it. The caller holds the lock of the data directory. An abort ends initdb.
 *
 * @throws EvidentError data-version (nothing was changed), disk-full, data-unwritable, engine-failed
 */
export async function openCluster(
  dataDir: string,
  binaries: Binaries,
  launcher: Launcher,
  signal: AbortSignal,
): Promise<Cluster> {
  const directory = clusterDirectory(dataDir);
  if (existsSync(directory)) {
    checkVersion(directory);
    removeLeftovers(dataDir);
    return { directory, password: readPassword(dataDir) };
  }
  removeLeftovers(dataDir);
  const password = keepPassword(dataDir);
  await initialise(dataDir, binaries, launcher, password, signal);
  return { directory, password };
}

/** @throws EvidentError data-version */
export function checkVersion(directory: string): void {
  let version: string;
  try {
    version = readFileSync(join(directory, 'PG_VERSION'), 'utf8').trim();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw storageFault(error, directory, 'read PG_VERSION');
    version = '';
  }
  if (version === POSTGRES_MAJOR) return;
  const found = version === '' ? 'is no data directory of PostgreSQL' : `was made by PostgreSQL ${version}`;
  throw new EvidentError(
    'data-version',
    `${directory} ${found}; this Evident brings PostgreSQL ${POSTGRES_MAJOR}. Nothing was changed.`,
    { context: { directory, version } },
  );
}

/** A start that died in initdb left a directory, its password file, and perhaps initdb itself, still running. */
function removeLeftovers(dataDir: string): void {
  try {
    const names = readdirSync(dataDir).filter((name) => name.startsWith(NEW));
    for (const name of names) {
      const path = join(dataDir, name);
      killProcessesIn(path);
      rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    }
  } catch (error) {
    throw storageFault(error, dataDir, 'remove a half-made cluster');
  }
}

function passwordFile(dataDir: string): string {
  return join(dataDir, 'postgres.password');
}

function readPassword(dataDir: string): string {
  try {
    return readFileSync(passwordFile(dataDir), 'utf8').trim();
  } catch (cause) {
    throw new EvidentError(
      'engine-failed',
      `The password of the cluster, ${passwordFile(dataDir)}, cannot be read. Restore it from a backup of the data directory.`,
      { cause, context: { directory: dataDir } },
    );
  }
}

/**
 * Crash window: the password is durable before the cluster that has it exists under its name. A password without a
 * cluster is used for the cluster that the next start makes.
 */
function keepPassword(dataDir: string): string {
  const file = passwordFile(dataDir);
  try {
    const known = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
    if (known !== '') return known;
    const password = randomBytes(PASSWORD_BYTES).toString('base64url');
    writeFileDurably(file, `${password}\n`, 0o600);
    return password;
  } catch (error) {
    throw storageFault(error, dataDir, 'write the password of the cluster');
  }
}

async function initialise(
  dataDir: string,
  binaries: Binaries,
  launcher: Launcher,
  password: string,
  signal: AbortSignal,
): Promise<void> {
  // A name of its own: an initdb that outlived an earlier start never writes into this one's directory.
  const path = join(dataDir, `${NEW}-${randomBytes(4).toString('hex')}`);
  const secret = `${path}.password`;
  try {
    mkdirSync(path, { mode: 0o700 });
    if (launcher.account !== undefined) chownSync(path, launcher.account.uid, launcher.account.gid);
    writeFileDurably(secret, `${password}\n`, 0o600, launcher.account);
    const result = await runCommand(
      launcher.command(binaries.initdb, initdbArguments(path, secret)),
      INITDB_MS_MAX,
      signal,
    );
    if (!result.ok) throw engineFault('make a database cluster', dataDir, result.stderr.split('\n'));
    rmSync(secret);
    // initdb has synced every file. Crash window: before the rename is durable, the next start begins anew.
    renameSync(path, clusterDirectory(dataDir));
    syncDirectory(dataDir);
  } catch (error) {
    rmSync(secret, { force: true });
    killProcessesIn(path);
    rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    throw storageFault(error, dataDir, 'make a database cluster');
  }
}

function initdbArguments(path: string, secret: string): string[] {
  const options = ['--locale=C', '--encoding=UTF8', '--data-checksums', '--no-instructions'];
  const access = [`--username=${OWNER}`, '--auth=scram-sha-256', `--pwfile=${secret}`];
  return ['-D', path, ...options, ...access];
}
