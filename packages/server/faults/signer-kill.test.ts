/**
 * SIGKILL to the signer between any two of its steps. Whoever asks is the worst data node there is: after each death it
 * asks for another history, of the size that the signer died at and beyond. Of all notes that ever left the signer no
 * two contradict each other, and the honest history goes on.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openTreeHead } from '@evident/core/checkpoint.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { consistencyProof } from '@evident/core/merkle/proof.ts';
import { perfectRoot, rootOf } from '@evident/core/merkle/tree.ts';
import { formatVkey, verifierKey, verifierOf } from '@evident/core/note.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { SignedHead, SignRequest } from '../src/seal/ports.ts';
import { parseSignerAddress, type SignerTarget, type TlsFiles } from '../src/signer/address.ts';
import { SigningKeys, VERIFY_FUNCTIONS } from '../src/stores/folder/signing-keys.ts';
import { makeAuthority, makeCertificate } from '../src/stores/signer-socket/certificates-fixture.ts';
import { SocketSigner } from '../src/stores/signer-socket/client.ts';
import { until } from './server-process.ts';

const SCRIPT = fileURLToPath(new URL('signer-process.ts', import.meta.url));
const NAME = 'test.invalid';
const ORIGIN = `${NAME}/audit/0`;
const STEPS = [
  'checked',
  'written',
  'synced',
  'renamed',
  'durable',
  'marked',
  'signed',
  'answering',
  'answered',
];
const base = mkdtempSync(join(tmpdir(), 'evident-signer-kill-'));
after(() => rmSync(base, { recursive: true, force: true }));
makeAuthority(base, 'ca');
const SIGNER_FILES = makeCertificate(base, 'signer', 'ca');
const SEALER_FILES = makeCertificate(base, 'sealer', 'ca');

/** A history: the honest one, or one that differs from the leaf `from` on. */
function historyOf(name: string, from = 0): Uint8Array[] {
  return Array.from({ length: 64 }, (_, index) =>
    sha256(Buffer.from(`${index < from ? 'honest' : name} ${index}`)),
  );
}

const HONEST = historyOf('honest');

async function requestOf(leaves: Uint8Array[], last: SignedHead | null, size: number): Promise<SignRequest> {
  const root = rootOf(leaves.slice(0, size));
  const follows = last !== null && last.size > 0n && last.size < BigInt(size);
  const proof = !follows
    ? []
    : await consistencyProof(last.size, BigInt(size), async (nodes) =>
        nodes.map(({ level, index }) => {
          const width = 2 ** level;
          return perfectRoot(Buffer.concat(leaves.slice(Number(index) * width, (Number(index) + 1) * width)));
        }),
      );
  return { origin: ORIGIN, size: BigInt(size), root, after: last, proof };
}

class Scene {
  readonly state: string;
  readonly #listen: string;
  readonly #tls: boolean;
  readonly #how: readonly string[];
  #child: ChildProcess | null = null;
  client!: SocketSigner;
  /** Every note that ever left the signer. */
  readonly notes: Uint8Array[] = [];

  constructor(kind: 'unix' | 'tls', how: readonly string[] = []) {
    const folder = mkdtempSync(join(base, 'scene-'));
    this.state = join(folder, 'state');
    mkdirSync(join(folder, 'socket'), { mode: 0o700 });
    this.#tls = kind === 'tls';
    this.#listen = this.#tls ? 'tls:127.0.0.1:0' : `unix:${join(folder, 'socket', 's')}`;
    this.#how = how;
  }

  /** Starts the signer, to die at a step, and connects. */
  async start(step = 'none', nth = 1): Promise<void> {
    const files: TlsFiles = SIGNER_FILES;
    const environment = this.#tls ? { CERT: files.cert, KEY: files.key, CA: files.ca } : {};
    const child = spawn(
      process.execPath,
      [SCRIPT, this.state, this.#listen, step, String(nth), ...this.#how],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, ...environment },
      },
    );
    this.#child = child;
    let address = '';
    child.stdout?.on('data', (chunk) => (address += String(chunk)));
    await until(
      'the signer listens, or died',
      () => address.endsWith('\n') || child.signalCode !== null || child.exitCode !== null,
    );
    if (!address.endsWith('\n')) return;
    const target: SignerTarget = {
      address: parseSignerAddress(address.trim(), 'address'),
      tls: this.#tls ? SEALER_FILES : null,
    };
    this.client = new SocketSigner(target, { verify: VERIFY_FUNCTIONS, now: () => performance.now() });
    const key = SigningKeys.open(this.state, false).publicKeys[0];
    const vkey = formatVkey(verifierKey(`${NAME}/heads/0`, 'ed25519', key));
    await this.attempt(() => this.client.begin({ name: NAME, vkey, begunAt: '2026-11-21T10:00:00.000001Z' }));
  }

  get isDead(): boolean {
    return this.#child === null || this.#child.signalCode !== null || this.#child.exitCode !== null;
  }

  /** Ends it, if it lives. */
  async kill(): Promise<void> {
    this.client?.close();
    this.#child?.kill('SIGKILL');
    await until('the signer is gone', () => this.isDead);
  }

  /** Undefined when the signer died under it. */
  async attempt<T>(call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      if (isEvidentError(error) && error.code === 'signer-unreachable') return undefined;
      throw error;
    }
  }

  /** Asks for a head, and keeps what comes. @returns whether it was signed */
  async ask(leaves: Uint8Array[], after: SignedHead | null, size: number): Promise<boolean> {
    const request = await requestOf(leaves, after, size);
    const [signature] = (await this.attempt(() => this.client.sign([request]))) ?? [];
    if (signature?.ok) this.notes.push(signature.note);
    return signature?.ok === true;
  }

  async last(): Promise<SignedHead | null> {
    return (await this.attempt(() => this.client.last(ORIGIN))) ?? null;
  }

  /** Every way to get another history signed. New records, true or false, are no other history. */
  async attack(sizes: readonly number[]): Promise<void> {
    const last = await this.last();
    const shared = Number(last?.size ?? 0n);
    for (const leaves of [historyOf('evil'), historyOf('evil', Math.max(0, shared - 1))])
      for (const size of sizes)
        for (const after of [last, null, { size: 1n, root: rootOf(leaves.slice(0, 1)) }])
          if (!equals(rootOf(leaves.slice(0, size)), rootOf(HONEST.slice(0, size))))
            await this.ask(leaves, after, size);
  }

  /** The roots that were signed, by size; throws where two contradict each other. */
  check(): Map<bigint, string> {
    const key = SigningKeys.open(this.state, false).publicKeys[0];
    const verifier = verifierOf(verifierKey(ORIGIN, 'ed25519', key), VERIFY_FUNCTIONS);
    const roots = new Map<bigint, string>();
    for (const note of this.notes) {
      const opened = openTreeHead(note, [verifier], ORIGIN);
      assert.ok(opened.ok);
      const { size, root } = opened.value.head;
      const known = roots.get(size);
      assert.ok(
        known === undefined || known === root.toHex(),
        `two heads of size ${size} with different roots`,
      );
      roots.set(size, root.toHex());
    }
    return roots;
  }
}

function equals(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/**
 * Signs, dies at a step of a later signature, is attacked, and goes on.
 * @param nth which signature of the process it dies at
 */
async function runScene(kind: 'unix' | 'tls', step: string, nth: number): Promise<Scene> {
  const scene = new Scene(kind);
  after(() => scene.kill());
  await scene.start();
  assert.ok(await scene.ask(HONEST, null, 2));
  await scene.kill();
  // What is answered before: what it is, and then, for each head, what it remembers.
  const answersBefore = step === 'answering' || step === 'answered' ? 1 + nth : 0;
  await scene.start(step, nth + answersBefore);
  let size = 5;
  for (let asked = 0; asked < nth; asked++, size += 3) await scene.ask(HONEST, await scene.last(), size);
  await until(`the signer dies at ${step}`, () => scene.isDead, 10_000);
  await scene.kill();
  await scene.start();
  await scene.attack([size - 6, size - 3, size - 2, size, 31]);
  assert.ok(await scene.ask(HONEST, await scene.last(), 40));
  await scene.attack([2, 40, 41, 63]);
  await scene.kill();
  return scene;
}

for (const kind of ['unix', 'tls'] as const) {
  describe(`over ${kind}, a signer that dies`, () => {
    for (const step of STEPS)
      for (const nth of [1, 2])
        it(`at the step ${step} of signature ${nth} never signs two heads of one size`, async () => {
          const scene = await runScene(kind, step, nth);
          const roots = scene.check();
          assert.ok(roots.has(2n) && roots.has(40n));
          for (const [size, root] of roots)
            assert.equal(
              root,
              rootOf(HONEST.slice(0, Number(size))).toHex(),
              `size ${size} is of another history`,
            );
        });
  });
}

describe('a signer that dies before its first signature', () => {
  for (const step of ['written', 'synced', 'renamed', 'durable', 'marked', 'answering'])
    it(`begins again after a death at the step ${step} of its inception`, async () => {
      const scene = new Scene('unix');
      after(() => scene.kill());
      await scene.start(step, step === 'answering' ? 2 : 1);
      await until(`the signer dies at ${step}`, () => scene.isDead, 10_000);
      await scene.start();
      assert.ok(await scene.ask(HONEST, null, 5));
      assert.ok(await scene.ask(HONEST, await scene.last(), 9));
      await scene.attack([5, 9, 12]);
      await scene.kill();
      assert.deepEqual([...scene.check().keys()], [5n, 9n]);
    });

  for (const step of STEPS)
    it(`signs one history after a death at the step ${step} of the first head`, async () => {
      const scene = new Scene('unix');
      after(() => scene.kill());
      const answersBefore = step === 'answering' || step === 'answered' ? 2 : 0;
      const writesBefore = ['written', 'synced', 'renamed', 'durable', 'marked'].includes(step) ? 1 : 0;
      await scene.start(step, 1 + answersBefore + writesBefore);
      await scene.ask(HONEST, null, 5);
      await until(`the signer dies at ${step}`, () => scene.isDead, 10_000);
      await scene.kill();
      await scene.start();
      // If nothing is remembered, nothing was given out, and any history may be the first.
      await scene.attack([5, 7, 9]);
      await scene.kill();
      scene.check();
    });
});

it('is found when it remembers in memory only', async () => {
  const scene = new Scene('unix', ['forgetful']);
  after(() => scene.kill());
  await scene.start();
  assert.ok(await scene.ask(HONEST, null, 5));
  await scene.kill();
  await scene.start();
  await scene.attack([5]);
  await scene.kill();
  assert.throws(() => scene.check(), /two heads of size 5/);
});

it('refuses to start when its memory was cut, and when it is gone while its key has signed', async () => {
  const scene = new Scene('unix');
  after(() => scene.kill());
  await scene.start();
  assert.ok(await scene.ask(HONEST, null, 5));
  await scene.kill();
  const path = join(scene.state, 'last');
  const whole = readFileSync(path, 'utf8');
  writeFileSync(path, whole.slice(0, -20));
  await scene.start();
  assert.ok(scene.isDead, 'a memory that was cut');
  rmSync(path);
  await scene.start();
  assert.ok(scene.isDead, 'no memory beside a key that has signed');
  writeFileSync(path, whole);
  await scene.start();
  assert.equal((await scene.last())?.size, 5n);
  await scene.kill();
});
