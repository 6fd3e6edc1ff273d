/** The promises of the port `AnchorStore`, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ANCHOR_BYTES_MAX, type AnchorStore, type StoredAnchor } from '../src/anchor/ports.ts';

type Head = Pick<StoredAnchor, 'epoch' | 'size'>;
const HEADS: readonly Head[] = [
  ...[3n, 7n, 12n, 20n].map((size) => ({ epoch: 0, size })),
  { epoch: 1, size: 2n },
];

const bytesOf = (text: string) => new TextEncoder().encode(text);

function token(size: bigint, by: string, also: Partial<StoredAnchor> = {}): StoredAnchor {
  const bytes = bytesOf(`token of ${by} over ${size}`);
  return { epoch: 0, size, kind: 'timestamp', by, bytes, at: size * 1_000_000n, ...also };
}

const line = (size: bigint, by: string, also: Partial<StoredAnchor> = {}) =>
  token(size, by, { kind: 'cosignature', bytes: bytesOf(`— ${by} AAAA\n`), ...also });

/** @param open an empty store of an installation whose heads/0 has these stored heads and no others */
export function describeAnchorStore(
  name: string,
  open: (heads: readonly Head[]) => Promise<AnchorStore>,
): void {
  describe(`anchors on ${name}`, () => {
    it('begins with nothing', async () => {
      const store = await open(HEADS);
      assert.equal(await store.newest(0, 'timestamp', 'a'), null);
      assert.deepEqual(await store.of(0, 3n), []);
      assert.equal(await store.newestWith(0, [{ kind: 'timestamp', by: 'a' }], 1), null);
      assert.deepEqual(await store.unlogged(10), []);
    });

    it('gives the newest by tree, kind and name', async () => {
      const store = await open(HEADS);
      for (const anchor of [
        token(7n, 'a'),
        token(3n, 'a'),
        line(12n, 'a'),
        token(2n, 'b', { epoch: 1, at: 5n }),
      ])
        assert.equal(await store.put(anchor), true);
      assert.deepEqual(await store.newest(0, 'timestamp', 'a'), { size: 7n, at: 7_000_000n });
      assert.deepEqual(await store.newest(0, 'cosignature', 'a'), { size: 12n, at: 12_000_000n });
      assert.equal(await store.newest(0, 'timestamp', 'b'), null);
      assert.deepEqual(await store.newest(1, 'timestamp', 'b'), { size: 2n, at: 5n });
    });

    it('keeps the first of one head, kind and name', async () => {
      const store = await open(HEADS);
      assert.equal(await store.put(token(7n, 'a')), true);
      assert.equal(await store.put(token(7n, 'a', { bytes: bytesOf('another'), at: 1n })), false);
      const [kept] = await store.of(0, 7n);
      assert.deepEqual(kept?.bytes, token(7n, 'a').bytes);
      assert.deepEqual(await store.newest(0, 'timestamp', 'a'), { size: 7n, at: 7_000_000n });
    });

    it('refuses an anchor of a head that heads/0 does not have', async () => {
      const store = await open(HEADS);
      for (const anchor of [token(8n, 'a'), token(3n, 'a', { epoch: 1 })])
        await assert.rejects(store.put(anchor), { code: 'not-found' });
      assert.deepEqual(await store.unlogged(10), []);
    });

    it('gives the anchors of one head, sorted by kind and name, byte for byte', async () => {
      const store = await open(HEADS);
      const large = new Uint8Array(ANCHOR_BYTES_MAX).map((_, at) => at & 255);
      const made = [line(7n, 'w'), line(7n, 'a'), token(7n, 'b', { bytes: large }), token(7n, 'B')];
      for (const anchor of [...made, token(12n, 'a'), token(2n, 'a', { epoch: 1 })]) await store.put(anchor);
      const found = await store.of(0, 7n);
      assert.deepEqual(
        found.map(({ kind, by }) => `${kind} ${by}`),
        ['cosignature a', 'cosignature w', 'timestamp B', 'timestamp b'],
      );
      assert.deepEqual(found[3]?.bytes, large);
      assert.deepEqual(found[0]?.bytes, made[1]?.bytes);
    });

    it('finds the newest head that enough of those wanted vouch for', async () => {
      const store = await open(HEADS);
      const wanted = [
        { kind: 'timestamp', by: 'a' },
        { kind: 'cosignature', by: 'v' },
        { kind: 'cosignature', by: 'w' },
      ] as const;
      for (const anchor of [token(3n, 'a'), line(3n, 'v'), line(3n, 'w'), line(7n, 'v'), token(7n, 'a')])
        await store.put(anchor);
      for (const anchor of [line(12n, 'w'), token(20n, 'b'), line(20n, 'a')]) await store.put(anchor);
      assert.equal(await store.newestWith(0, wanted, 3), 3n);
      assert.equal(await store.newestWith(0, wanted, 2), 7n);
      assert.equal(await store.newestWith(0, wanted, 1), 12n);
      assert.equal(await store.newestWith(0, wanted.slice(0, 1), 1), 7n);
      assert.equal(await store.newestWith(0, wanted.slice(1), 3), null);
      assert.equal(await store.newestWith(1, wanted, 1), null);
      await assert.rejects(store.newestWith(0, wanted, 0), RangeError);
    });

    it('names what is not logged yet, oldest head first, until it is', async () => {
      const store = await open(HEADS);
      for (const anchor of [token(12n, 'a'), line(3n, 'w'), token(2n, 'a', { epoch: 1 }), token(7n, 'a')])
        await store.put(anchor);
      const unlogged = async (limit: number) =>
        (await store.unlogged(limit)).map(({ epoch, size }) => `${epoch}/${size}`);
      assert.deepEqual(await unlogged(10), ['0/3', '0/7', '0/12', '1/2']);
      assert.deepEqual(await unlogged(2), ['0/3', '0/7']);
      const [first] = await store.unlogged(1);
      assert.deepEqual({ ...first }, { ...line(3n, 'w') });
      await store.markLogged(line(3n, 'w'), 30n);
      await store.markLogged(line(3n, 'w'), 31n);
      await store.markLogged(token(12n, 'nobody'), 32n);
      assert.deepEqual(await unlogged(10), ['0/7', '0/12', '1/2']);
      assert.equal((await store.of(0, 3n)).length, 1);
    });
  });
}
