/** What anchoring needs of others: heads of heads/0, whoever vouches for one, and where that is kept (design §5, T3 and T4). */

import type { HeadAnchor } from '../evidence/ports.ts';

export type AnchorKind = HeadAnchor['kind'];

/** A head of heads/0, as it was signed and stored. */
export interface HeadToAnchor {
  /** Which tree of heads/0: 0, and one more each time it began anew. */
  readonly epoch: number;
  readonly origin: string;
  readonly size: bigint;
  readonly root: Uint8Array;
  /** The signed note, by the log alone: the bytes that a token is over. */
  readonly note: Uint8Array;
}

/** The newest stored head of heads/0; null: none yet. @throws log-unavailable */
export type NewestHead = () => Promise<HeadToAnchor | null>;

export type AnchorAnswer =
  | {
      readonly kind: 'anchored';
      /** The RFC 3161 reply, or signature lines of a note, each with its LF; checked by whoever answers. */
      readonly bytes: Uint8Array;
      /** The time that it vouches for, by the clock of whoever does, in microseconds since the Unix epoch. */
      readonly at: bigint;
    }
  /** No answer, or one that says: not now. Asked again later. */
  | { readonly kind: 'unreachable'; readonly reason: string; readonly retryAfterMs: number | null }
  /**
   * An answer that must not be: a token over other data or of a stranger, a witness that has seen another history.
   * Nothing is stored, an alert is raised at once, and it is asked again later.
   */
  | { readonly kind: 'refused'; readonly reason: string; readonly retryAfterMs: number | null };

/** One authority or witness. */
export interface Anchorer {
  readonly kind: AnchorKind;
  /** Name of the authority, or of the witness's key. One per kind. */
  readonly name: string;
  /** Seconds from one anchor to the next, while there is news. */
  readonly everySeconds: number;
  /** Ends within a bound that it keeps itself, and at once when the signal says so. What it throws counts as unreachable. */
  anchor(head: HeadToAnchor, signal: AbortSignal): Promise<AnchorAnswer>;
}

/** An anchor as it is kept. */
export interface StoredAnchor extends HeadAnchor {
  readonly epoch: number;
  /** Of the head. */
  readonly size: bigint;
  /** As `AnchorAnswer` has it. */
  readonly at: bigint;
}

/** Bytes of one anchor: a token with its certificates has 2 to 8 KiB, a cosignature 200. */
export const ANCHOR_BYTES_MAX = 64 * 1024;
/** Characters of the name of who vouches. */
export const ANCHOR_NAME_MAX = 128;

/**
 * Anchors by head and name; what is stored is never changed. Implemented in `stores/postgres` and `stores/memory`.
 * @throws log-unavailable, outcome-unknown
 */
export interface AnchorStore {
  /** The newest head that somebody vouches for; null: none of this tree. */
  newest(
    epoch: number,
    kind: AnchorKind,
    by: string,
  ): Promise<{ readonly size: bigint; readonly at: bigint } | null>;
  /**
   * Stores one. The first stays: of two processes that asked at once one stores, and the other one's is forgotten.
   * @returns false when one of this head, kind and name is there
   * @throws not-found when heads/0 has no stored head of that size
   */
  put(anchor: StoredAnchor): Promise<boolean>;
  /** Of one head, sorted by kind and name: a bundle holds these. */
  of(epoch: number, size: bigint): Promise<readonly HeadAnchor[]>;
  /**
   * The newest head that at least `atLeast` of these vouch for; null: there is none. A bundle that is to hold every
   * wanted anchor ends in such a head.
   */
  newestWith(
    epoch: number,
    wanted: readonly { readonly kind: AnchorKind; readonly by: string }[],
    atLeast: number,
  ): Promise<bigint | null>;
  /** Stored, and not known to be in the log, oldest head first. */
  unlogged(limit: number): Promise<readonly StoredAnchor[]>;
  /** It stands at this position of heads/0. */
  markLogged(anchor: Pick<StoredAnchor, 'epoch' | 'size' | 'kind' | 'by'>, position: bigint): Promise<void>;
}
