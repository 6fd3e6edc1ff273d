/**
 * A signer in a folder, `<data>/signer/` or that of `evident signer`: its keys, and what it signed last of each tree.
 *
 *   key    its key, see rotating-keys.ts
 *   last   its memory, see signer/memory.ts
 *   used   says that the key has signed: a memory that holds no head beside it is lost, not new
 *
 * A head is signed in this order, and a death at any step leaves no signature that the memory does not hold:
 *
 *   1 checked against the memory      nothing
 *   2 `last` replaced durably         a head that is remembered and that nobody has: the sealer derives it again
 *   3 `used` there durably, once      the same
 *   4 signed, and given out           the same, or a signature of what is remembered
 *
 * It lies outside PostgreSQL, so that a database that is put back meets a memory that was not.
 */

import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import type { Refusal } from '@evident/core/parsed.ts';
import type {
  RotationAnswer,
  RotationProof,
  Signature,
  SignedHead,
  SignerRotation,
  SignRequest,
} from '../../seal/ports.ts';
import {
  EMPTY_MEMORY,
  formatMemory,
  type InceptionMark,
  MEMORY_BYTES_MAX,
  parseMemory,
  type SignerMemory,
  sameInception,
} from '../../signer/memory.ts';
import type { Signer, SignerDescription } from '../../signer/ports.ts';
import { refusalOf, treeOfOrigin } from '../../signer/rule.ts';
import { replaceFileDurably, storageFault, type WriteStep, writeFileDurably } from '../durable-file.ts';
import { RotatingKeys, type RotationStep } from './rotating-keys.ts';
import { readIfThere } from './signing-keys.ts';

export interface FolderSignerOptions {
  /** A folder without a key gets one. */
  readonly mayMakeKey: boolean;
  /** The name of the log that it signs for; absent: that of the first log that tells it. */
  readonly name?: string;
  /** Whether a tree may begin anew; see signer/rule.ts. Where the operator's word comes with the recovery: always. */
  readonly mayBegin?: (origin: string) => boolean;
  /** Told of each step, so that a test can end the process there. */
  readonly passed?: (step: WriteStep | RotationStep | 'checked' | 'marked' | 'signed') => void;
}

const LOST =
  'its memory of what it signed is gone: put back the newest copy of the file last (operating/signer.md says what else)';

export class FolderSigner implements Signer {
  readonly #folder: string;
  readonly #keys: RotatingKeys;
  readonly #options: FolderSignerOptions;
  #memory: SignerMemory;
  #isUsed: boolean;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, keys: RotatingKeys, options: FolderSignerOptions) {
    this.#folder = folder;
    this.#keys = keys;
    this.#options = options;
    this.#memory = readMemory(folder);
    this.#isUsed = existsSync(join(folder, 'used'));
  }

  /**
   * Opens the signer. Who signs with it holds the folder alone.
   * @throws data-unwritable, disk-full; key-mismatch without a key; signer-refused when the memory can't be read as such
   */
  static open(folder: string, options: FolderSignerOptions): FolderSigner {
    try {
      if (options.mayMakeKey) mkdirSync(folder, { recursive: true, mode: 0o700 });
      return new FolderSigner(folder, new RotatingKeys(folder, options.mayMakeKey, options.passed), options);
    } catch (error) {
      throw storageFault(error, folder, 'open the signer');
    }
  }

  /** What a signer's folder remembers now: another process may have signed since it was opened. */
  static readLast(folder: string): ReadonlyMap<string, SignedHead> {
    return readMemory(folder).last;
  }

  /** Why it signs nothing, or null: the key has signed, and no head is remembered. */
  get lost(): string | null {
    return this.#isUsed && this.#memory.last.size === 0 ? LOST : null;
  }

  /** Ends what a death has left of a rotation. Only whoever holds the folder. */
  settle(): void {
    this.#keys.settle();
  }

  async describe(): Promise<SignerDescription> {
    return {
      publicKeys: this.#keys.publicKeys,
      name: this.#memory.inception?.name ?? this.#options.name ?? null,
      inception: this.#memory.inception,
      hasSigned: this.#isUsed || this.#memory.last.size > 0,
    };
  }

  begin(mark: InceptionMark): Promise<{ ok: true } | Refusal> {
    return this.#inTurn(() => this.#beginNow(mark));
  }

  async last(origin: string): Promise<SignedHead | null> {
    return this.#memory.last.get(origin) ?? null;
  }

  sign(heads: readonly SignRequest[]): Promise<Signature[]> {
    return this.#inTurn(() => this.#signNow(heads));
  }

  async rotation(number: number): Promise<SignerRotation | null> {
    return this.#keys.rotation(number);
  }

  rotate(number: number): Promise<RotationAnswer> {
    return this.#inTurn(async () => {
      const { inception, last } = this.#memory;
      if (this.lost !== null) return { ok: false, reason: this.lost };
      if (inception === null) return { ok: false, reason: 'the signer has not been begun' };
      return this.#keys.rotate(number, inception.name, last).catch((error: unknown) => {
        throw storageFault(error, this.#folder, 'rotate the key');
      });
    });
  }

  closeRotation(proof: RotationProof): Promise<RotationAnswer> {
    return this.#inTurn(() =>
      this.#keys.close(proof, this.#memory.last).catch((error: unknown) => {
        throw storageFault(error, this.#folder, 'rotate the key');
      }),
    );
  }

  /** Calls run one after the other: each decides on what the one before it made durable. */
  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(call);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #beginNow(mark: InceptionMark): Promise<{ ok: true } | Refusal> {
    const { inception, last } = this.#memory;
    const { name } = this.#options;
    if (name !== undefined && name !== mark.name)
      return { ok: false, reason: `the signer is for ${name} alone, not for ${mark.name}` };
    if (inception !== null) {
      // Whoever begins it holds the folder.
      this.#keys.settle();
      if (sameInception(inception, mark)) return { ok: true };
      const reason = `the signer was begun for ${inception.name} at ${inception.begunAt}, and signs for no other log`;
      return { ok: false, reason };
    }
    const strange = [...last.keys()].find((origin) => treeOfOrigin(mark.name, origin) === null);
    if (strange !== undefined)
      return { ok: false, reason: `the signer has signed ${strange}, which is not of ${mark.name}` };
    // Sealing stops at the stored heads that it does not remember; a mark would make the loss look like a beginning.
    if (this.lost !== null) return { ok: true };
    await this.#remember({ inception: mark, last });
    return { ok: true };
  }

  async #signNow(heads: readonly SignRequest[]): Promise<Signature[]> {
    const { inception } = this.#memory;
    const last = new Map(this.#memory.last);
    const view = { name: inception?.name ?? null, last, mayBegin: this.#options.mayBegin ?? (() => true) };
    // Each is held against the memory as the one before it leaves it: one request may name a tree twice.
    const refusals = heads.map((head) => {
      const reason = this.lost ?? refusalOf(view, head);
      if (reason === null) last.set(head.origin, { size: head.size, root: head.root });
      return reason;
    });
    this.#options.passed?.('checked');
    if (refusals.includes(null)) await this.#remember({ inception, last });
    const signatures = heads.map(({ origin, size, root }, index): Signature => {
      const reason = refusals[index];
      if (reason !== null) return { ok: false, reason };
      return this.#keys.sign({ origin, size, root });
    });
    this.#options.passed?.('signed');
    return signatures;
  }

  async #remember(memory: SignerMemory): Promise<void> {
    try {
      await replaceFileDurably(join(this.#folder, 'last'), formatMemory(memory), 0o600, this.#options.passed);
      if (memory.last.size > 0 && !this.#isUsed) {
        writeFileDurably(
          join(this.#folder, 'used'),
          'This key has signed heads; the file last holds them.\n',
          0o600,
        );
        this.#isUsed = true;
      }
      this.#options.passed?.('marked');
    } catch (error) {
      throw storageFault(error, this.#folder, 'remember signed heads');
    }
    this.#memory = memory;
  }
}

function readMemory(folder: string): SignerMemory {
  const path = join(folder, 'last');
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const text = bytes > MEMORY_BYTES_MAX ? ' '.repeat(MEMORY_BYTES_MAX + 1) : readIfThere(path);
  if (text === null) return EMPTY_MEMORY;
  const parsed = parseMemory(text);
  if (!parsed.ok)
    throw new EvidentError('signer-refused', `${path} is not the memory of a signer: ${parsed.reason}`);
  return parsed.value;
}
