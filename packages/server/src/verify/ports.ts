/** What verification reads. It trusts none of it: every stored hash is held against one derived from bytes. */

import type { StoredHead } from '../seal/ports.ts';

/** What a record itself shows to be wrong, whatever its hash. */
export interface RecordFault {
  readonly position: number;
  readonly check: 'leaf-length' | 'time-order' | 'partition-of-key' | 'reserved-name';
  readonly detail: string;
}

/** A body that lies in the object store. */
export interface ObjectRef {
  readonly position: number;
  readonly tenant: string;
  readonly sha256: Uint8Array;
  readonly size: number;
}

/** Records of consecutive positions, as leaf hashes. */
export interface RecordRun {
  /** Positions that are there, ascending. */
  readonly positions: Float64Array;
  /** Leaf hashes of those positions, packed. */
  readonly hashes: Uint8Array;
  readonly faults: readonly RecordFault[];
  readonly objects: readonly ObjectRef[];
}

export interface RecordReader {
  /** Reads `[from, to)`. Throws when storage can't be read. */
  readRun(log: string, partition: number, from: bigint, to: bigint): Promise<RecordRun>;
}

/** A head as it was stored. */
export interface HeadRow {
  readonly size: bigint;
  readonly root: Uint8Array;
  readonly chain: Uint8Array;
  readonly note: Uint8Array;
}

export interface HeadReader {
  /** Stored heads with a size above `after`, of one tree, ascending, at most `limit`. */
  readHeads(log: string, partition: number, epoch: number, after: bigint, limit: number): Promise<HeadRow[]>;
  /** The head that sealing goes on from, or null. */
  readSeal(log: string, partition: number): Promise<StoredHead | null>;
}

export interface ObjectReader {
  get(tenant: string, sha256: Uint8Array): Promise<Uint8Array | null>;
}

/** A place in a log. */
export interface LogPlace {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
}

/** Where parts of a record may stand beside the log. What they say is told, and proves nothing. */
export interface CopyReader {
  /** The row of the view that was made of it, in a line; null: there is none. */
  viewRow(place: LogPlace): Promise<string | null>;
  /** The dead letter that it became, in a line. */
  deadLetter(place: LogPlace): Promise<string | null>;
  /** Identities that were appended there. */
  identities(
    place: LogPlace,
  ): Promise<readonly { readonly tenant: string; readonly id: string; readonly bodyHash: Uint8Array }[]>;
}

/** Records of a stretch of a partition: whose they are, and their leaf hashes, derived from the same bytes. */
export interface TenantLeaves {
  /** Positions that are there, ascending. */
  readonly positions: Float64Array;
  /** Leaf hashes of those positions, packed. */
  readonly hashes: Uint8Array;
  /** The tenants of the run, each once. */
  readonly tenants: readonly string[];
  /** By record the place of its tenant in `tenants`. */
  readonly tenantAt: Uint32Array;
  /** Positions of Evident's own records `log.hour`. */
  readonly hours: readonly number[];
  /** `appended_at` of the first record, microseconds; null: there is none. */
  readonly firstAppendedAt: bigint | null;
}

export interface TenantLeafReader {
  /** Reads `[from, to)`. Throws when storage can't be read. */
  readTenantLeaves(log: string, partition: number, from: bigint, to: bigint): Promise<TenantLeaves>;
}
