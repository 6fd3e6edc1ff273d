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
  /** Heads that the log `heads` lists are kept for good. */
  markListed(log: string, heads: readonly { partition: number; size: bigint }[]): Promise<void>;
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
}

/**
 * Signs heads, and remembers durably, before a signature leaves it, the last one of each origin. It refuses a
 * smaller size, another root at the same size, and any head that does not follow the one it remembers: a sealer
 * that never saw that head has not compared it with the log. A database that was put back can't fork it silently.
 */
export interface HeadSigner {
  last(origin: string): Promise<SignedHead | null>;
  sign(heads: readonly SignRequest[]): Promise<Signature[]>;
}
