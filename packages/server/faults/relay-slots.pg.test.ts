/**
 * The ring of the outbox under race: slots are emptied while inserts into them are open, while the relay is behind,
 * while somebody reads; nothing is lost, and no business transaction waits. (What a look before the lock loses is
 * shown beside outbox.sql's own tests.)
 */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { Outbox, RelayLog } from '../src/relay/ports.ts';
import { OutboxScene, type SceneOptions, until } from './outbox-scene.ts';
import { wrapPort } from './port-wrappers.ts';
import { checkScene, missing } from './relay-check.ts';
import type { SceneRelay } from './scene-relay.ts';

/** What became of each slot in a round of care that began after now. */
async function cared(relay: SceneRelay): Promise<readonly string[]> {
  const { cares } = relay;
  await until('two rounds of care', () => relay.cares >= cares + 2);
  return relay.status?.slots ?? [];
}

async function untilSlot(relay: SceneRelay, scene: OutboxScene, id: string): Promise<void> {
  await until('the slot to be emptied', async () => (await scene.slotOf(id)) === null);
  await until('the relay to say so', () => relay.emptied > 0);
}

async function open(t: TestContext, options: SceneOptions = {}) {
  const scene = await OutboxScene.open(t, options);
  return { scene, a: await scene.session('a'), b: await scene.session('b') };
}

/** Locks for which a business session waits. */
async function businessWaits(scene: OutboxScene): Promise<number> {
  const { rows } = await scene.admin.query(
    `SELECT count(*)::int AS count FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE NOT l.granted AND a.application_name LIKE 'business %'`,
  );
  return rows[0].count;
}

/** Rows in the slots 1 and 2, relayed and sealed; the cursor's row is in slot 2. */
async function fillTwo({ scene, b }: Awaited<ReturnType<typeof open>>): Promise<string> {
  const first = await b.write();
  assert.equal(await scene.slotOf(first), 1);
  await scene.turn();
  await b.write();
  await scene.untilComplete();
  await scene.seal();
  return first;
}

describe('a slot into which an insert is open', () => {
  /** Its clock stood still, or its process did: its row goes where the time was that it read. */
  async function openInsert(stage: Awaited<ReturnType<typeof open>>): Promise<string> {
    const { scene, a } = stage;
    await fillTwo(stage);
    await scene.turn(-1);
    await a.begin();
    const late = await a.write();
    await scene.turn(4);
    return late;
  }

  it('is left alone, nobody waits for it, and its row is relayed before it is emptied', async (t) => {
    const stage = await open(t);
    const { scene, a, b } = stage;
    const relay = scene.relay();
    const late = await openInsert(stage);
    assert.equal((await cared(relay))[1], 'busy');
    // Another insert into the same slot, while the relay tries again and again.
    await scene.turn(-4);
    await b.query("SET lock_timeout = '100ms'");
    await b.write();
    await scene.turn(4);
    assert.equal(await businessWaits(scene), 0);
    await a.commit();
    await scene.untilComplete();
    assert.equal(await scene.slotOf(late), 1);
    await scene.seal();
    // The cursor's row moves on, so that slot 1 may go.
    await b.write();
    await scene.untilComplete();
    await scene.seal();
    await untilSlot(relay, scene, late);
    await relay.stop();
    assert.deepEqual(relay.faults, []);
    await checkScene(scene, 'apart');
  });

  it('would hold up other inserts, if the relay waited for the lock', async (t) => {
    const stage = await open(t);
    const { scene, b } = stage;
    const { rows } = await scene.admin.query(
      "SELECT pg_get_functiondef(oid) AS text FROM pg_proc WHERE proname = 'empty_slot'",
    );
    const changed = rows[0].text.replace(' MODE NOWAIT', ' MODE');
    assert.notEqual(changed, rows[0].text);
    await scene.admin.query(changed);
    scene.relay();
    await openInsert(stage);
    await until('the relay to wait for the slot', async () => {
      const waits = await scene.admin.query(
        "SELECT FROM pg_locks WHERE NOT granted AND relation = 'evident_outbox.events_1'::regclass",
      );
      return waits.rows.length > 0;
    });
    await scene.turn(-4);
    await b.query("SET lock_timeout = '100ms'");
    await assert.rejects(b.write(), { code: '55P03' });
    await stage.a.rollback();
  });
});

describe('a slot whose rows are not done with', () => {
  it('stays until they are sealed', async (t) => {
    const stage = await open(t);
    const { scene, b } = stage;
    const relay = scene.relay();
    const first = await b.write();
    await scene.turn();
    await b.write();
    await scene.untilComplete();
    await scene.turn(4);
    assert.equal((await cared(relay))[1], 'behind');
    assert.equal(await scene.slotOf(first), 1);
    await scene.seal();
    await untilSlot(relay, scene, first);
    assert.equal((await cared(relay))[2], 'cursor');
    await relay.stop();
    await checkScene(scene, 'xid');
  });

  it('goes before the tree has them, if nobody asks how far it is sealed', async (t) => {
    const { scene, b } = await open(t);
    const unasked = (log: RelayLog) =>
      wrapPort(log, {
        progress: async (name: string) => {
          const { next } = await log.progress(name);
          return { next, sealed: next };
        },
      });
    const relay = scene.relay({ log: unasked });
    const first = await b.write();
    await scene.turn();
    await b.write();
    await scene.untilComplete();
    await scene.turn(4);
    await untilSlot(relay, scene, first);
  });

  it('stays while the relay is behind, in either mode', async (t) => {
    for (const mode of ['polling', 'wal'] as const) {
      const stage = await open(t, { mode });
      const { scene, a, b } = stage;
      const relay = scene.relay();
      await until(
        `the mode ${mode}`,
        async () => (await scene.relayLog.readSource(scene.name))?.state?.mode === mode,
      );
      await fillTwo(stage);
      await a.begin();
      await a.takeXid();
      await scene.turn(2);
      const waiting = await b.write();
      await scene.turn(3);
      // From the write-ahead log it is in the log already, but polling could not go on behind it yet.
      if (mode === 'wal') await scene.untilRelayed([waiting]);
      await scene.seal();
      assert.equal((await cared(relay))[4], 'behind');
      await a.commit();
      await b.write();
      await scene.untilComplete();
      // From the write-ahead log, the horizon that has passed is stored with the next row.
      for (let i = 0; (await scene.slotOf(waiting)) !== null; i++) {
        assert.ok(i < 200, 'the slot is never emptied');
        await b.write();
        await scene.untilComplete();
        await scene.seal();
        await cared(relay);
      }
      await relay.stop();
      assert.deepEqual([relay.faults, relay.epochs], [[], []]);
      await checkScene(scene, mode === 'wal' ? 'commits' : 'xid');
    }
  });

  it('is lost, if the relay empties without regard to its cursor', async (t) => {
    const stage = await open(t);
    const { scene, a, b } = stage;
    const careless = (outbox: Outbox) =>
      wrapPort(outbox, {
        emptySlot: (slot, _done, row, restored) =>
          outbox.emptySlot(slot, { xid: 2n ** 60n, id: 0n }, row, restored),
      });
    const relay = scene.relay({ outbox: careless });
    await fillTwo(stage);
    await a.begin();
    await a.takeXid();
    await scene.turn(2);
    const waiting = await b.write();
    await scene.turn(3);
    await untilSlot(relay, scene, waiting);
    await a.commit();
    await scene.untilRelayed([await b.write()]);
    assert.deepEqual(await missing(scene), [waiting]);
  });
});

describe('a slot that somebody reads', () => {
  const readers = [
    {
      name: 'through a cursor',
      begin: [
        'BEGIN',
        'DECLARE held CURSOR FOR SELECT event_id FROM evident_outbox.events',
        'FETCH 1 FROM held',
      ],
      read: 'FETCH ALL FROM held',
      before: 1,
    },
    {
      name: 'as a dump does, locked first and read later',
      begin: [
        'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
        'SELECT 1',
        'LOCK TABLE evident_outbox.events IN ACCESS SHARE MODE',
      ],
      read: 'SELECT event_id FROM evident_outbox.events',
      before: 0,
    },
  ];
  for (const { name, begin, read, before } of readers) {
    it(`is left alone, and the reader reads all of it: ${name}`, async (t) => {
      const stage = await open(t);
      const { scene, b } = stage;
      const reader = await scene.session('reader');
      const relay = scene.relay();
      const first = await fillTwo(stage);
      for (const statement of begin) await reader.query(statement);
      await scene.turn(4);
      assert.equal((await cared(relay))[1], 'busy');
      await b.query("SET lock_timeout = '100ms'");
      await b.writeAll(3);
      assert.equal(await businessWaits(scene), 0);
      await scene.untilComplete();
      assert.equal((await reader.query(read)).rows.length, 2 - before);
      await reader.query('COMMIT');
      await untilSlot(relay, scene, first);
      await relay.stop();
      await checkScene(scene, 'xid');
    });
  }
});

describe('a ring that has gone round', () => {
  it('is written to again while no relay runs, and loses nothing', async (t) => {
    const { scene, b } = await open(t, { slots: 4 });
    for (let i = 0; i < 11; i++) {
      await b.writeAll(3);
      await scene.turn();
    }
    const relay = scene.relay();
    await scene.untilComplete();
    await scene.seal();
    await until('all slots but two and that of the cursor to be emptied', async () => {
      await scene.turn();
      return (await scene.rowsInOutbox()) <= 9 && relay.emptied >= 2;
    });
    await relay.stop();
    await checkScene(scene, 'xid');
  });

  it('is emptied while the relay is busy: no read of its own stands in the way', async (t) => {
    const { scene, b } = await open(t);
    let reading = 0;
    let metReading = 0;
    const slow = (outbox: Outbox) =>
      wrapPort(outbox, {
        read: async (after) => {
          reading++;
          const rows = await outbox.read(after, { rowsMax: 5, bytesMax: 1_000_000 });
          await wait(10);
          reading--;
          return rows;
        },
        emptySlot: (...call) => {
          if (reading > 0) metReading++;
          return outbox.emptySlot(...call);
        },
      });
    await b.writeAll(200);
    const relay = scene.relay({ outbox: slow });
    await scene.untilRelayed([await b.write()]);
    const { cares } = relay;
    await b.writeAll(200);
    await scene.untilComplete();
    assert.ok(relay.cares > cares, 'there was no care while it was busy');
    assert.equal(metReading, 0);
    await relay.stop();
    await checkScene(scene, 'xid');
  });
});
