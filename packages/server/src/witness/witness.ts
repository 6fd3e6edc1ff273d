/**
 * The witness: it cosigns a head if that follows from all it has cosigned of the log before, and remembers it first.
 *
 * Two requests of the same moment (the race that tlog-witness describes) go one after the other: each is held against
 * what the one before it made durable, so the memory never goes back. What a death leaves at each step:
 *
 *   1 held against the memory     nothing
 *   2 remembered, durably         a head that is remembered, and cosigned for nobody: the log asks again, is told
 *                                 its size (409), and gets the cosignature of that head or of one that follows
 *   3 cosigned, and answered      the same, or a cosignature of what is remembered
 *
 * It is step 2 before each step 3, also where the same head is asked for again: after a failed write nobody knows what
 * a restart would find, and only what was written whole since then may be signed.
 */

import { cosignatureMessage, formatTimestampedSignature } from '@evident/core/cosignature.ts';
import { formatSignatureLine } from '@evident/core/tlog-witness.ts';
import type { CosignatureKey, FollowedLogs, WitnessMemory } from './ports.ts';
import { type Refused, readRequest, refusalOf, type SignedRequest } from './rule.ts';

/** Requests that wait for their turn; a turn takes two fsyncs. */
export const WAITING_MAX = 64;

export interface WitnessDeps {
  readonly logs: FollowedLogs;
  readonly memory: WitnessMemory;
  readonly key: CosignatureKey;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  /** Told of each step, so that a test can wait or end the process there. */
  readonly passed?: (step: 'read' | 'checked' | 'remembered' | 'cosigned') => void | Promise<void>;
}

export type WitnessAnswer =
  | { readonly kind: 'cosigned'; readonly lines: string; readonly origin: string; readonly size: bigint }
  | { readonly kind: 'refused'; readonly refused: Refused; readonly request: SignedRequest | null }
  /** Too many wait. */
  | { readonly kind: 'busy' };

export class Witness {
  readonly #deps: WitnessDeps;
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(deps: WitnessDeps) {
    this.#deps = deps;
  }

  /**
   * Answers one request (tlog-witness, `add-checkpoint`).
   * @throws data-unwritable, disk-full: nothing was cosigned
   */
  async add(body: Uint8Array): Promise<WitnessAnswer> {
    const request = readRequest(this.#deps.logs, body);
    if ('refused' in request) return { kind: 'refused', refused: request.refused, request: null };
    await this.#deps.passed?.('read');
    // Only who holds a log's key gets here: strangers fill no queue.
    if (this.#waiting >= WAITING_MAX) return { kind: 'busy' };
    this.#waiting++;
    const turn = this.#turn.then(() => this.#addNow(request));
    this.#turn = turn.catch(() => undefined);
    return turn.finally(() => this.#waiting--);
  }

  async #addNow(request: SignedRequest): Promise<WitnessAnswer> {
    const { memory, key, clock, passed } = this.#deps;
    const { head, text, treeHead } = request;
    const last = memory.last(head.origin);
    const refused = refusalOf(last, request);
    if (refused !== null) return { kind: 'refused', refused, request };
    await passed?.('checked');
    // A cosignature says "the largest that I have seen at this time": the time never goes back, whatever the clock does.
    const now = clock() / 1_000_000n;
    const at = last !== null && last.at > now ? last.at : now;
    await memory.replace(head.origin, { size: head.size, root: head.root, at, note: treeHead });
    await passed?.('remembered');
    const signature = key.sign(cosignatureMessage(key.key, text, at));
    const { name, keyId } = key.key;
    const lines = formatSignatureLine(name, keyId, formatTimestampedSignature(at, signature));
    await passed?.('cosigned');
    return { kind: 'cosigned', lines, origin: head.origin, size: head.size };
  }
}
