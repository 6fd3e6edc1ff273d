/** The readers that wait for a platform's check answer as those that do not: openNoteWith, openTreeHeadWith, … */

import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { formatTreeHead, openTreeHead, openTreeHeadWith } from './checkpoint.ts';
import { rootOf } from './merkle/tree.ts';
import {
  openNote,
  openNoteWith,
  type SignatureCheck,
  type Signer,
  signatureCheckOf,
  signNote,
  type Verifier,
  verifierKey,
  verifierOf,
} from './note.ts';
import { hashLeaf } from './sha256.ts';
import { formatTlogProof, verifyTlogProof, verifyTlogProofWith } from './tlog-proof.ts';

const PRIVATE_DER = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_DER = Buffer.from('302a300506032b6570032100', 'hex');

function ed25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const key = createPublicKey({ key: Buffer.concat([PUBLIC_DER, publicKey]), format: 'der', type: 'spki' });
  return verify(null, message, key, signature);
}

function keyOf(name: string, seed: number): { signer: Signer; verifier: Verifier; check: SignatureCheck } {
  const der = Buffer.concat([PRIVATE_DER, Buffer.alloc(32, seed)]);
  const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' });
  const key = verifierKey(name, 'ed25519', new Uint8Array(spki.subarray(PUBLIC_DER.length)));
  const signer = {
    name,
    keyId: key.keyId,
    sign: (message: Uint8Array) => new Uint8Array(sign(null, message, secret)),
  };
  const later = async (...given: Parameters<typeof ed25519>): Promise<boolean> => {
    await Promise.resolve();
    return ed25519(...given);
  };
  return { signer, verifier: verifierOf(key, { ed25519 }), check: signatureCheckOf(key, { ed25519: later }) };
}

const ORIGIN = 'log.example/audit/0';
const log = keyOf(ORIGIN, 1);
const witness = keyOf('witness.example', 2);
const stranger = keyOf('stranger.example', 3);
const liar = { ...witness, signer: { ...witness.signer, sign: () => new Uint8Array(64) } };
const leafHash = hashLeaf(new Uint8Array(3));
const TEXT = formatTreeHead({ origin: ORIGIN, size: 1n, root: rootOf([leafHash]) });

/** Notes good and bad, and the keys that they are opened with. */
const NOTES = [[log], [log, witness], [witness], [log, liar], [liar], [log, stranger]].map((keys) =>
  signNote(
    TEXT,
    keys.map(({ signer }) => signer),
  ),
);
const KNOWN = [[log], [log, witness], [witness], [], [stranger, log]];

test('a check that takes its time opens the notes that an immediate one opens, and refuses the others', async () => {
  let opened = 0;
  for (const note of [...NOTES, NOTES[0]!.slice(1), new Uint8Array(0)]) {
    for (const known of KNOWN) {
      const verifiers = known.map(({ verifier }) => verifier);
      const checks = known.map(({ check }) => check);
      const [now, later] = [openNote(note, verifiers), await openNoteWith(note, checks)];
      assert.equal(later.ok, now.ok);
      if (!now.ok || !later.ok) assert.deepEqual(later, now);
      else {
        opened++;
        assert.deepEqual(
          later.value.verifiedBy.map(({ name }) => name),
          now.value.verifiedBy.map(({ name }) => name),
        );
      }
      const [head, laterHead] = [
        openTreeHead(note, verifiers, ORIGIN),
        await openTreeHeadWith(note, checks, ORIGIN),
      ];
      assert.equal(laterHead.ok, head.ok);
      const proof = formatTlogProof({
        index: 0n,
        hashes: [],
        treeHead: NOTES.includes(note) ? note : NOTES[0]!,
      });
      for (const hash of [leafHash, hashLeaf(new Uint8Array(4))]) {
        assert.deepEqual(
          (await verifyTlogProofWith(proof, hash, checks, ORIGIN)).ok,
          verifyTlogProof(proof, hash, verifiers, ORIGIN).ok,
        );
      }
    }
  }
  assert.ok(opened > 5 && opened < NOTES.length * KNOWN.length);
});

test('a check that fails to answer opens nothing, and one that answers anything but true says no', async () => {
  const failing = { ...log.check, verify: () => Promise.reject(new Error('no such algorithm')) };
  await assert.rejects(openNoteWith(NOTES[0]!, [failing]), /no such algorithm/);
  const vague = { ...log.check, verify: () => 'yes' as unknown as boolean };
  assert.equal((await openNoteWith(NOTES[0]!, [vague])).ok, false);
  // A signature of another length never reaches the platform's check.
  assert.equal(await log.check.verify(new Uint8Array(1), new Uint8Array(63)), false);
});
