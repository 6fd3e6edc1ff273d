/**
 * The note by which one key hands over to the next: the body of a record `key.rotation` in heads/0 (design §5).
 *
 *   evident/key-rotation/v1
 *   <vkey of the old key, named <name>/heads/0>
 *   <vkey of the new key, under the same name>
 *   <origin> <size>                              one a tree, ascending by origin, by code unit
 *
 *   — <name>/heads/0 <signature of the old key>
 *   — <name>/heads/0 <signature of the new key>
 *
 * Heads of a tree above its size are signed by the new key; a tree that is not listed had no head, and begins with the
 * new key. The tree that the record itself stands in is not listed: the old key signs it through the head that the
 * record is proven under, and no size of that could be known before.
 */

import { toHex } from '../bytes.ts';
import { parseDecimal } from '../checkpoint.ts';
import { derivedId } from '../derived-id.ts';
import {
  formatVkey,
  openNoteWith,
  parseVkey,
  type SignatureFunctions,
  signatureCheckOf,
  type VerifierKey,
} from '../note.ts';
import { parseOrigin } from '../origin.ts';
import { accept, type Parsed, refuse } from '../parsed.ts';
import { BODY_INLINE_BASE64_BYTES_MAX } from '../record.ts';
import { sha256 } from '../sha256.ts';
import { compareText } from './manifest.ts';

const HEADER = 'evident/key-rotation/v1';
export const ROTATION_TYPE = 'key.rotation';
/** Most bytes of a rotation: it has to fit into the leaf of its record, so that it can be read from the leaf alone. */
export const ROTATION_BYTES_MAX = BODY_INLINE_BASE64_BYTES_MAX;

export interface KeyRotationText {
  /** Both are named `<name>/heads/0`. */
  readonly old: VerifierKey;
  readonly next: VerifierKey;
  /** By origin the size of the last head that the old key signs; above 0. */
  readonly sizes: ReadonlyMap<string, bigint>;
}

/** Whether a tree is one of an installation: directly, or as one that began anew (`<name>/r<epoch>/…`). @returns its log and epoch, or null */
export function treeOf(name: string, origin: string): { log: string; epoch: number } | null {
  const parsed = parseOrigin(origin);
  if (parsed === null || !parsed.name.startsWith(name)) return null;
  const rest = parsed.name.slice(name.length);
  if (rest === '') return { log: parsed.log, epoch: 0 };
  return /^\/r[1-9][0-9]{0,4}$/.test(rest) ? { log: parsed.log, epoch: Number(rest.slice(2)) } : null;
}

/** Writes the text, to be signed by both keys. @throws RangeError for what `parseKeyRotation` would refuse */
export function formatKeyRotation({ old, next, sizes }: KeyRotationText): string {
  const trees = [...sizes].sort(([a], [b]) => compareText(a, b)).map(([origin, size]) => `${origin} ${size}`);
  const text = [HEADER, formatVkey(old), formatVkey(next), ...trees].map((line) => `${line}\n`).join('');
  const parsed = parseKeyRotation(text);
  if (!parsed.ok) throw new RangeError(`this is no rotation: ${parsed.reason}`);
  return text;
}

/** Reads what `formatKeyRotation` writes, and nothing else. Its signatures are another matter: see `openKeyRotation`. */
export function parseKeyRotation(text: string): Parsed<KeyRotationText> {
  const lines = text.split('\n');
  if (lines.pop() !== '') return refuse('the last line of the rotation does not end with LF');
  if (lines.shift() !== HEADER) return refuse(`the rotation does not begin with ${HEADER}`);
  const [oldText = '', nextText = '', ...trees] = lines;
  const [old, next] = [parseVkey(oldText), parseVkey(nextText)];
  if (!old.ok) return refuse(`the old key: ${old.reason}`);
  if (!next.ok) return refuse(`the new key: ${next.reason}`);
  const { name: origin, keyId } = old.value;
  const parsed = parseOrigin(origin);
  if (parsed === null || parsed.log !== 'heads' || parsed.partition !== 0)
    return refuse(`the old key is named ${origin}, not <name>/heads/0`);
  if (next.value.name !== origin) return refuse('the two keys have different names');
  // A key id is a hint of four bytes: two keys of one id could not be told apart in a note.
  if (next.value.keyId === keyId) return refuse('the two keys have the same key id');
  const sizes = new Map<string, bigint>();
  let before = '';
  for (const line of trees) {
    const [tree = '', sizeText = '', ...rest] = line.split(' ');
    const size = parseDecimal(sizeText);
    if (size === null || size === 0n || rest.length > 0 || treeOf(parsed.name, tree) === null)
      return refuse(`a line of the rotation is no tree of ${parsed.name} with a size`);
    if (compareText(before, tree) >= 0)
      return refuse('the trees of the rotation are not in order, or one is listed twice');
    sizes.set(tree, size);
    before = tree;
  }
  return accept({ old: old.value, next: next.value, sizes });
}

/** Reads a rotation that both of its keys have signed, the old one first, and nobody else. Which keys they are is for the caller. */
export async function openKeyRotation(
  note: Uint8Array,
  signatures: SignatureFunctions,
): Promise<Parsed<KeyRotationText>> {
  if (note.length > ROTATION_BYTES_MAX)
    return refuse(`the rotation is larger than ${ROTATION_BYTES_MAX} bytes`);
  const keys = keysNamed(note);
  const rotation = keys === null ? refuse('the rotation is no signed note') : parseKeyRotation(keys.text);
  if (!rotation.ok) return rotation;
  const { old, next } = rotation.value;
  const opened = await openNoteWith(
    note,
    [old, next].map((key) => signatureCheckOf(key, signatures)),
  );
  if (!opened.ok) return opened;
  const [first, second, ...rest] = opened.value.signatures;
  const isSigned = rest.length === 0 && first?.keyId === old.keyId && second?.keyId === next.keyId;
  if (!isSigned || opened.value.verifiedBy.length !== 2)
    return refuse('the rotation is not signed by both of its keys, the old one first, and by them alone');
  return opened.value.text === keys?.text ? rotation : refuse('the rotation is no signed note');
}

/** The text of a note, before anything of it is verified: it names the keys that it must be signed by. */
function keysNamed(note: Uint8Array): { text: string } | null {
  const split = new TextDecoder().decode(note).lastIndexOf('\n\n');
  return split < 0 ? null : { text: new TextDecoder().decode(note).slice(0, split + 1) };
}

/** Id of the record that holds a rotation. */
export function rotationId(note: Uint8Array): string {
  return derivedId(`key.rotation:${toHex(sha256(note))}`);
}
