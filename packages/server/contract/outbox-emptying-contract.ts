/** The part of the contract of `Outbox` that empties slots of the ring, and says how full it is. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Emptied, RowPlace } from '../src/relay/ports.ts';
import { FIRST_PLACE } from '../src/relay/state.ts';
import { BOUNDS, committed, FUTURE_XID, type OpenOutbox, type OutboxUnderTest } from './outbox-under-test.ts';

export function describeEmptying(open: OpenOutbox): void {
  const empty = (
    { outbox, pastSlot }: OutboxUnderTest,
    done: RowPlace,
    row = FIRST_PLACE,
    restored = 0n,
  ): Promise<Emptied> => outbox.emptySlot(pastSlot, done, row, restored);

  it('empties a slot whose rows are all done with', async (t) => {
    const under = await open(t);
    assert.equal(await under.outbox.slots(), 4);
    assert.equal(await empty(under, FIRST_PLACE), 'empty');
    await committed(under, { slot: under.pastSlot });
    const last = await committed(under, { slot: under.pastSlot });
    assert.equal(await empty(under, last), 'emptied');
    assert.deepEqual(await under.outbox.read(FIRST_PLACE, BOUNDS), []);
  });

  it('leaves a slot that is written to, or is the next', async (t) => {
    const { outbox, currentSlot } = await open(t);
    for (const slot of [currentSlot, (currentSlot + 1) % 4])
      assert.equal(await outbox.emptySlot(slot, FIRST_PLACE, FIRST_PLACE, 0n), 'current');
  });

  it('leaves a slot with a row that is not done with, or is the cursor’s', async (t) => {
    const under = await open(t);
    const first = await committed(under, { slot: under.pastSlot });
    const second = await committed(under, { slot: under.pastSlot });
    assert.equal(await empty(under, first), 'behind');
    assert.equal(await empty(under, second, first), 'cursor');
    assert.equal(await empty(under, second), 'emptied');
  });

  it('leaves a slot into which an insert is open, and waits for nobody', async (t) => {
    const under = await open(t);
    const done = await committed(under, { slot: under.pastSlot });
    const session = await under.begin();
    const row = await session.insert({ slot: under.pastSlot });
    assert.equal(await empty(under, done), 'busy');
    await session.commit();
    assert.equal(await empty(under, done), 'behind');
    assert.equal(await empty(under, row), 'emptied');
  });

  it('leaves restored rows until as many were read', async (t) => {
    const under = await open(t);
    const done = await committed(under, { slot: under.pastSlot });
    await committed(under, { slot: under.pastSlot, xid: FUTURE_XID });
    await committed(under, { slot: under.pastSlot, xid: FUTURE_XID + 1n });
    assert.equal(await empty(under, done), 'restored');
    assert.equal(await empty(under, done, FIRST_PLACE, 1n), 'restored');
    assert.equal(await empty(under, done, FIRST_PLACE, 2n), 'emptied');
  });

  it('says how old the first row is that is not done with, and how far ids have come', async (t) => {
    const under = await open(t);
    const row = await committed(under);
    const { oldestMs, lastId } = await under.outbox.pressure(FIRST_PLACE);
    assert.ok(oldestMs !== null && oldestMs >= 0);
    assert.equal(lastId, row.id);
    assert.equal((await under.outbox.pressure(row)).oldestMs, null);
  });
}
