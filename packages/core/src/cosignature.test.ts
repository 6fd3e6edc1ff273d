import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { encodeUtf8, fromBase64 } from './bytes.ts';
import {
  type CosignatureFunctions,
  cosignatureMessage,
  cosignerKey,
  formatCosignerVkey,
  formatTimestampedSignature,
  parseCosignerVkey,
  verifyCosignature,
} from './cosignature.ts';
import { parseNote } from './note.ts';

const PUBLIC_DER = Buffer.from('302a300506032b6570032100', 'hex');
const functions: CosignatureFunctions = {
  ed25519: (key, message, signature) =>
    verify(
      null,
      message,
      createPublicKey({ key: Buffer.concat([PUBLIC_DER, key]), format: 'der', type: 'spki' }),
      signature,
    ),
};

// The example of C2SP tlog-cosignature.
const EXAMPLE = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
`;
const HEAD = 'log.example/heads/0\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';

function ed25519Key(seed: number) {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, seed)]);
  const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' });
  return { secret, key: cosignerKey('witness.example/w', 'ed25519', new Uint8Array(spki.subarray(12))) };
}

test('the message of the specification is written byte for byte', () => {
  const { key } = ed25519Key(1);
  const note = parseNote(encodeUtf8(EXAMPLE));
  assert.ok(note.ok);
  const timestamped = note.value.signatures[1]!.signature;
  assert.equal(new DataView(timestamped.buffer, timestamped.byteOffset).getBigUint64(0), 1_679_315_147n);
  assert.equal(
    new TextDecoder().decode(cosignatureMessage(key, note.value.text, 1_679_315_147n)),
    'cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n',
  );
});

test('an Ed25519 cosignature verifies, and no changed one does', async () => {
  const { secret, key } = ed25519Key(2);
  const signature = new Uint8Array(sign(null, cosignatureMessage(key, HEAD, 1_700_000_000n), secret));
  const line = formatTimestampedSignature(1_700_000_000n, signature);
  assert.deepEqual(await verifyCosignature(key, HEAD, line, functions), {
    ok: true,
    value: { timestamp: 1_700_000_000n },
  });
  for (let i = 0; i < line.length; i++) {
    const changed = line.slice();
    changed[i]! ^= 1;
    assert.equal((await verifyCosignature(key, HEAD, changed, functions)).ok, false, `byte ${i}`);
  }
  assert.equal((await verifyCosignature(key, HEAD.replace('7', '8'), line, functions)).ok, false);
  assert.equal((await verifyCosignature(key, HEAD, line.slice(1), functions)).ok, false);
  assert.equal((await verifyCosignature(ed25519Key(3).key, HEAD, line, functions)).ok, false);
});

test('an ML-DSA-44 cosignature verifies where the platform has it, and is refused where it has not', async () => {
  const algorithm = { name: 'ML-DSA-44' };
  const pair = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as CryptoKeyPair;
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw-public' as 'raw', pair.publicKey));
  const key = cosignerKey('witness.example/pq', 'ml-dsa-44', raw);
  const withMlDsa: CosignatureFunctions = {
    ...functions,
    'ml-dsa-44': (_key, message, signature) =>
      crypto.subtle.verify(algorithm, pair.publicKey, signature as BufferSource, message as BufferSource),
  };
  const message = cosignatureMessage(key, HEAD, 1_700_000_000n);
  // label, name with its length, time, origin with its length, start, end, hash
  assert.equal(message.length, 12 + 1 + 18 + 8 + 1 + 19 + 8 + 8 + 32);
  const signature = new Uint8Array(
    await crypto.subtle.sign(algorithm, pair.privateKey, message as BufferSource),
  );
  const line = formatTimestampedSignature(1_700_000_000n, signature);
  assert.equal((await verifyCosignature(key, HEAD, line, withMlDsa)).ok, true);
  assert.equal((await verifyCosignature(key, HEAD.replace('7', '8'), line, withMlDsa)).ok, false);
  assert.equal((await verifyCosignature(key, HEAD, line, functions)).ok, false);
  const parsed = parseCosignerVkey(formatCosignerVkey(key));
  assert.deepEqual(parsed, { ok: true, value: key });
});

test('a vkey of a witness is read, one of a log or with another key id is not', () => {
  const { key } = ed25519Key(4);
  const vkey = formatCosignerVkey(key);
  assert.deepEqual(parseCosignerVkey(vkey), { ok: true, value: key });
  const [name, id, base64] = vkey.split('+') as [string, string, string];
  const asLog = fromBase64(base64)!;
  asLog[0] = 1;
  assert.equal(parseCosignerVkey(`${name}+${id}+${asLog.toBase64()}`).ok, false);
  assert.equal(parseCosignerVkey(`${name}+00000000+${base64}`).ok, false);
  assert.equal(parseCosignerVkey(`${vkey} `).ok, false);
  assert.throws(() => cosignatureMessage(key, 'no head\n', 1n), RangeError);
});
