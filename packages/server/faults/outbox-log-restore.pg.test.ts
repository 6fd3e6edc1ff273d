/**
 * The log's side is put back to an older copy while the source lives on: the cursor goes back with it. Rows that still
 * stand in the outbox are relayed again, once; rows whose slots were emptied since are lost to this log, because they
 * were given up only when it had them, sealed. What says so: an epoch whose cursor the source does not know, and, where
 * the signer was not put back with the database, a break that stops the partitions.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { makeInstallation } from './installation.ts';
import { until } from './outbox-scene.ts';
import { type Mode, RestoreScene } from './restore-scene.ts';

const WHOLE = '';

/** A scene with a log of its own, some rows in it, and a copy of a part of its folder aside. */
async function openWithCopy(
  t: TestContext,
  mode: Mode,
  part: string,
): Promise<{ scene: RestoreScene; putBack(): void }> {
  const installation = await makeInstallation(t);
  const scene = await RestoreScene.open(t, mode, { installation });
  const aside = mkdtempSync(join(tmpdir(), 'evident-aside-'));
  t.after(() => rmSync(aside, { recursive: true, force: true }));
  scene.startRelay();
  await scene.untilSettled();
  await scene.source.write(5, 'kept');
  await scene.untilComplete();
  await scene.seal();
  await scene.stopRelay();
  await installation.stop();
  installation.copy(installation.path(part), join(aside, 'copy'));
  await installation.start();
  scene.startRelay();
  return { scene, putBack: () => installation.copy(join(aside, 'copy'), installation.path(part)) };
}

/** Rows are relayed, sealed, and given up by the source; and some more that stand there still. */
async function writeAndEmpty(scene: RestoreScene): Promise<void> {
  const { source } = scene;
  await source.write(4, 'given up');
  await source.turn(2);
  await source.write(5, 'standing');
  await scene.untilComplete();
  await until('the slot before to be emptied', async () => {
    await scene.seal();
    return (await scene.rowsInOutbox()) === 5;
  });
}

describe('the whole data directory is put back', () => {
  for (const mode of ['polling', 'wal'] as const) {
    it(`${mode}: relays again what still stands in the outbox, and records that rows are gone`, async (t) => {
      const { scene, putBack } = await openWithCopy(t, mode, WHOLE);
      await writeAndEmpty(scene);
      await scene.stopRelay();
      await scene.installation.stop();
      const standing = (await scene.source.query('SELECT event_id FROM evident_outbox.events')).map((row) =>
        String(row.event_id),
      );
      putBack();
      assert.deepEqual(
        await scene.installation.start(),
        [],
        'the signer went back too: nothing here contradicts',
      );
      const before = new Set((await scene.relayed()).map(({ id }) => id));
      const gone = [...(await scene.committed()).keys()].filter(
        (id) => !before.has(id) && !standing.includes(id),
      );
      assert.ok(gone.length >= 4);
      scene.startRelay();
      await scene.untilRelayed(standing);
      await scene.untilSettled();
      await scene.untilRelayed(await scene.source.write(3, 'after'));
      await scene.stopRelay();
      assert.deepEqual((await scene.lost()).sort(), gone.sort());
      const epochs = await scene.recordedEpochs();
      assert.deepEqual(
        epochs.map(({ epoch }) => epoch),
        [2],
      );
      assert.match(epochs[0].reason, /not in the outbox|not in the database/);
      await scene.checkOnce();
    });
  }

  it('loses nothing, and says nothing, when no slot was emptied since', async (t) => {
    const { scene, putBack } = await openWithCopy(t, 'polling', WHOLE);
    await scene.source.write(6, 'again');
    await scene.untilComplete();
    await scene.stopRelay();
    await scene.installation.stop();
    putBack();
    assert.deepEqual(await scene.installation.start(), []);
    assert.equal((await scene.lost()).length, 6);
    scene.startRelay();
    await scene.untilComplete();
    await scene.stopRelay();
    assert.deepEqual(await scene.recordedEpochs(), []);
    await scene.check([]);
  });
});

it('the database alone is put back: a break stops the partitions, and the relay waits for the recovery', async (t) => {
  const { scene, putBack } = await openWithCopy(t, 'polling', 'postgres');
  const { installation } = scene;
  await writeAndEmpty(scene);
  await scene.stopRelay();
  const lostPositions = (await scene.relayed()).length - 5;
  await installation.stop();
  putBack();
  const breaks = await installation.start();
  assert.ok(breaks.some(({ log, reason }) => log === 'audit' && /older copy/.test(reason)));
  const relay = scene.startRelay();
  await until('the relay to be refused', () =>
    relay.errors.some((error) => isEvidentError(error) && error.code === 'partition-stopped'),
  );
  assert.equal((await scene.relayed()).length, 5, 'nothing lands on a sealed position');
  await scene.stopRelay();
  for (const { log, partition } of breaks) await installation.recover(log, partition);
  await installation.stop();
  assert.deepEqual(await installation.start(), []);
  const standing = await scene.source.query('SELECT event_id FROM evident_outbox.events');
  scene.startRelay();
  await scene.untilRelayed(standing.map((row) => String(row.event_id)));
  await scene.stopRelay();
  assert.ok((await scene.lost()).length >= 4);
  assert.equal((await scene.recordedEpochs()).length, 1);
  await scene.seal();
  const { verdict, tampered, findings } = await installation.verify();
  assert.deepEqual([verdict, tampered], ['not checked', 0]);
  const lost = findings.filter(({ log, check }) => log === 'audit' && check === 'lost');
  const count = lost.reduce((sum, { from, to }) => sum + Number((to as bigint) - (from as bigint)), 0);
  assert.ok(count >= lostPositions, 'the positions of what is lost stay, and are named');
});
