/** Relaying by polling: the sweep with which an epoch begins, and then what was committed since. */

import type { Outbox, OutboxRow, ReadBounds, Source } from './ports.ts';
import { knownMetaTexts } from './propose-row.ts';
import { lastRow, type RelayRowsDeps, relayRows } from './relay-rows.ts';
import { beforeXid, type RelayState } from './state.ts';

/** What one transaction of the log takes: it holds the counters of partitions, and other writers wait. */
export const BATCH: ReadBounds = { rowsMax: 4_000, bytesMax: 8 * 1024 * 1024 };

export type SweepState = Extract<RelayState, { mode: 'sweep' }>;
export type PollingState = Extract<RelayState, { mode: 'polling' }>;

/** One step of a sweep. Ends in polling from the horizon that the sweep began with. */
export async function sweepOnce(
  deps: RelayRowsDeps,
  outbox: Outbox,
  source: Source,
  state: SweepState,
): Promise<Source> {
  const rows = await outbox.readAll(state.at, state.sweep, BATCH);
  const row = lastRow(rows, state.row);
  const { epoch, identity, token } = state;
  const last = rows.at(-1);
  const next: RelayState =
    last === undefined
      ? { mode: 'polling', epoch, identity, token, row, done: beforeXid(state.sweep.horizon) }
      : { ...state, at: { xid: last.xid, id: last.id }, row };
  return relayRows(deps, source, next, rows);
}

/** Rows of a first look: as many as these, and the database is asked to take them over itself, if it can. */
const LOOK: ReadBounds = { rowsMax: 256, bytesMax: BATCH.bytesMax };
const METAS_MAX = 64;

interface Polled {
  readonly source: Source;
  readonly state: PollingState;
  /** How many rows went into the log. */
  readonly rows: number;
}

/**
 * Polls until there is nothing more, or `stop` says so. The next rows are read while the log takes the last ones:
 * which they are follows from the place of the last alone.
 * @param isLocal the outbox lies in the log's own database
 */
export async function pollUntilEmpty(
  deps: RelayRowsDeps,
  outbox: Outbox,
  source: Source,
  state: PollingState,
  isLocal: boolean,
  stop: () => boolean,
): Promise<Polled> {
  const bounds = isLocal ? LOOK : BATCH;
  let polled: Polled = { source, state, rows: 0 };
  let rows: OutboxRow[] = await outbox.read(state.done, bounds);
  while (rows.length > 0) {
    if (isLocal && rows.length === LOOK.rowsMax) {
      const before = polled.rows;
      polled = await pollLocally(deps, polled, stop);
      if (stop()) break;
      if (polled.rows > before) {
        rows = await outbox.read(polled.state.done, bounds);
        continue;
      }
    }
    const last = rows[rows.length - 1];
    const next: PollingState = {
      ...polled.state,
      done: { xid: last.xid, id: last.id },
      row: lastRow(rows, polled.state.row),
    };
    // Asked before: a read that nobody waits for would still be under way when slots are emptied, and hold them.
    const ahead = stop() ? null : outbox.read(next.done, bounds);
    // A failure of the reader must not be lost while the log is waited for, nor end the process.
    ahead?.catch(() => undefined);
    polled = {
      source: await relayRows(deps, polled.source, next, rows),
      state: next,
      rows: polled.rows + rows.length,
    };
    rows = ahead === null ? [] : await ahead;
  }
  return polled;
}

/**
 * Lets the database take rows over itself, as long as it can.
 *
 * 28 µs of PostgreSQL and 2 of Node a row, instead of 29 and 23; batches of 1,000 and 2,000 took 32 (2026-11-21,
 * 2 cores AMD EPYC, PostgreSQL 18.4, 600 bytes a row).
 */
async function pollLocally(deps: RelayRowsDeps, polled: Polled, stop: () => boolean): Promise<Polled> {
  let { source, state, rows } = polled;
  while (deps.local !== undefined && !stop()) {
    const {
      taken,
      repeats,
      state: next,
    } = await deps.local.relay(source, state, BATCH, knownMetaTexts(METAS_MAX));
    if (taken === 0) break;
    state = next as PollingState;
    source = { ...source, state, version: source.version + 1n };
    rows += taken;
    deps.onRelayed({ rows: taken, appended: taken - repeats, repeats, rejected: 0 });
  }
  return { source, state, rows };
}
