/** What sealing needs of others: leaves, tiles, stored heads and a signer (design §4, Seal). */

import type { TreeHead } from '@evident/core/checkpoint.ts';

/** Leaf hashes of consecutive positions. */
export interface LeafRun {
  /** Packed, 32 bytes each, of the positions from the one asked for on, without gaps. */
  readonly hashes: Uint8Array;
  /** The position at which a record was expected and another followed: a hole, which nobody but an attacker makes. */
  readonly holeAt: bigint | null;
}

/** The log, as leaf hashes derived from its bytes. */
export interface LeafReader {
  readLeafHashes(log: string, partition: number, from: bigint, limit: number): Promise<LeafRun>;
}

/**
 * Name under which the tiles of a tree are kept. A log's name holds no dot, so the tiles of a tree that began
 * anew never meet those of the one before it.
 */
export function tileLog(log: string, epoch: number): string {
  return epoch === 0 ? log : `${log}.r${epoch}`;
}

/** Hashes of one round, to be made durable together. */
export interface TileWrite {
  /** As `tileLog` gives it. */
  readonly log: string;
  readonly partition: number;
  /** Level-0 hashes: leaf hashes from a position on. */
  readonly leaves: { readonly from: bigint; readonly hashes: Uint8Array };
  /** Hashes of full tiles: tile level ≥ 1, index within the level. */
  readonly nodes: readonly { readonly level: number; readonly index: bigint; readonly hashes: Uint8Array }[];
  /** The chain after 256, 512, … records: `from` counts these marks. */
  readonly chain: { readonly from: bigint; readonly hashes: Uint8Array };
}

/**
 * Hashes by tile level and index. They are durable when `write` resolves. A write over what is there is the
 * same bytes again, after a crash. Beyond the stored head nothing here is trusted.
 */
export interface TileStore {
  write(writes: readonly TileWrite[]): Promise<void>;
  /** Packed hashes, or null when not all of them are there. */
  read(
    log: string,
    partition: number,
    level: number,
    index: bigint,
    count: number,
  ): Promise<Uint8Array | null>;
  /** Chain values after 256·(from+1), … records, or null when not all of them are there. */
  readChain(log: string, partition: number, from: bigint, count: number): Promise<Uint8Array | null>;
}

/** The head that sealing goes on from. */
export interface StoredHead {
  /** Which tree of the partition: 0, and one more each time it had to begin anew under another origin. */
  readonly epoch: number;
  readonly size: bigint;
  readonly root: Uint8Array;
  /** The chain after `size` records. */
  readonly chain: Uint8Array;
  /** Level-0 hashes of the partial tile at `size`. */
  readonly edge: Uint8Array;
}

export interface HeadMove {
  readonly partition: number;
  readonly from: StoredHead;
  readonly to: StoredHead;
  /** The signed note of `to`. */
  readonly note: Uint8Array;
}

export interface HeadStore {
  /** The stored head of each partition of a log; a tree that has none begins, at size 0. */
  load(log: string, chainStarts: readonly Uint8Array[]): Promise<StoredHead[]>;
  /** Stores each head whose `from` is still the stored one. @returns the partitions for which it was */
  store(log: string, moves: readonly HeadMove[]): Promise<ReadonlySet<number>>;
  /** Stops a partition: nothing is appended or sealed until an operator recovers it. */
  stop(log: string, partition: number, reason: string): Promise<void>;
  /** Heads that the log `heads` lists are kept for good; `position` is where it does so first. */
  markListed(
    log: string,
    heads: readonly { partition: number; size: bigint; position: bigint }[],
  ): Promise<void>;
}

export type Signature =
  | { readonly ok: true; readonly note: Uint8Array }
  | { readonly ok: false; readonly reason: string };

/** What a signer remembers of a tree. */
export interface SignedHead {
  readonly size: bigint;
  readonly root: Uint8Array;
}

export interface SignRequest extends TreeHead {
  /** The last signed head, which the sealer has held against the log; null when none was. */
  readonly after: SignedHead | null;
  /** That the tree of this head begins with all leaves of `after` (RFC 9162 §2.1.4); empty after null, size 0 or the same size. */
  readonly proof: readonly Uint8Array[];
}

/**
 * Signs heads, and remembers durably, before a signature leaves it, the last one of each origin. It refuses a
 * smaller size, another root at the same size, and any head that is not proven to follow the one it remembers
 * (`signer/rule.ts`). Neither a database that was put back nor whoever took it can fork the log.
 * @throws signer-unreachable when it lies elsewhere and does not answer: whether it has signed is not known then
 */
export interface HeadSigner {
  last(origin: string): Promise<SignedHead | null>;
  sign(heads: readonly SignRequest[]): Promise<Signature[]>;
}

/** A rotation of the signing key, as its signer holds it. */
export interface SignerRotation {
  /** Signed by both keys: the body of the record `key.rotation`. */
  readonly note: Uint8Array;
  /** Null while the old key is in use: heads/0 has not been shown to include the record. */
  readonly closed: {
    /** Of the record in heads/0. */
    readonly position: bigint;
    /** The last head of heads/0 that the old key has signed: a note. */
    readonly head: Uint8Array;
  } | null;
}

export type RotationAnswer =
  | { readonly ok: true; readonly rotation: SignerRotation }
  | { readonly ok: false; readonly reason: string };

/** That a record `key.rotation` stands in the tree of the log heads at the head that the signer remembers. */
export interface RotationProof {
  /** Of the rotation, from 1. */
  readonly number: number;
  readonly origin: string;
  readonly leaf: Uint8Array;
  readonly position: bigint;
  /** RFC 9162 §2.1.3, at the size that the signer remembers. */
  readonly proof: readonly Uint8Array[];
}

/** Replaces the signing key. Each call is durable when it resolves, and asked again gives the same. @throws signer-unreachable */
export interface KeyRotator {
  /** @param number from 1 on; null: there is none yet */
  rotation(number: number): Promise<SignerRotation | null>;
  /** Makes the next key, and signs the note with both; refused unless `number` is the next rotation, or the one that is open. */
  rotate(number: number): Promise<RotationAnswer>;
  /** The old key has signed for the last time, and is destroyed. Refused unless the proof holds at the head that is remembered now. */
  closeRotation(proof: RotationProof): Promise<RotationAnswer>;
}

/** A rotation that is over, as it is kept beside the log: every reader takes the keys from these. */
export interface StoredRotation {
  readonly note: Uint8Array;
  readonly position: bigint;
  /** The last head of heads/0 that the old key has signed: a note. */
  readonly head: Uint8Array;
}

export interface RotationStore {
  /** How many there are. */
  count(): Promise<number>;
  /** @param number one more than `count`; the same again is no fault. Durable when this resolves */
  put(number: number, rotation: StoredRotation): Promise<void>;
}
