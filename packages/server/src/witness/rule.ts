/** What a witness answers to a request (C2SP tlog-witness): decided here, from the request and what it remembers. */

import { equalBytes } from '@evident/core/bytes.ts';
import { openTreeHead, parseTreeHead, type TreeHead } from '@evident/core/checkpoint.ts';
import { verifyConsistency } from '@evident/core/merkle/proof.ts';
import { type AddCheckpoint, parseAddCheckpoint } from '@evident/core/tlog-witness.ts';
import type { FollowedLogs, WitnessedHead } from './ports.ts';

/** A request that a log of ours has signed: only these are held against the memory. */
export interface SignedRequest extends AddCheckpoint {
  readonly head: TreeHead;
  /** Text of the note: what is cosigned. */
  readonly text: string;
}

/** An answer with one of the statuses that the specification names; the reason is for a person. */
export interface Refused {
  readonly status: 400 | 403 | 404 | 409 | 422;
  readonly reason: string;
  /** The size that the witness knows, where that is the answer. */
  readonly knownSize?: bigint;
  /** Two heads of one size that the log has signed: proof of a fork, for everybody. */
  readonly isFork?: boolean;
}

/** Reads a request and verifies who sent it. */
export function readRequest(
  logs: FollowedLogs,
  body: Uint8Array,
): SignedRequest | { readonly refused: Refused } {
  const refuse = (status: Refused['status'], reason: string) => ({ refused: { status, reason } });
  const parsed = parseAddCheckpoint(body);
  if (!parsed.ok) return refuse(400, parsed.reason);
  const { note, ...request } = parsed.value;
  const head = parseTreeHead(note.text);
  if (!head.ok) return refuse(400, head.reason);
  const { origin } = head.value;
  const verifiers = logs.get(origin);
  if (verifiers === undefined) return refuse(404, 'no log of this origin is followed here');
  const opened = openTreeHead(request.treeHead, verifiers, origin);
  return opened.ok ? { ...request, head: opened.value.head, text: note.text } : refuse(403, opened.reason);
}

/** @returns null: the head follows from all that was cosigned before */
export function refusalOf(last: WitnessedHead | null, request: SignedRequest): Refused | null {
  const { head, oldSize, proof } = request;
  if (oldSize > head.size)
    return { status: 400, reason: `the old size ${oldSize} is above that of the head, ${head.size}` };
  const known = last?.size ?? 0n;
  if (oldSize !== known)
    return { status: 409, reason: `the last head that was cosigned has size ${known}`, knownSize: known };
  if (last === null || known === 0n) {
    if (proof.length === 0) return null;
    return { status: 422, reason: 'nothing is to be proven from size 0 on, and the proof is not empty' };
  }
  if (known === head.size && !equalBytes(last.root, head.root)) {
    const reason = `the log has signed two roots of size ${known}: this one, and the one that was cosigned`;
    return { status: 409, reason, isFork: true };
  }
  const verdict = verifyConsistency({
    size1: known,
    size2: head.size,
    root1: last.root,
    root2: head.root,
    proof,
  });
  return verdict === 'ok'
    ? null
    : { status: 422, reason: `the consistency proof does not hold (${verdict})` };
}
