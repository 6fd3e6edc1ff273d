/** The one signing key of all runs, and its verifiers by origin: real Ed25519, from a fixed seed. */

import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { fromHex } from '@evident/core/bytes.ts';
import { type Signer, type Verifier, verifierKey, verifierOf } from '@evident/core/note.ts';

const PKCS8_PREFIX = '302e020100300506032b657004220420';
const SPKI_PREFIX_BYTES = 12;

function makeKeys() {
  const secret = fromHex(PKCS8_PREFIX + '42'.repeat(32)) as Uint8Array;
  const privateKey = createPrivateKey({ key: Buffer.from(secret), format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(privateKey);
  const raw = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX_BYTES));
  const signers = new Map<string, Signer>();
  const verifiers = new Map<string, Verifier>();
  return {
    signerOf(origin: string): Signer {
      let signer = signers.get(origin);
      if (signer === undefined) {
        const { name, keyId } = verifierKey(origin, 'ed25519', raw);
        signer = { name, keyId, sign: (message) => new Uint8Array(sign(null, message, privateKey)) };
        signers.set(origin, signer);
      }
      return signer;
    },
    verifierOf(origin: string): Verifier {
      let verifier = verifiers.get(origin);
      if (verifier === undefined) {
        const ed25519 = (_: Uint8Array, message: Uint8Array, signature: Uint8Array) =>
          verify(null, message, publicKey, signature);
        verifier = verifierOf(verifierKey(origin, 'ed25519', raw), { ed25519 });
        verifiers.set(origin, verifier);
      }
      return verifier;
    },
  };
}

export const keys = makeKeys();
