/** A key of a signer's folder: PKCS#8 PEM, mode 0600, in the file `key`; `key.next` while it is replaced (rotating-keys.ts). */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { type Signer as NoteSigner, type VerifyFunctions, verifierKey } from '@evident/core/note.ts';
import { errnoOf, syncDirectory, writeFileDurably } from '../durable-file.ts';

/** Ed25519 of the platform, for `verifierOf`. */
export const VERIFY_FUNCTIONS: VerifyFunctions = {
  ed25519: (publicKey, message, signature) => verify(null, message, publicKeyObject(publicKey), signature),
};

const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

function publicKeyObject(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' });
}

export class SigningKeys {
  /** The key in use first, 32 bytes each. */
  readonly publicKeys: readonly Uint8Array[];
  readonly #key: KeyObject;
  readonly #signers = new Map<string, NoteSigner>();

  private constructor(key: KeyObject) {
    this.#key = key;
    const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
    this.publicKeys = [new Uint8Array(spki.subarray(SPKI_PREFIX.length))];
  }

  /**
   * @param mayMake a folder without a key gets one
   * @param file of the key in the folder
   * @throws key-mismatch when there is no key, or none of Ed25519; errors of the file system
   */
  static open(folder: string, mayMake: boolean, file: 'key' | 'key.next' = 'key'): SigningKeys {
    const path = join(folder, file);
    const pem = readIfThere(path) ?? (mayMake ? makeKey(folder, file) : null);
    if (pem === null) throw new EvidentError('key-mismatch', `there is no signing key in ${folder}`);
    let key: KeyObject;
    try {
      key = createPrivateKey(pem);
    } catch (cause) {
      throw new EvidentError('key-mismatch', `${path} is no private key in PEM`, { cause });
    }
    if (key.asymmetricKeyType !== 'ed25519')
      throw new EvidentError('key-mismatch', `${path} is no Ed25519 key`);
    return new SigningKeys(key);
  }

  /** Who signs a head of this tree. */
  signersOf(origin: string): readonly NoteSigner[] {
    let signer = this.#signers.get(origin);
    if (signer === undefined) {
      const { name, keyId } = verifierKey(origin, 'ed25519', this.publicKeys[0]);
      signer = { name, keyId, sign: (message) => new Uint8Array(sign(null, message, this.#key)) };
      this.#signers.set(origin, signer);
    }
    return [signer];
  }
}

export function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function makeKey(folder: string, file: string): string {
  const pem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  writeFileDurably(join(folder, file), pem, 0o600);
  syncDirectory(join(folder, '..'));
  return pem;
}
