import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EvidentError } from '@evident/core/errors.ts';
import fc from 'fast-check';
import { BreakerTripped } from './breaker.ts';
import { Death, idOf, item, ProjectWorld, testProjection } from './project-fixture.ts';
import type { ViewReader } from './reader.ts';

const READS_MAX = 2_000;

/** Readers follow each other until one gets to the end. @returns how many died */
async function readThroughDeaths(world: ProjectWorld): Promise<number> {
  for (let deaths = 0; deaths < READS_MAX; deaths++) {
    try {
      await world.readAll();
      return deaths;
    } catch (error) {
      if (!(error instanceof Death)) throw error;
    }
  }
  throw new Error('it never ends');
}

const letters = (world: ProjectWorld) => [...world.view.letters.values()];

describe('a view is a function of the log', () => {
  const items = fc.array(
    fc.record({
      id: fc.integer({ min: 1, max: 30 }),
      key: fc.integer({ min: 0, max: 9 }),
      body: fc.constantFrom('one', 'two', 'one', 'bad', 'bug', 'none', 'refuse'),
    }),
    { maxLength: 60 },
  );

  it('for any size of batches, any death, and any interleaving of partitions (I5, I6)', async () => {
    await fc.assert(
      fc.asyncProperty(
        items,
        // Fewer deaths than make a record poison.
        fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        async (list, deathsAfter, recordsMax, stepRecords, late) => {
          const records = list.map(({ id, key, body }) => item(id, body, { key: `acme/${key}` }));
          let calls = 0;
          const deaths = [...deathsAfter];
          const die = () => {
            if (deaths.length > 0 && ++calls >= deaths[0]) {
              deaths.shift();
              calls = 0;
              throw new Death();
            }
          };
          const world = new ProjectWorld({
            bounds: { recordsMax, stepRecords },
            hooks: late ? { after: die } : { before: die },
          });
          // Half of the records come while it reads.
          await world.log.append(records.slice(0, list.length >> 1));
          await readThroughDeaths(world);
          for (const record of records.slice(list.length >> 1)) await world.log.append([record]);
          await readThroughDeaths(world);
          const whole = new ProjectWorld({ bounds: { recordsMax: 1_000 } });
          await whole.log.append(records.slice(0, list.length >> 1));
          for (const record of records.slice(list.length >> 1)) await whole.log.append([record]);
          await whole.readAll();
          assert.deepEqual(world.outcome(), whole.outcome());
        },
      ),
      { numRuns: 150 },
    );
  });

  it('with two readers at once, of which one is told that it was overtaken', async () => {
    const world = new ProjectWorld({ bounds: { recordsMax: 10 } });
    await world.log.append(Array.from({ length: 100 }, (_, n) => item(n, `v${n}`)));
    const readers = [await world.reader(), await world.reader()];
    let overtaken = 0;
    for (let turn = 0; turn < READS_MAX && world.view.rows.size < 100; turn++) {
      const rounds = await Promise.all(readers.map((reader) => reader.round()));
      for (const [index, { kind }] of rounds.entries()) {
        if (kind !== 'overtaken') continue;
        overtaken++;
        await readers[index].begin();
      }
    }
    assert.equal(world.view.rows.size, 100);
    assert.ok(overtaken > 0);
    assert.equal(
      world.batches.reduce((sum, { tally }) => sum + tally.rows, 0),
      100,
    );
  });
});

describe('failures', () => {
  it('makes invalid records dead letters at once, and shows their neighbours', async () => {
    const world = new ProjectWorld();
    await world.log.append(['a', 'bad', 'b', 'bug', 'c', 'none'].map((body, n) => item(n, body)));
    await world.readAll();
    assert.equal(world.view.rows.size, 3);
    assert.deepEqual(
      letters(world)
        .map(({ record, class: kind, error, attempts }) => [record.id, kind, error, attempts])
        .sort(),
      [
        [idOf(1), 'validation', 'body: it is bad', 1],
        [idOf(3), 'validation', 'a fault of the projection', 1],
      ],
    );
    assert.ok(letters(world).every(({ stack }) => stack?.includes('map')));
  });

  it('takes a batch that the store refuses apart, until the record is alone', async () => {
    const world = new ProjectWorld({ partitions: 2 });
    await world.log.append(
      Array.from({ length: 1_000 }, (_, n) => item(n, n === 700 || n === 13 ? 'refuse' : 'fine')),
    );
    await world.readAll();
    assert.equal(world.view.rows.size, 998);
    assert.deepEqual(
      letters(world)
        .map(({ record, class: kind }) => [record.id, kind])
        .sort(),
      [
        [idOf(13), 'validation'],
        [idOf(700), 'validation'],
      ],
    );
    assert.match(letters(world)[0].error, /U\+0000/);
  });

  it('never makes a dead letter of what is of the moment', async () => {
    let failures = 40;
    const fail = (operation: string) => {
      if (operation !== 'view.open' && failures-- > 0 && failures % 3 !== 0)
        throw new EvidentError('log-unavailable', `${operation}: not now`);
    };
    const world = new ProjectWorld({ bounds: { recordsMax: 20 }, hooks: { before: fail, after: fail } });
    await world.log.append(Array.from({ length: 100 }, (_, n) => item(n, `v${n}`)));
    let reader: ViewReader | undefined;
    for (let turn = 0; turn < READS_MAX && (reader === undefined || world.view.rows.size < 100); turn++) {
      try {
        if (reader === undefined) reader = await world.reader();
        else await reader.begin();
        while ((await reader.round()).kind === 'stored');
      } catch (error) {
        assert.ok(error instanceof EvidentError, String(error));
      }
    }
    assert.equal(world.view.rows.size, 100);
    assert.equal(letters(world).length, 0);
    assert.equal(world.view.suspects.size, 0);
  });

  it('waits for an object store that can not be asked, and makes a lost or damaged body a dead letter', async () => {
    const bytes = new TextEncoder().encode('large');
    const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    let isDown = true;
    const bodies = {
      get: async (_: string, asked: Uint8Array) => {
        if (isDown) throw new EvidentError('data-unwritable', 'the mount is gone');
        if (asked[0] === sha256[0]) return bytes;
        return asked[0] === 1 ? null : bytes;
      },
    };
    const world = new ProjectWorld({ partitions: 1, bodies });
    const object = (n: number, hash: Uint8Array) =>
      item(n, '', { body: { form: 'object', sha256: hash, size: 5n } });
    await world.log.append([
      object(1, sha256),
      object(2, new Uint8Array(32).fill(1)),
      object(3, new Uint8Array(32).fill(2)),
    ]);
    const reader = await world.reader();
    await assert.rejects(reader.round(), /the mount is gone/);
    assert.equal(world.view.letters.size, 0);
    isDown = false;
    await reader.round();
    assert.deepEqual(world.outcome(), ['0/0 row large', '0/1 validation', '0/2 validation']);
  });
});

describe('a record that ends the process', () => {
  it('is isolated after three deaths that are surely its own, and its neighbours are shown', async () => {
    for (const at of [0n, 1n, 137n, 998n]) {
      const world = new ProjectWorld({
        partitions: 1,
        bounds: { recordsMax: 500, stepRecords: 32 },
        touch: (_, position) => {
          if (position === at) throw new Death();
        },
      });
      await world.log.append(Array.from({ length: 1_000 }, (_, n) => item(n, `v${n}`)));
      const deaths = await readThroughDeaths(world);
      assert.equal(deaths, 5, `at ${at}: one of a batch, one of a step, three alone`);
      assert.equal(world.view.rows.size, 999);
      const [letter] = letters(world);
      assert.equal(letter.record.position, at);
      assert.deepEqual([letter.class, letter.attempts], ['poison', 3]);
      assert.match(letter.error, /the process ended/);
      assert.equal(world.view.suspects.size, 0);
    }
  });

  it('may stand beside others that do', async () => {
    const poison = new Set([3n, 4n, 90n]);
    const world = new ProjectWorld({
      partitions: 1,
      bounds: { recordsMax: 100, stepRecords: 8 },
      touch: (_, position) => {
        if (poison.has(position)) throw new Death();
      },
    });
    await world.log.append(Array.from({ length: 100 }, (_, n) => item(n, `v${n}`)));
    await readThroughDeaths(world);
    assert.equal(world.view.rows.size, 97);
    assert.deepEqual(
      letters(world)
        .map(({ record }) => record.position)
        .sort(),
      [3n, 4n, 90n].sort(),
    );
  });

  it('is not suspected because others died, or because storing failed again and again', async () => {
    let dies = 2;
    let fails = 10;
    const world = new ProjectWorld({
      partitions: 1,
      bounds: { recordsMax: 50, stepRecords: 8 },
      hooks: {
        before: (operation) => {
          if (operation === 'view.commit' && dies === 0 && fails-- > 0)
            throw new EvidentError('disk-full', 'no space');
        },
      },
      touch: () => {
        if (dies-- > 0) throw new Death();
        dies = 0;
      },
    });
    await world.log.append(Array.from({ length: 100 }, (_, n) => item(n, `v${n}`)));
    for (let deaths = 0; deaths < 2; deaths++) await assert.rejects(world.readAll(), Death);
    const reader = await world.reader();
    for (let turn = 0; turn < READS_MAX && world.view.rows.size < 100; turn++)
      await reader.round().catch(() => reader.begin());
    assert.equal(world.view.rows.size, 100);
    assert.equal(letters(world).length, 0);
  });

  it('is not suspected because answers were lost: what was noted is not noted again', async () => {
    let dies = 3;
    let lost = 4;
    const world = new ProjectWorld({
      partitions: 1,
      bounds: { recordsMax: 50, stepRecords: 8 },
      hooks: {
        after: (operation) => {
          if (operation === 'view.noteSuspect' && lost-- > 0)
            throw new EvidentError('log-unavailable', 'the connection broke');
        },
      },
      touch: () => {
        if (dies-- > 0) throw new Death();
        dies = 0;
      },
    });
    await world.log.append(Array.from({ length: 100 }, (_, n) => item(n, `v${n}`)));
    for (let deaths = 0; deaths < 2; deaths++) await assert.rejects(world.readAll(), Death);
    const third = await world.reader();
    const isDead = async (): Promise<boolean> => {
      try {
        await third.round();
      } catch (error) {
        if (error instanceof Death) return true;
        await third.begin();
      }
      return false;
    };
    for (let turn = 0; !(await isDead()); turn++) assert.ok(turn < READS_MAX);
    assert.ok(lost < 4, 'an answer was lost');
    lost = 0;
    assert.deepEqual(
      [...world.view.suspects.values()].map(({ position, attempts }) => [position, attempts]),
      [[0n, 1]],
    );
    await world.readAll();
    assert.equal(world.view.rows.size, 100);
    assert.equal(letters(world).length, 0);
  });

  it('noted from outside, as a worker that stalls is, needs no other deaths', async () => {
    const world = new ProjectWorld({
      partitions: 1,
      touch: (_, position, isNoted) => {
        if (position !== 60n) return;
        if (!isNoted)
          noted.push(
            world.store.noteSuspect({ view: 'hot', generation: 1 }, { tree: 1, position }, 'it stalled'),
          );
        throw new Death();
      },
    });
    const noted: Promise<number>[] = [];
    await world.log.append(Array.from({ length: 100 }, (_, n) => item(n, `v${n}`)));
    assert.equal(await readThroughDeaths(world), 3);
    assert.equal(noted.length, 1);
    assert.deepEqual(
      letters(world).map(({ class: kind, attempts, error }) => [kind, attempts, error]),
      [['poison', 3, 'it stalled']],
    );
    assert.equal(world.view.rows.size, 99);
  });

  it('leaves no care behind when a reader ends in good order', async () => {
    const world = new ProjectWorld({ partitions: 1 });
    await world.log.append([item(1, 'a')]);
    const reader = await world.reader();
    await reader.round();
    assert.equal(reader.checkpoints[0].next, 1n);
    assert.equal(world.view.checkpoints.get(1)?.attempts, 1);
    await reader.end();
    assert.equal(world.view.checkpoints.get(1)?.attempts, 0);
  });
});

describe('dead letters that may not be passed over', () => {
  const list = ['a', 'bad', 'b', 'c'];
  const letterAt = (world: ProjectWorld) =>
    letters(world).map(({ record, error }) => [record.id, error.split(':')[0]]);
  const resolveAll = (world: ProjectWorld) => {
    for (const [key, letter] of world.view.letters)
      world.view.letters.set(key, { ...letter, resolution: 'discarded' });
  };

  it('haltKey: later records of the key become dead letters until it is resolved; other keys go on', async () => {
    const world = new ProjectWorld({ projection: testProjection('haltKey'), bounds: { recordsMax: 2 } });
    await world.log.append(list.map((body, n) => item(n, body, { key: 'acme/one' })));
    await world.log.append(
      list.map((body, n) => item(10 + n, body === 'bad' ? 'fine' : body, { key: 'acme/two' })),
    );
    await world.readAll();
    assert.deepEqual(letterAt(world).sort(), [
      [idOf(1), 'body'],
      [idOf(2), 'halted'],
      [idOf(3), 'halted'],
    ]);
    assert.equal(world.view.rows.size, 5);
    resolveAll(world);
    await world.log.append([item(20, 'd', { key: 'acme/one' })]);
    await world.readAll();
    assert.equal(world.view.rows.size, 6);
  });

  it('haltPartition: the partition waits, and goes on behind it once it is resolved; others go on', async () => {
    const world = new ProjectWorld({ projection: testProjection('haltPartition') });
    await world.log.append(list.map((body, n) => item(n, body, { key: 'acme/one' })));
    await world.log.append(Array.from({ length: 30 }, (_, n) => item(100 + n, 'x', { key: `acme/k${n}` })));
    await world.readAll();
    await world.readAll();
    const [halted] = letters(world);
    assert.equal(letters(world).length, 1);
    assert.equal(halted.record.id, idOf(1));
    const shown = [...world.view.rows.values()];
    assert.ok(shown.some(({ record }) => record.partition !== halted.record.partition));
    assert.ok(
      !shown.some(
        ({ record }) =>
          record.partition === halted.record.partition && record.position > halted.record.position,
      ),
    );
    resolveAll(world);
    await world.readAll();
    assert.equal(world.view.rows.size, 33);
  });
});

describe('the breaker in a reader', () => {
  it('stores nothing of the batch that opens it, and goes on when it is reset', async () => {
    const world = new ProjectWorld({ partitions: 1 });
    await world.log.append(Array.from({ length: 300 }, (_, n) => item(n, n < 50 ? 'fine' : 'bug')));
    const reader = await world.reader();
    await assert.rejects(reader.round(), BreakerTripped);
    assert.equal(world.view.rows.size + world.view.letters.size, 0);
    await reader.begin();
    await assert.rejects(reader.round(), BreakerTripped);
    reader.resetBreaker(1_000);
    await reader.begin();
    await reader.round();
    assert.deepEqual([world.view.rows.size, world.view.letters.size], [50, 250]);
  });
});

describe('drift', () => {
  it('is counted by source where it is over a second, and not for imports', async () => {
    const world = new ProjectWorld({ partitions: 1 });
    const at = (us: bigint) => `at ${world.now + us}`;
    await world.log.append([
      item(1, at(0n)),
      item(2, at(-5_000_000n)),
      item(3, at(9_000_000n)),
      item(4, at(-90_000_000n), { source: 'import:x' }),
    ]);
    await world.readAll();
    const [{ tally }] = world.batches;
    assert.deepEqual([...tally.drift.keys()], ['outbox:bank']);
    assert.equal(tally.drift.get('outbox:bank')?.events, 2);
    assert.ok((tally.drift.get('outbox:bank')?.mostUs ?? 0n) < -8_000_000n);
  });
});
