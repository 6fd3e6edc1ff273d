/**
 * SIGKILL to the signer between any two steps of a rotation. There is one rotation, whatever dies: the note that left the
 * signer is the note that it gives again, and no head is signed by a key that the rotation does not name for its size.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openTreeHead, parseTreeHead } from '@evident/core/checkpoint.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { followPlaced, type KeyHistory, singleKeyHistory } from '@evident/core/evidence/key-history.ts';
import { rotationId } from '@evident/core/evidence/key-rotation.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { consistencyProof, inclusionProof } from '@evident/core/merkle/proof.ts';
import { perfectRoot, rootOf } from '@evident/core/merkle/tree.ts';
import { formatVkey, parseNote, parseVkey, verifierKey, verifierOf } from '@evident/core/note.ts';
import { hashLeaf, sha256 } from '@evident/core/sha256.ts';
import type { RotationAnswer, SignerRotation } from '../src/seal/ports.ts';
import { parseSignerAddress } from '../src/signer/address.ts';
import { SigningKeys, VERIFY_FUNCTIONS } from '../src/stores/folder/signing-keys.ts';
import { SocketSigner } from '../src/stores/signer-socket/client.ts';
import { until } from './server-process.ts';

const SCRIPT = fileURLToPath(new URL('signer-process.ts', import.meta.url));
const NAME = 'test.invalid';
const HEADS = `${NAME}/heads/0`;
const AUDIT = `${NAME}/audit/0`;
const base = mkdtempSync(join(tmpdir(), 'evident-rotation-kill-'));
after(() => rmSync(base, { recursive: true, force: true }));

const hash = (text: string): Uint8Array => sha256(Buffer.from(text));

/** Leaf hashes of a tree, and proofs in it. */
class Leaves {
  readonly hashes: Uint8Array[] = [];
  readonly read = async (nodes: readonly { level: number; index: bigint }[]): Promise<Uint8Array[]> =>
    nodes.map(({ level, index }) => {
      const width = 2 ** level;
      return perfectRoot(
        Buffer.concat(this.hashes.slice(Number(index) * width, (Number(index) + 1) * width)),
      );
    });
}

class Scene {
  readonly state: string;
  readonly #listen: string;
  #child: ChildProcess | null = null;
  client!: SocketSigner;
  vkey = '';
  readonly trees = new Map([HEADS, AUDIT].map((origin) => [origin, new Leaves()]));
  readonly notes: Uint8Array[] = [];
  /** Every rotation note that ever left the signer. */
  readonly rotations = new Set<string>();

  constructor() {
    const folder = mkdtempSync(join(base, 'scene-'));
    this.state = join(folder, 'state');
    mkdirSync(join(folder, 'socket'), { mode: 0o700 });
    this.#listen = `unix:${join(folder, 'socket', 's')}`;
  }

  async start(step = 'none', nth = 1): Promise<void> {
    const child = spawn(process.execPath, [SCRIPT, this.state, this.#listen, step, String(nth)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    let address = '';
    child.stdout?.on('data', (chunk) => (address += String(chunk)));
    await until('the signer listens', () => address.endsWith('\n'));
    const target = { address: parseSignerAddress(address.trim(), 'address'), tls: null };
    this.client = new SocketSigner(target, { verify: VERIFY_FUNCTIONS, now: () => performance.now() });
    if (this.vkey === '') {
      const [key] = SigningKeys.open(this.state, false).publicKeys;
      this.vkey = formatVkey(verifierKey(HEADS, 'ed25519', key));
    }
    const mark = { name: NAME, vkey: this.vkey, begunAt: '2026-11-21T10:00:00.000001Z' };
    await this.attempt(() => this.client.begin(mark));
  }

  async kill(): Promise<void> {
    this.client?.close();
    this.#child?.kill('SIGKILL');
    await until('the signer is gone', () => this.isDead);
  }

  get isDead(): boolean {
    return this.#child === null || this.#child.signalCode !== null || this.#child.exitCode !== null;
  }

  async attempt<T>(call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      if (isEvidentError(error) && error.code === 'signer-unreachable') return undefined;
      throw error;
    }
  }

  /** Does something until a signer that lives has done it. */
  async insist<T>(call: () => Promise<T>): Promise<T> {
    const done = await this.attempt(call);
    if (done !== undefined) return done;
    await until('the signer is gone', () => this.isDead, 10_000);
    await this.kill();
    await this.start();
    return call();
  }

  /** Signs the tree at its present size. @returns the note */
  async sign(origin: string): Promise<Uint8Array> {
    const { hashes, read } = this.trees.get(origin) as Leaves;
    const size = BigInt(hashes.length);
    const last = await this.insist(() => this.client.last(origin));
    const proof = last === null || last.size === size ? [] : await consistencyProof(last.size, size, read);
    const request = { origin, size, root: rootOf(hashes), after: last, proof };
    const [signature] = await this.insist(() => this.client.sign([request]));
    assert.ok(signature.ok, signature.ok ? '' : signature.reason);
    this.notes.push(signature.note);
    return signature.note;
  }

  grow(origin: string, leaves: number): void {
    const { hashes } = this.trees.get(origin) as Leaves;
    for (let i = 0; i < leaves; i++) hashes.push(hash(`${origin} ${hashes.length}`));
  }

  taken(answer: RotationAnswer): SignerRotation {
    assert.ok(answer.ok, answer.ok ? '' : answer.reason);
    this.rotations.add(Buffer.from(answer.rotation.note).toString());
    return answer.rotation;
  }

  /** A whole rotation, going on wherever the signer died. */
  async rotate(number: number): Promise<void> {
    const { note } = this.taken(await this.insist(() => this.client.rotate(number)));
    this.grow(AUDIT, 1);
    await this.sign(AUDIT);
    const heads = this.trees.get(HEADS) as Leaves;
    const position = BigInt(heads.hashes.length);
    const leaf = leafOf({
      log: 'heads',
      partition: 0,
      position,
      appendedAt: 1_795_168_800_000_000n,
      id: rotationId(note),
      tenant: '_system',
      source: 'evident',
      sourceSeq: null,
      type: 'key.rotation',
      schema: 0,
      key: '_system',
      meta: null,
      body: { form: 'base64', bytes: note },
    });
    heads.hashes.push(hashLeaf(leaf));
    await this.sign(HEADS);
    const proof = await inclusionProof(position, position + 1n, heads.read);
    const shown = { number, origin: HEADS, leaf, position, proof };
    // The record of another rotation, or one that is not there, closes nothing.
    const lie = { ...shown, position: position - 1n };
    const refused = await this.insist(() => this.client.closeRotation(lie));
    assert.ok(!refused.ok || refused.rotation.closed?.position === position);
    const { closed } = this.taken(await this.insist(() => this.client.closeRotation(shown)));
    assert.equal(closed?.position, position);
    assert.deepEqual((await this.insist(() => this.client.rotation(number)))?.closed, closed);
  }

  /** Follows every rotation from K, and holds each note against the key that it names. */
  async check(rotations: number): Promise<void> {
    const k = parseVkey(this.vkey);
    assert.ok(k.ok);
    const first = singleKeyHistory(k.value);
    assert.ok(first.ok);
    let history: KeyHistory = first.value;
    for (let number = 1; number <= rotations; number++) {
      const rotation = await this.insist(() => this.client.rotation(number));
      const closed = rotation?.closed;
      assert.ok(rotation && closed);
      const note = parseNote(closed.head);
      const head = note.ok ? parseTreeHead(note.value.text) : note;
      assert.ok(head.ok);
      const placed = { position: closed.position, note: rotation.note, head: head.value };
      const next = await followPlaced(history, placed, VERIFY_FUNCTIONS);
      assert.ok(next.ok, next.ok ? '' : next.reason);
      history = next.value;
    }
    assert.equal(this.rotations.size, rotations, 'one note a rotation');
    for (const bytes of this.notes) {
      const note = parseNote(bytes);
      const head = note.ok ? parseTreeHead(note.value.text) : note;
      assert.ok(note.ok && head.ok);
      const { origin, size } = head.value;
      const key = history.keyFor(origin, size);
      assert.ok(key);
      const opened = openTreeHead(bytes, [verifierOf(key, VERIFY_FUNCTIONS)], origin);
      assert.ok(opened.ok, `${origin} at ${size}: ${opened.ok ? '' : opened.reason}`);
      if (origin === HEADS) assert.equal(note.value.signatures.length, 1);
    }
  }
}

describe('a signer that dies during a rotation', () => {
  for (const step of ['next key', 'noted', 'retired', 'closed', 'replaced'])
    for (const nth of [1, 2])
      it(`at the step ${step} of rotation ${nth} makes one rotation, and signs with the keys that it names`, async () => {
        const scene = new Scene();
        after(() => scene.kill());
        await scene.start(step, nth);
        scene.grow(AUDIT, 5);
        scene.grow(HEADS, 2);
        await scene.sign(AUDIT);
        await scene.sign(HEADS);
        await scene.rotate(1);
        scene.grow(HEADS, 3);
        await scene.sign(HEADS);
        await scene.rotate(2);
        scene.grow(AUDIT, 2);
        await scene.sign(AUDIT);
        scene.grow(HEADS, 1);
        await scene.sign(HEADS);
        await scene.check(2);
        await scene.kill();
        assert.equal(existsSync(join(scene.state, 'key.next')), false, 'the old key is gone');
      });
});

it('a head that a key signed last is given again, byte for byte, when that key is no more', async () => {
  const scene = new Scene();
  after(() => scene.kill());
  await scene.start();
  scene.grow(AUDIT, 5);
  scene.grow(HEADS, 2);
  const last = await scene.sign(AUDIT);
  await scene.sign(HEADS);
  const held = (scene.trees.get(AUDIT) as Leaves).hashes;
  for (const number of [1, 2]) {
    // Nothing happens in the tree meanwhile.
    scene.grow = () => undefined;
    await scene.rotate(number);
    assert.equal(held.length, 5);
    assert.deepEqual(await scene.sign(AUDIT), last);
  }
  await scene.check(2);
});

it('a rotation is not closed by a record that is not in the log heads', async () => {
  const scene = new Scene();
  after(() => scene.kill());
  await scene.start();
  scene.grow(HEADS, 2);
  await scene.sign(HEADS);
  scene.taken(await scene.client.rotate(1));
  const leaf = Buffer.from('{}');
  for (const origin of [HEADS, AUDIT, 'other.invalid/heads/0'])
    assert.equal(
      (await scene.client.closeRotation({ number: 1, origin, leaf, position: 1n, proof: [] })).ok,
      false,
    );
  assert.equal((await scene.client.rotate(2)).ok, false);
  assert.equal((await scene.client.rotate(3)).ok, false);
  assert.equal(await scene.client.rotation(2), null);
});
