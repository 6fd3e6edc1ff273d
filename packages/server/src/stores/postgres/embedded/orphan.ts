/**
 * Processes of PostgreSQL that outlived the Evident that started them. The caller holds the lock of the data directory, so
 * no other Evident runs there: whatever PostgreSQL works in that directory is ours to end.
 *
 * On Linux they are found by their working directory, which the postmaster and its children set to the data directory and
 * which follows a rename. Elsewhere only the postmaster is found, through postmaster.pid and `ps`; PostgreSQL's
 * own check of the shared memory block guards against its children.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EvidentError } from '@evident/core/errors.ts';
import { errnoOf } from '../../durable-file.ts';
import type { EngineLogger } from './engine-logger.ts';

const POLL_MS = 20;
/** Each signal gets this long before the next, harder one. SIGINT writes a checkpoint. */
const STEPS: readonly [NodeJS.Signals, number][] = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
];
const CHILDREN_MS_MAX = 10_000;

interface EngineProcess {
  pid: number;
  kind: 'postmaster' | 'child';
}

/** Ends what still runs in `directory`, and removes a postmaster.pid that would keep PostgreSQL from starting. */
export async function clearOrphans(directory: string, logger: EngineLogger): Promise<void> {
  const postmaster = findPostmaster(directory);
  if (postmaster !== undefined) await endPostmaster(directory, postmaster, logger);
  await endChildren(directory, logger);
  const file = join(directory, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = readPid(directory);
  // The file of a dead process stays: PostgreSQL reads from it which shared memory to look for, and replaces it.
  if (pid !== undefined && !isAlive(pid)) return;
  logger.warn({ directory, pid }, 'removing a stale postmaster.pid: its process is not PostgreSQL');
  rmSync(file, { force: true });
}

/** Ends the PostgreSQL processes that work in `directory`, at once: for directories that are to be removed. */
export function killProcessesIn(directory: string): void {
  for (const pid of findInitdb(directory)) signal(pid, 'SIGKILL');
  for (const { pid } of scanProcesses(directory)) signal(pid, 'SIGKILL');
}

/** initdb works from elsewhere and names the directory: one that lived on would make it again after its removal. */
function findInitdb(directory: string): number[] {
  if (!existsSync('/proc/self/cwd')) return [];
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      return basename(words[0]) === 'initdb' && words.includes(directory) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

async function endPostmaster(directory: string, pid: number, logger: EngineLogger): Promise<void> {
  logger.warn({ directory, pid }, 'stopping a PostgreSQL that outlived its Evident');
  const gone = () => !findProcesses(directory).some((found) => found.pid === pid);
  for (const [name, boundMs] of STEPS) {
    signal(pid, name);
    if (await until(gone, boundMs)) return;
  }
  throw new EvidentError('engine-failed', `PostgreSQL (pid ${pid}) of ${directory} cannot be ended.`, {
    context: { directory, pid },
  });
}

/** Children end by themselves when the postmaster dies, as soon as they look; one that hangs is killed. */
async function endChildren(directory: string, logger: EngineLogger): Promise<void> {
  const gone = () => findProcesses(directory).length === 0;
  if (await until(gone, CHILDREN_MS_MAX)) return;
  logger.warn({ directory }, 'killing processes of a PostgreSQL whose postmaster is gone');
  killProcessesIn(directory);
  if (await until(gone, CHILDREN_MS_MAX)) return;
  throw new EvidentError('engine-failed', `Processes of PostgreSQL in ${directory} cannot be ended.`, {
    context: { directory },
  });
}

async function until(condition: () => boolean, boundMs: number): Promise<boolean> {
  const deadline = performance.now() + boundMs;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** A child that has not yet renamed itself looks like a postmaster: the one that postmaster.pid names is preferred. */
function findPostmaster(directory: string): number | undefined {
  const found = findProcesses(directory).filter((candidate) => candidate.kind === 'postmaster');
  const named = readPid(directory);
  return (found.find((candidate) => candidate.pid === named) ?? found[0])?.pid;
}

function findProcesses(directory: string): EngineProcess[] {
  if (existsSync('/proc/self/cwd')) return scanProcesses(directory);
  const pid = readPid(directory);
  return pid !== undefined && isPostmasterByPs(pid, directory) ? [{ pid, kind: 'postmaster' }] : [];
}

function scanProcesses(directory: string): EngineProcess[] {
  if (!existsSync('/proc/self/cwd')) return [];
  return readdirSync('/proc').flatMap((name): EngineProcess[] => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const cwd = readlinkSync(`/proc/${name}/cwd`).replace(/ \(deleted\)$/, '');
      if (cwd !== directory) return [];
      const program = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')[0]!;
      const pid = Number(name);
      // A child writes what it does over its arguments: "postgres: checkpointer".
      if (program.startsWith('postgres:')) return [{ pid, kind: 'child' }];
      return basename(program) === 'postgres' ? [{ pid, kind: 'postmaster' }] : [];
    } catch {
      // Gone meanwhile, or of another account: not one that we started.
      return [];
    }
  });
}

function isPostmasterByPs(pid: number, directory: string): boolean {
  try {
    const command = execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
    return command.includes('postgres') && command.includes(`-D ${directory}`);
  } catch {
    return false;
  }
}

/** The first line; undefined when the file is missing or half written. */
function readPid(directory: string): number | undefined {
  try {
    const line = readFileSync(join(directory, 'postmaster.pid'), 'utf8').split('\n')[0]!;
    return /^[1-9]\d{0,9}$/.test(line) ? Number(line) : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}
