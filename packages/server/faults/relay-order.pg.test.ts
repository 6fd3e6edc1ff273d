/**
 * Business transactions that commit late, roll back, use savepoints, run while thousands of others pass, or are
 * prepared and committed by somebody else; stepped one statement at a time, for polling and for the write-ahead log.
 * The same schedules with a cursor that does not know the horizon lose rows: a suite that cannot fail shows nothing.
 */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import pg from 'pg';
import type { Outbox } from '../src/relay/ports.ts';
import { readOutboxRows, visibleRows } from '../src/stores/postgres/outbox/rows.ts';
import type { BusinessSession } from './business-session.ts';
import { OutboxScene, openCluster, type SceneOptions, until } from './outbox-scene.ts';
import { checkScene, missing } from './relay-check.ts';
import type { SceneRelay } from './scene-relay.ts';

const MANY = 3_000;

interface Stage {
  readonly scene: OutboxScene;
  readonly a: BusinessSession;
  readonly b: BusinessSession;
  /** Whoever reads the outbox takes all that it is going to take of what stands there now. */
  look(): Promise<void>;
}

interface Schedule {
  readonly name: string;
  /** @returns rows that a reader who passes by an open transaction never sees again */
  run(stage: Stage): Promise<string[]>;
}

const SCHEDULES: readonly Schedule[] = [
  {
    name: 'a transaction that commits after one that began later',
    async run({ a, b, look }) {
      await a.begin();
      const late = [await a.write()];
      await b.writeAll(2);
      await look();
      late.push(await a.write());
      await b.writeAll(1);
      await look();
      await a.commit();
      return late.slice(0, 1);
    },
  },
  {
    name: 'a transaction that rolls back beside one that commits late',
    async run({ a, b, look, scene }) {
      const c = await scene.session('c');
      await a.begin();
      await a.write();
      await c.begin();
      const late = [await c.write()];
      await b.writeAll(1);
      await look();
      await a.rollback();
      await look();
      await c.commit();
      return late;
    },
  },
  {
    name: 'savepoints: what was rolled back to is gone, what was released stays',
    async run({ a, b, look }) {
      await a.begin();
      const late = [await a.write()];
      await a.query('SAVEPOINT one');
      await a.write();
      await b.writeAll(1);
      await look();
      await a.query('ROLLBACK TO one');
      await a.write();
      await a.query('SAVEPOINT two');
      await a.write();
      await a.query('RELEASE two');
      await look();
      await a.commit();
      return late;
    },
  },
  {
    name: `a transaction that runs while ${MANY} others pass`,
    async run({ a, scene, look }) {
      await a.begin();
      const late = [await a.write()];
      await passMany(scene, MANY);
      await look();
      await a.write();
      await a.commit();
      return late;
    },
  },
  {
    name: 'prepared transactions, ended later by others: one committed, one rolled back',
    async run({ a, b, look, scene }) {
      await a.begin();
      const late = [await a.write()];
      await a.prepare(`${scene.name} kept`);
      await a.begin();
      await a.write();
      await a.prepare(`${scene.name} dropped`);
      await b.writeAll(2);
      await look();
      await b.endPrepared(`${scene.name} dropped`, 'ROLLBACK');
      await b.writeAll(1);
      await look();
      await b.endPrepared(`${scene.name} kept`, 'COMMIT');
      return late;
    },
  },
];

/** Transactions of one row each, one behind the other. */
async function passMany(scene: OutboxScene, count: number): Promise<void> {
  const { schedule } = scene;
  const begunAt = schedule.step++;
  const { rows } = await scene.admin.query('SELECT coalesce(max(seq), 0) AS seq FROM app.business');
  await scene.admin.query(`DO $$ BEGIN FOR i IN 1 .. ${count} LOOP
    WITH written AS (
      INSERT INTO app.business (id, tenant, type, key, body)
        VALUES (gen_random_uuid(), 'acme', 'note', 'acme/' || i % 7, format('{"n":%s}', i)) RETURNING *)
    INSERT INTO evident_outbox.events (event_id, tenant, type, key, schema, meta, body)
      SELECT id, tenant, type, key, 0, NULL, body FROM written;
    COMMIT; END LOOP; END $$`);
  const { rows: passed } = await scene.admin.query(
    `SELECT id FROM app.business WHERE seq > $1 AND body LIKE '{"n":%'`,
    [rows[0].seq],
  );
  schedule.transactions.push({
    name: 'many',
    ids: passed.map(({ id }) => id),
    begunAt,
    endedAt: schedule.step++,
  });
}

async function openStage(t: TestContext, options: SceneOptions = {}): Promise<Omit<Stage, 'look'>> {
  const scene = await OutboxScene.open(t, options);
  return { scene, a: await scene.session('a'), b: await scene.session('b') };
}

/** A relay by polling has looked when it has found nothing to do twice: the second time it began to read after now. */
async function untilLooked(relay: SceneRelay): Promise<void> {
  const before = relay.pauses;
  await until('the relay to look', () => relay.pauses >= before + 2);
}

async function untilMode(scene: OutboxScene, mode: string): Promise<void> {
  await until(
    `the mode ${mode}`,
    async () => (await scene.relayLog.readSource(scene.name))?.state?.mode === mode,
  );
}

/** What commits now reaches the log while others are open; with it comes all that committed before. */
async function untilStreamed(scene: OutboxScene, marker: BusinessSession): Promise<void> {
  await scene.untilRelayed([await marker.write()]);
}

describe('polling', () => {
  for (const { name, run } of SCHEDULES) {
    it(`loses nothing and keeps (xid, id) order: ${name}`, async (t) => {
      const stage = await openStage(t, { where: 'log' });
      const relay = stage.scene.relay();
      await untilMode(stage.scene, 'polling');
      await run({ ...stage, look: () => untilLooked(relay) });
      await stage.scene.untilComplete();
      assert.deepEqual([relay.faults, relay.epochs, relay.repeats], [[], [], 0]);
      await relay.stop();
      await checkScene(stage.scene, 'xid');
    });
  }

  it('relays nothing of what stands above an open transaction, and all of it once that has ended', async (t) => {
    const { scene, a, b } = await openStage(t);
    const relay = scene.relay();
    await a.begin();
    await a.takeXid();
    await b.writeAll(2);
    await untilLooked(relay);
    assert.equal((await scene.relayed()).length, 0);
    await a.rollback();
    await scene.untilComplete();
    await relay.stop();
    await checkScene(scene, 'xid');
  });

  it('begins while transactions are open, and loses none of them', async (t) => {
    const { scene, a, b } = await openStage(t);
    await b.writeAll(2);
    await a.begin();
    await a.write();
    await b.writeAll(2);
    const relay = scene.relay();
    await untilLooked(relay);
    await a.write();
    await a.commit();
    await b.writeAll(1);
    await scene.untilComplete();
    await relay.stop();
    await checkScene(scene, 'xid');
  });
});

describe('the write-ahead log', () => {
  for (const { name, run } of SCHEDULES) {
    it(`loses nothing and keeps the order of commits: ${name}`, async (t) => {
      const stage = await openStage(t, { mode: 'wal' });
      const relay = stage.scene.relay();
      await untilMode(stage.scene, 'wal');
      const marker = await stage.scene.session('marker');
      await run({ ...stage, look: () => untilStreamed(stage.scene, marker) });
      await stage.scene.untilComplete();
      assert.deepEqual([relay.faults, relay.epochs, relay.repeats], [[], [], 0]);
      await relay.stop();
      await checkScene(stage.scene, 'commits');
    });
  }
});

/** Polls as one would who has not heard of the horizon: what is visible behind the cursor. */
function withoutHorizon(reader: pg.Client): (outbox: Outbox) => Outbox {
  return (outbox) =>
    new Proxy(outbox, {
      get(target, name) {
        if (name === 'read')
          return (...[place, bounds]: Parameters<Outbox['read']>) =>
            readOutboxRows(reader, visibleRows(place, bounds));
        const member = Reflect.get(target, name, target);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
}

async function openReader(t: TestContext, scene: OutboxScene): Promise<pg.Client> {
  const reader = new pg.Client(scene.connection);
  await reader.connect();
  t.after(() => reader.end());
  return reader;
}

describe('a cursor without the horizon loses rows', () => {
  for (const { name, run } of SCHEDULES) {
    it(`the relay's own query without that condition: ${name}`, async (t) => {
      const stage = await openStage(t);
      const reader = await openReader(t, stage.scene);
      const relay = stage.scene.relay({ outbox: withoutHorizon(reader) });
      await untilMode(stage.scene, 'polling');
      const late = await run({ ...stage, look: () => untilLooked(relay) });
      await stage.scene.untilRelayed([await stage.b.write()]);
      const lost = await missing(stage.scene);
      assert.ok(
        late.every((id) => lost.includes(id)),
        `of ${late.length} rows that committed late, ${lost.length} are lost`,
      );
      await assert.rejects(checkScene(stage.scene, 'apart'), /committed, and not in the log/);
    });

    it(`id > last: ${name}`, async (t) => {
      const stage = await openStage(t);
      const seen = new Set<string>();
      let last = 0;
      const look = async (): Promise<void> => {
        const { rows } = await stage.scene.admin.query(
          'SELECT id, event_id FROM evident_outbox.events WHERE id > $1 ORDER BY id',
          [last],
        );
        for (const row of rows) seen.add(row.event_id);
        last = Number(rows.at(-1)?.id ?? last);
      };
      const late = await run({ ...stage, look });
      await look();
      assert.ok(late.length > 0 && late.every((id) => !seen.has(id)), 'a row that committed late was seen');
    });
  }
});

describe('two transactions of one key that overlap (I4)', () => {
  /** The first takes its xid first, writes and commits last. */
  async function invert({ a, b }: Omit<Stage, 'look'>): Promise<{ first: string; second: string }> {
    await a.begin();
    await a.takeXid();
    await b.begin();
    const second = await b.write();
    await b.commit();
    const first = await a.write();
    await a.commit();
    return { first, second };
  }

  it('by polling stand in the order of their xids, though the later xid committed first', async (t) => {
    const stage = await openStage(t);
    const relay = stage.scene.relay();
    await untilMode(stage.scene, 'polling');
    const { first, second } = await invert(stage);
    await stage.scene.untilComplete();
    await relay.stop();
    assert.deepEqual(
      (await stage.scene.relayed()).map(({ id }) => id),
      [first, second],
    );
    await checkScene(stage.scene, 'xid');
    await assert.rejects(checkScene(stage.scene, 'commits'), /stands behind/);
  });

  it('from the write-ahead log stand in the order of their commits', async (t) => {
    const stage = await openStage(t, { mode: 'wal' });
    const relay = stage.scene.relay();
    await untilMode(stage.scene, 'wal');
    const { first, second } = await invert(stage);
    await stage.scene.untilComplete();
    await relay.stop();
    assert.deepEqual(
      (await stage.scene.relayed()).map(({ id }) => id),
      [second, first],
    );
    await checkScene(stage.scene, 'commits');
    await assert.rejects(checkScene(stage.scene, 'xid'), /stands behind/);
  });

  it('and two that do not overlap keep their order across every change between the two', async (t) => {
    const { scene, a } = await openStage(t);
    const relay = scene.relay();
    for (const mode of ['wal', 'polling', 'wal', 'polling'] as const) {
      await a.writeAll(3);
      await scene.want(mode);
      for (let i = 0; (await scene.relayLog.readSource(scene.name))?.state?.mode !== mode; i++) {
        assert.ok(i < 1_000, `never came to ${mode}`);
        await a.write();
      }
    }
    await scene.untilComplete();
    await relay.stop();
    assert.deepEqual([relay.faults, relay.epochs], [[], []]);
    await checkScene(scene, 'apart');
  });
});

describe('an outbox in another cluster than the log', () => {
  it('is relayed exactly once, by polling, from the write-ahead log, and by polling again', async (t) => {
    const { scene, a, b } = await openStage(t, { where: await openCluster() });
    const relay = scene.relay();
    await a.begin();
    await a.write();
    await b.writeAll(3);
    await untilLooked(relay);
    assert.equal((await scene.relayed()).length, 0);
    await a.commit();
    await scene.untilComplete();
    for (const mode of ['wal', 'polling'] as const) {
      await scene.want(mode);
      await untilMode(scene, mode);
      await b.writeAll(3);
      await scene.untilComplete();
    }
    await relay.stop();
    await checkScene(scene, 'apart');
  });
});
