/** The real server as a child process in a folder of its own: started, killed, started again, always ended. Linux: it reads /proc. */

import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';

export const PROGRAM = fileURLToPath(new URL('../bin/evident.js', import.meta.url));
const START_MS_MAX = 60_000;
/** Longer than the server's own bound of 20 s for a stop. */
const STOP_MS_MAX = 25_000;
const COMMAND_MS_MAX = 120_000;
const POLL_MS = 5;
const STDERR_SHOWN = 4_000;

/** Waits for a condition, never for a time. */
export async function until(
  claim: string,
  condition: () => boolean | Promise<boolean>,
  boundMs = START_MS_MAX,
): Promise<void> {
  const deadline = performance.now() + boundMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${boundMs} ms: ${claim}`);
    await sleep(POLL_MS);
  }
}

function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}

/** An empty folder, gone after the test, after `first` has ended. */
export function makeFolder(t: Pick<TestContext, 'after'>, first?: () => Promise<void>): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'evident-process-')));
  t.after(async () => {
    await first?.();
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
  return folder;
}

/** A PostgreSQL process of one cluster. */
interface EngineProcess {
  readonly pid: number;
  /** What it is, as `ps` shows it. */
  readonly title: string;
}

/** What works in a cluster's directory, zombies apart. */
function engineProcesses(directory: string): EngineProcess[] {
  return readdirSync('/proc').flatMap((name): EngineProcess[] => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (readlinkSync(`/proc/${name}/cwd`) !== directory) return [];
      return [{ pid: Number(name), title: readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')[0] }];
    } catch {
      return [];
    }
  });
}

export interface ServerOptions {
  /** Behind `start --data DIR --port 0`. */
  readonly args?: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  /** Without --json, as a person starts it. */
  readonly isText?: boolean;
  /** The Node that runs bin/evident.js. */
  readonly node?: string;
}

interface ReadyLine {
  url: string;
  vkey: string;
}

/** What a start printed, or undefined while it has not printed all of it. */
function parseReady(stdout: string, isText: boolean): ReadyLine | undefined {
  if (!isText) return stdout.includes('\n') ? (JSON.parse(stdout) as ReadyLine) : undefined;
  const url = /^ +address +(\S+)$/m.exec(stdout)?.[1];
  const vkey = /^ +K +(\S+)$/m.exec(stdout)?.[1];
  return url === undefined || vkey === undefined || !stdout.includes('Tier') ? undefined : { url, vkey };
}

export class ServerProcess {
  readonly dataDir: string;
  readonly #options: ServerOptions;
  #child: ChildProcess | undefined;
  #stdout = '';
  #stderr = '';
  #ready: ReadyLine | undefined;

  constructor(dataDir: string, options: ServerOptions = {}) {
    this.dataDir = dataDir;
    this.#options = options;
  }

  get url(): string {
    return this.ready.url;
  }

  /** The address, or null until the server has printed it. */
  get urlOrNull(): string | null {
    return this.#ready?.url ?? null;
  }

  get ready(): ReadyLine {
    if (this.#ready === undefined) throw new Error('the server is not running');
    return this.#ready;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get adminKey(): string {
    return readFileSync(join(this.dataDir, 'admin.key'), 'utf8').trim();
  }

  /** The metrics, as one who scrapes them asks for them. */
  async metrics(): Promise<string> {
    const token = readFileSync(join(this.dataDir, 'metrics.token'), 'utf8').trim();
    const answer = await fetch(`${this.url}/metrics`, { headers: { authorization: `Bearer ${token}` } });
    if (!answer.ok) throw new Error(`/metrics answered ${answer.status}`);
    return answer.text();
  }

  /** How to reach the server's PostgreSQL, as its owner. */
  get postgres(): pg.ClientConfig {
    return JSON.parse(readFileSync(join(this.dataDir, 'server.json'), 'utf8')).postgres;
  }

  postmasterPid(): number | undefined {
    const file = join(this.dataDir, 'postgres', 'postmaster.pid');
    return existsSync(file) ? Number(readFileSync(file, 'utf8').split('\n')[0]) || undefined : undefined;
  }

  get isAlive(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Starts the process and does not wait. */
  launch(): void {
    if (this.isAlive) throw new Error('the server runs already');
    const { args = [], environment = {}, isText = false, node = process.execPath } = this.#options;
    this.#ready = undefined;
    this.#stdout = '';
    const argv = [PROGRAM, 'start', '--data', this.dataDir, '--port', '0', ...args];
    if (!isText) argv.push('--json');
    const child = spawn(node, argv, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, EVIDENT_LOG_LEVEL: 'warn', ...environment },
    });
    this.#child = child;
    child.stdout!.on('data', (chunk) => {
      this.#stdout += String(chunk);
      this.#ready ??= parseReady(this.#stdout, isText);
    });
    child.stderr!.on('data', (chunk) => {
      this.#stderr += String(chunk);
    });
  }

  /** Starts it and waits until it says that it takes records. */
  async start(): Promise<void> {
    this.launch();
    await this.untilReady();
  }

  async untilReady(): Promise<void> {
    try {
      await until('the server prints its address', () => {
        if (!this.isAlive) throw new Error('the server ended while it was starting');
        return this.#ready !== undefined;
      });
      await until('/readyz answers 200', () => this.isReady());
    } catch (cause) {
      throw new Error(`the server did not start; it wrote:\n${this.#stderr.slice(-STDERR_SHOWN)}`, { cause });
    }
  }

  async isReady(): Promise<boolean> {
    try {
      const answer = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(5_000) });
      await answer.arrayBuffer();
      return answer.status === 200;
    } catch {
      return false;
    }
  }

  /** SIGKILL to the server alone: PostgreSQL is orphaned and works on. */
  async killServer(): Promise<void> {
    signal(this.pid, 'SIGKILL');
    await this.#gone();
  }

  /** SIGKILL to the postmaster alone: its children see that it is gone, each when it looks. */
  async killPostmaster(): Promise<void> {
    const pid = this.postmasterPid();
    signal(pid, 'SIGKILL');
    await until('the postmaster is gone', () => this.#engine().every((one) => one.pid !== pid));
  }

  /** SIGKILL to every process of PostgreSQL. */
  async killPostgres(): Promise<void> {
    const found = this.#engine();
    for (const { pid } of found) signal(pid, 'SIGKILL');
    const pids = new Set(found.map(({ pid }) => pid));
    await until('PostgreSQL is gone', () => this.#engine().every(({ pid }) => !pids.has(pid)));
  }

  /** SIGKILL to one connection's process: the postmaster ends all others and recovers by itself. */
  killBackend(choose: (count: number) => number): void {
    const backends = this.#engine().filter(({ title }) => title.includes(' evident '));
    signal(backends[choose(backends.length)]?.pid, 'SIGKILL');
  }

  /** SIGKILL to the server and to every process of PostgreSQL. Does nothing where nothing is left. */
  async killBoth(): Promise<void> {
    signal(this.pid, 'SIGKILL');
    await this.killPostgres();
    await this.#gone();
    await this.killPostgres();
  }

  /** Processes of its PostgreSQL. */
  get engineCount(): number {
    return this.#engine().length;
  }

  #engine(): EngineProcess[] {
    return engineProcesses(join(this.dataDir, 'postgres'));
  }

  /** SIGTERM. @returns the exit code and how long it took, milliseconds */
  async stop(): Promise<{ code: number | null; ms: number }> {
    const begun = performance.now();
    signal(this.pid, 'SIGTERM');
    await this.#gone();
    return { code: this.#child?.exitCode ?? null, ms: performance.now() - begun };
  }

  async #gone(): Promise<void> {
    await until(`the server (pid ${this.pid}) ends`, () => !this.isAlive, STOP_MS_MAX);
  }
}

/** A server in a folder of its own; both are gone after the test. Not started. */
export function makeServer(t: Pick<TestContext, 'after'>, options: ServerOptions = {}): ServerProcess {
  const folder = makeFolder(t, () => server.killBoth());
  const server = new ServerProcess(join(folder, 'data'), options);
  return server;
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the real command line to its end. */
export async function runCommand(
  args: readonly string[],
  options: ServerOptions = {},
): Promise<CommandResult> {
  const { environment = {}, node = process.execPath } = options;
  const child = spawn(node, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: COMMAND_MS_MAX,
    env: { ...process.env, ...environment },
  });
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr!.on('data', (chunk) => (stderr += String(chunk)));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  return { code, stdout, stderr };
}
