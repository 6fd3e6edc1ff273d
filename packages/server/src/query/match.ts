/** Whether one event is what a filter seeks: the meaning of a filter, beside which every index is held. */

import type { EventFilter } from './filter.ts';
import type { EventHit } from './ports.ts';

/** The members that a filter compares with one column. */
const COLUMNS = {
  log: 'log',
  tenant: 'tenant',
  type: 'type',
  actor: 'actorId',
  actorType: 'actorType',
  action: 'action',
  resourceType: 'resourceType',
  resource: 'resourceId',
  result: 'result',
  correlationId: 'correlationId',
  ip: 'ip',
} as const satisfies Partial<Record<keyof EventFilter, keyof EventHit>>;

/** Whether all that is given holds, but for `text`, which is about the body. */
export function matchesFilter(filter: EventFilter, hit: EventHit): boolean {
  for (const [member, column] of Object.entries(COLUMNS)) {
    const wanted = filter[member as keyof typeof COLUMNS];
    if (wanted !== undefined && hit[column] !== wanted) return false;
  }
  const { actionPrefix, from, to, appendedFrom, appendedTo } = filter;
  return (
    (actionPrefix === undefined || hit.action?.startsWith(actionPrefix) === true) &&
    (from === undefined || hit.eventTime >= from) &&
    (to === undefined || hit.eventTime < to) &&
    (appendedFrom === undefined || hit.appendedAt >= appendedFrom) &&
    (appendedTo === undefined || hit.appendedAt < appendedTo)
  );
}
