/** Counts by a dimension and over time, recorded before they are answered. */

import { EvidentError } from '@evident/core/errors.ts';
import type { EventFilter } from './filter.ts';
import {
  BUCKETS_MAX,
  type Bucket,
  COUNT_VALUES_MAX,
  type Completeness,
  type Dimension,
  type Interval,
  type QueryDeps,
  type Reader,
  type ValueCount,
} from './ports.ts';
import { noteFilter, VIEW_RESOURCE } from './record-read.ts';
import { checkLimit, completenessOf, refuseText, tenantOfRead } from './scope.ts';

export const DIMENSIONS: readonly Dimension[] = [
  'actor',
  'action',
  'resource',
  'result',
  'type',
  'hour',
  'day',
];
export const INTERVALS: readonly Interval[] = ['minute', 'hour', 'day'];

/**
 * How many events there are of each value, most frequent first; at most `limit` values. Exact, and therefore as slow as
 * the number of events that match: a span of time bounds it.
 * @throws field-invalid, tenant-forbidden, query-too-slow, read-unrecorded, log-unavailable
 */
export async function countEvents(
  deps: QueryDeps,
  reader: Reader,
  filter: EventFilter,
  by: Dimension,
  limit: number,
): Promise<{ readonly counts: readonly ValueCount[]; readonly complete: Completeness }> {
  checkLimit(limit, COUNT_VALUES_MAX);
  if (!DIMENSIONS.includes(by)) refuseChoice('by', DIMENSIONS);
  refuseText(filter);
  const tenant = tenantOfRead(reader, filter.tenant);
  const complete = await completenessOf(deps, tenant, filter);
  const counts = await deps.view.count(tenant, filter, by, limit);
  await deps.recorder.record(reader, {
    action: 'audit.read',
    resource: VIEW_RESOURCE,
    tenant,
    details: { question: 'count', by, filter: noteFilter(filter), values: counts.length },
  });
  return { counts, complete };
}

/**
 * How many events there are in each minute, hour or day of UTC by their own time. Only buckets that hold events,
 * ascending.
 * @throws field-invalid (more than `BUCKETS_MAX` buckets, too), tenant-forbidden, query-too-slow, read-unrecorded, log-unavailable
 */
export async function histogram(
  deps: QueryDeps,
  reader: Reader,
  filter: EventFilter,
  interval: Interval,
): Promise<{ readonly buckets: readonly Bucket[]; readonly complete: Completeness }> {
  if (!INTERVALS.includes(interval)) refuseChoice('interval', INTERVALS);
  refuseText(filter);
  const tenant = tenantOfRead(reader, filter.tenant);
  const complete = await completenessOf(deps, tenant, filter);
  const buckets = await deps.view.histogram(tenant, filter, interval, BUCKETS_MAX + 1);
  if (buckets.length > BUCKETS_MAX) {
    throw new EvidentError(
      'field-invalid',
      `interval: by the ${interval} there are more than ${BUCKETS_MAX} buckets: choose a longer interval or a shorter span`,
      { context: { field: 'interval' } },
    );
  }
  await deps.recorder.record(reader, {
    action: 'audit.read',
    resource: VIEW_RESOURCE,
    tenant,
    details: { question: 'histogram', interval, filter: noteFilter(filter), buckets: buckets.length },
  });
  return { buckets, complete };
}

function refuseChoice(field: string, choices: readonly string[]): never {
  throw new EvidentError('field-invalid', `${field}: it is one of ${choices.join(', ')}`, {
    context: { field },
  });
}
