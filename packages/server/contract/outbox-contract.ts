/**
 * The promises of the port `Outbox`, run over PostgreSQL and over the model that the simulation puts in its place:
 * what the model allows and PostgreSQL does not, or the other way round, would be found in neither.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { isEvidentError } from '@evident/core/errors.ts';
import type { Emptied, Outbox, OutboxRow, OutboxStream, RowPlace, StreamedRow } from '../src/relay/ports.ts';
import { comparePlaces, FIRST_PLACE } from '../src/relay/state.ts';

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

type Open = (t: TestContext) => Promise<OutboxUnderTest>;

const BOUNDS = { rowsMax: 1_000, bytesMax: 1_000_000 };
/** Far beyond what any of these databases has begun. */
const FUTURE_XID = 1_000_000_000_000n;
const TRIES_MAX = 500;
const SLOT = 'evident_contract';

const placeOf = ({ xid, id }: RowPlace): RowPlace => ({ xid, id });
const unavailable = (error: unknown): boolean => isEvidentError(error) && error.code === 'source-unavailable';

/** Asks until it holds: a worker of the database itself may be in a transaction, or an answer under way. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    if (await holds()) return;
    await wait(10);
  }
  assert.fail(`this never came: ${what}`);
}

async function readsInTheEnd(outbox: Outbox, expected: readonly RowPlace[]): Promise<OutboxRow[]> {
  let rows: OutboxRow[] = [];
  await until(`${expected.length} settled rows`, async () => {
    rows = await outbox.read(FIRST_PLACE, BOUNDS);
    return rows.length >= expected.length;
  });
  assert.deepEqual(rows.map(placeOf), expected.map(placeOf));
  return rows;
}

async function committed(
  { begin }: OutboxUnderTest,
  ...over: Parameters<ApplicationSession['insert']>
): Promise<RowPlace> {
  const session = await begin();
  const row = await session.insert(...over);
  await session.commit();
  return row;
}

export function describeOutbox(name: string, open: Open): void {
  describe(`port Outbox: ${name}`, () => {
    describePolling(open);
    describeSweeping(open);
    describeRecognising(open);
    describeEmptying(open);
    describeSlots(open);
    describeStreaming(open);
  });
}

function describePolling(open: Open): void {
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

function describeSweeping(open: Open): void {
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

function describeRecognising(open: Open): void {
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

function describeEmptying(open: Open): void {
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

const never = new AbortController().signal;

function describeSlots(open: Open): void {
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

function describeStreaming(open: Open): void {
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
