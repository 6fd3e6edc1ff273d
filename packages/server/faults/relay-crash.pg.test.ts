/**
 * A relay that dies before or after every call of its ports: in the sweep, while it polls, in the handover, while it
 * streams, while it leaves the stream, while it empties slots. The next relay goes on from what is stored: nothing is
 * lost, doubled or out of order, the database is not taken for another one, and no slot stays behind.
 */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { BusinessSession } from './business-session.ts';
import { type Death, MortalPorts } from './mortal-ports.ts';
import { OutboxScene, until } from './outbox-scene.ts';
import { checkRecords, checkScene } from './relay-check.ts';
import type { SceneRelay } from './scene-relay.ts';

const isProof = process.env.EVIDENT_PROVE === '1';
/** Lives at once, each with a database of its own: they wait more than they work. */
const LANES = 4;
/** Calls of one method at which a relay dies, at most. */
const NTH_MAX = isProof ? 5 : 1;
/** Methods that write: the relay dies before and after these. After a read nothing differs from before the next call. */
const WRITES = /\.(claim|relay|moveCursor|beat|emptySlot|createSlot|dropSlot|stream|acknowledge)$/;
/** The second call of these as well. */
const DECISIVE = /\.(relay|moveCursor|beat|acknowledge)$/;
/** As many rows as polling inside one database hands to PostgreSQL itself. */
const LOCAL_ROWS = 600;

/** Relays one after the other; each but the last dies. */
class Succession {
  readonly #scene: OutboxScene;
  readonly #deaths: Death[];
  readonly #bounded: boolean;
  #ports: MortalPorts;
  #relay: SceneRelay;
  readonly calls = new Map<string, number>();
  died = 0;

  constructor(scene: OutboxScene, deaths: readonly Death[], bounded: boolean) {
    this.#scene = scene;
    this.#deaths = [...deaths];
    this.#bounded = bounded;
    this.#ports = this.#nextPorts();
    this.#relay = scene.relay(this.#ports);
  }

  #nextPorts(): MortalPorts {
    const death = this.#deaths.shift() ?? null;
    return this.#bounded ? new MortalPorts(death) : new MortalPorts(death, null);
  }

  /** Waits for a condition; a relay that has died in between is followed by the next. */
  until(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
    return until(what, async () => {
      if (this.#ports.isDead) await this.#succeed();
      return isSo();
    });
  }

  async #succeed(): Promise<void> {
    this.died++;
    await this.#end();
    this.#ports = this.#nextPorts();
    this.#relay = this.#scene.relay(this.#ports);
  }

  async #end(): Promise<void> {
    for (const [method, count] of this.#ports.calls)
      this.calls.set(method, Math.max(count, this.calls.get(method) ?? 0));
    // A dead one hears nothing more; what it waits for ends with its connections.
    const buried = this.#ports.isDead ? this.#ports.bury() : undefined;
    await this.#relay.stop();
    await buried;
  }

  async stop(): Promise<void> {
    if (this.#ports.isDead) await this.#succeed();
    await this.#end();
  }
}

async function isComplete(scene: OutboxScene): Promise<boolean> {
  const there = new Set((await scene.relayed()).map(({ id }) => id));
  return (await scene.committed()).every(({ id }) => there.has(id));
}

const modeOf = async (scene: OutboxScene) => (await scene.relayLog.readSource(scene.name))?.state?.mode;

/** The whole of a relay's work, with rows in every part of it. */
async function live(
  scene: OutboxScene,
  relays: Succession,
  [a, b]: readonly BusinessSession[],
): Promise<void> {
  const reach = async (mode: 'polling' | 'wal'): Promise<void> => {
    await scene.want(mode);
    // Rows come all the while; each also wakes a stream that waits for one.
    await relays.until(`the mode ${mode}`, async () => {
      if ((await modeOf(scene)) === mode) return true;
      await b.write();
      return false;
    });
  };
  const complete = () => relays.until('all rows in the log', () => isComplete(scene));
  await complete();
  // Rows above an open transaction: polling does not see them, the slot's snapshot does.
  await a.begin();
  await a.write();
  await b.writeAll(4);
  await scene.want('wal');
  await relays.until('a slot in the making', async () => {
    const { rows } = await scene.admin.query(
      'SELECT FROM pg_replication_slots WHERE database = current_database()',
    );
    return rows.length > 0;
  });
  await a.commit();
  await reach('wal');
  await b.writeAll(7);
  await complete();
  await scene.turn(4);
  await scene.seal();
  await b.writeAll(2);
  await reach('polling');
  await b.writeAll(4);
  await complete();
  await scene.seal();
  await relays.until('a slot of the ring to be emptied', async () => {
    await b.write();
    // Again each time: a relay that has just begun waits for the seal of what stood in the log when it did.
    await scene.seal();
    return (await scene.rowsInOutbox()) < (await scene.committed()).length;
  });
  await complete();
}

interface Lived {
  readonly calls: ReadonlyMap<string, number>;
  readonly died: number;
}

async function runDeaths(t: TestContext, deaths: readonly Death[], whole = false): Promise<Lived> {
  const scene = await OutboxScene.open(t);
  const sessions = [await scene.session('a'), await scene.session('b')];
  await sessions[1].writeAll(7);
  const relays = new Succession(scene, deaths, true);
  await live(scene, relays, sessions);
  await relays.until('no slot to be left', async () => {
    const { rows } = await scene.admin.query(
      'SELECT FROM pg_replication_slots WHERE database = current_database()',
    );
    return rows.length === 0;
  });
  await relays.stop();
  assert.deepEqual(await scene.said('relay.epoch'), [], 'the database was taken for another one');
  await (whole ? checkScene : checkRecords)(scene, 'apart');
  return { calls: relays.calls, died: relays.died };
}

/** Where a relay can die, from a life in which none did. */
function deathsOf(calls: ReadonlyMap<string, number>): Death[] {
  return [...calls].flatMap(([method, count]) => {
    const most = Math.min(count, DECISIVE.test(method) ? NTH_MAX + 1 : NTH_MAX);
    const whens = WRITES.test(method) || isProof ? (['before', 'after'] as const) : (['before'] as const);
    return Array.from({ length: most }, (_, index) =>
      whens.map((when) => ({ method, nth: index + 1, when })),
    ).flat();
  });
}

describe('a relay that dies', () => {
  const claim = 'at any call of its ports, once or twice, leaves nothing that the next does not put right';
  it(claim, { concurrency: LANES }, async (t) => {
    const { calls } = await runDeaths(t, []);
    for (const method of [
      'outbox.readAll',
      'handover.read',
      'stream.acknowledge',
      'outbox.dropSlot',
      'log.moveCursor',
    ])
      assert.ok(calls.has(method), `nobody called ${method}`);
    const deaths = deathsOf(calls);
    let died = 0;
    const each = deaths.map((death, index) => {
      // Every other one dies there twice: what the first death left is met by the second.
      const times = isProof ? 1 + (index % 3) : 1 + (index % 2);
      const name = `${death.when} ${death.method} ${death.nth}, ${times} times`;
      return t.test(name, async (inner) => {
        const lived = await runDeaths(
          inner,
          Array.from({ length: times }, () => death),
          index % 20 === 0,
        );
        died += lived.died;
      });
    });
    await Promise.all(each);
    await t.test('before it has read the row of the cursor that another left', async (inner) => {
      const first: Death = { method: 'outbox.slots', nth: 1, when: 'before' };
      const lived = await runDeaths(inner, [first, { method: 'outbox.readRow', nth: 1, when: 'before' }]);
      assert.equal(lived.died, 2);
    });
    t.diagnostic(`${deaths.length} places, ${died} deaths`);
    assert.ok(died >= deaths.length * 0.9, `only ${died} relays died at ${deaths.length} places`);
  });
});

describe('a relay that dies inside one database', () => {
  for (const when of ['before', 'after'] as const) {
    it(`${when} PostgreSQL took rows over by itself: nothing is lost or doubled`, async (t) => {
      const scene = await OutboxScene.open(t, { where: 'log' });
      const a = await scene.session('a');
      // The sweep that begins an epoch is none of it.
      await scene.relay().stop();
      await until('polling', async () => {
        if ((await modeOf(scene)) === 'polling') return true;
        await scene.relay().stop();
        return false;
      });
      await a.writeMany(LOCAL_ROWS);
      const relays = new Succession(scene, [{ method: 'local.relay', nth: 1, when }], false);
      await relays.until('all rows in the log', () => isComplete(scene));
      await relays.stop();
      assert.equal(relays.died, 1);
      assert.deepEqual(await scene.said('relay.epoch'), []);
      await checkScene(scene, 'xid');
    });
  }
});
