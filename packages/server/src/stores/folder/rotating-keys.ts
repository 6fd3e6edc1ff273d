/**
 * The keys of a signer's folder and their rotations.
 *
 *   key          the key in use
 *   key.next     the one that takes its place, from the first step of a rotation on
 *   rotations    the notes, see signer/rotations.ts
 *   retired.<n>  by tree the last head that the key before rotation n has signed: "<origin> <note, base64>" a line
 *
 * A rotation goes these steps, and a death at any of them leaves what the next attempt goes on from:
 *
 *   1 `key.next` durable            a key that nobody has heard of: taken up by the next attempt
 *   2 note in `rotations`           the rotation is open, and no other can be made; both keys sign what is above its sizes
 *   … the record is appended, and sealed by the old key
 *   3 `retired.<n>` durable         nothing: written again
 *   4 closed in `rotations`         the old key has signed for the last time
 *   5 `key.next` becomes `key`      the old key is no more; a death before is made good when the signer is begun again
 */

import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, fromBase64, toBase64 } from '@evident/core/bytes.ts';
import { formatTreeHead, parseTreeHead, type TreeHead } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { rotationOfLeaf } from '@evident/core/evidence/key-history.ts';
import { formatKeyRotation, ROTATION_BYTES_MAX } from '@evident/core/evidence/key-rotation.ts';
import { parseLeaf } from '@evident/core/evidence/leaf-line.ts';
import { verifyInclusion } from '@evident/core/merkle/proof.ts';
import {
  type Signer as NoteSigner,
  parseNote,
  signNote,
  type VerifierKey,
  verifierKey,
} from '@evident/core/note.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import type {
  RotationAnswer,
  RotationProof,
  Signature,
  SignedHead,
  SignerRotation,
} from '../../seal/ports.ts';
import {
  formatRotations,
  headsTreeOf,
  parseRotations,
  type ReadRotation,
  readRotation,
  SIGNER_ROTATIONS_MAX,
  signingOf,
  sizesOf,
} from '../../signer/rotations.ts';
import { treeOfOrigin } from '../../signer/rule.ts';
import { replaceFileDurably, storageFault, syncDirectory } from '../durable-file.ts';
import { readIfThere, SigningKeys } from './signing-keys.ts';

/** Where a test lets the process die. */
export type RotationStep = 'next key' | 'noted' | 'retired' | 'closed' | 'replaced';

export class RotatingKeys {
  readonly #folder: string;
  readonly #passed: (step: RotationStep) => void;
  #rotations: readonly ReadRotation[];
  #current: SigningKeys;
  #next: SigningKeys | null;
  /** The file of the key in use; `key.next` between steps 4 and 5. */
  #isSettled: boolean;
  /** What the file `rotations` holds is not known after a write of it that failed: nothing is signed until the next start. */
  #fault: unknown = null;

  /** @throws key-mismatch, signer-refused; errors of the file system */
  constructor(folder: string, mayMake: boolean, passed: (step: RotationStep) => void = () => undefined) {
    this.#folder = folder;
    this.#passed = passed;
    this.#rotations = readRotations(folder);
    const last = this.#rotations.at(-1);
    const expected = last === undefined ? null : last.heads === null ? last.text.old : last.text.next;
    const key = SigningKeys.open(folder, mayMake && last === undefined);
    this.#isSettled = expected === null || isKey(key, expected);
    // A server that holds the folder may take step 5 between two reads of ours.
    this.#current = this.#isSettled ? key : openKey(folder, expected as VerifierKey);
    this.#next = last?.heads === null ? openKey(folder, last.text.next) : null;
  }

  /** The key in use first. */
  get publicKeys(): readonly Uint8Array[] {
    const next = this.#next?.publicKeys ?? [];
    const olds = this.#rotations.filter(({ heads }) => heads !== null).map(({ text }) => text.old.publicKey);
    return [...this.#current.publicKeys, ...next, ...olds.reverse()];
  }

  rotation(number: number): SignerRotation | null {
    const rotation = this.#rotations[number - 1];
    return rotation === undefined ? null : { note: rotation.note, closed: rotation.closed };
  }

  /** Signs a head that the signer remembers already. */
  sign(head: TreeHead): Signature {
    if (this.#fault !== null) throw this.#fault;
    const { origin, size } = head;
    const first = verifierKey(origin, 'ed25519', this.#current.publicKeys[0]);
    const signing = signingOf(this.#rotations, first, origin, size);
    if (signing.by === 'kept') return this.#kept(head);
    const signers = signing.keys.flatMap((key) => this.#holderOf(key).signersOf(origin));
    return { ok: true, note: signNote(formatTreeHead(head), signers) };
  }

  /** Makes good a death before step 5. Only whoever holds the folder. */
  settle(): void {
    if (this.#isSettled) return;
    this.#replaceKey();
  }

  /** @param last what the signer remembers at this moment: these sizes are the ones that the note fixes */
  async rotate(number: number, name: string, last: ReadonlyMap<string, SignedHead>): Promise<RotationAnswer> {
    if (this.#fault !== null) throw this.#fault;
    const open = this.#rotations.at(-1);
    if (open !== undefined && open.heads === null && number === this.#rotations.length)
      return { ok: true, rotation: open };
    if (open?.heads === null)
      return refused(`rotation ${this.#rotations.length} is open: that one is to be ended first`);
    if (number !== this.#rotations.length + 1)
      return refused(
        `the signer has made ${this.#rotations.length} rotations: number ${number} is not the next`,
      );
    if (number > SIGNER_ROTATIONS_MAX)
      return refused(`the signer has made ${SIGNER_ROTATIONS_MAX} rotations and makes no more`);
    const headsOrigin = headsTreeOf(name, last);
    if (headsOrigin === null) return refused('no head of the log heads has been signed yet');
    this.settle();
    const next = SigningKeys.open(this.#folder, true, 'key.next');
    this.#passed('next key');
    const note = this.#noteOf(next, name, sizesOf(last, headsOrigin));
    if (note.length > ROTATION_BYTES_MAX)
      return refused(
        `the log has ${last.size} trees: a rotation has ${note.length} bytes, and at most ${ROTATION_BYTES_MAX} fit`,
      );
    const rotation = read({ note, closed: null });
    await this.#write([...this.#rotations, rotation]);
    this.#next = next;
    this.#passed('noted');
    return { ok: true, rotation };
  }

  /** @param last what the signer remembers at this moment: the head of the tree with the record is the old key's last */
  async close(proof: RotationProof, last: ReadonlyMap<string, SignedHead>): Promise<RotationAnswer> {
    const rotation = this.#rotations[proof.number - 1];
    if (rotation === undefined) return refused(`there is no rotation ${proof.number}`);
    if (rotation.heads !== null) return { ok: true, rotation };
    const head = last.get(proof.origin);
    const wrong = refuteProof(rotation, proof, head);
    if (wrong !== null || head === undefined) return refused(wrong ?? 'no head is remembered');
    const signed = this.sign({ origin: proof.origin, ...head });
    if (!signed.ok) return signed;
    await this.#keepLast(proof.number, rotation, last);
    this.#passed('retired');
    const closed = read({ note: rotation.note, closed: { position: proof.position, head: signed.note } });
    await this.#write(this.#rotations.with(-1, closed));
    this.#current = this.#next as SigningKeys;
    this.#next = null;
    this.#isSettled = false;
    this.#passed('closed');
    this.#replaceKey();
    this.#passed('replaced');
    return { ok: true, rotation: closed };
  }

  #noteOf(next: SigningKeys, name: string, sizes: ReadonlyMap<string, bigint>): Uint8Array {
    const origin = treeOrigin(name, 'heads', 0);
    const [old, other] = [this.#current, next].map(({ publicKeys }) =>
      verifierKey(origin, 'ed25519', publicKeys[0]),
    );
    const signers: NoteSigner[] = [this.#current, next].flatMap((keys) => [...keys.signersOf(origin)]);
    return signNote(formatKeyRotation({ old, next: other, sizes }), signers);
  }

  /** Heads that may be asked for once more, after a crash or a recovery, when the key that signs them is gone. */
  async #keepLast(
    number: number,
    { text }: ReadRotation,
    last: ReadonlyMap<string, SignedHead>,
  ): Promise<void> {
    const lines: string[] = [];
    for (const [origin, bound] of text.sizes) {
      const head = last.get(origin);
      const signed = head?.size === bound ? this.sign({ origin, ...head }) : null;
      if (signed?.ok === true) lines.push(`${origin} ${toBase64(signed.note)}\n`);
    }
    await replaceFileDurably(join(this.#folder, `retired.${number}`), lines.join(''), 0o600);
  }

  #kept({ origin, size, root }: TreeHead): Signature {
    const closed = this.#rotations.filter(({ heads }) => heads !== null);
    const notes = closed.at(-1)?.heads?.origin === origin ? [closed.at(-1)?.closed?.head] : [];
    const text = readIfThere(join(this.#folder, `retired.${closed.length}`)) ?? '';
    const line = text.split('\n').find((one) => one.startsWith(`${origin} `));
    for (const note of [
      ...notes,
      line === undefined ? undefined : fromBase64(line.slice(origin.length + 1)),
    ]) {
      const parsed = note ? parseNote(note) : null;
      const head = parsed?.ok === true ? parseTreeHead(parsed.value.text) : null;
      if (note && head?.ok === true && head.value.size === size && equalBytes(head.value.root, root))
        return { ok: true, note };
    }
    return refused(`the head of size ${size} of ${origin} was signed by a key that is no more`);
  }

  #holderOf(key: VerifierKey): SigningKeys {
    return this.#next !== null && isKey(this.#next, key) ? this.#next : this.#current;
  }

  async #write(rotations: readonly ReadRotation[]): Promise<void> {
    try {
      await replaceFileDurably(join(this.#folder, 'rotations'), formatRotations(rotations), 0o600);
    } catch (error) {
      this.#fault = storageFault(error, this.#folder, 'remember a rotation');
      throw this.#fault;
    }
    this.#rotations = rotations;
  }

  #replaceKey(): void {
    renameSync(join(this.#folder, 'key.next'), join(this.#folder, 'key'));
    syncDirectory(this.#folder);
    this.#isSettled = true;
  }
}

function refused(reason: string): { ok: false; reason: string } {
  return { ok: false, reason };
}

function read(rotation: SignerRotation): ReadRotation {
  const parsed = readRotation(rotation);
  if (!parsed.ok)
    throw new EvidentError('signer-refused', `the rotation can't be read back: ${parsed.reason}`);
  return parsed.value;
}

function isKey({ publicKeys }: SigningKeys, key: VerifierKey): boolean {
  return equalBytes(publicKeys[0], key.publicKey);
}

/** The key that a rotation names, in `key.next` or already in `key`. @throws key-mismatch */
function openKey(folder: string, key: VerifierKey): SigningKeys {
  for (const file of ['key.next', 'key'] as const) {
    if (!existsSync(join(folder, file))) continue;
    const found = SigningKeys.open(folder, false, file);
    if (isKey(found, key)) return found;
  }
  throw new EvidentError(
    'key-mismatch',
    `${folder} does not hold the key ${key.keyId} that its rotations name`,
  );
}

function readRotations(folder: string): ReadRotation[] {
  const path = join(folder, 'rotations');
  const text = readIfThere(path);
  if (text === null) return [];
  const parsed = parseRotations(text);
  if (!parsed.ok)
    throw new EvidentError('signer-refused', `${path} holds no rotations of a signer: ${parsed.reason}`);
  return parsed.value;
}

/** Why a record is not shown to be in the log heads, or null. */
function refuteProof(
  { note, text }: ReadRotation,
  { origin, leaf, position, proof }: RotationProof,
  head: SignedHead | undefined,
): string | null {
  const name = text.old.name.slice(0, -'/heads/0'.length);
  const tree = treeOfOrigin(name, origin);
  if (tree?.log !== 'heads' || tree.partition !== 0 || text.sizes.has(origin))
    return `the record of a rotation does not stand in ${origin}`;
  if (head === undefined) return `the signer remembers no head of ${origin}`;
  const fields = parseLeaf(leaf);
  const placed = fields === null ? null : rotationOfLeaf({ leaf: fields, head: { origin, size: head.size } });
  if (placed?.ok !== true || placed.value.position !== position || !equalBytes(placed.value.note, note))
    return 'the leaf is not that of the record of this rotation';
  const { size, root } = head;
  const verdict = verifyInclusion({
    index: position,
    size,
    leafHash: hashLeaf(leaf),
    root,
    proof: [...proof],
  });
  return verdict === 'ok' ? null : `the record is not shown to be in ${origin} at size ${size}: ${verdict}`;
}
