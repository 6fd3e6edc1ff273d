import assert from 'node:assert/strict';
import { it } from 'node:test';
import { keepTiles, type Tiles, tileReader } from './hash-tiles.ts';

const tree = { log: 'audit', partition: 1, epoch: 2 };

it('reads a full tile once, a partial one each time, and never keeps one that is missing', async () => {
  const reads: string[] = [];
  let isThere = false;
  const store: Tiles = {
    read: async (log, partition, level, index, count) => {
      reads.push(`${log}/${partition}/${level}/${index}+${count}`);
      return isThere ? new Uint8Array(count * 32).fill(Number(index % 251n)) : null;
    },
  };
  const read = tileReader(keepTiles(store), tree);
  const full = { level: 1, index: 3n, width: 256 };
  await assert.rejects(read(full), {
    code: 'evidence-broken',
    message: /tile\/1\/003 of audit\.r2\/1 is missing/,
  });
  isThere = true;
  for (let n = 0; n < 3; n++) assert.equal((await read(full)).length, 8_192);
  for (let n = 0; n < 2; n++) assert.equal((await read({ ...full, width: 7 })).length, 7 * 32);
  assert.deepEqual(reads, [
    'audit.r2/1/1/768+256',
    'audit.r2/1/1/768+256',
    'audit.r2/1/1/768+7',
    'audit.r2/1/1/768+7',
  ]);
});

it('keeps so many tiles and no more', async () => {
  let reads = 0;
  const kept = keepTiles({
    read: async (_log, _partition, _level, _index, count) => {
      reads++;
      return new Uint8Array(count * 32);
    },
  });
  const read = tileReader(kept, tree);
  const tileAt = (index: number) => read({ level: 0, index: BigInt(index), width: 256 });
  for (let index = 0; index < 1_025; index++) await tileAt(index);
  assert.equal(reads, 1_025);
  await tileAt(1_024);
  assert.equal(reads, 1_025);
  await tileAt(0);
  assert.equal(reads, 1_026, 'the oldest has gone');
});
