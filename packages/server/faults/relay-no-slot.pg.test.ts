/** A source that gives no replication slot: the write-ahead log is wanted, and polling has to go on. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EvidentError } from '@evident/core/errors.ts';
import { OutboxScene, until } from './outbox-scene.ts';
import { wrapPort } from './port-wrappers.ts';
import { checkScene } from './relay-check.ts';

test('a slot that can not be made is tried again, and rows go on into the log by polling', async (t) => {
  const scene = await OutboxScene.open(t);
  await scene.want('wal');
  const session = await scene.session('a');
  let connections = 0;
  const relay = scene.relay({
    outbox: (outbox) => {
      connections++;
      return wrapPort(outbox, {
        createSlot: async () => {
          throw new EvidentError('source-unavailable', 'no role may replicate');
        },
      });
    },
  });
  await until('two attempts to fail', async () => {
    await session.write();
    return relay.faults.length >= 2;
  });
  await session.writeAll(5);
  await until('all rows in the log', async () => {
    return (await scene.relayed()).length === (await scene.committed()).length;
  });
  await relay.stop();
  assert.equal(connections, 1, 'the relay began anew for want of a slot');
  assert.deepEqual([...new Set(relay.faults)], ['source-unavailable']);
  assert.ok(!relay.modes.has('wal'));
  await checkScene(scene, 'apart');
});
