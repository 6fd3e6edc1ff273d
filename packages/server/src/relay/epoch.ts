/**
 * Whether the database that answers is the one whose cursor we hold. A dump that was restored has another identifier,
 * a promoted standby another timeline. A copy of its files that was put back has both, but it lacks the row that was
 * relayed last; and if that row is older than the copy, it lacks the token: a cursor that names a horizon says how far
 * the database's own counter had come, and a database that went back would give out those xids again.
 */

import { EvidentError } from '@evident/core/errors.ts';
import type { Outbox, SourceIdentity } from './ports.ts';
import { hashRow } from './propose-row.ts';
import { beforeXid, FIRST_PLACE, type RelayState } from './state.ts';

/**
 * @returns why it is another database, or null
 * @throws source-unavailable when that can't be said yet: the write-ahead log brings a commit before others see it
 */
export async function strangenessOf(
  outbox: Outbox,
  identity: SourceIdentity,
  state: RelayState,
): Promise<string | null> {
  if (identity.system !== state.identity.system) {
    return `the database has the system identifier ${identity.system}, not ${state.identity.system}: it was restored from a dump, or is another one`;
  }
  if (identity.timeline !== state.identity.timeline) {
    return `the database is on timeline ${identity.timeline}, not ${state.identity.timeline}: a standby was promoted, or it was restored to a point in time`;
  }
  if (!(await outbox.tokens()).includes(state.token)) {
    return 'the token that the relay left is not in the database: it was restored from an older copy';
  }
  if (state.row === null) return null;
  const row = await outbox.readRow(state.row);
  if (row === 'open') {
    throw new EvidentError(
      'source-unavailable',
      `the transaction ${state.row.xid} of the row that was relayed last is not over`,
    );
  }
  if (row === null) {
    return `the row ${state.row.id} that was relayed last is not in the outbox: the database was restored from an older copy, or somebody emptied it`;
  }
  return hashRow(row) === state.row.hash
    ? null
    : `the row ${state.row.id} is another one than was relayed: the database was restored from an older copy, and has gone on`;
}

/**
 * Leaves a token beside the one that the stored state names. The database keeps few, and its newest may be of
 * relays that died before they stored them: together they could push the stored one out, and make the database a
 * strange one.
 *
 * @param stored of the state by which this database was recognised: to write it again proves nothing new
 */
export async function leaveToken(outbox: Outbox, token: string, stored: string): Promise<void> {
  const [newest] = await outbox.tokens();
  if (newest !== stored) await outbox.beat(stored);
  await outbox.beat(token);
}

/**
 * The state with which an epoch begins: everything visible is read once more.
 *
 * `bound` is one snapshot. Transactions that were open in it have an xid at or beyond its horizon, so polling from
 * the horizon finds them.
 */
export async function beginEpoch(
  outbox: Outbox,
  identity: SourceIdentity,
  epoch: number,
  token: string,
): Promise<RelayState> {
  const { sweep, horizon } = await outbox.bound();
  // After the bound: a copy that holds the token has passed the horizon.
  await outbox.beat(token);
  const common = { epoch, identity, row: null, token };
  if (sweep === null) return { ...common, mode: 'polling', done: beforeXid(horizon) };
  return { ...common, mode: 'sweep', done: FIRST_PLACE, at: FIRST_PLACE, sweep };
}
