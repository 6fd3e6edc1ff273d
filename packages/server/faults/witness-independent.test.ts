/**
 * The same requests to our own witness and to one that we did not write (litewitness of filippo.io/torchwood): the same
 * statuses, media types and bodies, wherever the specification says what they are.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseCosignerVkey, verifyCosignature } from '@evident/core/cosignature.ts';
import { parseNote } from '@evident/core/note.ts';
import { formatAddCheckpoint, parseCosignatureLines } from '@evident/core/tlog-witness.ts';
import { webCryptoSignatures } from '@evident/sdk/verify/signatures';
import { historyOf, ScriptedLog } from '../src/witness/witness-fixture.ts';
import {
  buildIndependentWitness,
  skipIndependent,
  startIndependentWitness,
  startOwnWitness,
  type TestWitness,
} from './witness-scene.ts';

const LOG = new ScriptedLog('log.example/heads/0', 1);
const base = mkdtempSync(join(tmpdir(), 'evident-w-'));
const witnesses: TestWitness[] = [];

before(async () => {
  witnesses.push(await startOwnWitness(join(base, 'own'), [LOG.vkey]));
  if (skipIndependent !== false) return;
  buildIndependentWitness(base);
  witnesses.push(await startIndependentWitness(base, join(base, 'other'), [LOG.vkey]));
});
after(async () => {
  for (const witness of witnesses) await witness.stop();
  rmSync(base, { recursive: true, force: true });
});

interface Case {
  readonly name: string;
  readonly body: () => Promise<Uint8Array> | Uint8Array;
  readonly status: number;
  /** Where the specification leaves it open, or the other one does otherwise. */
  readonly theirs?: number;
  /** With status 409, the size that is known. */
  readonly size?: string;
  /** With status 200, the head that is cosigned. */
  readonly head?: Uint8Array;
}

const good = (from: number, to: number): Case => ({
  name: `the head of size ${to} from ${from} on`,
  body: () => LOG.request(from, to),
  status: 200,
  head: LOG.head(to),
});
const lines = async (first: string, from = 5, to = 9) => {
  const proof = (await LOG.proof(from, to))
    .map((hash) => `${Buffer.from(hash).toString('base64')}\n`)
    .join('');
  return Buffer.concat([Buffer.from(`${first}\n${proof}\n`), LOG.head(to)]);
};

/** In this order: each is held against what the ones before it have made the witness know. */
const CASES: readonly Case[] = [
  {
    name: 'an unknown log',
    body: () => new ScriptedLog('other.example/heads/0', 1).request(0, 5),
    status: 404,
  },
  { name: 'another key of the log', body: () => new ScriptedLog(LOG.origin, 2).request(0, 5), status: 403 },
  { name: 'an old size of a log that is new to it', body: () => LOG.request(3, 5), status: 409, size: '0\n' },
  good(0, 5),
  { name: 'an old size of 0', body: () => LOG.request(0, 9), status: 409, size: '5\n' },
  { name: 'an older size', body: () => LOG.request(4, 9), status: 409, size: '5\n' },
  { name: 'a newer size than it knows', body: () => LOG.request(7, 9), status: 409, size: '5\n' },
  {
    name: 'an old size above that of the head',
    body: () => formatAddCheckpoint({ oldSize: 9n, proof: [], treeHead: LOG.head(5) }),
    status: 400,
  },
  { name: 'another history', body: () => LOG.request(5, 9, historyOf('evil', 2)), status: 422 },
  {
    name: 'no proof',
    body: () => formatAddCheckpoint({ oldSize: 5n, proof: [], treeHead: LOG.head(9) }),
    status: 422,
  },
  {
    name: 'a hash too many',
    body: async () =>
      formatAddCheckpoint({
        oldSize: 5n,
        proof: [...(await LOG.proof(5, 9)), new Uint8Array(32)],
        treeHead: LOG.head(9),
      }),
    status: 422,
  },
  { name: 'no old line', body: async () => (await LOG.request(5, 9)).slice(6), status: 400 },
  { name: 'a size that is no number', body: () => lines('old five'), status: 400 },
  { name: 'a negative size', body: () => lines('old -5'), status: 400 },
  { name: 'a size of 20 digits', body: () => lines('old 99999999999999999999'), status: 400 },
  {
    name: 'a hash that is none',
    body: async () =>
      Buffer.from(
        Buffer.from(await LOG.request(5, 9))
          .toString()
          .replace(/=\n/, '\n'),
      ),
    status: 400,
  },
  {
    name: '64 hashes',
    body: () => Buffer.concat([Buffer.from(`old 5\n${`${'A'.repeat(43)}=\n`.repeat(64)}\n`), LOG.head(9)]),
    status: 400,
  },
  { name: 'nothing', body: () => new Uint8Array(0), status: 400 },
  good(5, 9),
  good(9, 9),
  good(9, 256),
  good(256, 300),
  { name: 'the head before', body: () => LOG.request(9, 9), status: 409, size: '300\n' },
  // Same size, other root: the specification says 409.
  {
    name: 'another root of this size',
    body: () => LOG.request(300, 300, historyOf('evil')),
    status: 409,
    theirs: 422,
  },
  // How to answer to what is no note, the specification does not say.
  {
    name: 'a note that is none',
    body: () => Buffer.from(`old 0\n\n${LOG.origin}\n`),
    status: 400,
    theirs: 500,
  },
  { name: 'over 10 KiB', body: () => Buffer.alloc(10_241, 'x'), status: 413, theirs: 500 },
];

async function assertCosigned(witness: TestWitness, head: Uint8Array, body: Uint8Array): Promise<void> {
  const key = parseCosignerVkey(witness.vkey);
  const note = parseNote(head);
  assert.ok(key.ok && note.ok);
  const read = parseCosignatureLines(note.value.text, body);
  assert.ok(read.ok && read.value.length === 1);
  const [{ name, keyId, signature }] = read.value;
  assert.deepEqual([name, keyId], [key.value.name, key.value.keyId]);
  assert.ok((await verifyCosignature(key.value, note.value.text, signature, webCryptoSignatures)).ok);
}

async function run(witness: TestWitness, isOurs: boolean): Promise<void> {
  for (const { name, body, status, theirs = status, size, head } of CASES) {
    const request = await body();
    const url = `${witness.url}add-checkpoint`;
    const response = await fetch(url, { method: 'POST', body: request as BodyInit });
    const answer = await response.bytes();
    assert.equal(response.status, isOurs ? status : theirs, `${name}: ${Buffer.from(answer)}`);
    if (size !== undefined) {
      assert.equal(response.headers.get('content-type'), 'text/x.tlog.size', name);
      assert.equal(Buffer.from(answer).toString(), size, name);
    }
    if (head !== undefined) await assertCosigned(witness, head, answer);
  }
}

describe('a witness', () => {
  it('of ours answers to every request as the specification says', () => run(witnesses[0], true));

  it('of others answers alike', { skip: skipIndependent }, () => run(witnesses[1], false));

  it('is told apart from one that cosigns what it should not: the table finds it', async () => {
    // Our own, which follows the key of the impostor of the second case.
    const careless = await startOwnWitness(join(base, 'careless'), [
      LOG.vkey,
      new ScriptedLog(LOG.origin, 2).vkey,
    ]);
    await assert.rejects(run(careless, true), /another key of the log/);
    await careless.stop();
  });
});
