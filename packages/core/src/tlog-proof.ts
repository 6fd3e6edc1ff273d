/**
 * Proofs that stand alone (C2SP tlog-proof v1): where an entry is, its inclusion proof, and the signed tree head.
 *
 *   c2sp.org/tlog-proof@v1 LF
 *   extra <base64> LF                    optional, and not authenticated
 *   index <decimal> LF
 *   <base64 of 32 bytes> LF              0 to 63 times, from the leaf's sibling up
 *   LF
 *   <tree head, a signed note, verbatim>
 */
import { concatBytes, decodeUtf8, encodeUtf8, fromBase64, toBase64 } from './bytes.ts';
import { openTreeHead, openTreeHeadWith, parseDecimal, parseTreeHead, type TreeHead } from './checkpoint.ts';
import { verifyInclusion } from './merkle/proof.ts';
import { HASH_BYTES } from './merkle/tree.ts';
import { NOTE_BYTES_MAX, parseNote, type SignatureCheck, type Verifier } from './note.ts';
import { accept, type Parsed, refuse } from './parsed.ts';

const FIRST_LINE = 'c2sp.org/tlog-proof@v1';
/** Hashes in a proof of the largest tree, 2^63 − 1 leaves. */
const PROOF_HASHES_MAX = 63;
/** Largest proof that is read: a note and as much again, most of which could only be extra data. */
export const TLOG_PROOF_BYTES_MAX = 2 * NOTE_BYTES_MAX;

export interface TlogProof {
  /** Position of the entry. */
  index: bigint;
  /** The inclusion proof, from the leaf's sibling up. */
  hashes: readonly Uint8Array[];
  /** The signed tree head, as the log gave it out. */
  treeHead: Uint8Array;
  /** Opaque data for the application, not empty. Nothing vouches for it. */
  extra?: Uint8Array | undefined;
}

/** What a proof has shown: the leaf stands at `index` of the tree that `head` describes. */
export interface ProvenPosition {
  index: bigint;
  head: TreeHead;
}

/** Writes a proof. @throws RangeError for one that `parseTlogProof` would refuse */
export function formatTlogProof({ index, hashes, treeHead, extra }: TlogProof): Uint8Array {
  const lines = [FIRST_LINE];
  if (extra !== undefined) lines.push(`extra ${toBase64(extra)}`);
  lines.push(`index ${index}`, ...hashes.map(toBase64), '');
  const proof = concatBytes([encodeUtf8(lines.map((line) => `${line}\n`).join('')), treeHead]);
  const parsed = parseTlogProof(proof);
  if (!parsed.ok) throw new RangeError(`this is no proof: ${parsed.reason}`);
  return proof;
}

/** Reads the form of a proof and verifies nothing. */
export function parseTlogProof(bytes: Uint8Array): Parsed<TlogProof> {
  if (bytes.length > TLOG_PROOF_BYTES_MAX) return refuse(`a proof has at most ${TLOG_PROOF_BYTES_MAX} bytes`);
  const split = findEmptyLine(bytes);
  if (split < 0) return refuse('the proof has no empty line before the tree head');
  const text = decodeUtf8(bytes.subarray(0, split));
  if (text === null) return refuse('the proof is not valid UTF-8');
  const lines = text.split('\n');
  if (lines.shift() !== FIRST_LINE) return refuse(`the first line of the proof is not ${FIRST_LINE}`);

  let extra: Uint8Array | undefined;
  if (lines[0]?.startsWith('extra ')) {
    extra = fromBase64(lines.shift()!.slice('extra '.length)) ?? undefined;
    if (extra === undefined || extra.length === 0) return refuse('the extra line is not base64 of some data');
  }
  const indexLine = lines.shift() ?? '';
  const index = indexLine.startsWith('index ') ? parseDecimal(indexLine.slice('index '.length)) : null;
  if (index === null) return refuse('the proof has no index line with a decimal number from 0 to 2^63-1');
  if (lines.length > PROOF_HASHES_MAX) return refuse(`the proof has more than ${PROOF_HASHES_MAX} hashes`);
  const hashes: Uint8Array[] = [];
  for (const line of lines) {
    const hash = fromBase64(line);
    if (hash?.length !== HASH_BYTES) return refuse(`hash ${hashes.length + 1} is not base64 of 32 bytes`);
    hashes.push(hash);
  }

  const treeHead = bytes.slice(split + 2);
  const note = parseNote(treeHead);
  if (!note.ok) return note;
  const head = parseTreeHead(note.value.text);
  if (!head.ok) return head;
  return accept({ index, hashes, treeHead, extra });
}

/** The offset of the first LF LF, or −1. */
function findEmptyLine(bytes: Uint8Array): number {
  let at = bytes.indexOf(0x0a);
  while (at >= 0 && bytes[at + 1] !== 0x0a) at = bytes.indexOf(0x0a, at + 1);
  return at;
}

/**
 * Verifies that a leaf stands in a tree that was signed for. The extra data is ignored: nothing vouches for it.
 * @param leafHash re-derived from the entry's bytes, never taken from the proof's sender
 * @param verifiers the keys of the log, and of witnesses if their signatures matter
 * @param origin the tree that is expected
 */
export function verifyTlogProof(
  proofBytes: Uint8Array,
  leafHash: Uint8Array,
  verifiers: readonly Verifier[],
  origin: string,
): Parsed<ProvenPosition> {
  const proof = parseTlogProof(proofBytes);
  if (!proof.ok) return proof;
  const opened = openTreeHead(proof.value.treeHead, verifiers, origin);
  return opened.ok ? proven(proof.value, leafHash, opened.value.head) : opened;
}

/** `verifyTlogProof` with checks that may need time: the same rules. @throws whatever a check throws */
export async function verifyTlogProofWith(
  proofBytes: Uint8Array,
  leafHash: Uint8Array,
  checks: readonly SignatureCheck[],
  origin: string,
): Promise<Parsed<ProvenPosition>> {
  const proof = parseTlogProof(proofBytes);
  if (!proof.ok) return proof;
  const opened = await openTreeHeadWith(proof.value.treeHead, checks, origin);
  return opened.ok ? proven(proof.value, leafHash, opened.value.head) : opened;
}

function proven({ index, hashes }: TlogProof, leafHash: Uint8Array, head: TreeHead): Parsed<ProvenPosition> {
  const verdict = verifyInclusion({ index, size: head.size, leafHash, root: head.root, proof: hashes });
  if (verdict !== 'ok') return refuse(`the inclusion proof fails: ${verdict}`);
  return accept({ index, head });
}
