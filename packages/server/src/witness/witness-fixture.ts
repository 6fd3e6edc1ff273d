/** A log that does whatever a test wants: heads of any history, and requests to have them cosigned. */

import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { formatTreeHead } from '@evident/core/checkpoint.ts';
import { consistencyProof } from '@evident/core/merkle/proof.ts';
import { perfectRoot, rootOf } from '@evident/core/merkle/tree.ts';
import { formatVkey, signNote, type Verifier, verifierKey, verifierOf } from '@evident/core/note.ts';
import { sha256 } from '@evident/core/sha256.ts';
import { formatAddCheckpoint } from '@evident/core/tlog-witness.ts';

const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** Leaves of a history. */
const LEAVES = 300;

/** Leaf hashes: the honest ones, or others from the leaf `from` on. */
export function historyOf(name: string, from = 0): Uint8Array[] {
  return Array.from({ length: LEAVES }, (_, index) =>
    sha256(Buffer.from(`${index < from ? 'honest' : name} ${index}`)),
  );
}

export const HONEST = historyOf('honest');

export function secretOf(seed: number): KeyObject {
  const der = Buffer.concat([PKCS8_PREFIX, Buffer.alloc(32, seed)]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

export class ScriptedLog {
  readonly origin: string;
  readonly vkey: string;
  readonly verifier: Verifier;
  readonly #secret: KeyObject;

  /** @param seed of its key */
  constructor(origin: string, seed: number) {
    this.origin = origin;
    this.#secret = secretOf(seed);
    const spki = createPublicKey(this.#secret).export({ format: 'der', type: 'spki' });
    const key = verifierKey(origin, 'ed25519', new Uint8Array(spki.subarray(-32)));
    this.vkey = formatVkey(key);
    this.verifier = verifierOf(key, {
      ed25519: (publicKey, message, signature) => {
        const raw = { key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' } as const;
        return verify(null, message, createPublicKey(raw), signature);
      },
    });
  }

  /** The signed note of a head. */
  head(size: number, leaves = HONEST, extensions: readonly string[] = []): Uint8Array {
    const root = rootOf(leaves.slice(0, size));
    const text = formatTreeHead({ origin: this.origin, size: BigInt(size), root, extensions });
    return this.sign(text);
  }

  sign(text: string): Uint8Array {
    const { name, keyId } = this.verifier;
    return signNote(text, [
      { name, keyId, sign: (message) => new Uint8Array(sign(null, message, this.#secret)) },
    ]);
  }

  async proof(from: number, to: number, leaves = HONEST): Promise<Uint8Array[]> {
    if (from === 0 || from >= to) return [];
    return consistencyProof(BigInt(from), BigInt(to), async (nodes) =>
      nodes.map(({ level, index }) => {
        const width = 2 ** level;
        return perfectRoot(Buffer.concat(leaves.slice(Number(index) * width, (Number(index) + 1) * width)));
      }),
    );
  }

  /** The request of an honest client: the head of size `to`, and its proof from `from` on. */
  async request(from: number, to: number, leaves = HONEST): Promise<Uint8Array> {
    const proof = await this.proof(from, to, leaves);
    return formatAddCheckpoint({ oldSize: BigInt(from), proof, treeHead: this.head(to, leaves) });
  }
}
