/**
 * Removes alerts that are old. What is removed is recorded in the log first, by id: if we die in between, the record
 * names alerts that are still there, and the next round names them again; the other way round nobody would know.
 */

import type { RecordOwn } from '../audit/record-own.ts';
import type { AlertRetention } from './ports.ts';

/** Alerts of one record of the log, and of one transaction. */
const REMOVED_AT_ONCE_MAX = 500;
/** Steps of a round: the rest waits for the next. */
const STEPS_MAX = 20;
const DAY_US = 86_400_000_000n;

export interface RetainDeps {
  readonly alerts: AlertRetention;
  readonly record: RecordOwn;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
}

/**
 * @param keepDays age in days from which acknowledged alerts go; at least 1
 * @returns how many went
 * @throws log-unavailable, outcome-unknown, partition-stopped
 */
export async function removeOldAlerts(
  { alerts, record, clock }: RetainDeps,
  keepDays: number,
  isStopped: () => boolean = () => false,
): Promise<number> {
  const before = clock() - BigInt(keepDays) * DAY_US;
  let gone = 0;
  for (let step = 0; step < STEPS_MAX && !isStopped(); step++) {
    const ids = await alerts.removable(before, REMOVED_AT_ONCE_MAX);
    if (ids.length === 0) break;
    await record([
      {
        actor: { id: 'evident', role: 'system' },
        action: 'alert.remove',
        resource: { type: 'alerts', id: 'acknowledged' },
        result: 'success',
        tenant: null,
        details: { keep_days: keepDays, alerts: ids },
      },
    ]);
    gone += await alerts.remove(ids, before);
    if (ids.length < REMOVED_AT_ONCE_MAX) break;
  }
  return gone;
}
