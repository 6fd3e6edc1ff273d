/**
 * What a log and a witness say to each other (C2SP tlog-witness, `add-checkpoint`).
 *
 *   old <size> LF                        of the last head that the witness has cosigned, 0: none
 *   <base64 of 32 bytes> LF              0 to 63 times: the consistency proof from there to the head
 *   LF
 *   <tree head, a signed note, verbatim>
 *
 * The answer is one or more signature lines of that note, or, with status 409, the size that the witness knows and LF.
 */
import { concatBytes, decodeUtf8, encodeUtf8, equalBytes, fromBase64, toBase64 } from './bytes.ts';
import { parseDecimal } from './checkpoint.ts';
import { HASH_BYTES } from './merkle/tree.ts';
import { type Note, parseNote } from './note.ts';
import { accept, type Parsed, refuse } from './parsed.ts';

/** Most hashes of a consistency proof. */
export const CONSISTENCY_HASHES_MAX = 63;
/** Largest request: the specification names no bound, and a witness in use takes 10 KiB. */
export const ADD_CHECKPOINT_BYTES_MAX = 10 * 1024;
/** Of an answer with status 409. */
export const SIZE_MEDIA_TYPE = 'text/x.tlog.size';
/** Largest answer that is read: sixteen cosignatures of ML-DSA-44 fit. */
export const COSIGNATURES_BYTES_MAX = 64 * 1024;

export interface AddCheckpoint {
  /** Size of the last head that the witness has cosigned; 0: none. */
  readonly oldSize: bigint;
  /** From `oldSize` to the head (RFC 6962 §2.1.2); empty if one of the two is 0, or both are the same. */
  readonly proof: readonly Uint8Array[];
  /** The signed note of the head. */
  readonly treeHead: Uint8Array;
}

/** Writes a request. @throws RangeError for one that `parseAddCheckpoint` would refuse */
export function formatAddCheckpoint({ oldSize, proof, treeHead }: AddCheckpoint): Uint8Array {
  const lines = [`old ${oldSize}`, ...proof.map(toBase64), ''];
  const request = concatBytes([encodeUtf8(lines.map((line) => `${line}\n`).join('')), treeHead]);
  const parsed = parseAddCheckpoint(request);
  if (!parsed.ok) throw new RangeError(`no witness takes this request: ${parsed.reason}`);
  return request;
}

/** Reads the form of a request, the note's included, and verifies nothing. */
export function parseAddCheckpoint(bytes: Uint8Array): Parsed<AddCheckpoint & { readonly note: Note }> {
  if (bytes.length > ADD_CHECKPOINT_BYTES_MAX)
    return refuse(`a request has at most ${ADD_CHECKPOINT_BYTES_MAX} bytes`);
  const split = endOfLines(bytes);
  const text = split < 0 ? null : decodeUtf8(bytes.subarray(0, split));
  if (text === null) return refuse('the request has no empty line before the tree head');
  const [first = '', ...hashes] = text.split('\n');
  const oldSize = first.startsWith('old ') ? parseDecimal(first.slice('old '.length)) : null;
  if (oldSize === null) return refuse('the first line is not "old" and a decimal number from 0 to 2^63-1');
  if (hashes.length > CONSISTENCY_HASHES_MAX)
    return refuse(`the proof has more than ${CONSISTENCY_HASHES_MAX} hashes`);
  const proof: Uint8Array[] = [];
  for (const line of hashes) {
    const hash = fromBase64(line);
    if (hash?.length !== HASH_BYTES)
      return refuse(`hash ${proof.length + 1} of the proof is not base64 of 32 bytes`);
    proof.push(hash);
  }
  const treeHead = bytes.slice(split + 2);
  const note = parseNote(treeHead);
  return note.ok ? accept({ oldSize, proof, treeHead, note: note.value }) : note;
}

/** Where the LF stands that ends the last line before the empty one; −1: nowhere. */
function endOfLines(bytes: Uint8Array): number {
  for (let at = 0; at + 1 < bytes.length; at++) if (bytes[at] === 0x0a && bytes[at + 1] === 0x0a) return at;
  return -1;
}

/** The body of an answer with status 409. */
export function formatKnownSize(size: bigint): string {
  return `${size}\n`;
}

/** Reads the body of an answer with status 409; null unless it is a decimal number and LF. */
export function parseKnownSize(body: Uint8Array): bigint | null {
  const text = decodeUtf8(body);
  return text?.endsWith('\n') === true ? parseDecimal(text.slice(0, -1)) : null;
}

/**
 * Reads the signature lines of an answer with status 200, in their order. None of them is verified.
 * @param text of the note that was submitted
 */
export function parseCosignatureLines(text: string, body: Uint8Array): Parsed<Note['signatures']> {
  if (body.length > COSIGNATURES_BYTES_MAX)
    return refuse(`an answer has at most ${COSIGNATURES_BYTES_MAX} bytes`);
  const signed = encodeUtf8(text);
  const note = parseNote(concatBytes([signed, Uint8Array.of(0x0a), body]));
  if (!note.ok) return refuse(`these are no signature lines: ${note.reason}`);
  // Lines that hold an empty one would move the border between text and signatures.
  if (!equalBytes(encodeUtf8(note.value.text), signed)) return refuse('the answer holds an empty line');
  return accept(note.value.signatures);
}

/** One signature line of a note, with its LF: the answer of a witness. */
export function formatSignatureLine(name: string, keyId: string, signature: Uint8Array): string {
  return `— ${name} ${toBase64(concatBytes([Uint8Array.fromHex(keyId), signature]))}\n`;
}
