/**
 * Projectors: one or two at once over one view, started and killed at random, and by records that end the process. They
 * do what `Projector` does, without its timers.
 */

import type { LogRecord } from '@evident/core/record.ts';
import type { ViewRef } from '../../src/project/ports.ts';
import { isAmong, type Projection } from '../../src/project/projection.ts';
import { type BatchReport, ViewReader } from '../../src/project/reader.ts';
import type { Process } from '../scheduler.ts';
import { demand } from '../violation.ts';
import type { Stage, World } from '../world.ts';
import { tolerant } from './log.ts';
import { checkGeneration, kindOf, liveOf, projectionOf, type Version, VIEW } from './view-fold.ts';

/** Turns between two looks at the whole view. */
const LOOK_TURNS = 50;
/** Deaths after which a record that did nothing may have been taken for the cause. */
const DEATHS_OF_POISON = 5;
/** Processes that map records. */
const MAPPING = /^(?:projector|operator|builder)/;

export class ProjectStage implements Stage {
  readonly name = 'project';
  /** The mapper of every process that is started from now on. */
  version: Version = 1;
  #kept = 0;
  #starts = 0;
  #look = 0;

  begin(world: World): void {
    for (let index = 0; index < (world.profile.project?.readers ?? 0); index++)
      this.#keepProjector(world, `projector-${index}`);
  }

  /** One that starts after everything: hours are closed to the end. */
  beginLast(world: World): void {
    if (world.profile.project !== null) this.#keepProjector(world, 'projector-last');
  }

  #keepProjector(world: World, name: string): void {
    this.keep(world, name, (process) =>
      new SimulatedProjector(world, process, projectionOf(world, this.version)).run(),
    );
  }

  /** Keeps a process that maps records, and may die of one. */
  keep(world: World, name: string, main: (process: Process) => Promise<void>): void {
    this.#kept++;
    world.keep(name, (process) => {
      this.#starts++;
      return main(process);
    });
  }

  check(world: World): void {
    if (world.profile.project === null) return;
    // Whoever is killed by a record is started again without faults, too.
    if (world.phase !== 'storm') world.restart(({ name }) => MAPPING.test(name));
    if (this.#look++ % LOOK_TURNS === 0) this.#checkView(world);
  }

  /** Servers are started again with the mapper that takes what the first one calls bad. */
  fix(world: World): void {
    this.version = 2;
    for (const process of world.processes)
      if (MAPPING.test(process.name) && process.state === 'alive') world.scheduler.kill(process);
    world.trace.note('the mapper is fixed');
    world.coverage.note('operate: the mapper is fixed');
  }

  putBack(world: World): void {
    if (world.profile.project !== null) this.#checkView(world);
  }

  settled(world: World): void {
    if (world.profile.project === null) return;
    this.#checkView(world);
    const held = liveOf(world);
    for (const { tree, log, partition } of world.trees) {
      if (log === 'heads') continue;
      const next = world.durable.logs.get(log)?.partitions[partition].next;
      const read = held?.checkpoints.get(tree)?.next;
      demand(
        read === next,
        'progress',
        () => `${VIEW} has read ${log}/${partition} to ${read}, which ends at ${next}`,
      );
    }
  }

  /** I5, of what is shown and of what is being built. */
  #checkView(world: World): void {
    // A record that does nothing is taken for a deadly one only after as many deaths.
    const deaths = this.#starts - this.#kept;
    const isOperated = world.profile.operate !== null;
    const mayBePoison = (record: LogRecord): boolean =>
      kindOf(record, isOperated) === 'poison' || deaths >= DEATHS_OF_POISON;
    for (const held of world.durable.views.get(VIEW)?.generations.values() ?? [])
      if (held.state !== 'retired') checkGeneration(world, held, mayBePoison);
  }
}

class SimulatedProjector {
  readonly #world: World;
  readonly #process: Process;
  readonly #projection: Projection;
  #reader: ViewReader | undefined;
  #hasBegun = false;

  constructor(world: World, process: Process, projection: Projection) {
    this.#world = world;
    this.#process = process;
    this.#projection = projection;
  }

  async run(): Promise<void> {
    const world = this.#world;
    for (;;) {
      await this.#process.step('pause');
      if (world.phase === 'storm' && world.random.chance(1, 2)) continue;
      const isLast = world.phase === 'end';
      const kind = await tolerant(this.#turn());
      if (kind === null || kind === 'overtaken' || kind === 'retired') this.#hasBegun = false;
      if (kind === 'idle' && isLast) break;
    }
    await tolerant(this.#reader?.end() ?? Promise.resolve());
  }

  async #turn(): Promise<string> {
    const { coverage, trace } = this.#world;
    const reader = this.#hasBegun && this.#reader !== undefined ? this.#reader : await this.#begin();
    const { kind } = await reader.round();
    if (kind !== 'idle') coverage.note(`project: ${kind}`);
    if (kind === 'overtaken') trace.note(`${this.#process.name} is overtaken`);
    return kind;
  }

  /** Opened each time: another generation may be shown, and an older copy of the database may know no view. */
  async #begin(): Promise<ViewReader> {
    const { views } = this.#world.portsOf(this.#process);
    const { definition } = this.#projection;
    const { ref, definition: made } = await views.open(VIEW, definition);
    const known = this.#reader?.ref.generation === ref.generation ? this.#reader : undefined;
    // Seeds without operators stay what they were: in them nobody asks.
    if (this.#world.profile.operate !== null && (known === undefined || !isAmong(made, definition)))
      await views.continueWith(ref, definition);
    this.#reader = known ?? this.#make(ref);
    await this.#reader.begin();
    this.#hasBegun = true;
    return this.#reader;
  }

  #make(ref: ViewRef): ViewReader {
    const { views, records, objects } = this.#world.portsOf(this.#process);
    const { recordsMax, stepRecords } = this.#world.profile.project ?? { recordsMax: 1, stepRecords: 1 };
    return new ViewReader(
      {
        store: views,
        source: {
          heads: () => records.heads(),
          // Mapping takes time, in which no connection is used that could break.
          read: async (from, bounds) => {
            const runs = await records.read(from, bounds);
            await this.#process.step('map');
            return runs;
          },
        },
        bodies: { get: (tenant, sha256) => objects.get(tenant, sha256) },
        bounds: { recordsMax, stepRecords, bytesMax: 1_000_000 },
        touch: (tree, position, isNoted) => this.#touch(tree, position, isNoted),
        untouch: () => undefined,
        onBatch: (batch) => this.#note(batch),
      },
      this.#projection,
      ref,
    );
  }

  /** Some records end the process. */
  #touch(tree: number, position: bigint, isNoted: boolean): void {
    const { coverage, scheduler, profile } = this.#world;
    if (isNoted) coverage.note('project: record by itself');
    const record = this.#world.recordAt(tree, position);
    if (record === null || kindOf(record, profile.operate !== null) !== 'poison') return;
    coverage.note('project: killed by a record');
    scheduler.kill(this.#process);
  }

  #note({ tally, reused }: BatchReport): void {
    const { coverage, trace } = this.#world;
    if (tally.validation > 0) coverage.note('project: invalid record');
    if (tally.poison > 0) coverage.note('project: poison isolated');
    if (reused > 0) coverage.note('project: identity with another body');
    trace.note(`${this.#process.name} stored ${tally.records} records, ${tally.rows} rows`);
  }
}
