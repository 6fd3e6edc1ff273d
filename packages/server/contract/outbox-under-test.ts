/** What the contract of the port `Outbox` is run over, and how its parts ask. */

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { Outbox, OutboxRow, RowPlace } from '../src/relay/ports.ts';
import { FIRST_PLACE } from '../src/relay/state.ts';

/** One session of the application, in a transaction. */
export interface ApplicationSession {
  /** @param over columns that the application itself may not give */
  insert(over?: { slot?: number; xid?: bigint; body?: string }): Promise<RowPlace>;
  /** A write beside the outbox. @returns the xid */
  write(): Promise<bigint>;
  savepoint(): Promise<void>;
  rollBackToSavepoint(): Promise<void>;
  commit(): Promise<void>;
  rollBack(): Promise<void>;
}

/** An outbox of four slots, fresh for each test. */
export interface OutboxUnderTest {
  readonly outbox: Outbox;
  /** Another one over the same database: one of which a call has failed is not used again. */
  another(): Outbox;
  begin(): Promise<ApplicationSession>;
  /** A slot that is neither written to nor the next to be, until the test ends. */
  readonly pastSlot: number;
  readonly currentSlot: number;
}

/** Makes one; what it holds ends with the test. */
export type OpenOutbox = (t: TestContext) => Promise<OutboxUnderTest>;

export const BOUNDS = { rowsMax: 1_000, bytesMax: 1_000_000 };
/** Far beyond what any of these databases has begun. */
export const FUTURE_XID = 1_000_000_000_000n;
const TRIES_MAX = 500;

export const placeOf = ({ xid, id }: RowPlace): RowPlace => ({ xid, id });

/** Asks until it holds: a worker of the database itself may be in a transaction, or an answer under way. */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    if (await holds()) return;
    await wait(10);
  }
  assert.fail(`this never came: ${what}`);
}

export async function readsInTheEnd(outbox: Outbox, expected: readonly RowPlace[]): Promise<OutboxRow[]> {
  let rows: OutboxRow[] = [];
  await until(`${expected.length} settled rows`, async () => {
    rows = await outbox.read(FIRST_PLACE, BOUNDS);
    return rows.length >= expected.length;
  });
  assert.deepEqual(rows.map(placeOf), expected.map(placeOf));
  return rows;
}

export async function committed(
  { begin }: OutboxUnderTest,
  ...over: Parameters<ApplicationSession['insert']>
): Promise<RowPlace> {
  const session = await begin();
  const row = await session.insert(...over);
  await session.commit();
  return row;
}
