/**
 * What comparison, digest and verification read of a view: everything through one snapshot, in one order.
 *
 * The order is (log name by code unit, partition, position): it knows neither tree numbers nor the order in which
 * records arrived, so that two generations, or two installations of one log, can be laid side by side.
 */

import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { DeadLetterClass } from './ports.ts';

/** Where a record stands. */
export interface ViewPlace {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
}

/** A row as it is stored. `eventTime` is never null here: `timed` says whether the record told it. */
export interface ViewRow extends ViewPlace, Omit<EventRow, 'eventTime'> {
  /** Microseconds since the Unix epoch. */
  readonly appendedAt: bigint;
  readonly id: string;
  readonly tenant: string;
  readonly type: string;
  readonly eventTime: bigint;
  readonly timed: boolean;
}

/** The row that a view shows of a record: what its mapper made of it, in its place. */
export function viewRowOf(record: LogRecord, row: EventRow): ViewRow {
  const { log, partition, position, appendedAt, id, tenant, type } = record;
  return {
    ...row,
    log,
    partition,
    position,
    appendedAt,
    id,
    tenant,
    type,
    eventTime: row.eventTime ?? appendedAt,
    timed: row.eventTime !== null,
  };
}

export type Resolution = 'replayed' | 'discarded' | 'manual';

/** What is compared of a dead letter: stacks, attempts and times differ from build to build. */
export interface DeadLetterMark extends ViewPlace {
  readonly tenant: string;
  readonly id: string;
  readonly class: DeadLetterClass;
  readonly error: string;
  readonly resolution: Resolution | null;
  /** Id of the audit event that records the resolution; null while it is open. */
  readonly eventId: string | null;
}

/** How far a generation has read one partition: the next position. */
export interface Reach {
  readonly log: string;
  readonly partition: number;
  readonly next: bigint;
}

export interface GenerationSummary {
  readonly generation: number;
  readonly definition: string;
  readonly state: 'building' | 'live' | 'retired';
  /** Microseconds since the Unix epoch. */
  readonly madeAt: bigint;
  /** Partitions of which something was read, in the order above. */
  readonly reach: readonly Reach[];
}

/** Where an identity is shown. */
export interface ShownPlace extends ViewPlace {
  readonly appendedAt: bigint;
}

/** An identity whose entry and whose row do not say the same. */
export interface IdentityFault extends ViewPlace {
  readonly id: string;
  readonly detail: string;
}

/** One state of one view. Sequences come in batches, and are read to their end or left by `break`. */
export interface ViewSnapshot {
  readonly view: string;
  /** The generation that is shown; null while the view has none. */
  readonly live: number | null;
  readonly generations: readonly GenerationSummary[];
  rows(generation: number): AsyncIterable<readonly ViewRow[]>;
  deadLetters(generation: number): AsyncIterable<readonly DeadLetterMark[]>;
  shownAt(generation: number, log: string, tenant: string, id: string): Promise<ShownPlace | null>;
  /** Dead letters of one identity, in any order. */
  lettersOf(generation: number, log: string, tenant: string, id: string): Promise<readonly DeadLetterMark[]>;
  /** Identities whose row is missing, stands elsewhere or has no entry: at most `limit`. */
  identityFaults(generation: number, limit: number): Promise<readonly IdentityFault[]>;
}

export interface ViewSnapshots {
  /** @throws log-unavailable */
  withSnapshot<T>(view: string, use: (snapshot: ViewSnapshot) => Promise<T>): Promise<T>;
}

/** Negative when `a` stands before `b`. */
export function comparePlaces(a: ViewPlace, b: ViewPlace): number {
  if (a.log !== b.log) return a.log < b.log ? -1 : 1;
  if (a.partition !== b.partition) return a.partition - b.partition;
  return a.position < b.position ? -1 : a.position > b.position ? 1 : 0;
}

export function showPlace({ log, partition, position }: ViewPlace): string {
  return `${log}/${partition}/${position}`;
}

/** A sequence that is read one element at a time, loading a batch when it has to. */
export class Cursor<T> {
  readonly #batches: AsyncIterator<readonly T[]>;
  #batch: readonly T[] = [];
  #at = 0;
  #ended = false;

  constructor(batches: AsyncIterable<readonly T[]>) {
    this.#batches = batches[Symbol.asyncIterator]();
  }

  /** The element at hand, once `fill` has been called; null at the end. */
  get current(): T | null {
    return this.#at < this.#batch.length ? this.#batch[this.#at] : null;
  }

  advance(): void {
    this.#at++;
  }

  /** Whether `fill` has to be awaited before `current` can be trusted. */
  get isEmpty(): boolean {
    return this.#at >= this.#batch.length && !this.#ended;
  }

  async fill(): Promise<void> {
    while (this.isEmpty) {
      const { value, done } = await this.#batches.next();
      if (done === true) this.#ended = true;
      else {
        this.#batch = value;
        this.#at = 0;
      }
    }
  }
}
