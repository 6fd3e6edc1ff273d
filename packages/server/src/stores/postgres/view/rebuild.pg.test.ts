/** Rebuilds on PostgreSQL: one digest whatever the batches, the order and the restarts; compared, then shown in one step. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { partitionOf } from '@evident/core/partition.ts';
import type { Comparison } from '../../../project/compare.ts';
import { compareGenerations } from '../../../project/compare.ts';
import { resolveDeadLetter } from '../../../project/dead-letters.ts';
import { digestGeneration, type ViewDigest } from '../../../project/digest.ts';
import type { ReaderBounds } from '../../../project/reader.ts';
import { buildGeneration, dropRetired, promoteGeneration } from '../../../project/rebuild.ts';
import { HotView, noteProjection, notes, OPERATOR } from './view-fixture.ts';

const OPTIONS = {
  actor: OPERATOR,
  anew: false,
  allow: 0,
  onProgress: () => undefined,
};
const running = () => ({ ...OPTIONS, signal: new AbortController().signal });

async function digestOf(view: HotView, generation?: number): Promise<ViewDigest> {
  return view.snapshots.withSnapshot('hot', (snapshot) =>
    digestGeneration(snapshot, generation ?? (snapshot.live as number)),
  );
}

async function diff(view: HotView, first: number, second: number): Promise<Comparison> {
  return view.snapshots.withSnapshot('hot', (snapshot) => {
    const find = (generation: number) => snapshot.generations.find((one) => one.generation === generation);
    return compareGenerations(snapshot, find(first) as never, find(second) as never, () => undefined);
  });
}

/** Notes with faulty ones among them, repeats in several partitions, and other bodies under known identities. */
async function fill(view: HotView): Promise<void> {
  await view.appendMany(notes(60, 0, true));
  for (let n = 0; n < 6; n++) {
    const id = await view.append({ n: 1_000 + n }, { key: `acme/a${n}` });
    await view.append({ n: 1_000 + n }, { id, key: `acme/b${n}`, tenant: 'acme' });
    await view.append({ n: 2_000 + n }, { id, key: `acme/c${n}`, tenant: 'acme' });
    await view.append({ n: 2_000 + n }, { id, key: `acme/d${n}`, tenant: 'acme' });
  }
}

async function state(view: HotView): Promise<string[]> {
  const { rows } = await view.asSuperuser(
    'SELECT generation, state FROM evident.generations ORDER BY generation',
  );
  return rows.map(({ generation, state: is }) => `${generation} ${is}`);
}

describe('a rebuild', () => {
  it('gives the digest of the view, for any size of batches, twice, and for another order of logs', async () => {
    const view = await HotView.open([['audit', 3]]);
    await fill(view);
    await view.project();
    const digest = await digestOf(view);
    assert.ok(digest.rows > 50 && digest.deadLetters === 12, JSON.stringify(digest));
    const bounds: Partial<ReaderBounds>[] = [{}, { recordsMax: 1 }, { recordsMax: 7 }, { bytesMax: 1 }];
    for (const one of bounds) {
      const { ref, progress } = await buildGeneration(view.rebuildDeps(one), noteProjection(), {
        ...running(),
        anew: true,
      });
      assert.ok(progress.records > 0);
      const built = await digestOf(view, ref.generation);
      assert.equal(built.digest, digest.digest, JSON.stringify(one));
    }
    const { equal, differences } = await diff(view, 1, 5);
    assert.deepEqual([equal, differences], [true, []]);
  });

  it('gives the same digest where trees have other numbers', async () => {
    const [one, two] = [
      await HotView.open([
        ['audit', 2],
        ['clicks', 2],
      ]),
      await HotView.open([
        ['clicks', 2],
        ['audit', 2],
      ]),
    ];
    for (const view of [one, two]) {
      for (const body of notes(20, 0, true)) {
        for (const log of ['audit', 'clicks'])
          await view.append(body, { log, id: `00000000-0000-4000-8000-${String(body.n).padStart(12, '0')}` });
      }
      // The log's clock is the only difference that is left.
      await view.asSuperuser("UPDATE evident.records SET appended_at = '2026-11-20T10:00:00Z'");
      await view.project();
    }
    assert.deepEqual(await digestOf(one), await digestOf(two));
  });

  it('goes on where it was broken off, and promotes what it built; the old generation is dropped', async () => {
    const view = await HotView.open();
    await fill(view);
    await view.project();
    const digest = await digestOf(view);
    const stop = new AbortController();
    const deps = view.rebuildDeps({ recordsMax: 5 });
    await assert.rejects(
      buildGeneration(deps, noteProjection(), {
        ...OPTIONS,
        signal: stop.signal,
        onProgress: ({ records }) => records > 20 && stop.abort(),
      }),
      { code: 'shutting-down' },
    );
    assert.deepEqual(await state(view), ['1 live', '2 building']);
    const { ref, resumed, progress } = await buildGeneration(deps, noteProjection(), running());
    assert.deepEqual([ref.generation, resumed], [2, true]);
    assert.ok(progress.records > 0 && progress.records < 85, String(progress.records));
    // Records that came meanwhile are read before it is shown.
    await view.appendMany(notes(5, 500));
    await view.project();
    await promoteGeneration(deps, noteProjection(), running());
    assert.deepEqual(await state(view), ['1 retired', '2 live']);
    assert.deepEqual(await dropRetired(view.generations, 'hot', 3_600), []);
    assert.deepEqual(await dropRetired(view.generations, 'hot', 0), [1]);
    assert.equal((await view.asSuperuser('SELECT FROM evident.events WHERE generation = 1')).rowCount, 0);
    assert.equal(
      (await view.asSuperuser("SELECT to_regclass('evident.events_g1') AS gone")).rows[0].gone,
      null,
    );
    await view.project();
    assert.equal((await digestOf(view)).rows, digest.rows + 5);
    await assert.rejects(promoteGeneration(deps, noteProjection(), running()), { code: 'not-found' });
  });

  it('ends the mixture that a new mapper leaves: the rows are all of one definition again', async () => {
    const view = await HotView.open();
    await view.appendMany(notes(30, 0, true));
    await view.project();
    await view.appendMany(notes(10, 100));
    await view.project(noteProjection(2));
    const mixed = await view.verify(noteProjection(2));
    assert.equal(mixed.findings.verdict, 'not checked');
    assert.ok(mixed.findings.list.some(({ check }) => check === 'view-definition'));
    await buildGeneration(view.rebuildDeps(), noteProjection(2), running());
    await promoteGeneration(view.rebuildDeps(), noteProjection(2), running());
    const { findings } = await view.verify(noteProjection(2));
    assert.deepEqual([findings.verdict, findings.list], ['verified', []]);
    assert.equal((await digestOf(view)).deadLetters, 0);
  });

  it('is built by one definition: what another began is given up, and not promoted', async () => {
    const view = await HotView.open();
    await view.appendMany(notes(10));
    await view.project();
    await buildGeneration(view.rebuildDeps(), noteProjection(2), running());
    await assert.rejects(promoteGeneration(view.rebuildDeps(), noteProjection(1), running()), {
      code: 'usage-invalid',
    });
    await buildGeneration(view.rebuildDeps(), noteProjection(1), running());
    assert.deepEqual(await state(view), ['1 live', '2 retired', '3 building']);
    await promoteGeneration(view.rebuildDeps(), noteProjection(1), running());
    assert.deepEqual(await state(view), ['1 retired', '2 retired', '3 live']);
    assert.deepEqual(await dropRetired(view.generations, 'hot', 0), [1, 2]);
  });

  it('carries over what operators decided, for the same record and class', async () => {
    const view = await HotView.open();
    await view.appendMany(notes(40, 0, true));
    await view.project();
    const [first, second] = await view.letters.list({ view: 'hot', state: 'open' }, null, 2);
    const deps = view.deadLetterDeps();
    await resolveDeadLetter(deps, first, { actor: OPERATOR, resolution: 'discarded', reason: 'a test line' });
    await resolveDeadLetter(deps, second, {
      actor: OPERATOR,
      resolution: 'manual',
      reason: 'entered elsewhere',
    });
    await buildGeneration(view.rebuildDeps(), noteProjection(), running());
    await promoteGeneration(view.rebuildDeps(), noteProjection(), running());
    const letters = await view.letters.list({ view: 'hot', state: 'all' }, null, 10);
    assert.deepEqual(
      letters.map(({ resolution, reason }) => [resolution, reason]),
      [
        ['discarded', 'a test line'],
        ['manual', 'entered elsewhere'],
        [null, null],
        [null, null],
      ],
    );
    assert.equal((await view.verify()).findings.verdict, 'verified');
  });

  it('of a view that is gone altogether gives its digest again', async () => {
    const view = await HotView.open();
    await fill(view);
    await view.project();
    const digest = await digestOf(view);
    await view.asSuperuser('DROP TABLE evident.events_g1, evident.event_ids_g1');
    await view.asSuperuser('TRUNCATE evident.dead_letters');
    assert.equal((await digestOf(view)).rows, 0);
    await buildGeneration(view.rebuildDeps(), noteProjection(), running());
    await promoteGeneration(view.rebuildDeps(), noteProjection(), running());
    // The events that the rebuild itself left have no rows in the fixture's mapper.
    assert.deepEqual(await digestOf(view), digest);
  });
});

describe('diff', () => {
  it('names what differs: rows of one side, columns, dead letters; and nothing that was not read by both', async () => {
    const view = await HotView.open();
    await fill(view);
    await view.project();
    const { ref } = await buildGeneration(view.rebuildDeps(), noteProjection(), running());
    await view.appendMany(notes(5, 700));
    await view.project();
    const same = await diff(view, 1, ref.generation);
    assert.deepEqual([same.equal, same.passing, same.first.digest === same.second.digest], [true, 0, true]);
    await view.asSuperuser(
      "UPDATE evident.events SET ip = 'x', action = 'y' WHERE generation = 2 AND resource_id = '7'",
    );
    await view.asSuperuser("DELETE FROM evident.events WHERE generation = 2 AND resource_id = '8'");
    await view.asSuperuser("DELETE FROM evident.events WHERE generation = 1 AND resource_id = '9'");
    await view.asSuperuser(
      "UPDATE evident.dead_letters SET class = 'poison' WHERE generation = 2 AND error = 'fault: a test'",
    );
    const other = await diff(view, 1, ref.generation);
    assert.equal(other.equal, false);
    const told = other.differences.map(({ what, in: where, columns }) => `${what} ${where} ${columns}`);
    assert.deepEqual(told.sort(), [
      ...Array.from({ length: 6 }, () => 'dead letter both class'),
      'row both action,ip',
      'row first ',
      'row second ',
    ]);
    assert.notEqual(other.first.digest, other.second.digest);
  });

  it('counts as passing, and not as a difference, what one shows elsewhere because it has read further', async () => {
    const view = await HotView.open();
    const log = view.log();
    await view.appendMany(notes(14));
    await view.project();
    const { ref } = await buildGeneration(view.rebuildDeps(), noteProjection(), running());
    // Two bodies of one identity in two partitions: the later one alone is read into what is built.
    const [one, two] = [0, 1].map((partition) => keyOf(partition));
    const id = await view.append({ n: 500 }, { key: one });
    await view.append({ n: 501 }, { id, key: two });
    await view.project();
    const deps = view.readerDeps();
    const only = log.trees[1];
    const source = {
      heads: async () => (await deps.source.heads()).filter(({ tree }) => tree === only),
      read: deps.source.read.bind(deps.source),
    };
    await buildGeneration(
      { ...view.rebuildDeps(), reader: { ...deps, source } },
      noteProjection(),
      running(),
    );
    const { equal, passing, different } = await diff(view, 1, ref.generation);
    assert.deepEqual([equal, passing > 0, different], [true, true, 0]);
  });
});

/** A key whose records stand in a partition of two. */
function keyOf(partition: number): string {
  for (let n = 0; ; n++) if (partitionOf(`acme/k${n}`, 2) === partition) return `acme/k${n}`;
}
