/** The bank service as a process: started, killed, started again; what it says about events that it could not write. */

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from '../../packages/server/faults/server-process.ts';

const STOP_MS_MAX = 15_000;
const STDERR_KEPT = 8_000;

/** The example as it is, and the one that makes the classic mistake (`careless-bank.ts`). */
export const BANKS = {
  careful: fileURLToPath(new URL('../../examples/bank/src/main.ts', import.meta.url)),
  careless: fileURLToPath(new URL('careless-bank.ts', import.meta.url)),
} as const;
export type BankKind = keyof typeof BANKS;

export class BankProcess {
  readonly #program: string;
  readonly #databaseUrl: string;
  #child: ChildProcess | undefined;
  #stdout = '';
  #stderr = '';
  #isWanted = false;
  /** Resolves when the process has ended and all that it wrote was read. */
  #closed: Promise<void> = Promise.resolve();
  #crash: (error: Error) => void = () => undefined;
  /** Rejects when the bank ends though nobody ended it. */
  readonly crashed: Promise<never>;
  /** Request ids of the events that the bank said it could not write. */
  readonly unwritten = new Set<string>();

  constructor(kind: BankKind, databaseUrl: string) {
    this.#program = BANKS[kind];
    this.#databaseUrl = databaseUrl;
    this.crashed = new Promise((_resolve, reject) => {
      this.#crash = reject;
    });
    this.crashed.catch(() => undefined);
  }

  get isAlive(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Where it listens, or null while it does not. */
  get url(): string | null {
    return this.isAlive ? (/listens on (\S+)\n/.exec(this.#stdout)?.[1] ?? null) : null;
  }

  async start(): Promise<void> {
    this.#stdout = '';
    let line = '';
    const child = spawn(process.execPath, [this.#program], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, DATABASE_URL: this.#databaseUrl, PORT: '0' },
    });
    this.#child = child;
    this.#isWanted = true;
    this.#closed = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        resolve();
        if (!this.#isWanted || this.#child !== child) return;
        this.#crash(new Error(`the bank ended by itself (${signal ?? code}); it wrote:\n${this.#stderr}`));
      });
    });
    child.stdout!.on('data', (chunk) => (this.#stdout += String(chunk)));
    child.stderr!.on('data', (chunk) => {
      this.#stderr = (this.#stderr + String(chunk)).slice(-STDERR_KEPT);
      const lines = (line + String(chunk)).split('\n');
      line = lines.pop() ?? '';
      for (const one of lines) this.#hear(one);
    });
    await until('the bank listens', () => {
      if (!this.isAlive) throw new Error(`the bank ended while it was starting:\n${this.#stderr}`);
      return this.url !== null;
    });
  }

  async kill(): Promise<void> {
    this.#isWanted = false;
    this.#child?.kill('SIGKILL');
    await this.#closed;
  }

  /** Asks it to end, and makes it end when it does not. */
  async stop(): Promise<void> {
    this.#isWanted = false;
    this.#child?.kill('SIGTERM');
    await until('the bank ends', () => !this.isAlive, STOP_MS_MAX).catch(() => this.kill());
    await this.#closed;
  }

  #hear(line: string): void {
    if (!line.startsWith('{"problem":')) return;
    const { event } = JSON.parse(line) as { event?: { body: string } };
    const { context } = JSON.parse(event?.body ?? '{}') as { context?: { request_id?: string } };
    if (context?.request_id !== undefined) this.unwritten.add(context.request_id);
  }
}
