/**
 * The rotations of a signer's key, as they are written down. One text, replaced whole:
 *
 *   evident/signer-rotations/v1
 *   rotation <note, base64> <position> <head, base64>     one a rotation, oldest first; both - while it is open
 *   sha256 <hex of all bytes above>
 *
 * A rotation is open from its note on, and closed when heads/0 is shown to include its record. Only the last can be open.
 */

import { encodeUtf8, fromBase64, toBase64, toHex } from '@evident/core/bytes.ts';
import { parseDecimal, parseTreeHead } from '@evident/core/checkpoint.ts';
import { boundOf } from '@evident/core/evidence/key-history.ts';
import {
  type KeyRotationText,
  parseKeyRotation,
  ROTATION_BYTES_MAX,
} from '@evident/core/evidence/key-rotation.ts';
import { parseNote, type VerifierKey } from '@evident/core/note.ts';
import { parseOrigin } from '@evident/core/origin.ts';
import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { SignedHead, SignerRotation } from '../seal/ports.ts';
import { treeOfOrigin } from './rule.ts';

const HEADER = 'evident/signer-rotations/v1';
/** One signer hands over no more often: a stolen data node that asks on and on is stopped here. */
export const SIGNER_ROTATIONS_MAX = 60;
/** Most bytes of a file of rotations: each note in base64, and some more. */
const ROTATIONS_BYTES_MAX = SIGNER_ROTATIONS_MAX * 2 * ROTATION_BYTES_MAX;

/** A rotation with what its note says; signatures are not looked at: the signer made them. */
export interface ReadRotation extends SignerRotation {
  readonly text: KeyRotationText;
  /** The tree that the record stands in and its last size under the old key; null while the rotation is open. */
  readonly heads: { readonly origin: string; readonly size: bigint } | null;
}

export function formatRotations(rotations: readonly SignerRotation[]): string {
  const lines = rotations.map(({ note, closed }) => {
    const end = closed === null ? '- -' : `${closed.position} ${toBase64(closed.head)}`;
    return `rotation ${toBase64(note)} ${end}\n`;
  });
  const text = `${HEADER}\n${lines.join('')}`;
  return `${text}sha256 ${toHex(sha256(encodeUtf8(text)))}\n`;
}

/** Reads what `formatRotations` writes; refused if it is cut, changed or of another version. */
export function parseRotations(text: string): Parsed<ReadRotation[]> {
  if (text.length > ROTATIONS_BYTES_MAX) return refuse(`it is larger than ${ROTATIONS_BYTES_MAX} bytes`);
  const lines = text.split('\n');
  if (lines.pop() !== '' || lines.length < 2) return refuse('it is cut off');
  const sum = lines.pop() as string;
  const summed = text.slice(0, text.length - sum.length - 1);
  if (sum !== `sha256 ${toHex(sha256(encodeUtf8(summed)))}`)
    return refuse('its last line is not the checksum of its lines');
  if (lines.shift() !== HEADER) return refuse(`its first line is not ${HEADER}`);
  if (lines.length > SIGNER_ROTATIONS_MAX) return refuse(`it has over ${SIGNER_ROTATIONS_MAX} rotations`);
  const rotations: ReadRotation[] = [];
  for (const [index, line] of lines.entries()) {
    const rotation = parseLine(line);
    if (!rotation.ok) return rotation;
    if (rotation.value.closed === null && index < lines.length - 1)
      return refuse('a rotation before the last one is open');
    rotations.push(rotation.value);
  }
  return accept(rotations);
}

function parseLine(line: string): Parsed<ReadRotation> {
  const [word, noteText = '', positionText = '', headText = '', ...rest] = line.split(' ');
  const note = fromBase64(noteText);
  if (word !== 'rotation' || rest.length > 0 || note === null) return refuse('a line is no rotation');
  if (positionText === '-' && headText === '-') return readRotation({ note, closed: null });
  const position = parseDecimal(positionText);
  const head = fromBase64(headText);
  if (position === null || head === null) return refuse('a line is no rotation');
  return readRotation({ note, closed: { position, head } });
}

/** Reads the texts of a rotation. Its signatures are another matter. */
export function readRotation(rotation: SignerRotation): Parsed<ReadRotation> {
  const note = parseNote(rotation.note);
  const text = note.ok ? parseKeyRotation(note.value.text) : note;
  if (!text.ok) return text;
  if (rotation.closed === null) return accept({ ...rotation, text: text.value, heads: null });
  const closing = parseNote(rotation.closed.head);
  const head = closing.ok ? parseTreeHead(closing.value.text) : closing;
  if (!head.ok) return head;
  const { origin, size } = head.value;
  return accept({ ...rotation, text: text.value, heads: { origin, size } });
}

/** The tree that a rotation's record is to stand in: the newest of the log heads that has a head. Null: there is none. */
export function headsTreeOf(name: string, last: ReadonlyMap<string, SignedHead>): string | null {
  let found: { origin: string; epoch: number } | null = null;
  for (const [origin, { size }] of last) {
    const tree = treeOfOrigin(name, origin);
    if (tree?.log !== 'heads' || tree.partition !== 0 || size === 0n) continue;
    if (found === null || tree.epoch > found.epoch) found = { origin, epoch: tree.epoch };
  }
  return found?.origin ?? null;
}

/** The sizes that a rotation fixes: of every tree but that of its record the head that is remembered at this moment. */
export function sizesOf(
  last: ReadonlyMap<string, SignedHead>,
  headsOrigin: string,
): ReadonlyMap<string, bigint> {
  const heads = [...last].filter(([origin, { size }]) => origin !== headsOrigin && size > 0n);
  return new Map(heads.map(([origin, { size }]) => [origin, size]));
}

/** Which keys sign a head. */
type Signing =
  | { readonly by: 'keys'; readonly keys: readonly VerifierKey[] }
  /** A key that is no more: what it signed last was kept. */
  | { readonly by: 'kept' };

/**
 * Which keys sign the head of a size of a tree.
 *
 *   no rotation, or closed and above its size     the key in use
 *   closed, at or below its size                  the key before, which is no more
 *   open, above its size                          both: whoever knows nothing of the rotation yet goes by the old one
 *   open, else, and the log heads                 the old key
 */
export function signingOf(
  rotations: readonly ReadRotation[],
  first: VerifierKey,
  origin: string,
  size: bigint,
): Signing {
  const last = rotations.at(-1);
  if (last === undefined) return { by: 'keys', keys: [first] };
  const { old, next, sizes } = last.text;
  const name = parseOrigin(old.name)?.name as string;
  if (last.heads !== null) {
    const bound = boundOf(name, { heads: last.heads, sizes }, origin);
    return bound === null || size <= bound ? { by: 'kept' } : { by: 'keys', keys: [next] };
  }
  const before = rotations.at(-2);
  const bound = before?.heads
    ? boundOf(name, { heads: before.heads, sizes: before.text.sizes }, origin)
    : -1n;
  if (bound === null || size <= bound) return { by: 'kept' };
  const isAbove = size > (sizes.get(origin) ?? -1n) && treeOfOrigin(name, origin)?.log !== 'heads';
  return { by: 'keys', keys: isAbove ? [old, next] : [old] };
}
