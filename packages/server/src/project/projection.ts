/** What a view is made by. */

import type { MapperRegistry } from '@evident/core/mapping/registry.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';

/** A deterministic consumer of the log: rows are a function of records and of `definition`, of nothing else. */
export interface Projection {
  /** The view. */
  readonly name: string;
  /** Versions of everything that rows are a function of beside the log. */
  readonly definition: string;
  /**
   * What a dead letter means to it. `skip`: go on without it. `haltKey`: later records of its key become dead letters
   * too, until it is resolved, so that they can be replayed in order. `haltPartition`: its partition waits there.
   */
  readonly onDeadLetter: 'skip' | 'haltKey' | 'haltPartition';
  /**
   * @returns null for a record that has no row by rule
   * @throws MappingError when the record is not what its type says. Any other error is a fault of the projection itself;
   *   the record becomes a dead letter all the same, and the breaker is quicker
   */
  map(record: LogRecord, body: Uint8Array): EventRow | null;
}

/** Whether a definition is one of those that a generation names: `a then b` says that rows by `b` began later. */
export function isAmong(definitions: string, definition: string): boolean {
  return definitions.split(' then ').includes(definition);
}

export const HOT_VIEW = 'hot';

/** The view that search reads: one row a record. It says how many records it lacks, so it may pass over them. */
export function hotProjection(registry: MapperRegistry): Projection {
  return {
    name: HOT_VIEW,
    definition: registry.definition,
    onDeadLetter: 'skip',
    map: (record, body) => registry.rowOf(record, body),
  };
}
