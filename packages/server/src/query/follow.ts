/** Filters on records as they are appended, before a view has them. */

import type { MapperRegistry } from '@evident/core/mapping/registry.ts';
import { EMPTY_ROW, type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { EventFilter } from './filter.ts';
import { matchesFilter } from './match.ts';
import type { BodyStore, EventHit } from './ports.ts';
import { holdsSpelling, spellingsOf } from './spellings.ts';

export interface FollowDeps {
  readonly mappers: MapperRegistry;
  readonly bodies: BodyStore;
}

/**
 * A test of records: whether a search for `filter` would find them once the view has them. A record that no mapper
 * takes has no row there; here it is judged by what its envelope says (log, tenant, type, times of the append) and by
 * its text, so that somebody who follows a tenant misses nothing.
 *
 * A body in the object store is read for its row, and, as in a search, is not looked at for text.
 */
export function recordTest(
  { mappers, bodies }: FollowDeps,
  filter: EventFilter,
): (record: LogRecord) => Promise<boolean> {
  if (Object.values(filter).every((value) => value === undefined)) return async () => true;
  const spellings = filter.text === undefined ? null : spellingsOf(filter.text);
  return async (record) => {
    const { body, tenant, type } = record;
    // Before the body is parsed: every tail asks this of every record.
    if ((filter.tenant ?? tenant) !== tenant || (filter.type ?? type) !== type) return false;
    if (spellings !== null && (body.form === 'object' || !holdsSpelling(body.bytes, spellings))) return false;
    const bytes = body.form === 'object' ? await bodies.get(tenant, body.sha256) : body.bytes;
    const row = bytes === null ? EMPTY_ROW : rowOf(mappers, record, bytes);
    return row !== null && matchesFilter(filter, hitOf(record, row));
  };
}

function rowOf(mappers: MapperRegistry, record: LogRecord, body: Uint8Array): EventRow | null {
  try {
    return mappers.rowOf(record, body);
  } catch (error) {
    if (error instanceof MappingError) return EMPTY_ROW;
    throw error;
  }
}

function hitOf(record: LogRecord, row: EventRow): EventHit {
  const { log, partition, position, appendedAt, id, tenant, type } = record;
  const eventTime = row.eventTime ?? appendedAt;
  return {
    ...row,
    ...{ log, partition, position, appendedAt, id, tenant, type, eventTime },
    timed: row.eventTime !== null,
    driftUs: row.eventTime === null ? null : appendedAt - row.eventTime,
    correctedBy: [],
  };
}
