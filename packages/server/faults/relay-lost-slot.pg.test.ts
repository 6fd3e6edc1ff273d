/**
 * Replication slots that go wrong: dropped, moved on by somebody else, invalidated by PostgreSQL, or left behind.
 * What a slot held is in the outbox, and is read from there.
 */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Outbox, RelayLog } from '../src/relay/ports.ts';
import type { BusinessSession } from './business-session.ts';
import { OutboxScene, until } from './outbox-scene.ts';
import { Gate, wrapPort } from './port-wrappers.ts';
import { checkScene, missing } from './relay-check.ts';

const SLOT_LOST = 'slot-lost';
const SEGMENTS_MAX = 12;
/** More than the relay lets wait in its memory, so that the connection itself stands still. */
const FLOOD_ROWS = 30_000;

async function modeOf(scene: OutboxScene): Promise<string | undefined> {
  return (await scene.relayLog.readSource(scene.name))?.state?.mode;
}

const untilMode = (scene: OutboxScene, mode: string) =>
  until(`the mode ${mode}`, async () => (await modeOf(scene)) === mode);

function slotOf(scene: OutboxScene): string {
  return `evident_${scene.name.replaceAll('-', '_')}`;
}

async function slots(scene: OutboxScene): Promise<{ active: boolean; wal_status: string }[]> {
  const { rows } = await scene.admin.query(
    'SELECT active, wal_status FROM pg_replication_slots WHERE slot_name = $1',
    [slotOf(scene)],
  );
  return rows;
}

/** A scene that streams, with rows in the log; its relay is stopped, and rows wait. */
async function openStopped(
  t: TestContext,
): Promise<{ scene: OutboxScene; a: BusinessSession; waiting: string[] }> {
  const scene = await OutboxScene.open(t, { mode: 'wal' });
  const a = await scene.session('a');
  const relay = scene.relay();
  await untilMode(scene, 'wal');
  await a.writeAll(5);
  await scene.untilComplete();
  await relay.stop();
  await until('the slot to be let go', async () => (await slots(scene))[0]?.active === false);
  return { scene, a, waiting: await a.writeAll(5) };
}

/** To where the log is on disk: what committed is there after a commit that waits for it. */
async function advance(scene: OutboxScene): Promise<void> {
  await scene.admin.query(
    "BEGIN; SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, '', ''); COMMIT",
  );
  await scene.admin.query('SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())', [slotOf(scene)]);
}

const drop = (scene: OutboxScene) =>
  scene.admin.query('SELECT pg_drop_replication_slot($1)', [slotOf(scene)]);

/** Lets PostgreSQL remove write-ahead log that the slot needs. */
async function invalidate(scene: OutboxScene): Promise<void> {
  const { admin } = scene;
  await admin.query("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
  await admin.query('SELECT pg_reload_conf()');
  try {
    for (let i = 0; (await slots(scene))[0].wal_status !== 'lost'; i++) {
      assert.ok(i < SEGMENTS_MAX, 'PostgreSQL keeps the write-ahead log');
      await admin.query('SELECT pg_logical_emit_message(false, $1, $2)', ['filler', 'x']);
      await admin.query('SELECT pg_switch_wal()');
      await admin.query('CHECKPOINT');
    }
  } finally {
    await admin.query('ALTER SYSTEM RESET max_slot_wal_keep_size');
    await admin.query('SELECT pg_reload_conf()');
  }
}

describe('a slot that is lost while the relay is away', () => {
  for (const [name, lose] of Object.entries({
    dropped: drop,
    'moved on': advance,
    invalidated: invalidate,
  })) {
    it(`${name}: raises an alarm, and everything comes from the outbox`, async (t) => {
      const { scene, a } = await openStopped(t);
      await lose(scene);
      await a.writeAll(3);
      const relay = scene.relay();
      await scene.untilComplete();
      // A new slot follows, and the alarm ends.
      await until('the end of the alarm', () =>
        relay.alerts.some(({ name, active }) => name === SLOT_LOST && !active),
      );
      assert.deepEqual(
        relay.alerts.filter(({ name }) => name === SLOT_LOST).map(({ active }) => active),
        [true, false],
      );
      assert.equal(await modeOf(scene), 'wal');
      await scene.untilRelayed(await a.writeAll(3));
      await relay.stop();
      assert.deepEqual([relay.faults, relay.epochs], [[], []]);
      await checkScene(scene, 'apart');
    });
  }

  it('moved on: loses what it passed over, if nobody compares it with the cursor', async (t) => {
    const { scene, a, waiting } = await openStopped(t);
    await advance(scene);
    const trusting = (outbox: Outbox) =>
      wrapPort(outbox, {
        slotState: async (name) => {
          const state = await outbox.slotState(name);
          return state === null ? null : { ...state, confirmed: 0n };
        },
      });
    const relay = scene.relay({ outbox: trusting });
    await scene.untilRelayed(await a.writeAll(1));
    assert.deepEqual([relay.faults, relay.epochs], [[], []]);
    assert.deepEqual(await missing(scene), waiting);
  });
});

describe('a slot that is lost under a relay that streams', () => {
  it('is made anew, and nothing is lost, doubled or out of order', async (t) => {
    const scene = await OutboxScene.open(t, { mode: 'wal' });
    const a = await scene.session('a');
    const relay = scene.relay();
    await untilMode(scene, 'wal');
    await a.writeAll(3);
    await scene.untilComplete();
    await until('the stream to end and the slot to be gone', async () => {
      await scene.admin.query(
        `SELECT pg_terminate_backend(active_pid, 1000) FROM pg_replication_slots WHERE slot_name = $1 AND active`,
        [slotOf(scene)],
      );
      return drop(scene).then(
        () => true,
        () => false,
      );
    });
    await a.writeAll(3);
    await until('the alarm', () => relay.alerts.some(({ name, active }) => name === SLOT_LOST && active));
    await untilMode(scene, 'wal');
    await scene.untilRelayed(await a.writeAll(3));
    await relay.stop();
    assert.deepEqual(relay.epochs, []);
    await checkScene(scene, 'apart');
  });
});

describe('rows that committed before a slot begins, and that polling has not read', () => {
  /** Polling reads nothing more; the handover reads what it does, or what `read` makes of it. */
  async function handOver(t: TestContext, readsSnapshot: boolean) {
    const scene = await OutboxScene.open(t);
    const a = await scene.session('a');
    let polls = true;
    const relay = scene.relay({
      outbox: (outbox) =>
        wrapPort(outbox, {
          read: async (...call) => (polls ? outbox.read(...call) : []),
          createSlot: async (...call) => {
            const handover = await outbox.createSlot(...call);
            return readsSnapshot ? handover : wrapPort(handover, { read: async () => [] });
          },
        }),
    });
    await scene.untilRelayed(await a.writeAll(2));
    polls = false;
    const before = await a.writeAll(4);
    await scene.want('wal');
    await untilMode(scene, 'wal');
    await scene.untilRelayed(await a.writeAll(2));
    await relay.stop();
    return { scene, before };
  }

  it("come from the slot's snapshot", async (t) => {
    const { scene } = await handOver(t, true);
    await checkScene(scene, 'commits');
  });

  it('are lost, if nobody reads that', async (t) => {
    const { scene, before } = await handOver(t, false);
    assert.deepEqual(await missing(scene), before);
  });
});

describe('a slot that nobody reads', () => {
  it('is dropped when polling is wanted again before the handover was done', async (t) => {
    const scene = await OutboxScene.open(t);
    const [a, b] = [await scene.session('a'), await scene.session('b')];
    const relay = scene.relay();
    await untilMode(scene, 'polling');
    await a.begin();
    await a.takeXid();
    await scene.want('wal');
    await until('a slot in the making', async () => (await slots(scene)).length === 1);
    await scene.want('polling');
    await until('the relay to hear of it', () => relay.status?.mode === 'polling' && relay.cares > 2);
    await b.write();
    await a.commit();
    await scene.untilComplete();
    await until('the slot to be gone', async () => (await slots(scene)).length === 0);
    await until('its snapshot to be gone', async () => {
      const { rows } = await scene.admin.query(
        `SELECT FROM pg_stat_activity WHERE application_name = 'evident relay' AND datname = current_database()
           AND state = 'idle in transaction'`,
      );
      return rows.length === 0;
    });
    await relay.stop();
    await checkScene(scene, 'xid');
  });

  it('is dropped by the next relay, if one died between leaving the stream and dropping it', async (t) => {
    const { scene, a } = await openStopped(t);
    await scene.want('polling');
    let drops = 0;
    const dying = (outbox: Outbox) =>
      wrapPort(outbox, {
        dropSlot: async (name) => {
          if (drops++ === 0) throw new Error('it died here');
          await outbox.dropSlot(name);
        },
      });
    const relay = scene.relay({ outbox: dying });
    await scene.untilComplete();
    await until('the slot to be gone', async () => (await slots(scene)).length === 0);
    await scene.untilRelayed(await a.writeAll(2));
    await relay.stop();
    await checkScene(scene, 'apart');
  });
});

describe('a stream that stands still because the log does', () => {
  it('ends when the relay is stopped, and the next relay brings what it held', async (t) => {
    const scene = await OutboxScene.open(t, { mode: 'wal' });
    const a = await scene.session('a');
    const gate = new Gate();
    const waits = (log: RelayLog) =>
      wrapPort(log, {
        relay: async (...call) => {
          await gate.pass();
          return log.relay(...call);
        },
      });
    const relay = scene.relay({ log: waits });
    await untilMode(scene, 'wal');
    await a.writeMany(FLOOD_ROWS);
    await until('PostgreSQL to wait for the relay to read', async () => {
      const { rows } = await scene.admin.query(
        "SELECT FROM pg_stat_activity WHERE backend_type = 'walsender' AND wait_event = 'WalSenderWriteData'",
      );
      return gate.arrived > 0 && rows.length > 0;
    });
    const stopped = relay.stop();
    gate.open();
    let isStopped = false;
    void stopped.then(() => {
      isStopped = true;
    });
    await until('the relay to stop', () => isStopped);
    const next = scene.relay();
    await scene.untilComplete();
    await next.stop();
    assert.deepEqual(next.epochs, []);
    await checkScene(scene, 'commits');
  });
});
