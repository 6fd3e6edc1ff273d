/** What queries need of others, and what they answer with. Instants are microseconds since the Unix epoch. */

import type { EventResult } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { OwnActor } from '../audit/own-event.ts';
import type { EventFilter } from './filter.ts';

/** Who asks. Every answer is recorded under this name before it is given. */
export interface Reader {
  readonly actor: OwnActor;
  /** The one tenant whose events the reader may see; null: of all. */
  readonly tenant: string | null;
  readonly requestId?: string;
  /** Why the reader looks, in the reader's words. */
  readonly why?: string;
}

/** One event as the view shows it. */
export interface EventHit {
  readonly log: string;
  readonly partition: number;
  readonly position: bigint;
  readonly appendedAt: bigint;
  /** Lower-case UUID. */
  readonly id: string;
  readonly tenant: string;
  readonly type: string;
  /** `<type>/<version>` of the mapper, or `unmapped`. */
  readonly mapper: string;
  /** The event's own time, or `appendedAt` where it tells none (`timed` false). */
  readonly eventTime: bigint;
  readonly timed: boolean;
  /** How much later it was appended than it happened; null where it tells no time. */
  readonly driftUs: bigint | null;
  readonly actorId: string | null;
  readonly actorType: string | null;
  readonly action: string | null;
  readonly resourceType: string | null;
  readonly resourceId: string | null;
  readonly result: EventResult | null;
  readonly correlationId: string | null;
  readonly ip: string | null;
  /** Id of the event that this one corrects. */
  readonly corrects: string | null;
  /** Ids of the events that correct this one, oldest first, at most `CORRECTIONS_MAX`. */
  readonly correctedBy: readonly string[];
}

/** How much of the log an answer covers. */
export interface Completeness {
  /** The generation of the view that answered. */
  readonly generation: number;
  /** Per partition the position that the view reads next, and the one that the log writes next: what lies between is not in the answer yet. */
  readonly partitions: readonly {
    readonly log: string;
    readonly partition: number;
    readonly read: bigint;
    readonly head: bigint;
  }[];
  /** Open dead letters that the reader may know of: records that the view lacks. */
  readonly lacking: number;
}

/** What a search had to look at one by one, because no index finds it. */
export interface Scan {
  readonly records: number;
  /** Bytes of bodies; 0 unless text is sought. */
  readonly bytes: number;
  /** Records whose body lies in the object store, and was not searched for the text. */
  readonly notSearched: number;
}

/**
 * Newest first by (eventTime, tree, position). `cursor` null: that was all. A page may hold fewer events than asked
 * for, none even, and a cursor: so far the search has looked within its bounds, and goes on from there.
 */
export interface SearchPage {
  readonly events: readonly EventHit[];
  readonly cursor: string | null;
  readonly complete: Completeness;
  /** Null where an index found everything. */
  readonly scan: Scan | null;
}

/** Where an event stands in the order of search. `tree` is the database's number of (log, partition). */
export interface EventPlace {
  readonly eventTime: bigint;
  readonly tree: number;
  readonly position: bigint;
}

/** An event and its tree. */
export interface FoundEvent {
  readonly tree: number;
  readonly hit: EventHit;
}

export interface FoundPage {
  readonly events: readonly FoundEvent[];
  /** Where to go on; null: that was all. Without a bound of rows reached it is the place of the last event. */
  readonly next: EventPlace | null;
  /** Rows that were looked at one by one; null where an index found everything. */
  readonly scanned: number | null;
}

export type Dimension = 'actor' | 'action' | 'resource' | 'result' | 'type' | 'hour' | 'day';
export type Interval = 'minute' | 'hour' | 'day';

export interface ValueCount {
  /** Null: the events that tell none. Of `hour` and `day` its first instant in RFC 3339. */
  readonly value: string | null;
  readonly count: bigint;
}

export interface Bucket {
  readonly start: bigint;
  readonly count: bigint;
}

/** What a text search learned of one record. */
export interface TextMatch {
  readonly matches: boolean;
  /** Length of the body; 0 where it was not searched. */
  readonly bytes: number;
  /** False: the body lies in the object store. */
  readonly searched: boolean;
}

/** One event to find: by id, or by its place in a log. */
export type SoughtEvent =
  | { readonly id: string }
  | { readonly log: string; readonly partition: number; readonly position: bigint };

/**
 * The hot view for readers. `tenant` is whose rows are to be seen, null: all; no answer ever holds another's, whatever
 * the filter says. Implemented in `stores/postgres` and `stores/memory`; `contract/event-view-contract.ts` holds both
 * to the same.
 *
 * @throws query-too-slow, tenant-busy, overloaded, log-unavailable
 */
export interface EventView {
  /**
   * Events that match, newest first, behind `after`. `filter.text` is not looked at.
   * @param limit at most `PAGE_EVENTS_MAX`
   */
  search(
    tenant: string | null,
    filter: EventFilter,
    after: EventPlace | null,
    limit: number,
  ): Promise<FoundPage>;
  /** Most frequent values first, equal ones by value, events that tell none last among equals. */
  count(
    tenant: string | null,
    filter: EventFilter,
    by: Dimension,
    limit: number,
  ): Promise<readonly ValueCount[]>;
  /** Buckets that hold events, ascending, of UTC; at most `limit`, the earliest. */
  histogram(
    tenant: string | null,
    filter: EventFilter,
    interval: Interval,
    limit: number,
  ): Promise<readonly Bucket[]>;
  /** Events of an id in all logs, by (tenant, log), at most 100; or the event that the view shows from a place. */
  find(tenant: string | null, what: SoughtEvent): Promise<readonly FoundEvent[]>;
  /** Events that correct one of these, oldest first, at most `CORRECTIONS_MAX` of each. */
  correctionsOf(
    tenant: string | null,
    events: readonly { readonly tenant: string; readonly id: string }[],
  ): Promise<readonly FoundEvent[]>;
  /** The records of the log at these places, in the same order; null where the reader has none. */
  records(
    tenant: string | null,
    places: readonly { readonly tree: number; readonly position: bigint }[],
  ): Promise<readonly (LogRecord | null)[]>;
  /** A record that the view may not show: it is new, or a dead letter. Null where the reader has none. */
  recordOf(tenant: string | null, what: SoughtEvent): Promise<LogRecord | null>;
  /**
   * Whether the bodies of these records hold one of the spellings, ASCII letters of either case alike. One answer a
   * record, in order; fewer, at least one, when `bytesMax` bytes have been read.
   * @param spellings of one text; ASCII letters in lower case
   */
  matchText(
    tenant: string | null,
    places: readonly { readonly tree: number; readonly position: bigint }[],
    spellings: readonly string[],
    bytesMax: number,
  ): Promise<readonly TextMatch[]>;
  /**
   * Tenants that have events, by code unit: who goes through everything of all is faster one tenant at a time.
   * @throws field-invalid when there are over a thousand
   */
  tenants(): Promise<readonly string[]>;
  /** @param log only partitions of this log; null: of every log that the view reads */
  complete(tenant: string | null, log: string | null): Promise<Completeness>;
}

/** What is written down of one bounded read. */
export interface ReadNote {
  /** Dotted: `audit.read`, or what a stream begins and ends with. */
  readonly action: string;
  /** What was read: of an event its id, else the view. */
  readonly resource: { readonly type: string; readonly id: string };
  /** Whose data; null: everybody's, or nobody's in particular. */
  readonly tenant: string | null;
  readonly details: Readonly<Record<string, unknown>>;
  readonly result?: 'success' | 'failure';
  readonly error?: string;
}

/** Writes down who reads what, before it is answered. */
export interface ReadRecorder {
  /**
   * Resolves when the log holds it.
   * @throws read-unrecorded; then the read is not answered
   */
  record(reader: Reader, note: ReadNote): Promise<void>;
}

export interface SavedSearch {
  readonly name: string;
  readonly filter: EventFilter;
  readonly madeBy: string;
  readonly madeAt: bigint;
}

/** Searches by name, of one tenant, or of those who read all (null). */
export interface SavedSearchStore {
  /** Makes or replaces. @returns `full`: the tenant has `SAVED_SEARCHES_MAX` others */
  save(
    tenant: string | null,
    search: { readonly name: string; readonly filter: string; readonly madeBy: string },
  ): Promise<'saved' | 'full'>;
  /** By name. The filter is the text that was saved. */
  list(tenant: string | null): Promise<
    readonly {
      readonly name: string;
      readonly filter: string;
      readonly madeBy: string;
      readonly madeAt: bigint;
    }[]
  >;
  /** @returns whether there was one */
  drop(tenant: string | null, name: string): Promise<boolean>;
}

/** Where bodies lie that do not fit into a leaf. */
export interface BodyStore {
  get(tenant: string, sha256: Uint8Array): Promise<Uint8Array | null>;
}

export interface QueryDeps {
  readonly view: EventView;
  readonly recorder: ReadRecorder;
  readonly savedSearches: SavedSearchStore;
  readonly bodies: BodyStore;
  /** Name of this installation, for CloudEvents. */
  readonly installation: string;
}

/** Most events of one page. */
export const PAGE_EVENTS_MAX = 1_000;
/** Most values of one count. */
export const COUNT_VALUES_MAX = 1_000;
/** Most buckets of one histogram. */
export const BUCKETS_MAX = 2_000;
/** Most corrections of one event that are shown. */
export const CORRECTIONS_MAX = 20;
/** Most searches that a tenant keeps. */
export const SAVED_SEARCHES_MAX = 200;
