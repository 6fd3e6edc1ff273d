/**
 * Where PostgreSQL listens: a Unix socket in `<data>/socket` that its owner alone can open; when that path is
 * too long for a socket address, in a directory below the temporary one; and a free port of 127.0.0.1 where
 * the file system has no sockets.
 */

import { chmodSync, chownSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type ListenOptions } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { storageFault, writeFileDurably } from '../../durable-file.ts';
import type { Account } from './account.ts';

/** The kernels take 107 (Linux) and 103 (macOS) bytes. */
const SOCKET_PATH_BYTES_MAX = 100;
const SOCKET_PORT = 5432;
const LOOPBACK = '127.0.0.1';
const TEMPORARY_PREFIX = 'evident-socket-';
const TEMPORARY_PARENTS = [tmpdir(), '/tmp'];
/** Names the directory made below the temporary one, so that the next start removes it if this one cannot. */
const RECORD = 'postgres.socket';

export interface EngineAddress {
  kind: 'unix' | 'tcp';
  /** A directory, or 127.0.0.1: what `pg` takes as host. */
  host: string;
  port: number;
}

/** @param transport `auto`, or `tcp` to go without sockets */
export async function openAddress(
  dataDir: string,
  account: Account | undefined,
  transport: 'auto' | 'tcp',
): Promise<EngineAddress> {
  removeTemporarySocketDirectory(dataDir);
  if (transport === 'auto') {
    const parent = socketParent(dataDir);
    const near = parent === dataDir;
    const host = near
      ? makeSocketDirectory(join(dataDir, 'socket'), account)
      : makeTemporary(dataDir, account);
    const path = join(host, 'probe');
    rmSync(path, { force: true });
    if (await canListen({ path })) return { kind: 'unix', host, port: SOCKET_PORT };
    removeTemporarySocketDirectory(dataDir);
  }
  return { kind: 'tcp', host: LOOPBACK, port: await freePort() };
}

/** Where the directory of the socket lies: PostgreSQL must be able to pass through it. */
export function socketParent(dataDir: string): string {
  if (fits(join(dataDir, 'socket'))) return dataDir;
  return TEMPORARY_PARENTS.find((parent) => fits(join(parent, `${TEMPORARY_PREFIX}XXXXXX`))) ?? tmpdir();
}

/**
 * Removes the socket that a killed postmaster left, with its lock file. PostgreSQL takes the lock file for that of a living
 * server when its process number was given to another process. The caller knows that no postmaster runs.
 */
export function removeStaleSocket(address: EngineAddress): void {
  if (address.kind !== 'unix') return;
  const socket = join(address.host, `.s.PGSQL.${address.port}`);
  for (const path of [socket, `${socket}.lock`]) rmSync(path, { force: true });
}

/** Removes what `openAddress` made outside of the data directory. */
export function removeTemporarySocketDirectory(dataDir: string): void {
  const record = join(dataDir, RECORD);
  try {
    const path = readFileSync(record, 'utf8').trim();
    // The record is only a file: never remove what does not look like our own directory.
    const ours = basename(path).startsWith(TEMPORARY_PREFIX) && TEMPORARY_PARENTS.includes(dirname(path));
    if (ours && lstatSync(path).isDirectory()) rmSync(path, { recursive: true, force: true });
  } catch {
    // No record, or nothing there: nothing to remove.
  }
  rmSync(record, { force: true });
}

function fits(directory: string): boolean {
  return Buffer.byteLength(join(directory, `.s.PGSQL.${SOCKET_PORT}`)) <= SOCKET_PATH_BYTES_MAX;
}

function makeSocketDirectory(path: string, account: Account | undefined): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chmodSync(path, 0o700);
    if (account !== undefined) chownSync(path, account.uid, account.gid);
    return path;
  } catch (error) {
    throw storageFault(error, path, 'make the directory of the socket');
  }
}

/** Crash window: dying before the record is written leaves an empty directory below the temporary one. */
function makeTemporary(dataDir: string, account: Account | undefined): string {
  try {
    const path = mkdtempSync(join(socketParent(dataDir), TEMPORARY_PREFIX));
    writeFileDurably(join(dataDir, RECORD), `${path}\n`, 0o600);
    return makeSocketDirectory(path, account);
  } catch (error) {
    throw storageFault(error, dataDir, 'make the directory of the socket');
  }
}

function canListen(where: ListenOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(where, () => server.close(() => resolve(true)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: LOOPBACK, port: 0 }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' ? address!.port : 0));
    });
  });
}
