/** What goes wrong beyond one call: deaths anywhere, restart storms, an older database put back, an attacker. */

import type { LogRecord } from '@evident/core/record.ts';
import type { MemoryLogState } from '../src/stores/memory/log.ts';
import type { MemoryGeneration } from '../src/stores/memory/view-store.ts';
import type { Stage, World } from './world.ts';

interface Copy {
  readonly logs: ReadonlyMap<string, MemoryLogState>;
  readonly stored: World['durable']['heads']['stored'];
  readonly tiles: World['durable']['tiles'];
  readonly sources: World['durable']['sources'];
  readonly views: World['durable']['views'];
  readonly resolutions: World['durable']['resolutions'];
}

export class Disasters {
  readonly #world: World;
  readonly #stages: readonly Stage[];
  readonly #copyAt: number;
  readonly #strikeAt: number;
  #copy: Copy | undefined;

  constructor(world: World, stages: readonly Stage[]) {
    const { random, profile } = world;
    this.#world = world;
    this.#stages = stages;
    this.#copyAt = random.between(20, Math.floor(profile.stormTurns / 2));
    this.#strikeAt = random.between(this.#copyAt, profile.stormTurns - 20);
  }

  /** After each turn of the storm. */
  strike(turn: number): void {
    const { random, profile, scheduler } = this.#world;
    if (random.chance(1, 25)) scheduler.slowDown(random.between(5, 80));
    if (profile.killsPermille > 0 && random.chance(1, 60)) this.#killOne();
    if (profile.restartStorms && random.chance(1, 80)) this.#killAll('fault: restart storm');
    this.#world.restart(() => random.chance(1, 8));
    if (scheduler.waiting === 0) this.#world.restart(() => true);
    if (profile.disaster === 'put back') {
      if (turn === this.#copyAt) this.#copy = takeCopy(this.#world);
      if (turn === this.#strikeAt) this.#putBack();
    }
    if (profile.disaster === 'attack' && turn >= this.#strikeAt && this.#world.attacked.size === 0)
      this.#attack();
  }

  #killOne(): void {
    const { random, processes, faults } = this.#world;
    const alive = processes.filter(({ state }) => state === 'alive');
    if (alive.length > 0 && faults.mayKill()) faults.kill(random.pick(alive));
  }

  #killAll(what: string): void {
    for (const process of this.#world.processes) this.#world.faults.kill(process);
    this.#world.coverage.note(what);
  }

  /** Puts the older copy in place, its tiles with it or not. Who is not restarted goes on with what it remembers. */
  #putBack(): void {
    const world = this.#world;
    if (this.#copy === undefined) return;
    const withTiles = world.random.chance(1, 3);
    const restarts = withTiles || world.random.chance(1, 3);
    if (restarts) this.#killAll('put back: processes restarted');
    else {
      world.coverage.note('put back: processes live on');
      // Callers may fill the lost positions again before a sealer looks.
      if (world.random.chance(2, 3))
        for (const process of world.processes)
          if (process.name.startsWith('sealer'))
            world.scheduler.slowDown(world.random.between(30, 150), process);
    }
    world.coverage.note(withTiles ? 'put back: with tiles' : 'put back: database alone');
    restoreCopy(world, this.#copy, withTiles);
    world.claims.clear();
    world.copies++;
    world.trace.note(`the database is put back${withTiles ? ' with its tiles' : ''}`);
    for (const stage of this.#stages) stage.putBack?.(world);
  }

  /** Changes one record of the state, past all code: below the head anything, above it the loss of a record. */
  #attack(): void {
    const world = this.#world;
    const { random, durable, coverage, trace } = world;
    const tree = random.pick([...world.histories.keys()]);
    const [log, partition] = tree.split('/');
    const held = durable.logs.get(log)?.partitions[Number(partition)];
    const sealed = Number(durable.heads.stored.get(tree)?.size ?? 0n);
    if (held === undefined) return;
    const above = Number(held.next) > sealed && random.chance(1, 2);
    if (!above && sealed < 2) return;
    const position = above ? random.between(sealed, Number(held.next) - 1) : random.below(sealed - 1);
    const what = above ? 'hole above the head' : random.pick(['edit', 'drop', 'swap'] as const);
    change(held.records, position, what);
    world.attacked.set(tree, position);
    coverage.note(`attack: ${what}`);
    trace.note(`attack on ${tree}/${position}: ${what}`);
  }
}

function change(
  records: (LogRecord | null)[],
  position: number,
  what: 'edit' | 'drop' | 'swap' | 'hole above the head',
): void {
  const record = records[position];
  if (record === null) throw new Error(`there is no record at ${position}`);
  if (what === 'edit') {
    records[position] = { ...record, appendedAt: record.appendedAt + 1n };
  } else if (what === 'swap') {
    const other = records[position + 1] as LogRecord;
    records[position] = { ...other, position: record.position };
    records[position + 1] = { ...record, position: other.position };
  } else {
    records[position] = null;
  }
}

function takeCopy({ durable, trace }: World): Copy {
  trace.note('a copy of the database is taken');
  const logs = new Map([...durable.logs].map(([name, state]) => [name, copyLog(state)]));
  const sources = copySources(durable.sources);
  const views = copyViews(durable.views);
  const resolutions = new Map(durable.resolutions);
  const stored = new Map(durable.heads.stored);
  return { logs, stored, tiles: new Map(durable.tiles), sources, views, resolutions };
}

function copyViews(views: World['durable']['views']): World['durable']['views'] {
  const copy = (generation: MemoryGeneration): MemoryGeneration => ({
    ...generation,
    checkpoints: new Map(generation.checkpoints),
    rows: new Map(generation.rows),
    letters: new Map(generation.letters),
    suspects: new Map(generation.suspects),
    identities: new Map(generation.identities),
  });
  return new Map(
    [...views].map(([name, { live, generations }]) => [
      name,
      { live, generations: new Map([...generations].map(([number, held]) => [number, copy(held)])) },
    ]),
  );
}

function copySources(sources: World['durable']['sources']): World['durable']['sources'] {
  return new Map([...sources].map(([name, source]) => [name, { ...source }]));
}

/** Records and identities are never changed once stored, so the lists are copied, and not what is in them. */
function copyLog(state: MemoryLogState): MemoryLogState {
  return {
    ...state,
    partitions: state.partitions.map((partition) => ({ ...partition, records: [...partition.records] })),
    identities: new Map(state.identities),
    reused: new Map(state.reused),
  };
}

/** In place: processes that live on hold the same database. */
function restoreCopy({ durable }: World, copy: Copy, withTiles: boolean): void {
  for (const [name, state] of durable.logs) {
    const older = copyLog(copy.logs.get(name) as MemoryLogState);
    for (const [partition, held] of state.partitions.entries())
      Object.assign(held, older.partitions[partition]);
    replace(state.identities, older.identities);
    replace(state.reused, older.reused);
  }
  replace(durable.heads.stored, copy.stored);
  replace(durable.sources, copySources(copy.sources));
  replace(durable.views, copyViews(copy.views));
  replace(durable.resolutions, copy.resolutions);
  if (withTiles) replace(durable.tiles, copy.tiles);
}

function replace<K, V>(target: Map<K, V>, source: ReadonlyMap<K, V>): void {
  target.clear();
  for (const [key, value] of source) target.set(key, value);
}
