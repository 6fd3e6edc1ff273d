/** Signatures by WebCrypto: the same code in Node, in browsers and in workers. */

import type { CosignatureFunctions } from '@evident/core/cosignature.ts';

/** `raw` of a key: for ML-DSA the platform calls it `raw-public`, which the types do not know yet. */
async function verify(
  name: string,
  format: 'raw' | 'raw-public',
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  const { subtle } = globalThis.crypto;
  const algorithm = { name };
  let key: CryptoKey;
  try {
    key = await subtle.importKey(format as 'raw', publicKey as BufferSource, algorithm, false, ['verify']);
  } catch (cause) {
    // Bytes that are no key verify nothing. That the platform lacks the algorithm is another matter: it is thrown.
    if ((cause as Error).name === 'DataError') return false;
    throw new Error(`this platform cannot check signatures of ${name}`, { cause });
  }
  return subtle.verify(algorithm, key, signature as BufferSource, message as BufferSource);
}

/** Ed25519 (RFC 8032) and, where the platform has it, ML-DSA-44 (FIPS 204). @throws where it has not */
export const webCryptoSignatures: CosignatureFunctions = {
  ed25519: (publicKey, message, signature) => verify('Ed25519', 'raw', publicKey, message, signature),
  'ml-dsa-44': (publicKey, message, signature) =>
    verify('ML-DSA-44', 'raw-public', publicKey, message, signature),
};
