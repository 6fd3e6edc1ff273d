/**
 * What a search knows of a record: who did what to which resource, how it ended, when and from where. Rows are made by
 * mappers, one per record type; a row is a function of the record and of the mapper's version, of nothing else.
 */

import type { LogRecord } from '../record.ts';

export type EventResult = 'success' | 'failure' | 'denied';

/** One row of the view, beside the record's own place, time, tenant, id and type. Strings hold no U+0000. */
export interface EventRow {
  /** The event's own time in microseconds since the Unix epoch, years 1 to 9999; null where the record tells none. */
  readonly eventTime: bigint | null;
  readonly actorId: string | null;
  readonly actorType: string | null;
  /** What was done, as the source calls it: `document.update`, `ec2:RunInstances`, `GET`. */
  readonly action: string | null;
  readonly resourceType: string | null;
  readonly resourceId: string | null;
  readonly result: EventResult | null;
  /** What ties events of one request or transaction together. */
  readonly correlationId: string | null;
  /** Network address it came from: personal, and therefore in no digest. */
  readonly ip: string | null;
  /** Lower-case UUID of the event that this one corrects. */
  readonly corrects: string | null;
  /** Which mapper made the row, `<type>/<version>`; `unmapped` where there is none for the type. */
  readonly mapper: string;
}

/** The row of which nothing is known. */
export const EMPTY_ROW: EventRow = {
  eventTime: null,
  actorId: null,
  actorType: null,
  action: null,
  resourceType: null,
  resourceId: null,
  result: null,
  correlationId: null,
  ip: null,
  corrects: null,
  mapper: 'unmapped',
};

/** Longest string of a row in UTF-8 bytes: a B-tree entry holds about 2,700, and an index holds two or three of them. */
export const ROW_TEXT_BYTES_MAX = 512;

/**
 * Turns records of one type into rows. Pure: reads no clock, keeps no state.
 *
 * A change that gives another row for any record is another version: a view that was built by an earlier one is
 * rebuilt beside, compared and switched.
 */
export interface Mapper {
  readonly type: string;
  readonly version: number;
  /**
   * @param body the bytes of the body, wherever they are stored
   * @returns null for a record that has no row by rule
   * @throws MappingError when the record is not what its type says: it becomes a dead letter
   */
  map(record: LogRecord, body: Uint8Array): EventRow | null;
}

/** A record that a mapper can't take. The message names the field or the line, and why. */
export class MappingError extends Error {
  override readonly name = 'MappingError';
}
