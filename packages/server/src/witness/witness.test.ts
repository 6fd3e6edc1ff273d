/** What the witness decides, and that it decides one after the other, on what it has written down. */

import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { describe, it } from 'node:test';
import { toHex } from '@evident/core/bytes.ts';
import { type CosignerKey, cosignerKey, verifyCosignature } from '@evident/core/cosignature.ts';
import { rootOf } from '@evident/core/merkle/tree.ts';
import { parseNote } from '@evident/core/note.ts';
import { formatAddCheckpoint, parseCosignatureLines } from '@evident/core/tlog-witness.ts';
import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import type { WitnessedHead, WitnessMemory } from './ports.ts';
import { WAITING_MAX, Witness, type WitnessAnswer, type WitnessDeps } from './witness.ts';
import { HONEST, historyOf, ScriptedLog, secretOf } from './witness-fixture.ts';

const LOG = new ScriptedLog('log.example/heads/0', 1);
const OTHER = new ScriptedLog('other.example/heads/0', 2);
const STRANGER = new ScriptedLog(LOG.origin, 3);
const NOW = 1_795_000_000n;

/** Forgets when the process ends, as a test wants it; `fails` makes the next writes fail. */
class ScriptedMemory implements WitnessMemory {
  readonly heads = new Map<string, WitnessedHead>();
  fails = 0;
  writes = 0;

  last(origin: string): WitnessedHead | null {
    return this.heads.get(origin) ?? null;
  }

  all(): ReadonlyMap<string, WitnessedHead> {
    return this.heads;
  }

  async replace(origin: string, head: WitnessedHead): Promise<void> {
    await new Promise(setImmediate);
    if (this.fails > 0) {
      this.fails--;
      throw new Error('the disk is full');
    }
    this.writes++;
    this.heads.set(origin, head);
  }
}

interface Scene {
  readonly witness: Witness;
  readonly memory: ScriptedMemory;
  readonly key: CosignerKey;
  seconds: bigint;
}

function makeScene(passed?: WitnessDeps['passed']): Scene {
  const secret = secretOf(9);
  const spki = secretOf(9).export({ format: 'jwk' }) as { x: string };
  const key = cosignerKey('witness.example/w', 'ed25519', Uint8Array.from(Buffer.from(spki.x, 'base64url')));
  const memory = new ScriptedMemory();
  const scene: Scene = {
    memory,
    key,
    seconds: NOW,
    witness: new Witness({
      logs: new Map([LOG, OTHER].map((log) => [log.origin, [log.verifier]])),
      memory,
      key: { key, sign: (message) => new Uint8Array(sign(null, message, secret)) },
      clock: () => scene.seconds * 1_000_000n,
      ...(passed === undefined ? {} : { passed }),
    }),
  };
  return scene;
}

function statusOf(answer: WitnessAnswer): number | string {
  if (answer.kind !== 'refused') return answer.kind;
  const { status, knownSize } = answer.refused;
  return knownSize === undefined ? status : `${status} ${knownSize}`;
}

async function timeOf({ key }: Scene, answer: WitnessAnswer, head: Uint8Array): Promise<bigint> {
  assert.equal(answer.kind, 'cosigned');
  const note = parseNote(head);
  assert.ok(note.ok && answer.kind === 'cosigned');
  const lines = parseCosignatureLines(note.value.text, Buffer.from(answer.lines));
  assert.ok(lines.ok && lines.value.length === 1);
  assert.equal(lines.value[0].keyId, key.keyId);
  const verified = await verifyCosignature(
    key,
    note.value.text,
    lines.value[0].signature,
    webCryptoSignatures,
  );
  assert.ok(verified.ok, 'the cosignature verifies');
  return verified.value.timestamp;
}

describe('a witness', () => {
  it('cosigns a head that follows, at its own time, and remembers it', async () => {
    const scene = makeScene();
    const { witness, memory } = scene;
    assert.equal(await timeOf(scene, await witness.add(await LOG.request(0, 5)), LOG.head(5)), NOW);
    assert.equal(await timeOf(scene, await witness.add(await LOG.request(5, 9)), LOG.head(9)), NOW);
    assert.equal(memory.last(LOG.origin)?.size, 9n);
    assert.equal(memory.last(OTHER.origin), null, 'another log has its own memory');
  });

  it('cosigns the same head again, and writes it down again first', async () => {
    const { witness, memory } = makeScene();
    await witness.add(await LOG.request(0, 5));
    assert.equal(statusOf(await witness.add(await LOG.request(5, 5))), 'cosigned');
    assert.equal(memory.writes, 2);
  });

  it('never cosigns a head that contradicts one before, whatever is sent with it', async () => {
    const { witness } = makeScene();
    await witness.add(await LOG.request(0, 5));
    for (const evil of [historyOf('evil'), historyOf('evil', 4)])
      for (const to of [4, 5, 6, 8, 64, 200])
        for (const from of [0, 3, 5]) {
          const answer = await witness.add(await LOG.request(Math.min(from, to), to, evil));
          assert.notEqual(answer.kind, 'cosigned', `${from} to ${to}`);
        }
    // The proof of the honest history beside another head.
    const proof = await LOG.proof(5, 8);
    const treeHead = LOG.head(8, historyOf('evil', 5));
    const answer = await witness.add(formatAddCheckpoint({ oldSize: 5n, proof, treeHead }));
    assert.equal(statusOf(answer), 422);
  });

  it('answers with the status that the specification names', async () => {
    const { witness } = makeScene();
    const refusal = async (request: Promise<Uint8Array> | Uint8Array) =>
      statusOf(await witness.add(await request));
    const proof = await LOG.proof(3, 5);
    assert.equal(await refusal(formatAddCheckpoint({ oldSize: 0n, proof, treeHead: LOG.head(5) })), 422);
    await witness.add(await LOG.request(0, 5));
    assert.equal(await refusal(LOG.request(0, 9)), '409 5');
    assert.equal(await refusal(LOG.request(3, 9)), '409 5');
    assert.equal(await refusal(LOG.request(5, 5, historyOf('evil'))), 409);
    assert.equal(await refusal(LOG.request(5, 9, historyOf('evil', 3))), 422);
    const longer = { oldSize: 5n, proof: [...(await LOG.proof(5, 9)), new Uint8Array(32)] };
    assert.equal(await refusal(formatAddCheckpoint({ ...longer, treeHead: LOG.head(9) })), 422);
    assert.equal(
      await refusal(formatAddCheckpoint({ oldSize: 5n, proof: [new Uint8Array(32)], treeHead: LOG.head(5) })),
      422,
    );
    assert.equal(await refusal(formatAddCheckpoint({ oldSize: 9n, proof: [], treeHead: LOG.head(5) })), 400);
    assert.equal(await refusal(STRANGER.request(5, 9)), 403);
    assert.equal(await refusal(new ScriptedLog('nobody.example/heads/0', 1).request(0, 5)), 404);
    assert.equal(await refusal(Buffer.from('old 5\n\nnot a note\n')), 400);
    assert.equal(
      await refusal(
        formatAddCheckpoint({ oldSize: 0n, proof: [], treeHead: LOG.sign(`${LOG.origin}\nno size\n`) }),
      ),
      400,
    );
  });

  it('ignores signatures of keys that it does not know, and takes a head with extension lines', async () => {
    const { witness } = makeScene();
    const head = Buffer.from(LOG.head(5, HONEST, ['an extension'])).toString();
    const stranger = Buffer.from(STRANGER.head(5)).toString().split('\n').at(-2);
    const treeHead = Buffer.from(`${head}${stranger}\n`);
    assert.equal(
      statusOf(await witness.add(formatAddCheckpoint({ oldSize: 0n, proof: [], treeHead }))),
      'cosigned',
    );
  });

  it('says when a log has signed two roots of one size', async () => {
    const { witness } = makeScene();
    await witness.add(await LOG.request(0, 5));
    const answer = await witness.add(await LOG.request(5, 5, historyOf('evil')));
    assert.ok(answer.kind === 'refused' && answer.refused.isFork);
  });

  it('gives no cosignature when it can not write, and goes on from what it knew', async () => {
    const { witness, memory } = makeScene();
    await witness.add(await LOG.request(0, 5));
    memory.fails = 1;
    await assert.rejects(witness.add(await LOG.request(5, 9)), /full/);
    assert.equal(statusOf(await witness.add(await LOG.request(9, 9))), '409 5');
    assert.equal(statusOf(await witness.add(await LOG.request(5, 9))), 'cosigned');
  });

  it('never goes back in time, whatever its clock does', async () => {
    const scene = makeScene();
    await scene.witness.add(await LOG.request(0, 5));
    scene.seconds = NOW - 100n;
    assert.equal(await timeOf(scene, await scene.witness.add(await LOG.request(5, 6)), LOG.head(6)), NOW);
    scene.seconds = NOW + 1n;
    assert.equal(
      await timeOf(scene, await scene.witness.add(await LOG.request(6, 7)), LOG.head(7)),
      NOW + 1n,
    );
  });
});

describe('two requests of one moment', () => {
  it('go one after the other: the second is told what the first made of the memory', async () => {
    // Both have been read and found signed before either is held against the memory: the race of the specification.
    let read = 0;
    const bothRead = Promise.withResolvers<void>();
    const { witness, memory } = makeScene(async (step) => {
      if (step !== 'read') return;
      if (++read === 2) bothRead.resolve();
      if (read <= 2) await bothRead.promise;
    });
    const answers = await Promise.all([
      LOG.request(0, 5).then((request) => witness.add(request)),
      LOG.request(0, 9).then((request) => witness.add(request)),
    ]);
    const [size] = [memory.last(LOG.origin)?.size];
    assert.deepEqual(
      answers.map(statusOf).sort(),
      [`409 ${size}`, 'cosigned'].sort(),
      'exactly one of them was cosigned',
    );
  });

  it('roll a witness back that checks and remembers in two steps: this test would find it', async () => {
    const { memory, key } = makeScene();
    const secret = secretOf(9);
    // The guard, the queue, is gone: two witnesses over one memory.
    const gate = Promise.withResolvers<void>();
    const make = (passed: WitnessDeps['passed']) =>
      new Witness({
        logs: new Map([[LOG.origin, [LOG.verifier]]]),
        memory,
        key: { key, sign: (message) => new Uint8Array(sign(null, message, secret)) },
        clock: () => NOW * 1_000_000n,
        ...(passed === undefined ? {} : { passed }),
      });
    const slow = make((step) => (step === 'checked' ? gate.promise : undefined)).add(await LOG.request(0, 5));
    assert.equal(statusOf(await make(undefined).add(await LOG.request(0, 9))), 'cosigned');
    gate.resolve();
    assert.equal(statusOf(await slow), 'cosigned');
    assert.equal(memory.last(LOG.origin)?.size, 5n, 'it went back from 9 to 5');
  });

  it('are bounded in number, and strangers take no place among them', async () => {
    const gate = Promise.withResolvers<void>();
    const { witness } = makeScene((step) => (step === 'checked' ? gate.promise : undefined));
    const request = await LOG.request(0, 5);
    const waiting = Array.from({ length: WAITING_MAX }, () => witness.add(request));
    await new Promise(setImmediate);
    assert.equal((await witness.add(request)).kind, 'busy');
    assert.equal(statusOf(await witness.add(await STRANGER.request(0, 5))), 403);
    gate.resolve();
    const answers = await Promise.all(waiting);
    assert.equal(answers.filter(({ kind }) => kind === 'cosigned').length, 1);
    assert.equal((await witness.add(await LOG.request(5, 6))).kind, 'cosigned');
  });

  it('keep one history, in any order of many', async () => {
    const { witness, memory } = makeScene();
    const evil = historyOf('evil');
    const cosigned: bigint[] = [];
    let known = 0;
    for (let round = 0; round < 20; round++) {
      const sizes = [1, 2, 3].map((step) => known + ((round * 7 + step * 5) % 11));
      const asked = await Promise.all([
        ...sizes.map((to) => LOG.request(known, to)),
        ...sizes.map((to) => LOG.request(Math.min(known, to), to, round === 0 ? HONEST : evil)),
      ]);
      const answers = await Promise.all(asked.map((request) => witness.add(request)));
      for (const answer of answers) if (answer.kind === 'cosigned') cosigned.push(answer.size);
      const last = memory.last(LOG.origin) as WitnessedHead;
      assert.equal(toHex(last.root), toHex(rootOf(HONEST.slice(0, Number(last.size)))));
      known = Number(last.size);
    }
    assert.ok(cosigned.length > 20);
    assert.deepEqual(
      cosigned,
      cosigned.toSorted((a, b) => Number(a - b)),
      'sizes never fall',
    );
  });
});
