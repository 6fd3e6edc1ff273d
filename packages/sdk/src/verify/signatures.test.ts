import assert from 'node:assert/strict';
import { test } from 'node:test';
import { webCryptoSignatures } from './signatures.ts';

const message = new TextEncoder().encode('a head');

/** A new key of an algorithm, and its signature of the message. */
async function signed(name: string, format: string): Promise<{ key: Uint8Array; signature: Uint8Array }> {
  const pair = (await crypto.subtle.generateKey({ name }, true, ['sign', 'verify'])) as CryptoKeyPair;
  return {
    key: new Uint8Array(await crypto.subtle.exportKey(format as 'raw', pair.publicKey)),
    signature: new Uint8Array(await crypto.subtle.sign({ name }, pair.privateKey, message)),
  };
}

for (const [algorithm, name, format] of [
  ['ed25519', 'Ed25519', 'raw'],
  ['ml-dsa-44', 'ML-DSA-44', 'raw-public'],
] as const) {
  test(`${name}: a good signature verifies; a changed one, one of another text or key does not`, async () => {
    const check = webCryptoSignatures[algorithm]!;
    const { key, signature } = await signed(name, format);
    assert.equal(await check(key, message, signature), true);
    const changed = signature.slice();
    changed[7]! ^= 1;
    assert.equal(await check(key, message, changed), false);
    assert.equal(await check(key, message.subarray(1), signature), false);
    assert.equal(await check((await signed(name, format)).key, message, signature), false);
    assert.equal(await check(key.subarray(1), message, signature), false);
  });
}

test('a view into a larger buffer is taken for what it shows', async () => {
  const { key, signature } = await signed('Ed25519', 'raw');
  const within = new Uint8Array(200);
  within.set(key, 50);
  within.set(signature, 100);
  assert.equal(
    await webCryptoSignatures.ed25519(within.subarray(50, 82), message, within.subarray(100, 164)),
    true,
  );
});
