/**
 * How far a relay has come: one value, stored with the records in the log's transaction.
 *
 *   (none) ──► sweep ──► polling ◄──► wal          any mismatch of the database ──► sweep, in a new epoch
 *
 *   sweep    what is visible is read in (xid, id) order, also rows whose xid this database has not reached: after a
 *            restore an xid says nothing. Then polling goes on from the horizon of the snapshot that it began with;
 *            rows between that horizon and the snapshot's end are left to it, so that their order is that of polling.
 *   polling  every row at or below `done` is in the log
 *   wal      every commit below `lsn` is in the log, and of the one at `lsn` the rows up to `index`;
 *            `done` follows: every row of a transaction below it is in the log
 */

import { EvidentError } from '@evident/core/errors.ts';
import type { RowPlace, SourceIdentity, SweepBounds } from './ports.ts';

/** The row that was relayed last: as long as it stands in the outbox unchanged, this is the database that we know. */
export interface KnownRow extends RowPlace {
  /** SHA-256 in hex over what the row says. */
  readonly hash: string;
}

interface Common {
  /** Counts the times that the database was not the one known before; part of every `source_seq`. */
  readonly epoch: number;
  readonly identity: SourceIdentity;
  readonly row: KnownRow | null;
  /** Written into the source after the horizon that `done` may come from was read, and before this was stored. */
  readonly token: string;
  readonly done: RowPlace;
}

export type RelayState =
  | (Common & {
      readonly mode: 'sweep';
      readonly at: RowPlace;
      readonly sweep: SweepBounds;
    })
  | (Common & { readonly mode: 'polling' })
  | (Common & {
      readonly mode: 'wal';
      readonly lsn: bigint;
      readonly index: number;
      /** Acknowledged at most: a slot that stands beyond it was moved by somebody else. */
      readonly through: bigint;
    });

/** Before every row. */
export const FIRST_PLACE: RowPlace = { xid: 0n, id: 0n };

/** Before every row of a transaction, behind all of those below it. */
export function beforeXid(xid: bigint): RowPlace {
  return { xid, id: -1n };
}

export function comparePlaces(a: RowPlace, b: RowPlace): number {
  if (a.xid !== b.xid) return a.xid < b.xid ? -1 : 1;
  return a.id === b.id ? 0 : a.id < b.id ? -1 : 1;
}

/** JSON in which every bigint is a decimal string under a name that is a bigint's. */
export function serialiseState(state: RelayState): string {
  return JSON.stringify(state, (_name, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
}

const BIGINTS = new Set(['xid', 'id', 'horizon', 'lsn']);

/** @throws data-version when it is none of the shapes above */
export function parseState(text: string): RelayState {
  const parsed = JSON.parse(text, (name, value: unknown) => {
    if (BIGINTS.has(name) && typeof value === 'string') return BigInt(value);
    return name === 'through' && typeof value === 'string' ? BigInt(value) : value;
  }) as RelayState;
  if (!['sweep', 'polling', 'wal'].includes(parsed.mode) || typeof parsed.done?.xid !== 'bigint') {
    throw new EvidentError('data-version', `the cursor of a relay has a shape that is not known: ${text}`);
  }
  return parsed;
}
