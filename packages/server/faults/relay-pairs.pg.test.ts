/**
 * Two relays of one source at once, and which guard is there for what:
 *
 *   claim        spares the work: without it nothing is lost or doubled
 *   version      of two relays one notices; without it a cursor can be put back, and point to a row that is gone
 *   identities   what is read twice is a repeat: they alone still keep rows from standing twice
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import type { RelayLog } from '../src/relay/ports.ts';
import { OutboxScene, until } from './outbox-scene.ts';
import { Gate, wrapPort } from './port-wrappers.ts';
import { checkScene, missing } from './relay-check.ts';

const claimAll = async () => ({ release: async () => undefined });

/** Everybody may work. */
const unclaimed = (log: RelayLog): RelayLog => wrapPort(log, { claim: claimAll });

/** Its first batch waits at the gate, after it was read. */
const held = (gate: Gate) => (log: RelayLog) =>
  wrapPort(log, {
    claim: claimAll,
    relay: async (...call) => {
      await gate.pass();
      return log.relay(...call);
    },
  });

/** Takes the check of the version out of evident.move_cursor, for the time of a test. */
async function forgetVersions(t: TestContext, scene: OutboxScene): Promise<void> {
  const { installation } = scene;
  const { rows } = await installation.asSuperuser(
    "SELECT pg_get_functiondef(oid) AS text FROM pg_proc WHERE proname = 'move_cursor'",
  );
  const changed = rows[0].text.replace(
    ' AND version = p_version AND state IS NOT DISTINCT FROM p_before',
    '',
  );
  assert.notEqual(changed, rows[0].text);
  await installation.asSuperuser(changed);
  t.after(() => installation.asSuperuser(rows[0].text));
}

/** Two relays that have read the same rows go on at the same moment. */
async function meet(t: TestContext, change: (log: RelayLog) => RelayLog = (log) => log) {
  const scene = await OutboxScene.open(t);
  const a = await scene.session('a');
  await a.writeAll(5);
  const gate = new Gate();
  const through = (log: RelayLog) => held(gate)(change(log));
  // The epoch begins before: it is a move of the cursor that only one can make.
  await scene.relay().stop();
  const relays = [scene.relay({ log: through }), scene.relay({ log: through })];
  return { scene, a, gate, relays };
}

describe('two relays of one source', () => {
  it('with the claim: the second waits, and takes over when the first has stopped', async (t) => {
    const scene = await OutboxScene.open(t);
    const a = await scene.session('a');
    const first = scene.relay();
    await until('the first to work', () => first.cares > 0);
    const second = scene.relay();
    await scene.untilRelayed(await a.writeAll(5));
    await until('the second to ask often', () => second.pauses >= 3);
    assert.equal(second.cares, 0);
    await first.stop();
    await scene.untilRelayed(await a.writeAll(5));
    await until('the second to work', () => second.cares > 0);
    await second.stop();
    assert.deepEqual([first.faults, second.faults, second.repeats], [[], [], 0]);
    await checkScene(scene, 'xid');
  });

  it('whose claim is lost with its connection: both go on, and one notices', async (t) => {
    const scene = await OutboxScene.open(t);
    const a = await scene.session('a');
    const relays = [scene.relay()];
    await until('the first to work', () => relays[0].cares > 0);
    relays.push(scene.relay());
    await scene.cut('log');
    await until('the second to work', () => relays[1].cares > 0);
    for (let i = 0; !relays.some(({ faults }) => faults.includes('cursor-moved')); i++) {
      assert.ok(i < 2_000, 'nobody noticed');
      await a.write();
    }
    await scene.untilComplete();
    await scene.stopRelays();
    assert.deepEqual(await scene.said('relay.epoch'), []);
    await checkScene(scene, 'xid');
  });

  it('without the claim: the version of the cursor lets one of them go on', async (t) => {
    const { scene, a, gate, relays } = await meet(t);
    await until('both to have read', () => gate.arrived === 2);
    gate.open();
    await scene.untilComplete();
    await until('one to notice', () => relays.some(({ faults }) => faults.includes('cursor-moved')));
    await scene.untilRelayed(await a.writeAll(20));
    await scene.stopRelays();
    assert.deepEqual(
      relays.map(({ repeats }) => repeats),
      [0, 0],
    );
    await checkScene(scene, 'xid');
  });

  it('without claim and version: what both bring is a repeat, and stands once', async (t) => {
    const { scene, gate, relays } = await meet(t);
    await forgetVersions(t, scene);
    await until('both to have read', () => gate.arrived === 2);
    gate.open();
    await scene.untilComplete();
    await until('the repeats', () => relays[0].repeats + relays[1].repeats >= 5);
    await scene.stopRelays();
    await checkScene(scene, 'xid');
  });

  it('without claim, version and identities: every row stands twice', async (t) => {
    const forgetful = (log: RelayLog) =>
      wrapPort(log, {
        relay: (source, state, proposals) =>
          log.relay(
            source,
            state,
            proposals.map((one) => ({ ...one, record: { ...one.record, id: randomUUID() } })),
          ),
      });
    const { scene, gate } = await meet(t, forgetful);
    await forgetVersions(t, scene);
    await until('both to have read', () => gate.arrived === 2);
    gate.open();
    await until('ten records of five rows', async () => (await scene.relayed()).length >= 10);
    await scene.stopRelays();
    await assert.rejects(checkScene(scene, 'xid'), /which no business transaction committed/);
  });
});

describe('a relay that slept through what another did', () => {
  /** The sleeper has read the first slot; the other has relayed it, sealed it and emptied it. */
  async function oversleep(scene: OutboxScene, gate: Gate) {
    const a = await scene.session('a');
    await scene.relay().stop();
    await a.writeAll(3);
    const sleeper = scene.relay({ log: held(gate) });
    await until('the sleeper to have read', () => gate.arrived === 1);
    const other = scene.relay({ log: unclaimed });
    await scene.untilComplete();
    await scene.turn();
    const ids = await a.writeAll(3);
    await scene.untilRelayed(ids);
    await scene.turn(4);
    await scene.seal();
    await until('the first slot to be emptied', async () => (await scene.rowsInOutbox()) === 3);
    await other.stop();
    gate.open();
    return { a, sleeper };
  }

  it('notices, and goes on from the cursor', async (t) => {
    const scene = await OutboxScene.open(t);
    const { a, sleeper } = await oversleep(scene, new Gate());
    await until('the sleeper to notice', () => sleeper.faults.includes('cursor-moved'));
    await scene.untilRelayed(await a.writeAll(3));
    await sleeper.stop();
    assert.deepEqual([sleeper.faults, sleeper.epochs, sleeper.repeats], [['cursor-moved'], [], 0]);
    await checkScene(scene, 'xid');
  });

  it('without the version: puts the cursor back to a row that is gone; a false epoch, and still nothing lost', async (t) => {
    const scene = await OutboxScene.open(t);
    await forgetVersions(t, scene);
    const { sleeper } = await oversleep(scene, new Gate());
    await until('the sleeper to have put it back', () => sleeper.repeats >= 3);
    await sleeper.stop();
    const next = scene.relay();
    await until('an epoch', () => next.epochs.length > 0);
    assert.match(next.epochs[0], /is not in the outbox/);
    await until(
      'polling',
      async () => (await scene.relayLog.readSource(scene.name))?.state?.mode === 'polling',
    );
    assert.deepEqual(await missing(scene), []);
    await next.stop();
    await checkScene(scene, 'xid');
  });
});
