/** Witnesses for tests: our own, and litewitness, which we did not write. */

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { parseVkey } from '@evident/core/note.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { WitnessInput } from '../src/cli/command-deps.ts';
import { startWitness } from '../src/witness-process.ts';
import { until } from './server-process.ts';

const FOLDER = fileURLToPath(new URL('independent-witness/', import.meta.url));
const BUILD_MS_MAX = 600_000;

/** Why tests with litewitness are left out, or false. */
export const skipIndependent =
  spawnSync('go', ['version']).status === 0
    ? false
    : 'Go is not installed: install it to have heads cosigned by filippo.io/torchwood/cmd/litewitness';

export interface TestWitness {
  /** Submission prefix, with a slash at its end. */
  readonly url: string;
  readonly vkey: string;
  stop(): Promise<void>;
}

/** Binaries of litewitness and of what starts it; the first build fetches modules and takes a minute or two. */
export function buildIndependentWitness(folder: string): void {
  const build = (...args: string[]) =>
    execFileSync('go', ['build', '-o', ...args], { cwd: FOLDER, stdio: 'inherit', timeout: BUILD_MS_MAX });
  build(join(folder, 'independent-witness'), '.');
  build(join(folder, 'litewitness'), 'filippo.io/torchwood/cmd/litewitness');
}

/**
 * Starts litewitness with a key of its own.
 * @param binaries where `buildIndependentWitness` has put them
 * @param state its folder; the path of a socket in it must not be long
 * @param port null: a free one
 */
export async function startIndependentWitness(
  binaries: string,
  state: string,
  vkeys: readonly string[],
  port: number | null = null,
): Promise<TestWitness> {
  mkdirSync(state, { recursive: true });
  const address = `127.0.0.1:${port ?? (await freePort())}`;
  const args = [join(binaries, 'litewitness'), state, 'independent.example/w', address];
  const child = spawn(join(binaries, 'independent-witness'), args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let [vkey, errors] = ['', ''];
  child.stdout.on('data', (chunk) => (vkey += String(chunk)));
  child.stderr.on('data', (chunk) => (errors += String(chunk)));
  const isDead = () => child.exitCode !== null || child.signalCode !== null;
  await until('litewitness listens', async () => {
    if (isDead()) throw new Error(`litewitness ended: ${errors}`);
    return vkey.endsWith('\n') && (await answers(address));
  });
  // It has made its tables by now, and looks into them at each request.
  addLogs(join(state, 'litewitness.db'), vkeys);
  return { url: `http://${address}/`, vkey: vkey.trim(), stop: () => stop(child) };
}

async function stop(child: ChildProcess): Promise<void> {
  child.stdin?.end();
  await until('litewitness ends', () => child.exitCode !== null || child.signalCode !== null);
}

function addLogs(path: string, vkeys: readonly string[]): void {
  const database = new DatabaseSync(path, { timeout: 5_000 });
  const emptyRoot = Buffer.from(sha256(new Uint8Array(0))).toString('base64');
  for (const vkey of vkeys) {
    const key = parseVkey(vkey);
    if (!key.ok) throw new Error(key.reason);
    const { name } = key.value;
    database.prepare('INSERT INTO log VALUES (?, 0, ?) ON CONFLICT DO NOTHING').run(name, emptyRoot);
    database.prepare('DELETE FROM key WHERE origin = ? AND key = ?').run(name, vkey);
    database.prepare('INSERT INTO key VALUES (?, ?)').run(name, vkey);
  }
  database.close();
}

async function answers(address: string): Promise<boolean> {
  return fetch(`http://${address}/`).then(
    async (response) => (await response.bytes()).length >= 0,
    () => false,
  );
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** Starts our own witness in this process. @param port 0: a free one */
export async function startOwnWitness(
  stateDir: string,
  vkeys: readonly string[],
  more: Partial<WitnessInput> = {},
): Promise<TestWitness> {
  return startWitness({
    stateDir,
    listen: { host: '127.0.0.1', port: 0 },
    name: 'own.example/w',
    logs: vkeys,
    algorithm: 'ed25519',
    clock: () => BigInt(Date.now()) * 1_000n,
    onEvent: () => undefined,
    ...more,
  });
}
