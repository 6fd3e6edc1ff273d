/** Tree heads of a bundle: their signatures, and that heads/0 lists each of them. */

import { equalBytes, toBase64 } from '../bytes.ts';
import { formatTreeHead, openTreeHeadWith, parseTreeHead } from '../checkpoint.ts';
import type { CosignatureFunctions } from '../cosignature.ts';
import { headId } from '../derived-id.ts';
import { verifyInclusion } from '../merkle/proof.ts';
import { NOTE_BYTES_MAX, parseNote, type SignatureFunctions, signatureCheckOf } from '../note.ts';
import { type Parsed, refuse } from '../parsed.ts';
import { LEAF_BYTES_MAX, SYSTEM_SOURCE, SYSTEM_TENANT } from '../record.ts';
import { hashLeaf } from '../sha256.ts';
import { parseTlogProof, TLOG_PROOF_BYTES_MAX } from '../tlog-proof.ts';
import { headPaths } from './bundle-layout.ts';
import type { BundleReader } from './bundle-reader.ts';
import type { CheckFindings } from './check-report.ts';
import { formatHeadBody } from './head-body.ts';
import type { KeyHistory } from './key-history.ts';
import { parseLeaf } from './leaf-line.ts';
import type { BundleManifest } from './manifest.ts';

/** What every part of a check works with. */
export interface CheckContext {
  readonly manifest: BundleManifest;
  readonly files: BundleReader;
  readonly findings: CheckFindings;
  readonly keys: KeyHistory;
  readonly signatures: CosignatureFunctions;
}

/** A head whose signature was good. */
export interface CheckedHead {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Uint8Array;
  /** The signed note, as the log gave it out. */
  readonly note: Uint8Array;
  /** What the log has signed: the note without its signatures. */
  readonly text: string;
}

/** Opens a head that the log alone has signed. */
export async function openHead(
  note: Uint8Array,
  origin: string,
  size: bigint,
  keys: KeyHistory,
  signatures: SignatureFunctions,
): Promise<Parsed<CheckedHead>> {
  const key = keys.keyFor(origin, size);
  if (key === null) return refuse(`no key is known for ${origin} at size ${size}`);
  const opened = await openTreeHeadWith(note, [signatureCheckOf(key, signatures)], origin);
  if (!opened.ok) return opened;
  const { head, note: parsed } = opened.value;
  if (head.size !== size) return refuse(`the head has size ${head.size}, not ${size}`);
  if (parsed.signatures.length !== 1) return refuse('another signature than that of the log stands on it');
  if (formatTreeHead({ origin, size, root: head.root }) !== parsed.text) {
    return refuse('it holds lines that Evident does not write');
  }
  return { ok: true, value: { origin, size, root: head.root, note, text: parsed.text } };
}

/** Reads and opens a checkpoint file. @returns null after a finding */
export async function checkHead(
  { files, findings, keys, signatures }: CheckContext,
  origin: string,
  size: bigint,
): Promise<CheckedHead | null> {
  const path = headPaths(origin, size).checkpoint;
  const note = await files.whole(path, 'head', NOTE_BYTES_MAX);
  if (note === null) return null;
  const head = await openHead(note, origin, size, keys, signatures);
  if (head.ok) return head.value;
  findings.tampered(path, 'head', head.reason);
  return null;
}

/** Whether a proof shows a leaf at a position under exactly this head; else why not. */
export function refuteProof(
  proofBytes: Uint8Array,
  leafHash: Uint8Array,
  position: bigint,
  head: CheckedHead,
): string | null {
  const proof = parseTlogProof(proofBytes);
  if (!proof.ok) return proof.reason;
  const { index, hashes, treeHead, extra } = proof.value;
  if (extra !== undefined) return 'the proof holds extra data';
  if (!equalBytes(treeHead, head.note)) return 'the head in the proof is not the one of the bundle';
  if (index !== position) return `the proof is of position ${index}, not ${position}`;
  const verdict = verifyInclusion({ index, size: head.size, leafHash, root: head.root, proof: hashes });
  return verdict === 'ok' ? null : `the inclusion proof fails: ${verdict}`;
}

/** Checks that a record `head` of heads/0, below the head of the bundle, lists this head. */
export async function checkListed(
  { files, findings }: CheckContext,
  head: CheckedHead,
  headsHead: CheckedHead,
): Promise<void> {
  const paths = headPaths(head.origin, head.size);
  const leaf = await files.whole(paths.leaf, 'head-listed', LEAF_BYTES_MAX);
  const proof = await files.whole(paths.proof, 'head-listed', TLOG_PROOF_BYTES_MAX);
  if (leaf === null || proof === null) return;
  const position = positionOfListing(leaf, head);
  if (position === null) {
    findings.tampered(
      paths.leaf,
      'head-listed',
      'this is not the leaf of a record head that lists this head',
    );
    return;
  }
  const wrong = refuteProof(proof, hashLeaf(leaf), position, headsHead);
  if (wrong !== null) findings.tampered(paths.proof, 'head-listed', wrong);
}

function positionOfListing(leaf: Uint8Array, head: CheckedHead): bigint | null {
  const fields = parseLeaf(leaf);
  if (fields === null || fields.body === null) return null;
  const isListing =
    fields.log === 'heads' &&
    fields.partition === 0 &&
    fields.type === 'head' &&
    fields.schema === 0 &&
    fields.source === SYSTEM_SOURCE &&
    fields.tenant === SYSTEM_TENANT &&
    fields.key === SYSTEM_TENANT &&
    fields.id === headId(head.origin, head.size, toBase64(head.root)) &&
    equalBytes(fields.body, formatHeadBody(head));
  return isListing ? fields.position : null;
}

/** The size that a signed note says a tree has, before anything of it is verified: which key it needs depends on it. */
export function sizeOfHead(bytes: Uint8Array): bigint | null {
  const note = parseNote(bytes);
  const head = note.ok ? parseTreeHead(note.value.text) : note;
  return head.ok ? head.value.size : null;
}
