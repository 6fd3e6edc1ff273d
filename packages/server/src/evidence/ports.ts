/** What evidence needs of others: stored heads, leaves by place, tokens and cosignatures, keys. */

import type { BundleKey } from '@evident/core/evidence/bundle-files.ts';
import type { Log } from '../log/log.ts';
import type { QueryDeps } from '../query/ports.ts';
import type { TileStore } from '../seal/ports.ts';

/** A tree head as it was signed and stored. */
export interface SignedTreeHead {
  /** Which tree of the partition: 0, and one more each time it began anew. */
  readonly epoch: number;
  readonly size: bigint;
  readonly root: Uint8Array;
  /** The signed note, by the log alone. */
  readonly note: Uint8Array;
}

/** A head that a record `head` of heads/0 lists. */
export interface ListedHead extends SignedTreeHead {
  /** Position of that record. */
  readonly position: bigint;
}

/** Stored heads. Implemented in `stores/postgres` and `stores/memory`. @throws log-unavailable */
export interface SignedHeads {
  /** The newest of a partition, or of one of its trees; null: none yet. */
  newest(log: string, partition: number, epoch: number | null): Promise<SignedTreeHead | null>;
  /** The one of exactly this size; null: none was signed, or it was thinned. */
  at(log: string, partition: number, epoch: number, size: bigint): Promise<SignedTreeHead | null>;
  /** The newest that heads/0 lists at a position below `before`. */
  listed(log: string, partition: number, before: bigint): Promise<ListedHead | null>;
}

/** A body that lies in the object store, by the record that names it. */
export interface LeafObject {
  readonly tenant: string;
  readonly sha256: Uint8Array;
  readonly size: bigint;
}

/** Leaf lines of some places of one partition, in their order. */
export interface LeafLines {
  /** The lines, each ended by LF, one behind the other. */
  readonly bytes: Uint8Array;
  /** Where each line ends: the offset behind its LF. */
  readonly ends: Uint32Array;
  /** Bodies of records whose leaf holds a hash, in order. */
  readonly objects: readonly LeafObject[];
}

/** Where leaves are read by place. A reader of one tenant gets that tenant's only, whatever is asked for. */
export interface LeafSourceByPlace {
  /**
   * @param positions ascending, at most `LEAF_PLACES_MAX`
   * @throws evidence-broken naming the first that the reader has no record at; log-unavailable
   */
  read(tenant: string | null, log: string, partition: number, positions: Float64Array): Promise<LeafLines>;
  /**
   * Positions in `[from, to)` at which records of a tenant stand, ascending.
   * @param to at most `OWN_SPAN_MAX` above `from`
   */
  positionsOf(
    tenant: string,
    log: string,
    partition: number,
    from: bigint,
    to: bigint,
  ): Promise<Float64Array>;
}

/** Most places of one read of leaves. */
export const LEAF_PLACES_MAX = 2_000;
/** Most positions that one look for a tenant's records goes through. */
export const OWN_SPAN_MAX = 100_000n;

/** Positions whose record is gone for good, and the recovery that says so. */
export interface LostRange {
  readonly from: bigint;
  readonly to: bigint;
  readonly recovery: string;
}

/** Where identities stand in a log; null: nowhere. */
export type FindIdentities = (
  sought: readonly { readonly log: string; readonly tenant: string; readonly id: string }[],
) => Promise<readonly ({ readonly partition: number; readonly position: bigint } | null)[]>;

/** Who vouches for a head of heads/0: as much as this stage has to know of `anchor`. */
export interface HeadAnchor {
  readonly kind: 'timestamp' | 'cosignature';
  /** Name of the authority, or of the witness's key. */
  readonly by: string;
  /** The RFC 3161 reply, or signature lines of a note, each with its LF. */
  readonly bytes: Uint8Array;
}

/** Anchors of one head, by kind. */
export interface AnchorCounts {
  readonly timestamps: number;
  readonly cosignatures: number;
}

/** A record `key.rotation` of heads/0, and a head that the key before it signed over it. */
export interface KeyRotation {
  readonly position: bigint;
  /** The signed note over heads/0 under which the record is proven, and its size. */
  readonly head: SignedTreeHead;
}

/** Keys of trees. */
export interface KeySource {
  /**
   * The keys of these origins, sorted by origin and first size, as heads/0 tells them below the position `before`: what is
   * rotated later does not change them.
   */
  keysOf(origins: readonly string[], before: bigint): Promise<readonly BundleKey[]>;
  /** Rotations at positions of heads/0 below `before`, oldest first. */
  rotations(before: bigint): Promise<readonly KeyRotation[]>;
}

/** Where a record of the log `windows` stands. */
export interface PlacedWindow {
  /** Hours since 1970-01-01T00 UTC. */
  readonly hour: number;
  readonly position: bigint;
}

/** The windows of tenants: as much as this stage asks of `windows`. */
export interface WindowPlaces {
  /** The last hour of a log that is done, at its marker; null: none is. */
  lastHour(log: string): Promise<PlacedWindow | null>;
  /** By tenant its newest window of that hour or one before. */
  newest(log: string, hour: number, tenants: readonly string[]): Promise<ReadonlyMap<string, PlacedWindow>>;
  /** A tenant's windows from an hour on, ascending, at most `limit`. */
  ofTenant(log: string, tenant: string, fromHour: number, limit: number): Promise<readonly PlacedWindow[]>;
}

export interface EvidenceDeps {
  /** Name of the installation. */
  readonly name: string;
  readonly logs: ReadonlyMap<string, Log>;
  readonly tiles: Pick<TileStore, 'read'>;
  readonly heads: SignedHeads;
  readonly leaves: LeafSourceByPlace;
  readonly identities: FindIdentities;
  readonly lost: (log: string, partition: number) => Promise<readonly LostRange[]>;
  /** Tokens and cosignatures of a head of heads/0. */
  readonly anchorsOf: (epoch: number, size: bigint) => Promise<readonly HeadAnchor[]>;
  /** Size of the newest head of heads/0 with at least so many anchors of each kind; null: none has them. */
  readonly newestAnchored: (epoch: number, atLeast: AnchorCounts) => Promise<bigint | null>;
  /** What the configuration asks for: no tokens, or one; the quorum of cosignatures. */
  readonly wantedAnchors: AnchorCounts;
  readonly keys: KeySource;
  readonly windows: WindowPlaces;
  readonly query: QueryDeps;
  /** Resolves after so many milliseconds. */
  readonly sleep: (milliseconds: number) => Promise<void>;
}

/** The log whose single partition lists heads of all others. */
export const HEADS_LOG = 'heads';
