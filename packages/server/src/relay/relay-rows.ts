/** One step of every way of relaying: rows into the log, with the cursor in the same transaction. */

import type { EvidentError } from '@evident/core/errors.ts';
import type { Proposal } from '../log/log.ts';
import type { ObjectStore } from '../log/propose.ts';
import type { LocalRelay, OutboxRow, RelayLog, Source } from './ports.ts';
import { hashRow, proposeRow } from './propose-row.ts';
import type { KnownRow, RelayState } from './state.ts';

/** What became of rows of the outbox; of what the relay itself had to say nothing is counted. */
export interface RelayReport {
  /** The sum of the others. */
  readonly rows: number;
  /** Rows that are in the log now and were not before. */
  readonly appended: number;
  /** Rows that the log held already. */
  readonly repeats: number;
  /** Rows that stand in the log as relay.rejected, now or already. */
  readonly rejected: number;
}

export interface RelayRowsDeps {
  readonly log: RelayLog;
  readonly objects: ObjectStore;
  /** Absent: rows of every outbox pass through here. */
  readonly local?: LocalRelay;
  readonly onRejected: (row: OutboxRow, fault: EvidentError) => void;
  readonly onRelayed: (report: RelayReport) => void;
}

/** The cursor's row after `rows`: the last of them. */
export function lastRow(rows: readonly OutboxRow[], before: KnownRow | null): KnownRow | null {
  const row = rows.at(-1);
  return row === undefined ? before : { xid: row.xid, id: row.id, hash: hashRow(row) };
}

/**
 * Appends rows and moves the cursor to `next`. If we die before the commit, neither happened; after it, both.
 * @returns the source as it stands now
 * @throws cursor-moved, log-unavailable, outcome-unknown: read the source again, and go on from there
 */
export async function relayRows(
  deps: RelayRowsDeps,
  source: Source,
  next: RelayState,
  rows: readonly OutboxRow[],
  extra: readonly Proposal[] = [],
): Promise<Source> {
  const proposals: Proposal[] = [...extra];
  const faults: (EvidentError | null)[] = [];
  for (const row of rows) {
    const { proposal, fault } = await proposeRow(deps.objects, row, source, next.epoch);
    proposals.push(proposal);
    faults.push(fault);
  }
  if (proposals.length === 0) {
    await deps.log.moveCursor(source, next);
    return { ...source, state: next, version: source.version + 1n };
  }
  const outcomes = await deps.log.relay(source, next, proposals);
  // Said after the commit: a batch that is tried again would be counted twice.
  const report = { rows: rows.length, appended: 0, repeats: 0, rejected: 0 };
  for (const [index, row] of rows.entries()) {
    const fault = faults[index];
    if (fault !== null) {
      report.rejected++;
      deps.onRejected(row, fault);
    } else if (outcomes[extra.length + index].kind === 'appended') report.appended++;
    else report.repeats++;
  }
  deps.onRelayed(report);
  return { ...source, state: next, version: source.version + 1n };
}
