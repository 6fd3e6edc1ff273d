/** What projections need of others: the log, where the view is kept, and bodies that lie outside the log. */

import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';

/** One generation of a view: a view built anew stands beside the one that is shown. */
export interface ViewRef {
  readonly view: string;
  readonly generation: number;
}

/** A place of the log; `tree` is the database's number of (log, partition). */
export interface TreePlace {
  readonly tree: number;
  readonly position: bigint;
}

/** How far a generation has read a partition. */
export interface Checkpoint {
  readonly tree: number;
  readonly log: string;
  readonly partition: number;
  /** The first position that was not read. */
  readonly next: bigint;
  /** How often a reader began here and has not got on: 0 when nobody reads, more after a death. */
  readonly attempts: number;
}

/** End of a partition. */
export interface TreeHead {
  readonly tree: number;
  /** The first position that is free. */
  readonly next: bigint;
}

export interface ReadBounds {
  readonly recordsMax: number;
  /** Bytes of bodies; one record may go beyond it. */
  readonly bytesMax: number;
}

/** Records of one partition, ascending. */
export interface RecordRun {
  readonly tree: number;
  readonly records: readonly LogRecord[];
}

/** The log, as projections read it. @throws log-unavailable */
export interface RecordSource {
  /** Ends of all partitions of all logs. */
  heads(): Promise<readonly TreeHead[]>;
  /**
   * Records of several partitions in one go, each from its own place on. A run that holds fewer records than are there
   * was cut by the bounds; a partition without records in the answer was not reached.
   */
  read(from: readonly TreePlace[], bounds: ReadBounds): Promise<readonly RecordRun[]>;
}

/** Bodies that do not fit into a leaf. */
export interface BodyReader {
  /** @returns null when it is not there. @throws data-unwritable or another error when the store can't be asked */
  get(tenant: string, sha256: Uint8Array): Promise<Uint8Array | null>;
}

export type DeadLetterClass = 'validation' | 'poison';

/** A record that the view could not take. */
export interface DeadLetter {
  readonly record: LogRecord;
  readonly class: DeadLetterClass;
  readonly error: string;
  readonly stack: string | null;
  readonly attempts: number;
  /** Microseconds since the Unix epoch; null: when it is stored. */
  readonly firstAt: bigint | null;
  readonly lastAt: bigint | null;
}

/** A record that ended or stalled a worker. */
export interface Suspect extends TreePlace {
  readonly attempts: number;
  readonly firstAt: bigint;
  readonly lastAt: bigint;
  readonly error: string;
}

/** An open dead letter, or one at which a partition waits: for projections that must not pass over one. */
export interface Halt extends TreePlace {
  readonly key: string;
  readonly isOpen: boolean;
}

/** Output of a batch on its way; a store makes it, and encodes what it is given at once. */
export interface Output {
  readonly rows: number;
  addRow(tree: number, record: LogRecord, row: EventRow): void;
  addDeadLetter(tree: number, letter: DeadLetter): void;
}

/** How far a batch moves a checkpoint. */
export interface Span {
  readonly tree: number;
  readonly from: bigint;
  readonly to: bigint;
  /** The record at `to - 1` as it was read; null or absent: it is not looked for. */
  readonly last?: Pick<LogRecord, 'id' | 'appendedAt'> | null;
}

export type CommitOutcome =
  | {
      readonly kind: 'committed';
      /** Rows that were stored: repeats of an identity are not. */
      readonly shown: number;
      readonly repeats: number;
      /** Other bodies under a known identity: dead letters that the store itself finds. */
      readonly reused: number;
    }
  /**
   * Another reader has moved a checkpoint, or the log no longer holds what was read, because an older copy of the
   * database took its place: nothing was done.
   */
  | { readonly kind: 'overtaken' }
  /** The generation is no longer fed: nothing was done. */
  | { readonly kind: 'retired' };

/** The store refused a batch for its data: nothing was done, and the same batch would be refused again. */
export class OutputRefused extends Error {
  override readonly name = 'OutputRefused';
}

/** Where a view is kept, with its checkpoints. Every method throws log-unavailable or disk-full when it can't be asked. */
export interface ViewStore {
  /** The generation that is shown, and what its rows were made by; a view that does not exist begins with generation 1. */
  open(view: string, definition: string): Promise<{ readonly ref: ViewRef; readonly definition: string }>;
  /** Says durably that `definition` makes the rows from here on. @returns all definitions, or null when it did already */
  continueWith(ref: ViewRef, definition: string): Promise<string | null>;
  /** Begins a generation beside the one that is shown. */
  begin(view: string, definition: string): Promise<ViewRef>;
  /** One per partition of every log but `heads` and `windows`, by tree. */
  checkpoints(ref: ViewRef): Promise<readonly Checkpoint[]>;
  /** A reader is about to begin at these checkpoints: durable when it resolves. */
  countAttempt(ref: ViewRef, trees: readonly number[]): Promise<void>;
  /** A reader ended in good order: nobody needs to be careful. */
  rest(ref: ViewRef): Promise<void>;
  /** @param trees those that the batch may move, ascending. One output of a store is in use at a time. */
  newOutput(trees: readonly number[]): Output;
  /**
   * Stores rows, dead letters and checkpoints, all or nothing, if every checkpoint still stands at its span's `from` and
   * the log still holds the last record of each span.
   *
   * @param spans one for each tree of the output
   * @param attempts what the checkpoints that move count from here on
   * @throws OutputRefused when the data can't be stored
   */
  commit(ref: ViewRef, spans: readonly Span[], output: Output, attempts: number): Promise<CommitOutcome>;
  suspects(ref: ViewRef): Promise<readonly Suspect[]>;
  /** @returns how often it was suspected now: durable when it resolves */
  noteSuspect(ref: ViewRef, place: TreePlace, error: string): Promise<number>;
  /** Open dead letters with the keys of their records, and resolved ones at the checkpoints themselves. */
  halts(ref: ViewRef): Promise<readonly Halt[]>;
}
