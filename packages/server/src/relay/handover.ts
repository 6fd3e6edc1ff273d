/**
 * From polling to the write-ahead log. A slot is made; it begins after every transaction that was open at its making
 * has ended. What committed before is exactly what its snapshot shows: that is read from the table, everything after
 * comes through the slot.
 *
 * If we die before the last step, the stored state is still polling's, and the slot is one that nobody reads: the
 * next attempt drops it, and what was read from the snapshot is recognised by identity.
 */

import { leaveToken } from './epoch.ts';
import { BATCH, type PollingState } from './poll.ts';
import type { Handover, Outbox, Source } from './ports.ts';
import { lastRow, type RelayRowsDeps, relayRows } from './relay-rows.ts';
import { beforeXid, type RelayState } from './state.ts';

/** Name of a source's replication slot. */
export function slotName(source: string): string {
  return `evident_${source.replaceAll('-', '_')}`;
}

/** Begins a slot anew. Waits for transactions that are open. */
export async function beginHandover(outbox: Outbox, source: string, signal: AbortSignal): Promise<Handover> {
  const name = slotName(source);
  if ((await outbox.slotState(name)) !== null) await outbox.dropSlot(name);
  return outbox.createSlot(name, signal);
}

/** Relays what the slot's snapshot shows, then goes over to the slot. */
export async function finishHandover(
  deps: RelayRowsDeps,
  handover: Handover,
  outbox: Outbox,
  source: Source,
  state: PollingState,
  token: string,
): Promise<Source> {
  await leaveToken(outbox, token, state.token);
  // Stored at once: the source keeps few tokens, and another relay that has lost its claim may leave some as well.
  let current = await relayRows(deps, source, { ...state, token }, []);
  let at = state.done;
  let row = state.row;
  for (;;) {
    const rows = await handover.read(at, BATCH);
    const last = rows.at(-1);
    if (last === undefined) break;
    row = lastRow(rows, row);
    // Not `done`: rows of transactions below these may still be open for a poller.
    current = await relayRows(deps, current, { ...state, token, row }, rows);
    at = { xid: last.xid, id: last.id };
  }
  const { epoch, identity } = state;
  const next: RelayState = {
    mode: 'wal',
    epoch,
    identity,
    token,
    row,
    done: beforeXid(handover.horizon),
    lsn: handover.lsn,
    index: -1,
    through: handover.lsn,
  };
  return relayRows(deps, current, next, []);
}
