/** The real `evident signer` as a child process, on a socket in a folder of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { makeFolder, PROGRAM, until } from './server-process.ts';

export class SignerProcess {
  readonly state: string;
  readonly address: string;
  #child: ChildProcess | null = null;
  stderr = '';

  constructor(folder: string) {
    mkdirSync(join(folder, 'socket'), { mode: 0o700 });
    this.state = join(folder, 'state');
    this.address = `unix:${join(folder, 'socket', 'signer.sock')}`;
  }

  get isAlive(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async start(...args: string[]): Promise<void> {
    const child = spawn(
      process.execPath,
      [PROGRAM, 'signer', '--state', this.state, '--listen', this.address, '--json', ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child = child;
    let stdout = '';
    child.stdout.on('data', (chunk) => (stdout += String(chunk)));
    child.stderr.on('data', (chunk) => (this.stderr += String(chunk)));
    await until('the signer listens, or ends', () => stdout.includes('\n') || !this.isAlive);
    if (!this.isAlive) throw new Error(`the signer ended: ${this.stderr}`);
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    this.#child?.kill(signal);
    await until('the signer is gone', () => !this.isAlive);
    return this.#child?.exitCode ?? null;
  }
}

/** A signer that ends with the test. Not started. */
export function makeSigner(t: Pick<TestContext, 'after'>): SignerProcess {
  const folder = makeFolder(t, async () => {
    await signer.kill();
  });
  const signer = new SignerProcess(folder);
  return signer;
}
