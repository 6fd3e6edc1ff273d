/** What windows say, hour by hour, and that verification finds each way in which they may be wrong. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeUtf8, equalBytes } from '@evident/core/bytes.ts';
import { formatWindowBody, windowId } from '@evident/core/evidence/window.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { rootOf } from '@evident/core/merkle/tree.ts';
import { partitionOf } from '@evident/core/partition.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { propose } from '../../contract/log-contract.ts';
import { Random } from '../../simulation/random.ts';
import type { MemoryLogState } from '../stores/memory/log.ts';
import { makeMemoryWindowState } from '../stores/memory/windows.ts';
import { HOUR_US, makeRecord, TEN, WindowScene } from './window-fixture.ts';
import type { WindowState } from './window-loop.ts';

/** Three hours: acme in each, beta in the first and the last. */
async function threeHours(partitions = 2): Promise<WindowScene> {
  const scene = new WindowScene({ audit: partitions });
  await scene.append(['acme', 'acme', 'beta', 'acme']);
  await scene.goTo(1, 5);
  await scene.append(['acme']);
  await scene.goTo(2, 5);
  await scene.append(['beta', 'acme', 'acme']);
  await scene.goTo(3);
  await scene.settle();
  return scene;
}

const VERIFIED = { verdict: 'verified', tampered: 0, notChecked: 0 };

async function check(scene: WindowScene, over = {}) {
  const { findings, said, reports } = await scene.verify(over);
  return { verdict: findings.verdict, ...findings.count, said, reports, list: findings.list };
}

describe('windows', () => {
  it('say of each tenant and hour what the log has, and verify', async () => {
    const scene = await threeHours();
    assert.deepEqual(await scene.said(), [
      'audit T10 acme 3',
      'audit T10 beta 1',
      'audit T10: 2',
      'audit T11 _system 2',
      'audit T11 acme 1',
      'audit T11: 2',
      'audit T12 _system 2',
      'audit T12 acme 2',
      'audit T12 beta 1',
      'audit T12: 3',
    ]);
    const { reports, ...result } = await check(scene);
    assert.deepEqual(result, { ...VERIFIED, said: [], list: [] });
    assert.deepEqual(reports, [{ log: 'audit', hours: 3, windows: 7, through: '2026-11-20T12' }]);
  });

  it('hold the root of the tenant’s leaves in (partition, position) order, and the window before', async () => {
    const scene = await threeHours(3);
    const last = new Map<string, Uint8Array>();
    const all: LogRecord[] = [];
    for (let partition = 0; partition < 3; partition++)
      all.push(...(await scene.log().read(partition, 0n, 1_000)));
    let windows = 0;
    for (const { record, entry } of await scene.entries()) {
      if (entry.kind !== 'window') continue;
      const { tenant, ranges, root, count, previous } = entry.window;
      const own = all.filter(
        (one) =>
          one.tenant === tenant &&
          one.position >= ranges[one.partition].from &&
          one.position < ranges[one.partition].to,
      );
      assert.equal(BigInt(own.length), count);
      assert.ok(equalBytes(rootOf(own.map((one) => hashLeaf(leafOf(one)))), root));
      assert.deepEqual(previous, last.get(tenant) ?? null);
      assert.equal(record.tenant, tenant);
      assert.equal(record.source, 'evident');
      last.set(tenant, hashLeaf(leafOf(record)));
      windows++;
    }
    assert.equal(windows, 7);
  });

  it('wait until every partition is closed and sealed, one that never had a record too', async () => {
    const scene = new WindowScene({ audit: 4 });
    await scene.append(['acme'], 'audit', 'one key');
    assert.equal(await scene.settle(), 0);
    // The hour has turned, but only the partition that is written to has its log.hour.
    scene.now = TEN + HOUR_US;
    await scene.append(['acme'], 'audit', 'one key');
    const states: WindowState[] = [];
    await scene.seal();
    assert.equal(await scene.loop({}, { onState: (state) => states.push(state) }).turn(), false);
    assert.deepEqual(await scene.said(), []);
    assert.equal(states[0].waiting.length, 3);
    await scene.goTo(1, 1);
    // Closed, and not sealed yet.
    assert.equal(await scene.loop().turn(), false);
    assert.equal(await scene.settle(), 1);
    assert.deepEqual(await scene.said(), ['audit T10 acme 1', 'audit T10: 1']);
    assert.equal((await check(scene)).verdict, 'verified');
  });

  it('ask for the log.hour of idle partitions once the hour is over', async () => {
    const scene = new WindowScene({ audit: 2 });
    await scene.append(['acme']);
    scene.now = TEN + HOUR_US + 6_000_000n;
    await scene.seal();
    assert.equal(await scene.loop().turn(), false);
    assert.equal(await scene.settle(), 1);
  });

  it('count by position: a clock that is set back moves nothing into an hour that is done', async () => {
    const scene = await threeHours();
    scene.now = TEN + HOUR_US;
    await scene.append(['beta', 'acme']);
    await scene.goTo(4);
    await scene.settle();
    assert.deepEqual((await scene.said()).slice(-4), [
      'audit T13 _system 2',
      'audit T13 acme 1',
      'audit T13 beta 1',
      'audit T13: 3',
    ]);
    assert.equal((await check(scene)).verdict, 'verified');
  });

  it('pass over hours in which nothing ran, and say nothing of them', async () => {
    const scene = await threeHours();
    await scene.goTo(9, 30);
    await scene.append(['acme']);
    await scene.goTo(10);
    await scene.settle();
    assert.deepEqual((await scene.said()).slice(-5), [
      'audit T13 _system 2',
      'audit T13: 1',
      'audit T19 _system 2',
      'audit T19 acme 1',
      'audit T19: 2',
    ]);
    assert.equal((await check(scene)).verdict, 'verified');
  });

  it('are held back by a stopped partition, and come when it goes on', async () => {
    const scene = await threeHours();
    const held = scene.states.get('audit')?.partitions[1];
    if (held !== undefined) held.stopped = 'a test';
    await scene.append(['acme'], 'audit', firstKey());
    await scene.goTo(6);
    const states: WindowState[] = [];
    await scene.seal();
    assert.equal(await scene.loop({}, { onState: (state) => states.push(state) }).turn(), false);
    assert.deepEqual(states[0].waiting, [{ partition: 1, stopped: 'a test' }]);
    assert.equal(states[0].lagSeconds, 2 * 3_600);
    if (held !== undefined) held.stopped = null;
    await scene.goTo(6, 1);
    assert.ok((await scene.settle()) > 0);
    assert.equal((await check(scene)).verdict, 'verified');
  });

  it('are written of every log, one with more to catch up not holding the others', async () => {
    const scene = new WindowScene({ audit: 1, clicks: 2 });
    for (let hour = 1; hour < 5; hour++) {
      await scene.append(['acme']);
      if (hour === 3) await scene.append(['beta'], 'clicks');
      await scene.goTo(hour);
    }
    await scene.settle();
    const said = await scene.said();
    // An hour of each in turn. The first of `clicks`, which had no record at ten, is eleven.
    assert.deepEqual(said.slice(0, 5), [
      'audit T10 acme 1',
      'audit T10: 1',
      'clicks T11 _system 2',
      'clicks T11: 1',
      'audit T11 _system 1',
    ]);
    assert.ok(said.includes('clicks T12 beta 1'));
    const { verdict, reports } = await check(scene);
    assert.equal(verdict, 'verified');
    assert.deepEqual(
      reports.map(({ log }) => log),
      ['audit', 'clicks'],
    );
  });

  it('go on from the log alone when their index was emptied', async () => {
    const scene = await threeHours();
    const before = (await scene.said()).length;
    Object.assign(scene.index, makeMemoryWindowState());
    await scene.append(['beta']);
    await scene.goTo(4);
    await scene.settle();
    assert.deepEqual((await scene.said()).slice(before), [
      'audit T13 _system 2',
      'audit T13 beta 1',
      'audit T13: 2',
    ]);
    assert.equal((await check(scene)).verdict, 'verified');
  });

  it('of one log do not wait for another that can’t be read, which lags and is tried again', async () => {
    const scene = new WindowScene({ audit: 1, clicks: 1 });
    await scene.append(['acme']);
    await scene.append(['acme'], 'clicks');
    await scene.goTo(5);
    await scene.seal();
    const hidden = [...scene.tiles].filter(([name]) => name.startsWith('audit/'));
    for (const [name] of hidden) scene.tiles.delete(name);
    const errors: unknown[] = [];
    const states = new Map<string, WindowState>();
    const loop = scene.loop(
      {},
      { onError: (error) => errors.push(error), onState: (state) => states.set(state.log, state) },
    );
    assert.equal(await loop.turn(), true);
    assert.deepEqual(await scene.said(), ['clicks T10 acme 1', 'clicks T10: 1']);
    assert.match(String(errors[0]), /tiles of audit\/0 are missing/);
    assert.equal(states.get('audit')?.lagSeconds, 4 * 3_600);
    for (const [name, hash] of hidden) scene.tiles.set(name, hash);
    let turns = 0;
    while (!(await loop.turn()) && turns < 10) turns++;
    assert.equal(errors.length, 1);
    assert.deepEqual((await scene.said()).slice(-2), ['audit T10 acme 1', 'audit T10: 1']);
  });

  it('leave out what was lost before, verify all the same, and are not checked where more is lost later', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed);
      const scene = new WindowScene({ audit: 2 });
      for (let hour = 1; hour <= 5; hour++) {
        await scene.append(Array.from({ length: random.below(6) }, () => random.pick(['a', 'b', 'c'])));
        await scene.goTo(hour, random.below(50));
      }
      await scene.seal();
      for (let losses = random.between(1, 3); losses > 0; losses--) lose(scene, random);
      await scene.settle();
      assert.ok((await scene.entries()).length > 0, `seed ${seed}`);
      const before = await check(scene);
      assert.deepEqual([before.verdict, before.list], ['verified', []], `seed ${seed}`);
      lose(scene, random);
      const { tampered, list } = await check(scene);
      assert.equal(tampered, 0, `seed ${seed}: ${list.map(({ detail }) => detail).join('; ')}`);
    }
  });

  it('are the same in passes of two tenants as in one, and so is what verification says of them', async () => {
    const tenants = Array.from({ length: 23 }, (_, n) => `t${(n * 7) % 23}`);
    const scenes = await Promise.all(
      [undefined, 1, 2, 5].map(async (passTenantsMax) => {
        const scene = new WindowScene({ audit: 3 });
        await scene.append([...tenants, ...tenants.slice(5)]);
        await scene.goTo(1);
        await scene.append(tenants.slice(3, 9));
        await scene.goTo(2);
        await scene.settle(passTenantsMax === undefined ? {} : { passTenantsMax });
        return { scene, said: await scene.said() };
      }),
    );
    assert.equal(scenes[0].said.filter((one) => one.includes('T10 ')).length, 23);
    for (const { scene, said } of scenes) {
      assert.deepEqual(said, scenes[0].said);
      for (const passTenantsMax of [1, 3, 100]) {
        const { verdict, list } = await check(scene, { passTenantsMax, chainsMax: passTenantsMax });
        assert.equal(verdict, 'verified', JSON.stringify(list[0]?.detail));
      }
    }
  });
});

/** Records of a stretch are gone, but for the last of the partition, and a recovery has said so. */
function lose(scene: WindowScene, random: Random): void {
  const partition = random.below(2);
  const { records } = (scene.states.get('audit') as MemoryLogState).partitions[partition];
  const from = random.below(records.length - 1);
  const to = Math.min(from + random.between(1, 4), records.length - 1);
  records.fill(null, from, to);
  scene.lost.push({ log: 'audit', partition, from: BigInt(from), to: BigInt(to) });
}

/** A key of the first partition of two. */
function firstKey(): string {
  for (let n = 0; ; n++) if (partitionOf(`acme/${n}`, 2) === 0) return `acme/${n}`;
}

/** Puts another body into a record of the log `windows`, as somebody does who owns the database. */
function rewrite(
  scene: WindowScene,
  position: bigint,
  change: (record: LogRecord) => Partial<LogRecord> | null,
): void {
  const records = scene.states.get('windows')?.partitions[0].records;
  const record = records?.[Number(position)];
  if (records === undefined || record === null || record === undefined) throw new Error('no record there');
  const changed = change(record);
  records[Number(position)] = changed === null ? null : { ...record, ...changed };
}

async function windowsOf(scene: WindowScene, hour: string, tenant: string) {
  const found = (await scene.entries()).find(
    ({ entry }) =>
      entry.kind === 'window' && entry.window.hour.endsWith(hour) && entry.window.tenant === tenant,
  );
  if (found === undefined || found.entry.kind !== 'window') throw new Error('no such window');
  return { position: found.record.position, window: found.entry.window };
}

const bodyOf = (window: Parameters<typeof formatWindowBody>[0]) => ({
  body: { form: 'json' as const, bytes: encodeUtf8(formatWindowBody(window)) },
});

describe('verification of windows finds', () => {
  it('a count, a root, a range or a window before that is another', async () => {
    for (const [change, checks] of [
      [{ count: 9n }, ['window']],
      [{ root: new Uint8Array(32) }, ['window']],
      [{ previous: new Uint8Array(32) }, ['window-chain']],
      [
        {
          ranges: [
            { from: 2n, to: 3n },
            { from: 1n, to: 2n },
          ],
        },
        ['window-hour'],
      ],
    ] as const) {
      const scene = await threeHours();
      const { position, window } = await windowsOf(scene, 'T11', 'acme');
      rewrite(scene, position, () => bodyOf({ ...window, ...change }));
      const { verdict, list } = await check(scene);
      assert.equal(verdict, 'tampered');
      const found = new Set(list.map((one) => one.check));
      for (const one of checks) assert.ok(found.has(one), `${one} of ${[...found].join()}`);
      // The marker holds the root over the windows as they were.
      assert.ok(found.has('window-hour'));
    }
  });

  it('a record that was put into another tenant, dropped, or changed', async () => {
    for (const [change, expected] of [
      [(record: LogRecord) => ({ ...record, tenant: 'beta' }), 'window'],
      [() => null, 'window'],
      [(record: LogRecord) => ({ ...record, tenant: 'gamma' }), 'window-missing'],
    ] as const) {
      const scene = await threeHours(1);
      const records = scene.states.get('audit')?.partitions[0].records as (LogRecord | null)[];
      const at = records.findIndex((record) => record?.tenant === 'acme');
      records[at] = change(records[at] as LogRecord);
      const { verdict, said } = await check(scene);
      assert.equal(verdict, 'tampered');
      assert.ok(
        said.some((one) => one.startsWith(`tampered: ${expected} `)),
        said.join(),
      );
    }
  });

  it('a window that is gone, one too many, and one of an hour that is done', async () => {
    const gone = await threeHours();
    rewrite(gone, (await windowsOf(gone, 'T10', 'beta')).position, (record) => ({
      ...record,
      type: 'note',
      source: 'x',
    }));
    const { said } = await check(gone);
    assert.ok(
      said.some((one) => one.startsWith('tampered: window-missing')),
      said.join(),
    );
    assert.ok(
      said.some((one) => one.startsWith('tampered: window-chain')),
      said.join(),
    );

    for (const hour of ['2026-11-20T12', '2026-11-20T13']) {
      const scene = await threeHours();
      const { window } = await windowsOf(scene, 'T12', 'acme');
      const last = (await scene.entries()).at(-1)?.record as LogRecord;
      const ranges =
        hour === '2026-11-20T12' ? window.ranges : window.ranges.map(({ to }) => ({ from: to, to: to + 1n }));
      const body = bodyOf({ ...window, hour, tenant: 'gamma', ranges, previous: null }).body;
      const record = {
        ...makeRecord('gamma', '_system'),
        id: windowId('audit', hour, 'gamma'),
        source: 'evident',
        type: 'window',
        body,
      };
      await scene.log('windows').appendOnce([propose(record)]);
      await scene.seal();
      const result = await check(scene);
      assert.equal(result.verdict, 'tampered');
      const position = last.position + 1n;
      const expected = hour === '2026-11-20T12' ? 'window' : 'window-hour';
      assert.ok(
        result.said.some((one) => one.startsWith(`tampered: ${expected} at ${position}`)),
        result.said.join(),
      );
    }
  });

  it('a malformed window, and honours none that another source wrote', async () => {
    const scene = await threeHours();
    const { position } = await windowsOf(scene, 'T11', 'acme');
    rewrite(scene, position, (record) => ({
      body: {
        form: 'json',
        bytes: encodeUtf8(`${new TextDecoder().decode((record.body as { bytes: Uint8Array }).bytes)} `),
      },
    }));
    assert.ok((await check(scene)).said.includes(`tampered: window at ${position}`));

    const foreign = await threeHours();
    const before = (await foreign.entries()).length;
    const copied = await windowsOf(foreign, 'T11', 'acme');
    await foreign
      .log('windows')
      .append([{ ...makeRecord('acme', '_system'), type: 'window', body: bodyOf(copied.window).body }]);
    assert.equal((await foreign.entries()).length, before);
    await foreign.settle();
    assert.equal((await check(foreign)).verdict, 'verified');
  });

  it('an hour that is missing between two, or ends where no log.hour stands', async () => {
    const scene = await threeHours();
    for (const { record, entry } of await scene.entries()) {
      const hour = entry.kind === 'window' ? entry.window.hour : entry.marker.hour;
      if (hour.endsWith('T11')) rewrite(scene, record.position, () => ({ type: 'note' }));
    }
    const { verdict, list } = await check(scene);
    assert.equal(verdict, 'tampered');
    assert.ok(
      list.some(({ check, detail }) => check === 'window-hour' && /hour before ends at/.test(detail)),
    );
  });

  it('nothing tampered where records are lost: not checked', async () => {
    const scene = await threeHours(1);
    const records = scene.states.get('audit')?.partitions[0].records as (LogRecord | null)[];
    const at = records.findIndex((record) => record?.tenant === 'acme');
    records[at] = null;
    scene.lost.push({ log: 'audit', partition: 0, from: BigInt(at), to: BigInt(at) + 1n });
    const { verdict, tampered, said } = await check(scene);
    assert.equal(verdict, 'not checked');
    assert.equal(tampered, 0);
    assert.ok(said.every((one) => one.startsWith('not checked: window')));
  });
});
