/** The part of the contract of `Outbox` that reads by polling: order, horizon, sweep, and by what a database is known again. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { FIRST_PLACE } from '../src/relay/state.ts';
import {
  BOUNDS,
  committed,
  FUTURE_XID,
  type OpenOutbox,
  placeOf,
  readsInTheEnd,
} from './outbox-under-test.ts';

export function describePolling(open: OpenOutbox): void {
  it('reads rows in the order of (xid, id), each with all that it says', async (t) => {
    const under = await open(t);
    const first = await committed(under, { body: '{"n":1}' });
    const session = await under.begin();
    const [second, third] = [await session.insert(), await session.insert()];
    await session.commit();
    const [row] = await readsInTheEnd(under.outbox, [first, second, third]);
    assert.equal(new TextDecoder().decode(row.body), '{"n":1}');
    assert.deepEqual(await under.outbox.read(second, BOUNDS).then((rows) => rows.map(placeOf)), [third]);
  });

  it('reads as much as its bounds take, and one row at least', async (t) => {
    const under = await open(t);
    const rows = [await committed(under), await committed(under), await committed(under)];
    await readsInTheEnd(under.outbox, rows);
    const read = async (rowsMax: number, bytesMax: number) =>
      (await under.outbox.read(FIRST_PLACE, { rowsMax, bytesMax })).length;
    assert.equal(await read(2, 1_000), 2);
    assert.equal(await read(10, 1), 1);
  });

  for (const end of ['commit', 'rollBack'] as const) {
    it(`shows nothing at or behind an open transaction until its ${end}`, async (t) => {
      const under = await open(t);
      const before = await committed(under);
      await readsInTheEnd(under.outbox, [before]);
      const late = await under.begin();
      const held = await late.insert();
      const behind = await committed(under);
      assert.deepEqual((await under.outbox.read(FIRST_PLACE, BOUNDS)).map(placeOf), [before]);
      await late[end]();
      await readsInTheEnd(under.outbox, end === 'commit' ? [before, held, behind] : [before, behind]);
    });
  }

  it('waits for a transaction that writes beside the outbox too: it may yet insert', async (t) => {
    const under = await open(t);
    const late = await under.begin();
    const xid = await late.write();
    const behind = await committed(under);
    assert.deepEqual(await under.outbox.read(FIRST_PLACE, BOUNDS), []);
    const { xid: horizon } = await under.outbox.horizon();
    assert.ok(horizon <= xid, `${horizon} is beyond ${xid}, which is open`);
    const row = await late.insert();
    await late.commit();
    await readsInTheEnd(under.outbox, [row, behind]);
  });

  it('never shows what stands behind a savepoint that was rolled back', async (t) => {
    const under = await open(t);
    const session = await under.begin();
    const kept = await session.insert();
    await session.savepoint();
    await session.insert();
    await session.rollBackToSavepoint();
    const after = await session.insert();
    await session.commit();
    assert.equal(after.xid, kept.xid);
    await readsInTheEnd(under.outbox, [kept, after]);
  });
}

export function describeSweeping(open: OpenOutbox): void {
  it('has nothing to sweep in an outbox that shows no row', async (t) => {
    const { outbox, begin } = await open(t);
    const session = await begin();
    const { xid } = await session.insert();
    const { sweep, horizon } = await outbox.bound();
    assert.equal(sweep, null);
    assert.ok(horizon <= xid);
    await session.rollBack();
  });

  it('sweeps what lies below the horizon and what lies in the future, and nothing between', async (t) => {
    const under = await open(t);
    const { outbox } = under;
    const before = await committed(under);
    await readsInTheEnd(outbox, [before]);
    const late = await under.begin();
    const held = await late.insert();
    const between = await committed(under);
    const restored = await committed(under, { xid: FUTURE_XID });
    const { sweep } = await outbox.bound();
    assert.ok(sweep !== null);
    assert.deepEqual(sweep.through, placeOf(restored));
    assert.ok(sweep.horizon <= held.xid);
    const swept = async () => (await outbox.readAll(FIRST_PLACE, sweep, BOUNDS)).map(placeOf);
    assert.deepEqual(await swept(), [placeOf(before), placeOf(restored)]);
    await late.commit();
    const begunSince = await committed(under);
    assert.ok(begunSince.xid > between.xid);
    assert.deepEqual(await swept(), [placeOf(before), placeOf(restored)]);
    await readsInTheEnd(outbox, [before, held, between, begunSince]);
  });

  it('reads by slot the rows that this database cannot have written', async (t) => {
    const under = await open(t);
    const { outbox, pastSlot } = under;
    await committed(under, { slot: pastSlot });
    const row = await committed(under, { slot: pastSlot, xid: FUTURE_XID });
    await committed(under, { slot: under.currentSlot, xid: FUTURE_XID });
    const restored = await outbox.readRestored(pastSlot, FIRST_PLACE, BOUNDS);
    assert.deepEqual(restored.map(placeOf), [placeOf(row)]);
    assert.deepEqual(await outbox.readRestored(pastSlot, row, BOUNDS), []);
  });
}

export function describeRecognising(open: OpenOutbox): void {
  it('says which database it is, the same each time', async (t) => {
    const { outbox } = await open(t);
    const { system, timeline } = await outbox.identify();
    assert.match(system, /^\d+$/);
    assert.match(timeline, /^[0-9A-F]{8}$/);
    assert.deepEqual(await outbox.identify(), { system, timeline });
  });

  it('keeps the newest few tokens, the newest first', async (t) => {
    const { outbox } = await open(t);
    const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];
    await outbox.beat(first);
    assert.deepEqual(await outbox.tokens(), [first]);
    await outbox.beat(second);
    await outbox.beat(third);
    assert.deepEqual((await outbox.tokens()).slice(0, 2), [third, second]);
    for (let more = 0; more < 20; more++) await outbox.beat(randomUUID());
    assert.ok(!(await outbox.tokens()).includes(third), 'tokens are kept for ever');
  });

  it('finds a row at its place; of a transaction that is not over it says so', async (t) => {
    const under = await open(t);
    const { outbox } = under;
    const session = await under.begin();
    const place = await session.insert();
    assert.equal(await outbox.readRow(place), 'open');
    await session.commit();
    const row = await outbox.readRow(place);
    assert.ok(row !== null && row !== 'open');
    assert.deepEqual(placeOf(row), placeOf(place));
    const undone = await under.begin();
    const gone = await undone.insert();
    await undone.rollBack();
    assert.equal(await outbox.readRow(gone), null);
    assert.equal(await outbox.readRow({ xid: FUTURE_XID, id: 1n }), null);
  });
}
