/** The promises of the port `WindowIndex`, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { IndexedHour, IndexedWindow, WindowIndex } from '../src/windows/ports.ts';

const hash = (byte: number) => new Uint8Array(32).fill(byte);

function window(tenant: string, hour: number, position: bigint, log = 'audit'): IndexedWindow {
  return { log, tenant, hour, position, leafHash: hash(Number(position) + 1) };
}

const marker = (hour: number, position: bigint, ends: bigint[], log = 'audit'): IndexedHour => ({
  log,
  hour,
  position,
  ends,
});

/** @param open an empty index that knows the logs `audit` and `clicks` */
export function describeWindowIndex(name: string, open: () => Promise<WindowIndex>): void {
  describe(`the index of windows on ${name}`, () => {
    it('begins with nothing at position 0', async () => {
      const index = await open();
      assert.equal(await index.next(), 0n);
      assert.equal(await index.lastHour('audit'), null);
      assert.equal((await index.newest('audit', 99, ['acme'])).size, 0);
      assert.deepEqual(await index.ofHour('audit', 1, -1n, 10), []);
      assert.deepEqual(await index.ofTenant('audit', 'acme', 0, 10), []);
    });

    it('takes what follows, and nothing that another has taken', async () => {
      const index = await open();
      assert.equal(await index.put(0n, 2n, [window('acme', 5, 0n), window('beta', 5, 1n)], []), true);
      assert.equal(await index.put(0n, 3n, [window('gamma', 5, 2n)], []), false);
      assert.equal(await index.put(3n, 4n, [window('gamma', 5, 3n)], []), false);
      assert.equal(await index.put(2n, 2n, [window('gamma', 5, 2n)], []), false);
      assert.equal(await index.next(), 2n);
      assert.equal((await index.newest('audit', 5, ['gamma'])).size, 0);
      assert.equal(await index.put(2n, 4n, [], [marker(5, 3n, [7n, 0n, 12n])]), true);
      assert.deepEqual(await index.lastHour('audit'), marker(5, 3n, [7n, 0n, 12n]));
      assert.equal(await index.lastHour('clicks'), null);
    });

    it('keeps the first of two windows of one tenant and hour, and of two markers', async () => {
      const index = await open();
      await index.put(0n, 2n, [window('acme', 5, 0n), window('acme', 5, 1n)], []);
      await index.put(2n, 3n, [window('acme', 5, 2n)], []);
      assert.deepEqual(
        (await index.ofTenant('audit', 'acme', 0, 10)).map(({ position }) => position),
        [0n],
      );
      await index.put(3n, 4n, [], [marker(5, 3n, [1n])]);
      await index.put(4n, 5n, [], [marker(5, 4n, [2n])]);
      assert.deepEqual(await index.lastHour('audit'), marker(5, 3n, [1n]));
    });

    it('takes several markers at once, with ends of their own', async () => {
      const index = await open();
      const hours = [marker(5, 0n, [1n, 2n]), marker(6, 1n, [3n, 4n]), marker(9, 2n, [8n], 'clicks')];
      await index.put(0n, 3n, [], hours);
      assert.deepEqual(await index.lastHour('audit'), hours[1]);
      assert.deepEqual(await index.lastHour('clicks'), hours[2]);
    });

    it('gives the newest window up to an hour, by log and tenant', async () => {
      const index = await open();
      const acme = [window('acme', 3, 0n), window('acme', 5, 1n), window('acme', 9, 2n)];
      await index.put(0n, 5n, [...acme, window('beta', 4, 3n), window('acme', 8, 4n, 'clicks')], []);
      const newest = await index.newest('audit', 8, ['acme', 'beta', 'gamma']);
      assert.deepEqual([...newest.keys()].sort(), ['acme', 'beta']);
      assert.equal(newest.get('acme')?.hour, 5);
      assert.deepEqual(newest.get('acme')?.leafHash, hash(2));
      assert.equal((await index.newest('audit', 9, ['acme'])).get('acme')?.position, 2n);
      assert.equal((await index.newest('audit', 2, ['acme'])).size, 0);
    });

    it('pages through an hour in the order of the log, and through a tenant by hours', async () => {
      const index = await open();
      const made = ['d', 'a', 'c', 'b'].map((tenant, place) => window(tenant, 5, BigInt(place)));
      await index.put(0n, 9n, [...made, window('a', 6, 7n), window('a', 4, 8n)], []);
      const first = await index.ofHour('audit', 5, -1n, 3);
      assert.deepEqual(
        first.map(({ position, leafHash }) => [position, leafHash[0]]),
        [
          [0n, 1],
          [1n, 2],
          [2n, 3],
        ],
      );
      assert.deepEqual(
        (await index.ofHour('audit', 5, 2n, 3)).map(({ position }) => position),
        [3n],
      );
      assert.deepEqual(
        (await index.ofTenant('audit', 'a', 5, 10)).map(({ hour }) => hour),
        [5, 6],
      );
      assert.deepEqual(
        (await index.ofTenant('audit', 'a', 0, 2)).map(({ hour }) => hour),
        [4, 5],
      );
    });
  });
}
