/**
 * Who PostgreSQL runs as. It refuses to run as root, so root hands it to another account; and that account
 * may be unable to pass through a directory above the programs or the data (a clone below /root, say). Then it
 * gets the one capability that lets it pass, by setpriv of util-linux.
 */

import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { EvidentError } from '@evident/core/errors.ts';
import type { EngineLogger } from './engine-logger.ts';

const PREFERRED_ACCOUNTS = ['postgres', 'nobody'];
/**
 * In the order tried. dac_read_search passes through any directory and reads any file. Containers often lack it, but
 * have dac_override, which can write as well: still no more than the root that starts it.
 */
const CAPABILITIES = ['dac_read_search', 'dac_override'];
const SETPRIV_PATHS = ['/usr/bin/setpriv', '/bin/setpriv', '/usr/sbin/setpriv'];
const PROBE_MS_MAX = 20_000;
const OUTPUT_BYTES_MAX = 1 << 20;

export interface Account {
  uid: number;
  gid: number;
}

export interface Command {
  file: string;
  args: string[];
  options: { cwd: string; env: Record<string, string>; uid?: number; gid?: number };
}

/** How to run a program of PostgreSQL. */
export interface Launcher {
  /** The owner of PostgreSQL's files; undefined: this process's own account. */
  account: Account | undefined;
  command(file: string, args: string[]): Command;
}

export interface CommandResult {
  ok: boolean;
  stdout: string;
  stderr: string;
}

/**
 * Finds, by trying, a way to run `postgres` so that it reaches its program and every one of `directories`.
 *
 * @param clusterDirectory an existing data directory of PostgreSQL keeps its owner
 * @throws EvidentError data-unwritable when a directory cannot be reached, engine-failed when the program cannot run
 */
export async function chooseLauncher(
  postgres: string,
  directories: string[],
  clusterDirectory: string,
  logger: EngineLogger,
): Promise<Launcher> {
  const account = chooseAccount(clusterDirectory);
  const direct = directLauncher(account);
  const refusal = await tryLauncher(direct, postgres, directories);
  if (refusal === undefined) return direct;
  if (account === undefined) throw refusal;
  const setpriv = SETPRIV_PATHS.find((path) => existsSync(path));
  for (const capability of setpriv === undefined ? [] : CAPABILITIES) {
    const launcher = capableLauncher(setpriv!, account, capability);
    if ((await tryLauncher(launcher, postgres, directories)) !== undefined) continue;
    logger.info({ capability, uid: account.uid }, 'PostgreSQL needs a capability to reach its directories');
    return launcher;
  }
  throw new EvidentError(
    refusal.code,
    `${refusal.message} PostgreSQL must not run as root, so it runs as uid ${account.uid}; ${
      setpriv === undefined ? 'setpriv (util-linux) is not installed' : 'setpriv could not let it pass'
    }. Choose another directory with --data, or let it pass: chmod o+x on each directory above it.`,
    { cause: refusal, context: refusal.context },
  );
}

/** Runs a program to its end, or kills it at the abort. Never throws: what went wrong is in `stderr`. */
export function runCommand(
  command: Command,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(
      command.file,
      command.args,
      { ...command.options, timeout: timeoutMs, maxBuffer: OUTPUT_BYTES_MAX, killSignal: 'SIGKILL' },
      (error, stdout, stderr) => {
        signal?.removeEventListener('abort', kill);
        resolve({ ok: error === null, stdout, stderr: stderr || (error?.message ?? '') });
      },
    );
    // Not by execFile's own `signal`: that reports the end before the program, and what it started, is gone.
    const kill = () => child.kill('SIGKILL');
    signal?.addEventListener('abort', kill);
    if (signal?.aborted) kill();
  });
}

function chooseAccount(clusterDirectory: string): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const owner = statSync(clusterDirectory, { throwIfNoEntry: false });
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const accounts = readAccounts();
  for (const name of PREFERRED_ACCOUNTS) {
    const account = accounts.get(name);
    if (account !== undefined && account.uid !== 0) return account;
  }
  throw new EvidentError(
    'engine-failed',
    `PostgreSQL must not run as root, and /etc/passwd has no account ${PREFERRED_ACCOUNTS.join(' or ')}. Start Evident as an ordinary user.`,
  );
}

function readAccounts(): Map<string, Account> {
  const accounts = new Map<string, Account>();
  const text = existsSync('/etc/passwd') ? readFileSync('/etc/passwd', 'utf8') : '';
  for (const line of text.split('\n')) {
    const [name, , uid, gid] = line.split(':');
    // macOS writes the uid of nobody as -2: ids are unsigned 32-bit numbers.
    if (name && uid && gid) accounts.set(name, { uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 });
  }
  return accounts;
}

/** Settings of the caller's shell (PGDATA, LC_*, TZ) must not reach PostgreSQL: its messages are read by us. */
function options(): Command['options'] {
  return { cwd: '/', env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' } };
}

function directLauncher(account: Account | undefined): Launcher {
  return { account, command: (file, args) => ({ file, args, options: { ...options(), ...account } }) };
}

function capableLauncher(setpriv: string, account: Account, capability: string): Launcher {
  const prefix = ['--reuid', String(account.uid), '--regid', String(account.gid), '--clear-groups'];
  prefix.push(`--inh-caps=+${capability}`, `--ambient-caps=+${capability}`, '--');
  return {
    account,
    command: (file, args) => ({ file: setpriv, args: [...prefix, file, ...args], options: options() }),
  };
}

/** What stands in the way, or undefined. */
async function tryLauncher(
  launcher: Launcher,
  postgres: string,
  directories: string[],
): Promise<EvidentError | undefined> {
  const version = await runCommand(launcher.command(postgres, ['--version']), PROBE_MS_MAX);
  if (!version.ok) {
    return new EvidentError('engine-failed', `${postgres} cannot be run: ${version.stderr.trim()}.`);
  }
  for (const directory of directories) {
    // The account's own view: modes alone would miss access lists and mount options.
    const shell = launcher.command('/bin/sh', ['-c', 'cd -- "$1"', 'sh', directory]);
    if ((await runCommand(shell, PROBE_MS_MAX)).ok) continue;
    const context = { directory };
    return new EvidentError('data-unwritable', `PostgreSQL cannot reach ${directory}.`, { context });
  }
  return undefined;
}
