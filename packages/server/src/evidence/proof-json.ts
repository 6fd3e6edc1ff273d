/** A proof as it is written outside. */

import { toHex } from '@evident/core/bytes.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { vkeyAt } from './bundle-documents.ts';
import { type EvidenceDeps, HEADS_LOG, type SignedTreeHead } from './ports.ts';
import type { ProvenRecord } from './prove-record.ts';

/** Sizes and positions are decimal strings. */
export interface ProofJson {
  readonly log: string;
  readonly partition: number;
  readonly position: string;
  readonly leaf: string;
  /** SHA-256(0x00 ‖ leaf), hexadecimal. */
  readonly leaf_hash: string;
  readonly origin: string;
  readonly size: string;
  /** The key that signed the head of that size. */
  readonly vkey: string;
  /** C2SP tlog-proof. */
  readonly proof: string;
  /** Null: no head of heads/0 covers the head above yet, or the record is one of heads/0 itself. */
  readonly anchored: {
    readonly leaf: string;
    readonly origin: string;
    readonly size: string;
    readonly vkey: string;
    readonly proof: string;
  } | null;
}

export async function proofJson(
  evidence: EvidenceDeps,
  { record, leaf, origin, head, proof, anchoring }: ProvenRecord,
): Promise<ProofJson> {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  // The newest head of heads/0 knows every key; before the first there was only one.
  const known = (anchoring?.top ?? (await evidence.heads.newest(HEADS_LOG, 0, null)))?.size ?? 0n;
  const vkey = (of: string, { size }: SignedTreeHead) => vkeyAt(evidence, of, size, known);
  const top = anchoring?.top;
  const topOrigin = top === undefined ? '' : epochOrigin(evidence.name, HEADS_LOG, 0, top.epoch);
  return {
    log: record.log,
    partition: record.partition,
    position: record.position.toString(),
    leaf: text(leaf),
    leaf_hash: toHex(hashLeaf(leaf)),
    origin,
    size: head.size.toString(),
    vkey: await vkey(origin, head),
    proof: text(proof),
    anchored:
      anchoring === null || top === undefined
        ? null
        : {
            leaf: text(anchoring.leaf),
            origin: topOrigin,
            size: top.size.toString(),
            vkey: await vkey(topOrigin, top),
            proof: text(anchoring.proof),
          },
  };
}
