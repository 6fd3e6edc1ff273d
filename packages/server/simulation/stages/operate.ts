/**
 * Who works on the view while it is fed: operators that discard and replay dead letters, and builders that build it anew
 * beside the one that is shown and show that instead, all with the real code, killed anywhere. In some seeds the mapper
 * is fixed meanwhile. At the end the view is built twice more, in batches of different sizes, for the digest (I6).
 */

import { decodeUtf8 } from '@evident/core/bytes.ts';
import { formatUuid } from '@evident/core/derived-id.ts';
import { isEvidentError } from '@evident/core/errors.ts';
import { partitionOf } from '@evident/core/partition.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { instantText } from '@evident/core/shapes/instant.ts';
import { makeRecordOwn } from '../../src/audit/record-own.ts';
import type { Log } from '../../src/log/log.ts';
import {
  type DeadLetterDeps,
  type DeadLetterEntry,
  replayDeadLetter,
  resolveDeadLetter,
} from '../../src/project/dead-letters.ts';
import {
  type BuildOptions,
  buildGeneration,
  dropRetired,
  promoteGeneration,
  type RebuildDeps,
} from '../../src/project/rebuild.ts';
import type { MemoryGeneration } from '../../src/stores/memory/view-store.ts';
import type { Process } from '../scheduler.ts';
import { demand } from '../violation.ts';
import type { Stage, World } from '../world.ts';
import type { ProjectStage } from './project.ts';
import { ViewDigests } from './view-digests.ts';
import { projectionOf, VIEW } from './view-fold.ts';

const ACTOR = { id: 'operator', role: 'admin' };
const OPTIONS: BuildOptions = {
  actor: ACTOR,
  anew: false,
  allow: 0,
  signal: new AbortController().signal,
  onProgress: () => undefined,
};
/** Letters that an operator looks at in one go. */
const LETTERS_MAX = 50;
/** Tries without faults to finish what was begun. */
const LAST_TRIES_MAX = 4;

/** What operators may meet: a stopped partition takes no event, another builder was first, poison is not mapped. */
const EXPECTED = new Set([
  'partition-stopped',
  'view-changed',
  'not-found',
  'replay-refused',
  'usage-invalid',
]);

async function permitted<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    const isExpected =
      isEvidentError(error) &&
      (error.retryable || error.code === 'data-unwritable' || EXPECTED.has(error.code));
    if (!isExpected) throw error;
    return null;
  }
}

export class OperateStage implements Stage {
  readonly name = 'operate';
  readonly #project: ProjectStage;
  readonly #digests = new ViewDigests();
  /** Processes that still have work to do. */
  readonly #working = new Set<string>();
  /** Letters that are resolved, with the place of the event: by view, generation and place. */
  readonly #resolved = new Map<string, string>();
  #fixTurn = -1;
  #shown: { readonly live: number; readonly held: MemoryGeneration; readonly copies: number } | null = null;

  constructor(project: ProjectStage) {
    this.#project = project;
  }

  begin(world: World): void {
    const { operate, stormTurns } = world.profile;
    if (operate === null) return;
    // Relays would else leave them so few turns that nothing is ever built.
    if (world.scheduler.favoured !== null)
      world.scheduler.favoured = /^(?:relay|session|sealer|projector|operator|builder)/;
    if (operate.fixes) this.#fixTurn = world.random.between(20, stormTurns - 20);
    for (let index = 0; index < operate.operators; index++)
      this.#keep(world, `operator-${index}`, (process) => this.#operator(world, process).run());
    for (let index = 0; index < operate.builders; index++)
      this.#keep(world, `builder-${index}`, (process) => this.#build(world, process));
  }

  #keep(world: World, name: string, main: (process: Process) => Promise<void>): void {
    this.#working.add(name);
    this.#project.keep(world, name, async (process) => {
      await main(process);
      this.#working.delete(name);
    });
  }

  get done(): boolean {
    return this.#working.size === 0;
  }

  /** An event of an operator stands in the log because the view holds what it tells, and the other way round. */
  takeUp(world: World, record: LogRecord, place: string): void {
    const { operate, partitions } = world.profile;
    demand(
      operate !== null && partitionOf(record.key, partitions) === record.partition,
      'log',
      () => `${place} is not where an event of an operator belongs`,
    );
    const body = record.body.form === 'json' ? decodeUtf8(record.body.bytes) : null;
    const { action } = JSON.parse(body ?? '{}') as { action?: string };
    world.coverage.note(`operate: ${action}`);
    if (!action?.startsWith('dead_letter.')) return;
    const held = [...world.durable.resolutions].find(([, { eventId }]) => eventId === record.id);
    demand(held !== undefined, 'dead letters', () => `${place} tells of a resolution that is not there`);
    const [letter] = held;
    demand(
      !this.#resolved.has(letter),
      'dead letters',
      () => `${place} resolves the letter ${letter}, which ${this.#resolved.get(letter)} had resolved`,
    );
    this.#resolved.set(letter, place);
  }

  putBack(): void {
    this.#resolved.clear();
  }

  /** What was replayed is open again when another body of its identity comes to stand before it. */
  #noteReopened(world: World): void {
    for (const letter of this.#resolved.keys()) {
      const [view, generation, ...key] = letter.split(' ');
      const held = world.durable.views.get(view)?.generations.get(Number(generation));
      if ((held?.letters.get(key.join(' '))?.resolution ?? null) === null) this.#resolved.delete(letter);
    }
  }

  check(world: World): void {
    if (world.profile.operate === null) return;
    if (this.#fixTurn >= 0 && world.phase === 'storm' && world.isBegun && this.#fixTurn-- === 0)
      this.#project.fix(world);
    this.#noteReopened(world);
    this.#checkShown(world);
  }

  /** Showing another generation takes nothing away: it has read as far, and what was discarded stays so. */
  #checkShown(world: World): void {
    const { copies } = world;
    const view = world.durable.views.get(VIEW);
    const held = view?.generations.get(view.live);
    if (view === undefined || held === undefined) return;
    const before = this.#shown;
    this.#shown = { live: view.live, held, copies };
    if (before === null || before.live === view.live || before.copies !== copies) return;
    world.trace.note(`generation ${view.live} is shown`);
    for (const [tree, { next }] of before.held.checkpoints) {
      const now = held.checkpoints.get(tree)?.next ?? 0n;
      demand(
        now >= next,
        'I5',
        () => `generation ${view.live} is shown and has read tree ${tree} to ${now}, not ${next}`,
      );
    }
    for (const [key, old] of before.held.letters) {
      const letter = held.letters.get(key);
      if (old.resolution === null || old.resolution === 'replayed' || letter?.class !== old.class) continue;
      world.coverage.note('operate: resolution carried over');
      demand(
        letter.resolution === old.resolution,
        'dead letters',
        () => `the letter ${key} was ${old.resolution}, and is not in generation ${view.live}`,
      );
    }
  }

  /** The view is built twice more: what is built of the same log is the same. */
  beginLast(world: World): void {
    if (world.profile.operate === null) return;
    this.#keep(world, 'builder-last', async (process) => {
      const projection = projectionOf(world, this.#project.version, () => world.scheduler.kill(process));
      while (this.#digests.missing) {
        const deps = {
          ...rebuildDeps(world, process, this.#digests.recordsMax),
          record: async () => undefined,
        };
        const options = { ...OPTIONS, anew: !this.#digests.isBegun };
        this.#digests.isBegun = true;
        const { ref } = await buildGeneration(deps, projection, options);
        this.#digests.take(world, ref.generation);
      }
    });
  }

  settled(world: World): void {
    if (world.profile.operate === null) return;
    this.#digests.check(world);
    this.#checkResolutions(world);
  }

  /** Every resolution of what is shown is recorded in the log. */
  #checkResolutions(world: World): void {
    const view = world.durable.views.get(VIEW);
    const records =
      world.durable.logs.get('audit')?.partitions.flatMap((partition) => partition.records) ?? [];
    const ids = new Set(records.map((record) => record?.id));
    for (const [key, { resolution }] of view?.generations.get(view.live)?.letters ?? []) {
      if (resolution === null) continue;
      const eventId = world.durable.resolutions.get(`${VIEW} ${view?.live} ${key}`)?.eventId;
      demand(
        eventId !== undefined && ids.has(eventId),
        'dead letters',
        () => `the letter ${key} is ${resolution}, and no event in the log says so`,
      );
    }
  }

  #operator(world: World, process: Process): SimulatedOperator {
    const { letters, views, logs, objects } = world.portsOf(process);
    return new SimulatedOperator(world, process, {
      ...ownOf(world),
      ...{ letters, views, logs, bodies: objects },
      projections: new Map([
        [VIEW, projectionOf(world, this.#project.version, () => world.scheduler.kill(process))],
      ]),
      mayMapPoison: world.phase === 'storm' && world.random.chance(1, 4),
    });
  }

  async #build(world: World, process: Process): Promise<void> {
    const projection = projectionOf(world, this.#project.version, () => world.scheduler.kill(process));
    const deps = rebuildDeps(world, process, world.random.pick([4, 10, 50]));
    const options = OPTIONS;
    const turn = async (): Promise<void> => {
      // Without end otherwise: each poisonous record ends a builder five times.
      const anew = world.phase === 'storm' && world.random.chance(1, 4);
      const { resumed } = await buildGeneration(deps, projection, { ...options, anew });
      if (resumed) world.coverage.note('operate: build gone on with');
      await promoteGeneration(deps, projection, options);
      world.coverage.note('operate: promoted');
      if ((await dropRetired(deps.generations, VIEW, 0)).length > 0) world.coverage.note('operate: dropped');
    };
    while (world.phase === 'storm') {
      for (let pause = world.random.between(5, 40); pause > 0; pause--) await process.step('think');
      if (world.phase === 'storm') await permitted(turn());
    }
    // Or what is shown at the end would always have been built in one go, and never have grown.
    if (world.random.chance(1, 2)) return;
    for (let tries = 0; tries < LAST_TRIES_MAX && (await permitted(turn())) === null; tries++);
  }
}

class SimulatedOperator {
  readonly #world: World;
  readonly #process: Process;
  readonly #deps: DeadLetterDeps;

  constructor(world: World, process: Process, deps: DeadLetterDeps) {
    this.#world = world;
    this.#process = process;
    this.#deps = deps;
  }

  async run(): Promise<void> {
    const world = this.#world;
    while (world.phase === 'storm') {
      for (let pause = world.random.between(1, 5); pause > 0; pause--) await this.#process.step('think');
      if (world.phase === 'storm') await permitted(this.#settleOne());
    }
    for (let tries = 0; tries < LAST_TRIES_MAX && (await permitted(this.#replayAll())) === null; tries++);
  }

  #list(state: 'open' | 'all'): Promise<readonly DeadLetterEntry[]> {
    return this.#deps.letters.list({ view: VIEW, state }, null, LETTERS_MAX);
  }

  /** Any letter, now and then one that was resolved before. */
  async #settleOne(): Promise<void> {
    const { random, coverage } = this.#world;
    const letters = await this.#list(random.chance(1, 6) ? 'all' : 'open');
    if (letters.length === 0) return;
    const letter = random.pick(letters);
    const resolution = random.chance(1, 6) ? random.pick(['discarded', 'manual'] as const) : 'replayed';
    const { kind } =
      resolution === 'replayed'
        ? await replayDeadLetter(this.#deps, letter, { actor: ACTOR })
        : await resolveDeadLetter(this.#deps, letter, { actor: ACTOR, resolution, reason: 'a test' });
    coverage.note(`operate: ${resolution}: ${kind}`);
  }

  async #replayAll(): Promise<true> {
    for (const letter of await this.#list('open')) {
      const resolved = await permitted(replayDeadLetter(this.#deps, letter, { actor: ACTOR }));
      if (resolved !== null) this.#world.coverage.note(`operate: replayed: ${resolved.kind}`);
    }
    return true;
  }
}

function ownOf(world: World): { newId: () => string; instant: () => string } {
  return { newId: () => formatUuid(world.random.bytes(16)), instant: () => instantText(world.now) };
}

function rebuildDeps(world: World, process: Process, recordsMax: number): RebuildDeps {
  const { generations, views, records, objects, logs } = world.portsOf(process);
  const own = ownOf(world);
  return {
    ...own,
    generations,
    reader: {
      source: records,
      store: views,
      bodies: objects,
      bounds: { recordsMax, stepRecords: 2, bytesMax: 1_000_000 },
    },
    record: makeRecordOwn({ ...own, log: logs.get('audit') as Log }),
    sleep: () => process.step('sleep'),
  };
}
