import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { EvidentError } from '@evident/core/errors.ts';
import { item, ProjectWorld, testProjection } from './project-fixture.ts';
import { Projector, type ProjectorDeps } from './projector.ts';
import { READER_BOUNDS } from './reader.ts';

const TURNS_MAX = 20_000;

interface Running {
  readonly projector: Projector;
  readonly sleeps: number[];
  readonly errors: unknown[];
  readonly breakers: (string | null)[];
  readonly definitions: string[];
}

/** A projector whose sleeps take no time. */
function start(world: ProjectWorld, over: Partial<ProjectorDeps> = {}, definition = 'test/1'): Running {
  const sleeps: number[] = [];
  const errors: unknown[] = [];
  const breakers: (string | null)[] = [];
  const definitions: string[] = [];
  const nothing = () => undefined;
  const deps: ProjectorDeps = {
    store: world.store,
    source: world.source,
    bodies: { get: async () => null },
    bounds: READER_BOUNDS,
    touch: nothing,
    untouch: nothing,
    onBatch: nothing,
    random: () => 0.5,
    sleep: async (milliseconds, signal) => {
      sleeps.push(milliseconds);
      if (!signal.aborted) await turn();
    },
    onError: (error) => errors.push(error),
    onBreaker: (reason) => breakers.push(reason),
    onOvertaken: nothing,
    onDefinition: (all) => definitions.push(all),
    ...over,
  };
  const projector = new Projector(deps, { ...testProjection(), definition });
  projector.start();
  return { projector, sleeps, errors, breakers, definitions };
}

async function until(claim: string, condition: () => boolean): Promise<void> {
  for (let turns = 0; turns < TURNS_MAX; turns++) {
    if (condition()) return;
    await turn();
  }
  throw new Error(`it never comes that ${claim}`);
}

const rows = (world: ProjectWorld): number => world.views.get('hot')?.generations.get(1)?.rows.size ?? 0;

describe('Projector', () => {
  it('follows the log, and ends in good order', async () => {
    const world = new ProjectWorld();
    const { projector } = start(world);
    for (let n = 0; n < 20; n++) {
      await world.log.append([item(n, `v${n}`)]);
      await until('the record is in the view', () => rows(world) === n + 1);
    }
    await projector.stop();
    assert.ok([...world.view.checkpoints.values()].every(({ attempts }) => attempts === 0));
  });

  it('pauses longer and longer when the log can not be reached, and goes on when it can', async () => {
    let isDown = true;
    const world = new ProjectWorld({
      hooks: {
        before: (operation) => {
          if (isDown && operation !== 'view.open') throw new EvidentError('log-unavailable', 'not now');
        },
      },
    });
    await world.log.append([item(1, 'a')]);
    const { projector, errors, sleeps } = start(world);
    await until('it failed ten times', () => errors.length >= 10);
    assert.deepEqual(sleeps.slice(0, 7), [100, 200, 400, 800, 1_600, 3_200, 5_000]);
    isDown = false;
    await until('the record is in the view', () => rows(world) === 1);
    assert.equal(world.view.letters.size, 0);
    await projector.stop();
  });

  it('stands still when the breaker opens, stops all the same, and goes on when it is reset', async () => {
    const world = new ProjectWorld();
    await world.log.append(Array.from({ length: 200 }, (_, n) => item(n, 'bug')));
    const first = start(world);
    await until('the breaker is open', () => first.breakers.length === 1);
    await first.projector.stop();
    const second = start(world);
    await until('the breaker is open', () => second.breakers.length === 1);
    assert.equal(world.view.letters.size, 0);
    second.projector.resetBreaker(200);
    await until('they are dead letters', () => world.view.letters.size === 200);
    assert.equal(second.breakers.at(-1), null);
    await second.projector.stop();
  });

  it('says so when rows are made otherwise from here on', async () => {
    const world = new ProjectWorld();
    const before = start(world);
    await until('it has begun', () => world.views.size === 1);
    await before.projector.stop();
    const after = start(world, {}, 'test/2');
    await until('it says so', () => after.definitions.length === 1);
    assert.deepEqual(after.definitions, ['test/1 then test/2']);
    await after.projector.stop();
  });

  it('says so again when an older copy of the database is put back that does not know it', async () => {
    const world = new ProjectWorld();
    const before = start(world);
    await until('it has begun', () => world.views.size === 1);
    await before.projector.stop();
    const after = start(world, {}, 'test/2');
    await until('it says so', () => after.definitions.length === 1);
    await world.log.append([item(1, 'a')]);
    await until('the record is in the view', () => rows(world) === 1);
    world.view.definition = 'test/1';
    world.view.rows.clear();
    world.view.identities.clear();
    for (const [tree] of world.view.checkpoints) world.view.checkpoints.set(tree, { next: 0n, attempts: 0 });
    await world.log.append([item(2, 'b', { key: item(1, '').key })]);
    await until('the records are in the view', () => rows(world) === 2);
    assert.equal(world.view.definition, 'test/1 then test/2');
    await after.projector.stop();
  });

  it('says so once, however many servers of either definition take turns', async () => {
    const world = new ProjectWorld();
    const two = [start(world), start(world, {}, 'test/2')];
    for (let n = 0; n < 20; n++) {
      await world.log.append([item(n, `v${n}`)]);
      await until('the record is in the view', () => rows(world) === n + 1);
    }
    for (const { projector } of two) await projector.stop();
    assert.ok(world.view.definition.length <= 'test/1 then test/2 then test/1'.length, world.view.definition);
  });

  it('turns to the generation that is shown when its own is retired', async () => {
    const world = new ProjectWorld();
    const { projector } = start(world);
    await world.log.append([item(1, 'a')]);
    await until('the record is in the view', () => rows(world) === 1);
    await world.store.begin('hot', 'test/1');
    const held = world.views.get('hot');
    assert.ok(held !== undefined);
    held.live = 2;
    world.view.state = 'retired';
    await world.log.append([item(2, 'b')]);
    await until('the other has both', () => held.generations.get(2)?.rows.size === 2);
    assert.equal(rows(world), 1);
    await projector.stop();
  });
});
