/** What the relay needs of others: the outbox in the application's database, and the log with the cursor beside it. */

import type { Outcome, Proposal } from '../log/log.ts';
import type { RelayState } from './state.ts';

/** Where a row stands: the order in which rows are polled. */
export interface RowPlace {
  /** Transaction that wrote it (xid8). */
  readonly xid: bigint;
  readonly id: bigint;
}

/** One row of the outbox. */
export interface OutboxRow extends RowPlace {
  readonly slot: number;
  /** Lower-case UUID. */
  readonly eventId: string;
  readonly tenant: string;
  readonly type: string;
  readonly key: string;
  readonly schema: number;
  readonly meta: string | null;
  readonly body: Uint8Array;
}

/** A row as the write-ahead log gives it. */
export interface StreamedRow extends OutboxRow {
  /** LSN of the commit of its transaction. */
  readonly commitLsn: bigint;
  /** Its number among the rows of that transaction, from 0. */
  readonly index: number;
}

/** Which database this is. */
export interface SourceIdentity {
  readonly system: string;
  readonly timeline: string;
}

/** What a sweep reads. */
export interface SweepBounds {
  /** The last visible place. */
  readonly through: RowPlace;
  /** The first transaction that may be open. */
  readonly horizon: bigint;
}

export interface ReadBounds {
  readonly rowsMax: number;
  readonly bytesMax: number;
}

/** State of a replication slot. */
export interface SlotState {
  /** Everything that committed before this was acknowledged. */
  readonly confirmed: bigint;
  /** Whether PostgreSQL still has the write-ahead log that it needs. */
  readonly usable: boolean;
  /** Bytes of write-ahead log that it holds back. */
  readonly lagBytes: bigint;
  /** A process is streaming from it. */
  readonly active: boolean;
}

/** A new slot, and what was committed before its first transaction. */
export interface Handover {
  readonly lsn: bigint;
  /** Every transaction below it is finished, and visible to `read`. */
  readonly horizon: bigint;
  /** Rows that committed before the slot begins, in (xid, id) order. */
  read(after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]>;
  close(): Promise<void>;
}

export interface Streamed {
  readonly rows: readonly StreamedRow[];
  /** Once `rows` are in the log, so is everything whose commit ends at or below this; 0 in the midst of a transaction. */
  readonly through: bigint;
}

/** The write-ahead log from a slot on. */
export interface OutboxStream {
  /** Resolves when there is a row, or news of how far the log was read. @throws source-unavailable when it breaks */
  next(bounds: ReadBounds): Promise<Streamed>;
  /** Lets PostgreSQL forget what ends at or below `lsn`. */
  acknowledge(lsn: bigint): void;
  close(): Promise<void>;
}

export type Emptied = 'emptied' | 'empty' | 'current' | 'busy' | 'behind' | 'cursor' | 'restored';

/** How full the outbox is. */
export interface Pressure {
  readonly bytes: bigint;
  /** The last row id that was given out; ids of rolled-back rows included. */
  readonly lastId: bigint;
  /** Milliseconds since the first row that is not done with was written; null when there is none. */
  readonly oldestMs: number | null;
  /** The transaction that holds the horizon longest, if another than ours holds it at all. */
  readonly holder: { readonly pid: number; readonly ageMs: number; readonly what: string } | null;
}

/** The outbox, over one connection or few. Every method throws source-unavailable when the database can't be asked. */
export interface Outbox {
  identify(): Promise<SourceIdentity>;
  /** Writes a token into the database, which keeps the newest few. Also keeps its write-ahead log moving. */
  beat(token: string): Promise<void>;
  /** The newest first. */
  tokens(): Promise<readonly string[]>;
  /** The row at a place, or null; `open` while a transaction of that xid is not over, and hides what it has written. */
  readRow(place: RowPlace): Promise<OutboxRow | 'open' | null>;
  /** Rows behind `after` whose transactions, and all before them, are finished: none can come before them any more. */
  read(after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]>;
  /**
   * Visible rows behind `after`, up to `sweep.through`, whose xid is below its horizon, or which this database can't
   * have written: their xids lie in its future.
   */
  readAll(after: RowPlace, sweep: SweepBounds, bounds: ReadBounds): Promise<OutboxRow[]>;
  /** What a sweep has to read, all from one snapshot; null when the outbox shows no row. */
  bound(): Promise<{ readonly sweep: SweepBounds | null; readonly horizon: bigint }>;
  /** The first transaction that may be open, then the end of the write-ahead log: all below the one lies below the other. */
  horizon(): Promise<{ readonly xid: bigint; readonly lsn: bigint }>;
  /** Rows of a slot beyond `after` that this database can't have written: their xids lie in its future. */
  readRestored(slot: number, after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]>;
  slots(): Promise<number>;
  emptySlot(slot: number, done: RowPlace, row: RowPlace, restored: bigint): Promise<Emptied>;
  pressure(done: RowPlace): Promise<Pressure>;

  slotState(name: string): Promise<SlotState | null>;
  dropSlot(name: string): Promise<void>;
  /** Waits until every transaction that is open now has ended. @throws when `signal` aborts */
  createSlot(name: string, signal: AbortSignal): Promise<Handover>;
  /** @param acknowledged where the slot stands */
  stream(name: string, acknowledged: bigint): Promise<OutboxStream>;
  close(): Promise<void>;
}

/** A source as it is registered. */
export interface Source {
  readonly name: string;
  readonly log: string;
  /** For whom it may write; null: for any tenant. */
  readonly tenants: readonly string[] | null;
  readonly wantedMode: 'polling' | 'wal';
  /** Null before the first connection. */
  readonly state: RelayState | null;
  readonly version: bigint;
}

/** The log's side: records and cursor in one transaction. */
export interface RelayLog {
  readSource(name: string): Promise<Source | null>;
  /**
   * Appends, and moves the cursor, both or neither. An identity that is known is a repeat.
   * @throws cursor-moved when another relay has moved it since `version` and `state` were read; both are compared,
   * because the numbers of an older copy of the log that was put back come again
   */
  relay(source: Source, state: RelayState, proposals: readonly Proposal[]): Promise<Outcome[]>;
  moveCursor(source: Source, state: RelayState): Promise<void>;
  /** Positions up to which each partition of the source's log is sealed, and where each will go on. */
  progress(log: string): Promise<{ readonly sealed: readonly bigint[]; readonly next: readonly bigint[] }>;
  /** Holds the right to relay a source until `release`; null while another holds it. */
  claim(name: string): Promise<{ release(): Promise<void> } | null>;
}

/** For an outbox that lies in the log's own database: rows go over without leaving it. */
export interface LocalRelay {
  /** Whether one of the outbox's tokens stands in the log's own database. */
  isLocal(tokens: readonly string[]): Promise<boolean>;
  /**
   * As reading settled rows and `RelayLog.relay`, for the rows in front of the first that needs a second look.
   * @param metas texts of `meta` that are known to be in their one form
   * @returns how many rows were taken; none: the first needs a second look, or there is none
   */
  relay(
    source: Source,
    state: RelayState,
    bounds: ReadBounds,
    metas: readonly string[],
  ): Promise<{ readonly taken: number; readonly repeats: number; readonly state: RelayState }>;
}
