/** For the tests of this folder: data directories of their own, engines that are stopped, processes that are ended. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type DataLock, lockDataDirectory, prepareDataDirectory } from '../../folder/data-lock.ts';
import { EmbeddedPostgres, type EmbeddedPostgresOptions } from './engine.ts';

export const isRoot = process.getuid?.() === 0;
const CONDITION_MS_MAX = 30_000;

export const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

const cleanups = new WeakMap<TestContext, (() => unknown)[]>();

/** Runs after the test, the last registered first: Node's own hooks run in the order of registration. */
export function cleanUp(t: TestContext, step: () => unknown): void {
  const steps = cleanups.get(t);
  if (steps !== undefined) {
    steps.push(step);
    return;
  }
  const first = [step];
  cleanups.set(t, first);
  t.after(async () => {
    const failures: unknown[] = [];
    for (const next of first.reverse()) {
      // A step that fails must not keep the others from ending their processes.
      try {
        await next();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  });
}

/** An empty folder, 0700, gone after the test. */
export function makeFolder(t: TestContext): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'evident-test-')));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  return folder;
}

export interface Running {
  engine: EmbeddedPostgres;
  dataDir: string;
  lock: DataLock;
  stop(): Promise<void>;
}

/** Prepares, locks and starts, as `evident start` does. */
export async function startEngine(
  t: TestContext,
  dir: string,
  options: Partial<EmbeddedPostgresOptions> = {},
): Promise<Running> {
  const dataDir = prepareDataDirectory(dir);
  const lock = lockDataDirectory(dataDir);
  const engine = new EmbeddedPostgres({ dataDir, logger: quiet, sharedBuffersMb: 16, ...options });
  const stop = async () => {
    await engine.stop();
    lock.release();
  };
  cleanUp(t, stop);
  try {
    await engine.start();
  } catch (error) {
    lock.release();
    throw error;
  }
  return { engine, dataDir, lock, stop };
}

export async function query(engine: EmbeddedPostgres, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(engine.connection());
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(text)).rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

/** Waits for a condition, never for a time. */
export async function until(claim: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + CONDITION_MS_MAX;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${CONDITION_MS_MAX} ms: ${claim}`);
    await sleep(10);
  }
}

/** Alive and not a zombie: an orphan whose new parent does not reap it is dead all the same. */
export function isRunning(pid: number): boolean {
  try {
    const state = execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return state !== '' && !state.startsWith('Z');
  } catch {
    return false;
  }
}

const HOLDER = `
const [base, dir, sql] = process.argv.slice(1);
const { prepareDataDirectory, lockDataDirectory } = await import(base + 'folder/data-lock.ts');
const { EmbeddedPostgres } = await import(base + 'postgres/embedded/engine.ts');
const { default: pg } = await import(base + '../../../../node_modules/pg/esm/index.mjs');
const report = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
try {
  const dataDir = prepareDataDirectory(dir);
  const lock = lockDataDirectory(dataDir);
  const nothing = () => undefined;
  const logger = { info: nothing, warn: nothing, error: nothing };
  const engine = new EmbeddedPostgres({ dataDir, logger, sharedBuffersMb: 16 });
  await engine.start();
  const client = new pg.Client(engine.connection());
  client.on('error', nothing);
  await client.connect();
  await client.query(sql);
  report({ pid: engine.pid });
  process.once('SIGTERM', () => engine.stop().then(() => process.exit(0)));
  setInterval(nothing, 60000);
} catch (error) {
  report({ code: error.code, message: error.message });
  process.exit(1);
}
`;

export interface Holder {
  process: ChildProcess;
  /** The postmaster, or the refusal. */
  report: { pid?: number; code?: string; message?: string };
}

/** Another process that starts the engine in `dir`, runs `sql` in it and goes on holding it. */
export async function startHolder(t: TestContext, dir: string, sql = 'SELECT 1'): Promise<Holder> {
  const base = new URL('../../', import.meta.url).href;
  const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, base, dir, sql], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanUp(t, async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  });
  let text = '';
  for await (const chunk of child.stdout!) {
    text += String(chunk);
    if (text.includes('\n')) break;
  }
  if (!text.includes('\n')) throw new Error('the holder died without a report');
  return { process: child, report: JSON.parse(text) as Holder['report'] };
}

/** A small file system of its own below `folder`, or undefined where mounting is not permitted. */
export function mountSmall(t: TestContext, folder: string, options: string): string | undefined {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'evident-test', folder], { stdio: 'pipe' });
  } catch {
    return undefined;
  }
  cleanUp(t, () => {
    if (existsSync(folder)) execFileSync('umount', ['-l', folder], { stdio: 'pipe' });
  });
  return folder;
}
