/**
 * One witness as an `Anchorer` (C2SP tlog-witness, `add-checkpoint`): it is given a head of heads/0 and the proof that
 * this follows from the last that it cosigned, and answers with a cosignature.
 *
 * ```
 *   ask from the size that we know ──200──► verify ──► anchored
 *     │ 409 with another size: ask once more, from there
 *     ├ 409 with a larger size than we hold, 409 without one, 422 ──► refused: another history
 *     └ 403, 404, 400, an answer that is none ──► refused;  429, 5xx, no answer ──► unreachable
 * ```
 *
 * The witness alone decides whether the head follows. What we do is to notice, at once, that it has seen another log.
 */

import { encodeUtf8, equalBytes } from '@evident/core/bytes.ts';
import { type CosignatureFunctions, verifyCosignature } from '@evident/core/cosignature.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { parseNote } from '@evident/core/note.ts';
import {
  formatAddCheckpoint,
  formatSignatureLine,
  parseCosignatureLines,
  parseKnownSize,
  SIZE_MEDIA_TYPE,
} from '@evident/core/tlog-witness.ts';
import { proveConsistency } from '../evidence/inclusion.ts';
import type { TileStore } from '../seal/ports.ts';
import type { AnchorAnswer, Anchorer, HeadToAnchor, NewestHead } from './ports.ts';
import type { DeclaredWitness } from './witness-policy.ts';

/** What a witness answers over HTTP. */
export interface WitnessReply {
  readonly status: number;
  /** Without parameters, in lower case; null: none was given. */
  readonly mediaType: string | null;
  readonly body: Uint8Array;
  /** What `Retry-After` says; null: nothing. */
  readonly retryAfterMs: number | null;
}

/**
 * Posts a request to `<url>/add-checkpoint`. Bounded in time and bytes; follows no redirect. Implemented in
 * `stores/witness-http`. @throws when there is no answer
 */
export type AskWitness = (url: string, request: Uint8Array, signal: AbortSignal) => Promise<WitnessReply>;

export interface WitnessAnchorerDeps {
  readonly ask: AskWitness;
  readonly tiles: TileStore;
  readonly newestHead: NewestHead;
  /** Size of the newest head of a tree that this witness is known to have cosigned; 0: none. */
  readonly cosigned: (epoch: number, by: string) => Promise<bigint>;
  readonly signatures: CosignatureFunctions;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
}

/** A cosignature from further ahead is refused: a checker may do so, and then it would be worth nothing. */
const AHEAD_SECONDS_MAX = 600n;
/** Characters of a reason that a witness gives, which stand in an alert. */
const REASON_LENGTH_MAX = 200;

export function witnessAnchorer(
  deps: WitnessAnchorerDeps,
  witness: DeclaredWitness,
  everySeconds: number,
): Anchorer {
  return {
    kind: 'cosignature',
    name: witness.key.name,
    everySeconds,
    anchor: (head, signal) => askForCosignature(deps, witness, head, signal),
  };
}

async function askForCosignature(
  deps: WitnessAnchorerDeps,
  witness: DeclaredWitness,
  head: HeadToAnchor,
  signal: AbortSignal,
): Promise<AnchorAnswer> {
  const known = await deps.cosigned(head.epoch, witness.key.name);
  let from = known < head.size ? known : head.size;
  for (let asked = 1; asked <= 2; asked++) {
    const reply = await deps.ask(witness.url, await requestFrom(deps, head, from), signal);
    const size = reply.status === 409 ? knownSize(reply) : null;
    if (size === null) return readReply(deps, witness, head, from, reply);
    if (size > head.size) return largerSeen(deps, head, size);
    if (size === from) return refused(`it says that it knows size ${size}, from which it was asked`);
    from = size;
  }
  return unreachable('its last head changed while it was asked; somebody else asks it, too');
}

/** @throws evidence-broken when our own tiles don't lead to the head: then nobody is asked */
async function requestFrom(
  { tiles }: WitnessAnchorerDeps,
  head: HeadToAnchor,
  from: bigint,
): Promise<Uint8Array> {
  const request = { oldSize: from, treeHead: head.note };
  if (from === 0n || from === head.size) return formatAddCheckpoint({ ...request, proof: [] });
  const tree = { log: 'heads', partition: 0, epoch: head.epoch };
  const { root2, proof } = await proveConsistency({ tiles }, tree, from, head.size);
  if (!equalBytes(root2, head.root))
    throw new EvidentError(
      'evidence-broken',
      `the tiles of ${head.origin} do not give the root of its head of size ${head.size}`,
      { context: { log: 'heads', partition: 0 } },
    );
  return formatAddCheckpoint({ ...request, proof });
}

function knownSize({ mediaType, body }: WitnessReply): bigint | null {
  return mediaType === SIZE_MEDIA_TYPE ? parseKnownSize(body) : null;
}

/** Another process of this log may have been faster; what is stored now decides. */
async function largerSeen(
  { newestHead }: WitnessAnchorerDeps,
  { epoch, size: ours }: HeadToAnchor,
  seen: bigint,
): Promise<AnchorAnswer> {
  const newest = await newestHead();
  if (newest !== null && (newest.epoch > epoch || (newest.epoch === epoch && newest.size >= seen)))
    return unreachable('another process has asked it for a newer head');
  return refused(
    `it has cosigned a head of size ${seen}, larger than ours of ${ours}: this is an older copy of the log, or a fork of it`,
  );
}

async function readReply(
  deps: WitnessAnchorerDeps,
  witness: DeclaredWitness,
  head: HeadToAnchor,
  from: bigint,
  reply: WitnessReply,
): Promise<AnchorAnswer> {
  const { status, retryAfterMs } = reply;
  switch (status) {
    case 200:
      return readCosignature(deps, witness, head, reply.body);
    case 409:
      return refused(`it has cosigned another root of size ${head.size}: the log was forked${said(reply)}`);
    case 422:
      return refused(
        `the head of size ${head.size} does not follow from what it cosigned at size ${from}: the log was forked, or was put back and went on otherwise${said(reply)}`,
      );
    case 404:
      return refused(`it knows no log ${head.origin}, or its address is another${said(reply)}`);
    case 403:
      return refused(`it does not trust the key that signed the head${said(reply)}`);
    default: {
      const reason = `it answered with status ${status}${said(reply)}`;
      if (status === 429 || status >= 500) return { kind: 'unreachable', reason, retryAfterMs };
      return { kind: 'refused', reason, retryAfterMs };
    }
  }
}

/** What the answer says in words, made fit to stand in a message. */
function said({ mediaType, body }: WitnessReply): string {
  if (mediaType !== 'text/plain') return '';
  const text = new TextDecoder()
    .decode(body.subarray(0, 4 * REASON_LENGTH_MAX))
    .replace(/[^\x20-\x7e]+/g, ' ');
  return text.trim() === '' ? '' : ` (it says: ${text.trim().slice(0, REASON_LENGTH_MAX)})`;
}

/** Of all lines that came only one of the key that we hold counts; one bad line of that key spoils the answer. */
async function readCosignature(
  { signatures, clock }: WitnessAnchorerDeps,
  { key }: DeclaredWitness,
  head: HeadToAnchor,
  body: Uint8Array,
): Promise<AnchorAnswer> {
  const note = parseNote(head.note);
  if (!note.ok) throw new EvidentError('evidence-broken', `the head of ${head.origin}: ${note.reason}`);
  const lines = parseCosignatureLines(note.value.text, body);
  if (!lines.ok) return refused(`its answer is none: ${lines.reason}`);
  let newest: { readonly timestamp: bigint; readonly line: string } | null = null;
  for (const { name, keyId, signature } of lines.value) {
    if (name !== key.name || keyId !== key.keyId) continue;
    const verified = await verifyCosignature(key, note.value.text, signature, signatures);
    if (!verified.ok) return refused(verified.reason);
    const { timestamp } = verified.value;
    if (newest === null || timestamp > newest.timestamp)
      newest = { timestamp, line: formatSignatureLine(name, keyId, signature) };
  }
  if (newest === null) return refused('it signed with none but other keys than the one that we hold');
  if (newest.timestamp > clock() / 1_000_000n + AHEAD_SECONDS_MAX)
    return refused(
      `its cosignature is of second ${newest.timestamp}, which is yet to come: its clock, or ours, is wrong`,
    );
  return { kind: 'anchored', bytes: encodeUtf8(newest.line), at: newest.timestamp * 1_000_000n };
}

function refused(reason: string): AnchorAnswer {
  return { kind: 'refused', reason, retryAfterMs: null };
}

function unreachable(reason: string): AnchorAnswer {
  return { kind: 'unreachable', reason, retryAfterMs: null };
}
