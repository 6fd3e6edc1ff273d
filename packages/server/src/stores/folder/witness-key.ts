/**
 * The key of a witness: `key` (PKCS#8 PEM, mode 0600), made once, and `witness.vkey`, what a log is given. A key has
 * one name and one algorithm for ever: an Ed25519 cosignature does not hold the name of the cosigner.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { join } from 'node:path';
import {
  COSIGNATURE_ALGORITHMS,
  type CosignatureAlgorithm,
  cosignerKey,
  formatCosignerVkey,
} from '@evident/core/cosignature.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { CosignatureKey } from '../../witness/ports.ts';
import { syncDirectory, writeFileDurably } from '../durable-file.ts';
import { readIfThere } from './signing-keys.ts';

/**
 * Opens the key in a folder, or makes one.
 * @throws key-mismatch when the key there has another name or algorithm, or is none; usage-invalid for a name that no
 *   key may have; errors of the file system
 */
export function openWitnessKey(
  folder: string,
  name: string,
  algorithm: CosignatureAlgorithm,
): CosignatureKey {
  const path = join(folder, 'key');
  const pem = readIfThere(path) ?? makeKey(folder, algorithm);
  const secret = readKey(pem, path, algorithm);
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' });
  // The raw key is the end of the SPKI of both algorithms.
  const raw = new Uint8Array(spki.subarray(-COSIGNATURE_ALGORITHMS[algorithm].publicKeyBytes));
  const key = nameKey(name, algorithm, raw);
  const vkey = formatCosignerVkey(key);
  const file = join(folder, 'witness.vkey');
  const known = readIfThere(file);
  // Crash window: a key without its vkey has cosigned nothing yet, and takes the name that it is given now.
  if (known === null) writeFileDurably(file, `${vkey}\n`, 0o644);
  else if (known !== `${vkey}\n`)
    throw new EvidentError('key-mismatch', `${file} names another key: ${known.slice(0, 300).trim()}`);
  return { key, sign: (message) => new Uint8Array(sign(null, message, secret)) };
}

function nameKey(name: string, algorithm: CosignatureAlgorithm, raw: Uint8Array): CosignatureKey['key'] {
  try {
    return cosignerKey(name, algorithm, raw);
  } catch (cause) {
    throw new EvidentError('usage-invalid', `--name: ${(cause as Error).message}`, { cause });
  }
}

function readKey(pem: string, path: string, algorithm: CosignatureAlgorithm): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new EvidentError('key-mismatch', `${path} is no private key in PEM`, { cause });
  }
  if (key.asymmetricKeyType !== algorithm)
    throw new EvidentError(
      'key-mismatch',
      `${path} is a key of ${key.asymmetricKeyType}, not of ${algorithm}`,
    );
  return key;
}

function makeKey(folder: string, algorithm: CosignatureAlgorithm): string {
  const { privateKey } = generateKeyPairSync(algorithm as 'ed25519');
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  writeFileDurably(join(folder, 'key'), pem, 0o600);
  syncDirectory(join(folder, '..'));
  return pem;
}
