/** Installations and servers to measure, each in a new folder below the system's temporary one. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openStorage, type Storage } from '../src/compose.ts';
import { makeConfig } from '../src/config.ts';

const BIN = fileURLToPath(new URL('../bin/evident.js', import.meta.url));
const READY_MS_MAX = 30_000;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

export interface Opened {
  readonly storage: Storage;
  readonly postgresPid: number;
  close(): Promise<void>;
}

function newFolder(): string {
  return mkdtempSync(join(tmpdir(), 'evident-bench-'));
}

function postmasterPid(dataDir: string): number {
  return Number(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
}

/** The storage in this process, with nothing else running. */
export async function openInstallation(): Promise<Opened> {
  const folder = newFolder();
  const storage = await openStorage(makeConfig({ data: join(folder, 'data') }), quiet);
  return {
    storage,
    postgresPid: postmasterPid(storage.dataDir),
    close: async () => {
      await storage.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface Served {
  readonly url: string;
  readonly adminKey: string;
  readonly pid: number;
  readonly postgresPid: number;
  readonly dataDir: string;
  /** Milliseconds from the start of the process to ready. */
  readonly readyMs: number;
  stop(): Promise<void>;
}

/** The whole server as its users run it, in a process of its own. */
export async function startServed(): Promise<Served> {
  const folder = newFolder();
  const dataDir = join(folder, 'data');
  const begun = performance.now();
  const child = spawn(process.execPath, [BIN, 'start', '--data', dataDir, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, EVIDENT_LOG_LEVEL: 'error' },
  });
  const { url } = JSON.parse(await firstLine(child)) as { url: string };
  const readyAt = performance.now();
  return {
    url,
    dataDir,
    pid: child.pid as number,
    postgresPid: postmasterPid(dataDir),
    adminKey: readFileSync(join(dataDir, 'admin.key'), 'utf8').trim(),
    readyMs: readyAt - begun,
    stop: async () => {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const late = setTimeout(() => {
      child.kill('SIGTERM');
      reject(new Error('the server was not ready in time'));
    }, READY_MS_MAX);
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (!text.includes('\n')) return;
      clearTimeout(late);
      resolve(text.slice(0, text.indexOf('\n')));
    });
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
}
