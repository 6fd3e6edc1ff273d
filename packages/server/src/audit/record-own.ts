import type { Log } from '../log/log.ts';
import { type OwnEvent, type OwnEventDeps, ownEventRecord } from './own-event.ts';

/** Resolves when the events are durable in the log; all of a call are one transaction. */
export type RecordOwn = (events: readonly OwnEvent[]) => Promise<void>;

/**
 * @param log where Evident's own audit events stand: `audit`
 * @throws partition-stopped, log-unavailable, outcome-unknown: they may be in the log or not
 */
export function makeRecordOwn(deps: OwnEventDeps & { readonly log: Log }): RecordOwn {
  return async (events) => {
    if (events.length > 0) await deps.log.append(events.map((event) => ownEventRecord(deps, event)));
  };
}
