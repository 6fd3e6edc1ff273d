/**
 * The source database is another one than before: an older copy of its files, a dump, a promoted standby, a point in
 * time; by polling and from the write-ahead log. A new epoch begins and is recorded once; every row that the surviving
 * database has committed is in the log once; what the log holds beyond that is what the source has forgotten. A relay
 * that does not look which database answers loses rows in the same scenarios.
 */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { slotName } from '../src/relay/handover.ts';
import type { RelayLog } from '../src/relay/ports.ts';
import { until } from './outbox-scene.ts';
import { Gate, wrapPort } from './port-wrappers.ts';
import { Impostor, type Mode, type RestoreOptions, RestoreScene } from './restore-scene.ts';
import { processesOf, SourceCluster } from './source-cluster.ts';

const LANES = 3;
const MODES: readonly Mode[] = ['polling', 'wal'];

/** Rows that were relayed, and a relay that works in the scene's mode. */
async function begin(t: TestContext, mode: Mode, options: RestoreOptions = {}): Promise<RestoreScene> {
  const scene = await RestoreScene.open(t, mode, options);
  scene.startRelay();
  await scene.untilSettled();
  await scene.source.write(5, 'kept');
  await scene.untilComplete();
  return scene;
}

/** Stops the cluster, does something with its files, and starts it. */
async function between(source: SourceCluster, action: () => void): Promise<void> {
  await source.stop();
  action();
  await source.start();
}

/** Everything has arrived, the relay is at work as it should be, and one epoch was recorded, for this reason. */
async function checkEpoch(scene: RestoreScene, reason: RegExp, forgotten: readonly string[]): Promise<void> {
  await scene.untilComplete();
  await scene.untilSettled();
  await scene.untilRelayed(await scene.source.write(3, 'after'));
  const slots = scene.mode === 'wal' ? [slotName(scene.name)] : [];
  await until(
    'no slot but the one in use',
    async () => (await scene.source.replicationSlots()).join() === slots.join(),
  );
  await scene.stopRelay();
  const recorded = await scene.recordedEpochs();
  assert.deepEqual(
    recorded.map(({ epoch }) => epoch),
    [2],
  );
  assert.match(recorded[0].reason, reason);
  assert.deepEqual(scene.epochs, [recorded[0].reason], 'said once');
  await scene.check(forgotten);
}

/** Rows are relayed, an older copy of the files is put back, and the same xids are given out again. */
async function putBackOlder(scene: RestoreScene): Promise<string[]> {
  const { source } = scene;
  await scene.stopRelay();
  await between(source, () => source.copy('older'));
  const next = await source.nextXid();
  scene.startRelay();
  const forgotten = await source.write(6, 'forgotten');
  await scene.untilRelayed(forgotten);
  await scene.stopRelay();
  await between(source, () => source.putBack('older'));
  assert.equal(await source.nextXid(), next, 'the same xids come again');
  await source.write(20, 'again');
  scene.startRelay();
  return forgotten;
}

/** The relay loses what a look at the database would have kept. */
async function checkLoss(scene: RestoreScene): Promise<void> {
  await scene.untilSettled();
  const [marker] = await scene.source.write(1, 'marker');
  const pauses = scene.relay?.pauses ?? 0;
  // By polling it has looked when it found nothing to do twice; the write-ahead log brings what comes last, last.
  if (scene.mode === 'wal') await scene.untilRelayed([marker]);
  else await until('the relay to look', () => (scene.relay?.pauses ?? 0) >= pauses + 2);
  assert.notDeepEqual(await scene.lost(), []);
  await scene.stopRelay();
  assert.deepEqual(await scene.recordedEpochs(), []);
}

/** Writes into one slot of the ring after the other until those of before are empty. */
async function emptyOlderSlots(scene: RestoreScene): Promise<string[]> {
  const written: string[] = [];
  for (let slot = 0; slot < 2; slot++) {
    await scene.source.turn();
    written.push(...(await scene.source.write(1, 'turned')));
  }
  await scene.untilRelayed(written);
  await until('the slots before to be emptied', async () => {
    await scene.seal();
    return (await scene.rowsInOutbox()) <= 1;
  });
  return written;
}

/**
 * The copy holds the row that was relayed last. Since it was made other transactions have used xids, and the cursor
 * went with them: rows that get these xids in the copy would be passed over.
 */
async function putBackBehindHorizon(scene: RestoreScene): Promise<void> {
  const { source } = scene;
  await between(source, () => source.copy('older'));
  const next = await source.nextXid();
  await source.consumeXids(200);
  if (scene.mode === 'polling') {
    // By polling alone the cursor is a row's; a horizon is left by the way back from the write-ahead log.
    await scene.want('wal');
    await scene.untilSettled('wal');
    await scene.want('polling');
  }
  await until('the cursor to pass them', async () => {
    const { mode, done } = await scene.state();
    return mode === scene.mode && done.xid >= next + 200n;
  });
  await scene.stopRelay();
  await between(source, () => source.putBack('older'));
  await source.write(20, 'again');
  scene.startRelay();
}

/** What pg_dump and psql do: every row as it was, in a cluster of its own. */
async function restoreDump(t: TestContext, from: SourceCluster): Promise<SourceCluster> {
  const to = await SourceCluster.open(t, 'other');
  const events = 'slot, xid, id, written_at, event_id, tenant, type, key, schema, meta, body';
  await to.copyRows(from, 'evident_outbox.events', events);
  await to.copyRows(from, 'app.business', 'id, tenant, type, key, body, xid');
  const beat = await from.query('SELECT tokens, beat_at FROM evident_outbox.heartbeat');
  await to.query('UPDATE evident_outbox.heartbeat SET tokens = $1, beat_at = $2', [
    beat[0].tokens,
    beat[0].beat_at,
  ]);
  for (const name of ['evident_outbox.row_id', 'app.seconds'])
    await to.query(`SELECT setval('${name}', $1)`, [await from.one(`SELECT last_value FROM ${name}`)]);
  return to;
}

async function moveToDump(t: TestContext, scene: RestoreScene): Promise<string[]> {
  const { source } = scene;
  await source.consumeXids(2_000);
  await source.write(3, 'dumped');
  await scene.untilComplete();
  const dump = await restoreDump(t, source);
  const forgotten = await source.write(4, 'forgotten');
  await scene.untilRelayed(forgotten);
  // Rows that were dumped, and that no relay had brought before the first database was gone.
  await scene.stopRelay();
  scene.source = dump;
  assert.ok((await dump.nextXid()) + 1_000n < (await scene.state()).done.xid, 'its xids are far behind');
  await dump.write(5, 'again');
  scene.startRelay();
  return forgotten;
}

/** A standby that lacks the last commits takes the place of its primary. */
async function promote(t: TestContext, scene: RestoreScene): Promise<string[]> {
  const { source } = scene;
  const standby = await source.baseBackup(t);
  const { host, port, user, password } = source.connection;
  standby.put('standby.signal', '');
  standby.put(
    'postgresql.auto.conf',
    `primary_conninfo = 'host=${host} port=${port} user=${user} password=${password}'\n`,
  );
  await standby.start();
  await source.write(4, 'replicated');
  await scene.untilComplete();
  const end = await source.one('SELECT pg_current_wal_lsn()::text');
  await until('the standby to follow', () => standby.one(`SELECT pg_last_wal_replay_lsn() >= '${end}'`));
  await standby.query("ALTER SYSTEM SET primary_conninfo = ''");
  await standby.query('SELECT pg_reload_conf()');
  await until(
    'the standby to be cut off',
    async () => (await standby.one<string>('SELECT count(*) FROM pg_stat_wal_receiver')) === '0',
  );
  const forgotten = await source.write(4, 'forgotten');
  await scene.untilRelayed(forgotten);
  await source.crash();
  await standby.query('SELECT pg_promote()');
  scene.source = standby;
  await standby.write(20, 'again');
  return forgotten;
}

/** A log that takes rows only as the gates of the list let it. */
function gated(log: RelayLog, gates: readonly Gate[]): RelayLog {
  return wrapPort(log, {
    relay: async (...given) => {
      for (const gate of gates) await gate.pass();
      return log.relay(...given);
    },
  });
}

// Side by side, each with clusters of its own: they wait more than they work.
describe('a source that is another database than before', { concurrency: LANES }, () => {
  describe('an older copy of the files is put back', { concurrency: 1 }, () => {
    for (const mode of MODES) {
      it(`${mode}: and has gone on, with the same xids for other rows`, async (t) => {
        const scene = await begin(t, mode);
        const forgotten = await putBackOlder(scene);
        await checkEpoch(scene, /older copy/, forgotten);
      });

      it(`${mode}: loses rows when nobody looks`, async (t) => {
        const scene = await begin(t, mode, { outbox: new Impostor().wrap });
        await putBackOlder(scene);
        await checkLoss(scene);
      });

      it(`${mode}: of a crash, under a relay that watches; slots were emptied whose rows the copy has`, async (t) => {
        const scene = await begin(t, mode);
        const { source } = scene;
        await source.crash();
        source.copy('older');
        await source.start();
        const forgotten = [...(await source.write(6, 'forgotten')), ...(await emptyOlderSlots(scene))];
        await between(source, () => source.putBack('older'));
        await checkEpoch(scene, /older copy/, forgotten);
        assert.ok(scene.repeats >= 5, 'the rows of the copy are in the log already');
      });
    }
  });

  describe('a copy that holds the last row, and is older than the horizon', { concurrency: 1 }, () => {
    for (const mode of MODES) {
      it(`${mode}: is known by the token that it lacks`, async (t) => {
        const scene = await begin(t, mode);
        await putBackBehindHorizon(scene);
        await checkEpoch(scene, /token/, []);
      });
    }

    it('polling: loses rows when nobody looks for the token', async (t) => {
      const scene = await begin(t, 'polling', { outbox: new Impostor(['tokens', 'beat']).wrap });
      await putBackBehindHorizon(scene);
      await checkLoss(scene);
    });

    it('polling: is no other database as long as the cursor is at that row', async (t) => {
      const scene = await begin(t, 'polling');
      const { source } = scene;
      // It leaves a token once a second: one that came after the copy would be missed, and rightly.
      await scene.stopRelay();
      await between(source, () => source.copy('older'));
      await source.consumeXids(200);
      await between(source, () => source.putBack('older'));
      scene.startRelay();
      await source.write(20, 'again');
      await scene.untilComplete();
      await scene.stopRelay();
      assert.deepEqual(await scene.recordedEpochs(), []);
      await scene.check([]);
    });
  });

  describe('a dump is restored into another cluster', { concurrency: 1 }, () => {
    for (const mode of MODES) {
      it(`${mode}: its rows bear xids of the future, and slots are emptied all the same`, async (t) => {
        const scene = await begin(t, mode);
        const forgotten = await moveToDump(t, scene);
        await scene.untilComplete();
        await emptyOlderSlots(scene);
        await checkEpoch(scene, /system identifier/, forgotten);
      });
    }

    it('polling: loses rows when nobody looks', async (t) => {
      const scene = await begin(t, 'polling', { outbox: new Impostor().wrap });
      await moveToDump(t, scene);
      await checkLoss(scene);
    });
  });

  describe('a standby is promoted that lacks the last commits', { concurrency: 1 }, () => {
    for (const mode of MODES) {
      it(`${mode}: is another timeline`, async (t) => {
        const scene = await begin(t, mode);
        const forgotten = await promote(t, scene);
        await checkEpoch(scene, /timeline 00000002/, forgotten);
      });
    }

    it('polling: loses rows when nobody looks', async (t) => {
      const scene = await begin(t, 'polling', { outbox: new Impostor().wrap });
      await promote(t, scene);
      await checkLoss(scene);
    });
  });

  it('polling: a point in time is restored', async (t) => {
    const scene = await begin(t, 'polling');
    const { source } = scene;
    const restored = await source.baseBackup(t);
    await source.write(4, 'replayed');
    await source.query("SELECT pg_create_restore_point('before the mistake')");
    const forgotten = await source.write(6, 'forgotten');
    await scene.untilRelayed(forgotten);
    await source.crash();
    restored.takeArchive(source);
    restored.put('recovery.signal', '');
    restored.put(
      'postgresql.auto.conf',
      `restore_command = 'cp archived/%f "%p"'\nrecovery_target_name = 'before the mistake'\nrecovery_target_action = 'promote'\n`,
    );
    await restored.start();
    await until(
      'the recovery to end',
      async () => !(await restored.one<boolean>('SELECT pg_is_in_recovery()')),
    );
    scene.source = restored;
    await restored.write(20, 'again');
    await checkEpoch(scene, /timeline 00000002/, forgotten);
  });

  it('polling: a copy is put back while the relay waits for the log, and answers on new connections', async (t) => {
    const gates: Gate[] = [];
    const scene = await begin(t, 'polling', { log: (log) => gated(log, gates) });
    const { source } = scene;
    await between(source, () => source.copy('older'));
    const gate = new Gate();
    gates.push(gate);
    const forgotten = await source.write(1, 'forgotten');
    await until('the relay to wait for the log', () => gate.arrived > 0);
    await between(source, () => source.putBack('older'));
    await source.write(20, 'again');
    gate.open();
    await checkEpoch(scene, /older copy/, forgotten);
  });

  it('wal: the database stops at once though the log takes nothing', async (t) => {
    const gates: Gate[] = [];
    const scene = await begin(t, 'wal', { log: (log) => gated(log, gates) });
    const { source } = scene;
    const gate = new Gate();
    gates.push(gate);
    await source.write(3, 'waiting');
    await until('the relay to wait for the log', () => gate.arrived > 0);
    await source.stop();
    assert.ok(!source.wasForced(), 'it would wait for the stream as long as that lives');
    await source.start();
    gate.open();
    await scene.untilComplete();
    await scene.stopRelay();
    await scene.check([]);
  });
});

// By itself: what is forgotten depends on what the relay does in the same second.
it('polling: takes commits that a crash made the source forget for what they are', async (t) => {
  const scene = await begin(t, 'polling');
  const { source } = scene;
  let forgotten: string[] = [];
  // The relay leaves a token once a second, and that commit would make durable what came before it, and nothing would be
  // forgotten. Whoever connects after the first crash waits for no flush; what empties a slot is durable all the same.
  await source.query(
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`,
  );
  let hasForgotten = false;
  for (let attempt = 0; attempt < 10 && !hasForgotten; attempt++) {
    const writer = processesOf(source.directory).find(({ title }) => title.includes('walwriter'));
    // With synchronous_commit off a row is seen before it is durable; the process that makes it so is held.
    process.kill(writer?.pid as number, 'SIGSTOP');
    forgotten = await source.write(3, 'forgotten', { isDurable: false });
    await scene.untilRelayed(forgotten);
    await source.crash();
    await source.start();
    const left = await source.query('SELECT FROM app.business WHERE id = ANY ($1)', [forgotten]);
    hasForgotten = left.length === 0;
  }
  assert.ok(hasForgotten, 'the source forgot nothing in ten crashes');
  await source.write(20, 'again');
  await checkEpoch(scene, /older copy/, forgotten);
});
