/** Rows of the hot view as PostgreSQL gives them, and as readers get them. */

import type { EventResult } from '@evident/core/mapping/row.ts';
import type { EventHit, EventPlace, FoundEvent } from '../../query/ports.ts';

/** Microseconds since the Unix epoch, as a bigint. */
export const micros = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::bigint`;

/** What of a row is read, in terms of the table `alias`. */
export const eventColumns = (alias: string): string =>
  [
    `${micros(`${alias}.event_time`)} AS event_us`,
    `${micros(`${alias}.appended_at`)} AS appended_us`,
    ...[
      'tree',
      'position',
      'timed',
      'id',
      'tenant',
      'type',
      'mapper',
      'actor_id',
      'actor_type',
      'action',
      'resource_type',
      'resource_id',
      'result',
      'correlation_id',
      'ip',
      'corrects',
    ].map((column) => `${alias}.${column}`),
  ].join(', ');

export interface EventRow {
  event_us: string;
  appended_us: string;
  tree: number;
  position: string;
  timed: boolean;
  id: string;
  tenant: string;
  type: string;
  mapper: string;
  actor_id: string | null;
  actor_type: string | null;
  action: string | null;
  resource_type: string | null;
  resource_id: string | null;
  result: EventResult | null;
  correlation_id: string | null;
  ip: string | null;
  corrects: string | null;
}

/** Log and partition of each tree. */
export type PlaceOfTree = (tree: number) => { readonly log: string; readonly partition: number };

export function foundOf(row: EventRow, placeOfTree: PlaceOfTree): FoundEvent {
  const [eventTime, appendedAt] = [BigInt(row.event_us), BigInt(row.appended_us)];
  const hit: EventHit = {
    ...placeOfTree(row.tree),
    position: BigInt(row.position),
    appendedAt,
    id: row.id,
    tenant: row.tenant,
    type: row.type,
    mapper: row.mapper,
    eventTime,
    timed: row.timed,
    driftUs: row.timed ? appendedAt - eventTime : null,
    actorId: row.actor_id,
    actorType: row.actor_type,
    action: row.action,
    resourceType: row.resource_type,
    resourceId: row.resource_id,
    result: row.result,
    correlationId: row.correlation_id,
    ip: row.ip,
    corrects: row.corrects,
    correctedBy: [],
  };
  return { tree: row.tree, hit };
}

export function placeOfRow(row: Pick<EventRow, 'event_us' | 'tree' | 'position'>): EventPlace {
  return { eventTime: BigInt(row.event_us), tree: row.tree, position: BigInt(row.position) };
}
