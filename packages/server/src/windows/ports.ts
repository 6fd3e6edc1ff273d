/** What windows need of others: where hours end, whose the records are, and what the log `windows` holds already. */

/** How far a partition is filled and sealed. */
export interface PartitionState {
  readonly partition: number;
  /** The tree that its records are sealed in now: its tiles hold the leaf hashes. */
  readonly epoch: number;
  /** Size of the stored head, read before `lastAppendedAt`: what lies below it never changes. */
  readonly sealed: bigint;
  /** Microseconds since the Unix epoch, of the last record, sealed or not. */
  readonly lastAppendedAt: bigint;
  /** Why the partition takes no records, or null. */
  readonly stopped: string | null;
}

/** Place and time of one record. */
export interface PlacedTime {
  readonly position: bigint;
  readonly appendedAt: bigint;
  /** It is a `log.hour` of Evident's own: a segment begins here. */
  readonly isHour: boolean;
}

/** Whose the records of a stretch of one partition are, without an object per record. */
export interface TenantRun {
  /** Positions that hold a record, ascending. */
  readonly positions: Float64Array;
  /** The tenants of the run, each once. */
  readonly tenants: readonly string[];
  /** By record the place of its tenant in `tenants`. */
  readonly tenantAt: Uint32Array;
  /** Positions of Evident's own records `log.hour`. */
  readonly hours: readonly number[];
}

/** The logs as windows read them. Implemented in `stores/postgres` and `stores/memory`. @throws log-unavailable */
export interface HourSource {
  /** Every partition of a log. Two connections may answer: what is asked first is never beyond what is asked next. */
  partitions(log: string): Promise<readonly PartitionState[]>;
  /** The first record in `[from, below)`; null: there is none. */
  firstRecord(log: string, partition: number, from: bigint, below: bigint): Promise<PlacedTime | null>;
  /** Whose the records in `[from, to)` are. */
  readTenants(log: string, partition: number, from: bigint, to: bigint): Promise<TenantRun>;
}

/** A record `window`, as the index keeps it. */
export interface IndexedWindow {
  readonly log: string;
  readonly tenant: string;
  /** Hours since 1970-01-01T00 UTC. */
  readonly hour: number;
  /** Its place in the log `windows`. */
  readonly position: bigint;
  readonly leafHash: Uint8Array;
}

/** A record `log.windows`, as the index keeps it. */
export interface IndexedHour {
  readonly log: string;
  readonly hour: number;
  readonly position: bigint;
  /** By partition the position behind the hour. */
  readonly ends: readonly bigint[];
}

/** What a tenant has in the log `windows`. */
export interface TenantWindow {
  readonly hour: number;
  readonly position: bigint;
  readonly leafHash: Uint8Array;
}

/**
 * A view of the log `windows`: which of its records says what. It is filled in the log's order, and may be dropped and
 * filled again. Nothing that is checked stands on it: `evident verify` reads the log itself.
 */
export interface WindowIndex {
  /** Position in the log `windows` that it goes on from. */
  next(): Promise<bigint>;
  /**
   * Takes what stands in `[from, next)`; of two windows of one tenant and hour the first stays.
   * @returns false, and nothing is done, when it does not go on from `from` any more: another process was first
   */
  put(
    from: bigint,
    next: bigint,
    windows: readonly IndexedWindow[],
    hours: readonly IndexedHour[],
  ): Promise<boolean>;
  /** The last hour of a log that is done. */
  lastHour(log: string): Promise<IndexedHour | null>;
  /** By tenant its newest window of that hour or one before; tenants without one are left out. */
  newest(log: string, hour: number, tenants: readonly string[]): Promise<ReadonlyMap<string, TenantWindow>>;
  /** Windows of an hour behind a position, in the order of the log `windows`, at most `limit`. */
  ofHour(
    log: string,
    hour: number,
    after: bigint,
    limit: number,
  ): Promise<readonly { readonly position: bigint; readonly leafHash: Uint8Array }[]>;
  /** A tenant's windows from an hour on, ascending, at most `limit`: what a bundle of whole hours holds, and the one behind. */
  ofTenant(log: string, tenant: string, fromHour: number, limit: number): Promise<readonly TenantWindow[]>;
}
