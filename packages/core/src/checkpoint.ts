/**
 * Tree heads: the signed size and root of one tree (C2SP tlog-checkpoint, which calls them checkpoints).
 *
 *   <origin> LF <size, decimal> LF <root, base64> LF      and in heads of others, perhaps, extension lines
 */
import { equalBytes, fromBase64, toBase64 } from './bytes.ts';
import { emptyRoot, HASH_BYTES, TREE_SIZE_MAX } from './merkle/tree.ts';
import { type OpenedNote, openNote, openNoteWith, type SignatureCheck, type Verifier } from './note.ts';
import { accept, type Parsed, refuse } from './parsed.ts';

export interface TreeHead {
  /** The name of the tree, unique among all trees. */
  origin: string;
  /** Leaves in the tree, 0 to 2^63 − 1. */
  size: bigint;
  /** The RFC 6962 root at that size. */
  root: Uint8Array;
  /** Opaque lines after the root. Evident writes none, since nobody can audit them. */
  extensions?: readonly string[];
}

/** A tree head whose signature was verified. */
export interface OpenedTreeHead<Known extends SignatureCheck = Verifier> {
  head: TreeHead;
  note: OpenedNote<Known>;
}

/**
 * Writes the text of a tree head, to be signed.
 * @throws RangeError for a head that `parseTreeHead` would refuse
 */
export function formatTreeHead(head: TreeHead): string {
  const lines = [head.origin, head.size.toString(), toBase64(head.root), ...(head.extensions ?? [])];
  const text = lines.map((line) => `${line}\n`).join('');
  const parsed = parseTreeHead(text);
  if (!parsed.ok) throw new RangeError(`this is no tree head: ${parsed.reason}`);
  // A line break inside of a field would be read back as other fields.
  if (parsed.value.origin !== head.origin || linesIn(text) !== lines.length) {
    throw new RangeError('a field of a tree head holds a line break');
  }
  return text;
}

function linesIn(text: string): number {
  return text.split('\n').length - 1;
}

/** Reads the text of a tree head. Its signature is another matter: see `openTreeHead`. */
export function parseTreeHead(text: string): Parsed<TreeHead> {
  const lines = text.split('\n');
  if (lines.pop() !== '') return refuse('the last line of the tree head does not end with LF');
  if (lines.length < 3) return refuse('the tree head has fewer than three lines');
  if (lines.includes('')) return refuse('the tree head has an empty line');
  const [origin, sizeText, rootText, ...extensions] = lines as [string, string, string, ...string[]];
  const size = parseDecimal(sizeText);
  if (size === null) return refuse('the size in the tree head is not a decimal number from 0 to 2^63-1');
  const root = fromBase64(rootText);
  if (root?.length !== HASH_BYTES) return refuse('the root in the tree head is not the base64 of 32 bytes');
  // Nothing can be proved about the empty tree, so a wrong root of it would never be found later.
  if (size === 0n && !equalBytes(root, emptyRoot())) return refuse('the root is not that of the empty tree');
  return accept(extensions.length === 0 ? { origin, size, root } : { origin, size, root, extensions });
}

/** Reads a size or an index: ASCII digits without leading zeros, at most 2^63 − 1; null for anything else. */
export function parseDecimal(text: string): bigint | null {
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(text)) return null;
  const value = BigInt(text);
  return value <= TREE_SIZE_MAX ? value : null;
}

/**
 * Opens a signed tree head of one tree.
 *
 * One of the good signatures must be by a key that is named as the origin: what tlog-checkpoint recommends is required
 * here, because otherwise a head that only a witness had signed would pass for one of the log.
 *
 * @param verifiers the keys of the log, and of witnesses if their signatures matter
 * @param origin the tree that is expected
 */
export function openTreeHead(
  note: Uint8Array,
  verifiers: readonly Verifier[],
  origin: string,
): Parsed<OpenedTreeHead> {
  const opened = openNote(note, verifiers);
  return opened.ok ? headOf(opened.value, origin) : opened;
}

/** `openTreeHead` with checks that may need time: the same rules. @throws whatever a check throws */
export async function openTreeHeadWith<Known extends SignatureCheck>(
  note: Uint8Array,
  checks: readonly Known[],
  origin: string,
): Promise<Parsed<OpenedTreeHead<Known>>> {
  const opened = await openNoteWith(note, checks);
  return opened.ok ? headOf(opened.value, origin) : opened;
}

function headOf<Known extends SignatureCheck>(
  note: OpenedNote<Known>,
  origin: string,
): Parsed<OpenedTreeHead<Known>> {
  const head = parseTreeHead(note.text);
  if (!head.ok) return head;
  if (head.value.origin !== origin) {
    return refuse(
      `the tree head is of ${JSON.stringify(head.value.origin)}, not of ${JSON.stringify(origin)}`,
    );
  }
  if (!note.verifiedBy.some((verifier) => verifier.name === origin)) {
    return refuse('no known key of the log itself has signed the tree head');
  }
  return accept({ head: head.value, note });
}
