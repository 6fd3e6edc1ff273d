/** A head of heads/0 that the verifier has from elsewhere, held against the head of a bundle. */

import { equalBytes, fromBase64 } from '../bytes.ts';
import { openTreeHeadWith, parseDecimal } from '../checkpoint.ts';
import { isStrictJson } from '../json/scan.ts';
import { verifyConsistency } from '../merkle/proof.ts';
import { signatureCheckOf } from '../note.ts';
import { accept, type Parsed, refuse } from '../parsed.ts';
import { headPaths } from './bundle-layout.ts';
import { type CheckContext, type CheckedHead, sizeOfHead } from './check-heads.ts';

const CONSISTENCY_BYTES_MAX = 64 * 1024;
/** Hashes in a proof between trees of up to 2^63 − 1 leaves. */
const PROOF_HASHES_MAX = 64;
const CR = 0x0d;

export interface KnownHead {
  /** A signed note; cosignatures may stand on it. */
  readonly head: Uint8Array;
  /** What `GET /v1/logs/heads/partitions/0/consistency` answers for the two sizes, if they differ. */
  readonly consistency?: Uint8Array | undefined;
}

/**
 * Findings say what contradicts, or what is missing to compare the two.
 * @returns the size of the head that the verifier holds, if it is of the same log; null after a finding
 */
export async function checkKnownHead(
  context: CheckContext,
  head: CheckedHead,
  { head: note, consistency }: KnownHead,
): Promise<bigint | null> {
  const notChecked = (detail: string): null => {
    context.findings.notChecked(path, 'known-head', detail);
    return null;
  };
  const path = headPaths(head.origin, head.size).checkpoint;
  const known = await openKnownHead(context, note, head.origin);
  if (!known.ok) {
    const hint = note.includes(CR) ? '; it has line ends CR LF: get it again as it was signed, with LF' : '';
    return notChecked(`the head that you hold: ${known.reason}${hint}`);
  }
  const { size, root } = known.value;
  if (size === head.size) {
    if (equalBytes(root, head.root)) return size;
    const detail = `two heads of size ${size} have different roots: the log was forked`;
    context.findings.tampered(path, 'known-head', detail);
    return null;
  }
  // Every log follows from the empty one.
  if (size === 0n) return size;
  if (consistency === undefined) {
    return notChecked(
      `the head that you hold has size ${size}, the one of the bundle ${head.size}: it takes a consistency proof to compare them`,
    );
  }
  const proof = parseConsistency(consistency);
  if (proof === null) return notChecked('the consistency proof is none');
  const [before, behind] = size < head.size ? [known.value, head] : [head, known.value];
  if (proof.from !== before.size || proof.to !== behind.size) {
    return notChecked(
      `the consistency proof leads from size ${proof.from} to ${proof.to}, not from ${before.size} to ${behind.size}`,
    );
  }
  // Both roots are those that were signed: what the proof's sender says of them counts for nothing.
  const verdict = verifyConsistency({
    size1: before.size,
    size2: behind.size,
    root1: before.root,
    root2: behind.root,
    proof: proof.hashes,
  });
  if (verdict === 'ok') return size;
  // Anybody can spoil a proof: one that leads nowhere says nothing of the log.
  return notChecked(
    `this proof does not lead from the head of size ${before.size} to that of size ${behind.size} (${verdict}): get it again, from the log itself; if no proof does, the log was forked`,
  );
}

async function openKnownHead(
  { keys, signatures }: CheckContext,
  note: Uint8Array,
  origin: string,
): Promise<Parsed<CheckedHead>> {
  const size = sizeOfHead(note);
  const key = size === null ? null : keys.keyFor(origin, size);
  if (key === null) return refuse(`it is no tree head of ${origin}`);
  const opened = await openTreeHeadWith(note, [signatureCheckOf(key, signatures)], origin);
  if (!opened.ok) return opened;
  const { head, note: parsed } = opened.value;
  return accept({ origin, size: head.size, root: head.root, note, text: parsed.text });
}

/** {"origin","from":{"size","root"},"to":{"size","root"},"proof":["<base64>"…]}; only sizes and proof are taken. */
function parseConsistency(bytes: Uint8Array): { from: bigint; to: bigint; hashes: Uint8Array[] } | null {
  if (bytes.length > CONSISTENCY_BYTES_MAX || !isStrictJson(bytes)) return null;
  const json = JSON.parse(new TextDecoder().decode(bytes)) as {
    from?: { size?: unknown } | null;
    to?: { size?: unknown } | null;
    proof?: unknown;
  } | null;
  const sizes = [json?.from?.size, json?.to?.size].map((size) =>
    typeof size === 'string' ? parseDecimal(size) : null,
  );
  const texts: unknown = json?.proof;
  const [from, to] = sizes;
  if (from === null || to === null || from === undefined || to === undefined) return null;
  if (!Array.isArray(texts) || texts.length > PROOF_HASHES_MAX) return null;
  const hashes = texts.map((text: unknown) => (typeof text === 'string' ? fromBase64(text) : null));
  return hashes.includes(null) ? null : { from, to, hashes: hashes as Uint8Array[] };
}
