/** One run of the program `postgres`, from its start to its end. */

import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from './account.ts';
import type { LogFile } from './log-file.ts';

/** After SIGQUIT PostgreSQL ends at once and recovers at the next start; one that does not is killed. */
const QUIT_MS_MAX = 5_000;
const KILL_MS_MAX = 5_000;
/** Lines written just before the end are still in the pipe when the end is reported. */
const DRAIN_MS_MAX = 200;

export interface PostmasterExit {
  pid: number | undefined;
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The program could not be run at all. */
  error?: Error;
}

export class Postmaster {
  /** Settles, never rejects, when the process is gone and its last lines are read. */
  readonly exited: Promise<PostmasterExit>;
  exit: PostmasterExit | undefined;
  readonly #child: ChildProcess;
  /** A Node that ends without `stop` (an uncaught exception, process.exit) asks PostgreSQL to end too. */
  readonly #onProcessExit = () => this.#signal('SIGINT');

  constructor(command: Command, log: LogFile) {
    // Detached: a Ctrl-C in the terminal reaches Evident, which stops PostgreSQL after its own work, not before.
    this.#child = spawn(command.file, command.args, {
      ...command.options,
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child.stderr!.on('data', (chunk: Buffer) => log.write(chunk));
    this.exited = this.#watch();
    process.once('exit', this.#onProcessExit);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Ends it: SIGINT (running transactions are rolled back), after the bound SIGQUIT, then SIGKILL. */
  async stop(boundMs: number): Promise<PostmasterExit | undefined> {
    const steps = [
      ['SIGINT', boundMs],
      ['SIGQUIT', QUIT_MS_MAX],
      ['SIGKILL', KILL_MS_MAX],
    ] as const;
    for (const [name, ms] of steps) {
      this.#signal(name);
      const cancel = new AbortController();
      const bound = sleep(ms, undefined, { signal: cancel.signal }).catch(() => undefined);
      await Promise.race([this.exited, bound]);
      cancel.abort();
      if (this.exit !== undefined) return this.exit;
    }
    return undefined;
  }

  #signal(name: NodeJS.Signals): void {
    try {
      this.#child.kill(name);
    } catch {
      // Gone already.
    }
  }

  async #watch(): Promise<PostmasterExit> {
    const child = this.#child;
    const ended = new Promise<PostmasterExit>((resolve) => {
      child.once('error', (error) => resolve({ pid: child.pid, code: null, signal: null, error }));
      child.once('exit', (code, signal) => resolve({ pid: child.pid, code, signal }));
    });
    const drained = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const exit = await ended;
    const cancel = new AbortController();
    const bound = sleep(DRAIN_MS_MAX, undefined, { signal: cancel.signal }).catch(() => undefined);
    await Promise.race([drained, bound]);
    cancel.abort();
    process.off('exit', this.#onProcessExit);
    this.exit = exit;
    return exit;
  }
}
