/** The part of the contract of `Outbox` that reads the write-ahead log: replication slots, and streams from them. */

import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import type { OutboxStream, StreamedRow } from '../src/relay/ports.ts';
import { comparePlaces, FIRST_PLACE } from '../src/relay/state.ts';
import { BOUNDS, committed, type OpenOutbox, placeOf, until } from './outbox-under-test.ts';

/** Answers that a stream may take. */
const TRIES_MAX = 500;
const SLOT = 'evident_contract';
const unavailable = (error: unknown): boolean => isEvidentError(error) && error.code === 'source-unavailable';
const never = new AbortController().signal;

export function describeSlots(open: OpenOutbox): void {
  it('makes a slot, says where it stands, and drops it; one that is not there is dropped too', async (t) => {
    const { outbox, another } = await open(t);
    assert.equal(await outbox.slotState(SLOT), null);
    await outbox.dropSlot(SLOT);
    const handover = await outbox.createSlot(SLOT, never);
    await handover.close();
    const state = await outbox.slotState(SLOT);
    assert.ok(state !== null);
    const { confirmed, usable, active } = state;
    assert.deepEqual({ confirmed, usable, active }, { confirmed: handover.lsn, usable: true, active: false });
    await assert.rejects(another().createSlot(SLOT, never), unavailable);
    await outbox.dropSlot(SLOT);
    assert.equal(await outbox.slotState(SLOT), null);
  });

  it('waits with a new slot for what is open, and shows exactly what committed before it', async (t) => {
    const under = await open(t);
    const { outbox } = under;
    const late = await under.begin();
    const held = await late.insert();
    const before = await committed(under);
    let isMade = false;
    const making = outbox.createSlot(SLOT, never).then((handover) => {
      isMade = true;
      return handover;
    });
    await until('a slot in the making', async () => (await outbox.slotState(SLOT)) !== null || !isMade);
    assert.equal(isMade, false);
    await late.commit();
    const handover = await making;
    const after = await committed(under);
    const shown = await handover.read(FIRST_PLACE, BOUNDS);
    assert.deepEqual(shown.map(placeOf), [held, before].sort(comparePlaces).map(placeOf));
    assert.ok(handover.horizon > held.xid || handover.horizon <= after.xid);
    assert.ok(handover.horizon <= after.xid);
    assert.deepEqual(await handover.read(before, BOUNDS), []);
    await handover.close();
    await outbox.dropSlot(SLOT);
  });

  it('gives up a slot in the making', async (t) => {
    const under = await open(t);
    const late = await under.begin();
    await late.insert();
    const giveUp = new AbortController();
    const making = under.outbox.createSlot(SLOT, giveUp.signal);
    making.catch(() => undefined);
    giveUp.abort();
    await assert.rejects(making);
    await late.rollBack();
    await until('no slot', async () => (await under.outbox.slotState(SLOT)) === null);
  });

  it('keeps the slots of the ring while what a slot begins behind is read', async (t) => {
    const under = await open(t);
    const done = await committed(under, { slot: under.pastSlot });
    const handover = await under.outbox.createSlot(SLOT, never);
    await handover.read(FIRST_PLACE, BOUNDS);
    assert.equal(await under.outbox.emptySlot(under.pastSlot, done, FIRST_PLACE, 0n), 'busy');
    await handover.close();
    await until(
      'an emptied slot',
      async () => (await under.outbox.emptySlot(under.pastSlot, done, FIRST_PLACE, 0n)) === 'emptied',
    );
    await under.outbox.dropSlot(SLOT);
  });
}

/** Takes from a stream until it has said that everything up to `lsn` has come. */
async function takeThrough(
  stream: OutboxStream,
  lsn: bigint,
): Promise<{ rows: StreamedRow[]; through: bigint }> {
  const rows: StreamedRow[] = [];
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const streamed = await stream.next({ rowsMax: 2, bytesMax: 1_000_000 });
    rows.push(...streamed.rows);
    if (streamed.through >= lsn) return { rows, through: streamed.through };
  }
  return assert.fail(`the stream never passed ${lsn}`);
}

export function describeStreaming(open: OpenOutbox): void {
  const begin = async (t: TestContext) => {
    const under = await open(t);
    const { outbox } = under;
    const handover = await outbox.createSlot(SLOT, never);
    await handover.close();
    const start = () => outbox.stream(SLOT, handover.lsn);
    const end = async (stream: OutboxStream) => {
      await stream.close();
      await until('a slot that nobody uses', async () => !(await outbox.slotState(SLOT))?.active);
    };
    return { under, outbox, start, end, lsn: handover.lsn };
  };

  it('brings rows in the order of their commits, and nothing that was rolled back', async (t) => {
    const { under, outbox, start, end, lsn } = await begin(t);
    const slow = await under.begin();
    const [one, two, three] = [await slow.insert(), await slow.insert(), await slow.insert()];
    const fast = await committed(under);
    const undone = await under.begin();
    await undone.insert();
    await undone.rollBack();
    await slow.savepoint();
    await slow.insert();
    await slow.rollBackToSavepoint();
    await slow.commit();
    const horizon = await outbox.horizon();
    const stream = await start();
    const { rows } = await takeThrough(stream, horizon.lsn);
    assert.deepEqual(rows.map(placeOf), [fast, one, two, three].map(placeOf));
    assert.deepEqual(
      rows.map(({ index }) => index),
      [0, 0, 1, 2],
    );
    assert.ok(rows[0].commitLsn >= lsn && rows[0].commitLsn < rows[1].commitLsn);
    await end(stream);
    await outbox.dropSlot(SLOT);
  });

  it('has brought every row below a horizon once it has passed the horizon’s place', async (t) => {
    const { under, outbox, start, end } = await begin(t);
    const late = await under.begin();
    const held = await late.insert();
    const fast = await committed(under);
    const horizon = await outbox.horizon();
    assert.ok(horizon.xid <= held.xid);
    const stream = await start();
    const { rows } = await takeThrough(stream, horizon.lsn);
    assert.deepEqual(rows.map(placeOf), [placeOf(fast)]);
    await late.commit();
    const next = await takeThrough(stream, (await outbox.horizon()).lsn);
    assert.deepEqual(next.rows.map(placeOf), [placeOf(held)]);
    await end(stream);
    await outbox.dropSlot(SLOT);
  });

  it('brings again what was not acknowledged, and not what was', async (t) => {
    const { under, outbox, start, end, lsn } = await begin(t);
    const first = await committed(under);
    const stream = await start();
    const { through } = await takeThrough(stream, (await outbox.horizon()).lsn);
    await end(stream);
    const again = await start();
    assert.deepEqual((await takeThrough(again, through)).rows.map(placeOf), [placeOf(first)]);
    again.acknowledge(through);
    // It is told on the way, and once more when there is no news.
    await until('a slot that has moved', async () => {
      await again.next(BOUNDS);
      return ((await outbox.slotState(SLOT))?.confirmed ?? 0n) > lsn;
    });
    await end(again);
    const second = await committed(under);
    const last = await start();
    const { rows } = await takeThrough(last, (await outbox.horizon()).lsn);
    assert.deepEqual(rows.map(placeOf), [placeOf(second)]);
    await end(last);
    await outbox.dropSlot(SLOT);
  });

  it('is one at a time, and its slot is not dropped under it', async (t) => {
    const { under, outbox, start, end, lsn } = await begin(t);
    const stream = await start();
    assert.equal((await outbox.slotState(SLOT))?.active, true);
    await assert.rejects(under.another().stream(SLOT, lsn), unavailable);
    await assert.rejects(under.another().dropSlot(SLOT), unavailable);
    await end(stream);
    await outbox.dropSlot(SLOT);
    await assert.rejects(under.another().stream(SLOT, lsn), unavailable);
  });
}
