/**
 * The port `Log`: an append-only sequence of records in partitions (design §4). Implemented in
 * `stores/postgres` and `stores/memory`; `contract/log-contract.ts` holds both to the same promises.
 */

import type { LogRecord, ProposedRecord } from '@evident/core/record.ts';

/** Place of a record that was appended. */
export interface Place {
  readonly partition: number;
  readonly position: bigint;
  /** Microseconds since the Unix epoch, by the log's clock. */
  readonly appendedAt: bigint;
}

/** What became of one record of `appendOnce`. */
export type Outcome =
  | ({ readonly kind: 'appended' } & Place)
  /** The identity was there with the same body: the place of the first. Nothing was appended. */
  | { readonly kind: 'repeat'; readonly partition: number; readonly position: bigint }
  /** The identity was there with another body. Nothing was appended. */
  | { readonly kind: 'reused'; readonly partition: number; readonly position: bigint };

export interface Proposal {
  readonly record: ProposedRecord;
  /** SHA-256 of the body's bytes, whatever their form: tells a repeat from a reuse. */
  readonly bodyHash: Uint8Array;
  /**
   * What to do with another body under a known identity: leave it out and answer `reused` (a caller that can
   * be told), or take it once all the same (captured already elsewhere: importers, relay).
   */
  readonly reused: 'refuse' | 'take';
}

/** How far a partition reaches. */
export interface PartitionHead {
  readonly partition: number;
  /** First position that the log still holds. */
  readonly first: bigint;
  /** Position that the next record will get. */
  readonly next: bigint;
  readonly lastAppendedAt: bigint;
  /** Why the partition takes no records, or null. */
  readonly stopped: string | null;
}

export interface Log {
  readonly name: string;
  readonly partitions: number;

  /**
   * Appends records; all of a call are one transaction. Resolves when they are durable. Never looks for repeats.
   * @throws partition-stopped, log-unavailable, outcome-unknown (retry by identity, or not at all)
   */
  append(records: readonly ProposedRecord[]): Promise<Place[]>;

  /**
   * Appends each record unless its identity (log, tenant, id) is known. Same guarantees as `append`; one
   * outcome a record, in order.
   */
  appendOnce(proposals: readonly Proposal[]): Promise<Outcome[]>;

  /** Records of one partition from a position on, ascending, at most `limit`. A reader never sees a hole but positions that `lost` names. */
  read(partition: number, from: bigint, limit: number): Promise<LogRecord[]>;

  /**
   * Records of all partitions, each from its own position: any interleaving that keeps the order of each.
   * @param from one position per partition; the caller resumes with the vector advanced by what it got
   */
  readMany(from: readonly bigint[], limit: number): Promise<LogRecord[]>;

  head(partition: number): Promise<PartitionHead>;
  heads(): Promise<PartitionHead[]>;

  /**
   * Removes whole child tables below `before`.
   * @returns the first position that the log still holds
   * @throws trim-not-archived when the archive does not hold what would go
   */
  trim(partition: number, before: bigint): Promise<bigint>;

  /** Writes `log.hour` where a partition's last record lies in an earlier hour than now. @returns how many */
  closeHours(): Promise<number>;
}

/** Most records of one append call. */
export const APPEND_RECORDS_MAX = 10_000;
/** Most records of one read call. */
export const READ_RECORDS_MAX = 10_000;
