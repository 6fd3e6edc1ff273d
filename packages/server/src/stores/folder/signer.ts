/**
 * The signer in `<data>/signer/`: one Ed25519 key for all trees, and what it signed last of each.
 *
 *   key    PKCS#8 PEM, mode 0600, made once
 *   last   one line a tree: `<origin> <size> <root, base64>`
 *
 * `last` is replaced durably before a signature leaves: if we die in between, the head is remembered and not
 * published, and the next start derives it from the log again. It lies outside PostgreSQL, so that a database
 * that is put back meets a memory that was not.
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, fromBase64, toBase64 } from '@evident/core/bytes.ts';
import { formatTreeHead, parseDecimal } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import {
  type Signer as NoteSigner,
  signNote,
  type VerifyFunctions,
  verifierKey,
} from '@evident/core/note.ts';
import type { HeadSigner, Signature, SignRequest } from '../../seal/ports.ts';
import {
  errnoOf,
  replaceFileDurably,
  storageFault,
  syncDirectory,
  writeFileDurably,
} from '../durable-file.ts';

interface Remembered {
  readonly size: bigint;
  readonly root: Uint8Array;
}

/** Ed25519 of the platform, for `verifierOf`. */
export const VERIFY_FUNCTIONS: VerifyFunctions = {
  ed25519: (publicKey, message, signature) => verify(null, message, publicKeyObject(publicKey), signature),
};

const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

function publicKeyObject(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' });
}

export class FolderSigner implements HeadSigner {
  readonly publicKey: Uint8Array;
  readonly #folder: string;
  readonly #key: KeyObject;
  readonly #last: Map<string, Remembered>;
  readonly #signers = new Map<string, NoteSigner>();
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, key: KeyObject, last: Map<string, Remembered>) {
    this.#folder = folder;
    this.#key = key;
    this.#last = last;
    this.publicKey = new Uint8Array(
      createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX.length),
    );
  }

  /**
   * Opens the signer, making its key at first use.
   * @throws data-unwritable, disk-full; signer-refused when the memory is there but can't be read as such
   */
  static open(folder: string): FolderSigner {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const pem = readIfThere(join(folder, 'key')) ?? makeKey(folder);
      // A missing memory is an empty one: the sealer finds stored heads that this signer doesn't remember, and stops.
      return new FolderSigner(
        folder,
        createPrivateKey(pem),
        parseLast(folder, readIfThere(join(folder, 'last')) ?? ''),
      );
    } catch (error) {
      throw storageFault(error, folder, 'open the signer');
    }
  }

  /** What a signer folder remembers now. */
  static readLast(folder: string): ReadonlyMap<string, Remembered> {
    return parseLast(folder, readIfThere(join(folder, 'last')) ?? '');
  }

  /** Whether any head was ever signed here. */
  get hasSigned(): boolean {
    return this.#last.size > 0;
  }

  async last(origin: string): Promise<Remembered | null> {
    return this.#last.get(origin) ?? null;
  }

  /** Calls run one after the other: each decides on what the one before it made durable. */
  sign(heads: readonly SignRequest[]): Promise<Signature[]> {
    const turn = this.#turn.then(() => this.#signNow(heads));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #signNow(heads: readonly SignRequest[]): Promise<Signature[]> {
    const refusals = heads.map((head) => this.#refusal(head));
    const next = new Map(this.#last);
    for (const [index, { origin, size, root }] of heads.entries()) {
      if (refusals[index] === null) next.set(origin, { size, root });
    }
    await this.#remember(next);
    return heads.map(({ origin, size, root }, index) => {
      const reason = refusals[index];
      if (reason !== null) return { ok: false, reason };
      return { ok: true, note: signNote(formatTreeHead({ origin, size, root }), [this.noteSigner(origin)]) };
    });
  }

  /** The key under the name of a tree. */
  noteSigner(origin: string): NoteSigner {
    let signer = this.#signers.get(origin);
    if (signer === undefined) {
      const { name, keyId } = verifierKey(origin, 'ed25519', this.publicKey);
      signer = { name, keyId, sign: (message) => new Uint8Array(sign(null, message, this.#key)) };
      this.#signers.set(origin, signer);
    }
    return signer;
  }

  #refusal({ origin, size, root, after }: SignRequest): string | null {
    const last = this.#last.get(origin);
    if (last === undefined) return null;
    if (after?.size !== last.size || !equalBytes(after.root, last.root))
      return `the signer remembers size ${last.size} of ${origin}, which the sealer does not know`;
    if (size > last.size) return null;
    if (size < last.size)
      return `the signer refused size ${size} of ${origin}: it has signed size ${last.size}`;
    return equalBytes(root, last.root)
      ? null
      : `the signer refused another root of ${origin} at size ${size}`;
  }

  async #remember(next: Map<string, Remembered>): Promise<void> {
    const lines = [...next].map(([origin, { size, root }]) => `${origin} ${size} ${toBase64(root)}\n`);
    try {
      await replaceFileDurably(join(this.#folder, 'last'), lines.join(''), 0o600);
    } catch (error) {
      throw storageFault(error, this.#folder, 'remember signed heads');
    }
    for (const [origin, remembered] of next) this.#last.set(origin, remembered);
  }
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function makeKey(folder: string): string {
  const pem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  writeFileDurably(join(folder, 'key'), pem, 0o600);
  syncDirectory(join(folder, '..'));
  return pem;
}

function parseLast(folder: string, text: string): Map<string, Remembered> {
  const last = new Map<string, Remembered>();
  for (const line of text.split('\n').slice(0, -1)) {
    const [origin, sizeText, rootText, ...rest] = line.split(' ');
    const size = parseDecimal(sizeText ?? '');
    const root = fromBase64(rootText ?? '');
    if (rest.length > 0 || size === null || root?.length !== 32 || last.has(origin)) {
      throw new EvidentError(
        'signer-refused',
        `${join(folder, 'last')} holds a line that is not a remembered head: ${JSON.stringify(line.slice(0, 200))}`,
      );
    }
    last.set(origin, { size, root });
  }
  if (text !== '' && !text.endsWith('\n'))
    throw new EvidentError('signer-refused', `${join(folder, 'last')} is cut off`);
  return last;
}
