/**
 * Projectors: one or two at once over one view, started and killed at random, and by records that end the process. They
 * do what `Projector` does, without its timers.
 */

import { type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { ViewRef } from '../../src/project/ports.ts';
import type { Projection } from '../../src/project/projection.ts';
import { type BatchReport, ViewReader } from '../../src/project/reader.ts';
import type { Process } from '../scheduler.ts';
import { demand } from '../violation.ts';
import type { Stage, World } from '../world.ts';
import { tolerant } from './log.ts';

const VIEW = 'hot';
/** Turns between two looks at the whole view. */
const LOOK_TURNS = 50;
/** Deaths after which a record that did nothing may have been taken for the cause. */
const DEATHS_OF_POISON = 5;

type Kind = 'row' | 'none' | 'bad' | 'refused' | 'poison';

/** What a record is to the projection: a function of its id, so that every body is of any kind. */
function kindOf({ id }: LogRecord): Kind {
  const n = Number.parseInt(id.slice(-2), 16);
  if (n === 0x77 || n === 0x93) return 'poison';
  return (['row', 'bad', 'refused', 'none'] as const)[n % 16] ?? 'row';
}

function rowOf({ id, tenant }: LogRecord, action: string): EventRow {
  return {
    eventTime: null,
    actorId: tenant,
    actorType: null,
    action,
    resourceType: null,
    resourceId: id,
    result: null,
    correlationId: null,
    ip: null,
    corrects: null,
    mapper: 'test/1',
  };
}

const PROJECTION: Projection = {
  name: VIEW,
  definition: 'test/1',
  onDeadLetter: 'skip',
  map: (record) => {
    const kind = kindOf(record);
    if (kind === 'bad') throw new MappingError('id: a bad one');
    return kind === 'none' ? null : rowOf(record, kind === 'refused' ? 'a\u0000b' : 'fine');
  },
};

export class ProjectStage implements Stage {
  readonly name = 'project';
  #readers = 0;
  #starts = 0;
  #look = 0;

  begin(world: World): void {
    for (let index = 0; index < (world.profile.project?.readers ?? 0); index++)
      this.#keep(world, `projector-${index}`);
  }

  /** One that starts after everything: hours are closed to the end. */
  beginLast(world: World): void {
    if (world.profile.project !== null) this.#keep(world, 'projector-last');
  }

  #keep(world: World, name: string): void {
    this.#readers++;
    world.keep(name, (process) => {
      this.#starts++;
      return new SimulatedProjector(world, process).run();
    });
  }

  check(world: World): void {
    if (world.profile.project === null) return;
    // Whoever is killed by a record is started again without faults, too.
    if (world.phase !== 'storm') world.restart(({ name }) => name.startsWith('projector'));
    if (this.#look++ % LOOK_TURNS === 0) this.#checkView(world);
  }

  putBack(world: World): void {
    if (world.profile.project !== null) this.#checkView(world);
  }

  settled(world: World): void {
    if (world.profile.project === null) return;
    this.#checkView(world);
    const held = generationOf(world);
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

  /** I5: rows are the fold of what was read, minus dead letters. */
  #checkView(world: World): void {
    const held = generationOf(world);
    if (held === undefined) return;
    const rows: string[] = [];
    const letters: string[] = [];
    const groups = new Map<string, LogRecord[]>();
    for (const { tree, log, partition } of world.trees) {
      const read = Number(held.checkpoints.get(tree)?.next ?? 0n);
      for (const record of world.durable.logs.get(log)?.partitions[partition].records.slice(0, read) ?? []) {
        if (record === null) continue;
        const own = held.letters.get(`${tree} ${record.position}`);
        const kind = own?.class === 'poison' ? this.#poison(record) : kindOf(record);
        if (kind === 'none') continue;
        if (kind !== 'row')
          letters.push(`${log}/${partition}/${record.position} ${kind === 'poison' ? kind : 'validation'}`);
        else {
          const identity = `${log} ${record.tenant} ${record.id}`;
          groups.set(identity, [...(groups.get(identity) ?? []), record]);
        }
      }
    }
    for (const group of groups.values()) settleGroup(group, rows, letters);
    const shown = [...held.rows.values()].map(({ record }) => shownOf(record));
    const dead = [...held.letters.values()].map((letter) => `${placeOf(letter.record)} ${letter.class}`);
    const same = (a: string[], b: string[]): boolean => a.sort().join() === b.sort().join();
    demand(same(shown, rows), 'I5', () => `the view shows ${shown}; the fold of the log is ${rows}`);
    demand(same(dead, letters), 'I5', () => `dead letters are ${dead}; of the log they are ${letters}`);
    for (const { record, row } of held.rows.values())
      demand(row.resourceId === record.id, 'I5', () => `the row of ${placeOf(record)} is another record's`);
  }

  /** A record that does nothing is taken for a deadly one only after as many deaths. */
  #poison(record: LogRecord): Kind {
    const deaths = this.#starts - this.#readers;
    demand(
      kindOf(record) === 'poison' || deaths >= DEATHS_OF_POISON,
      'no false alarm',
      () => `${placeOf(record)} counts as poison after ${deaths} deaths`,
    );
    return 'poison';
  }
}

const placeOf = ({ log, partition, position }: LogRecord): string => `${log}/${partition}/${position}`;

/** With its time: an older copy of the log may have held the same record there at another one. */
const shownOf = (record: LogRecord): string => `${placeOf(record)} at ${record.appendedAt} ${record.id}`;

function generationOf(world: World) {
  return world.durable.views.get(VIEW)?.generations.get(1);
}

function earlier(a: LogRecord, b: LogRecord): number {
  if (a.appendedAt !== b.appendedAt) return a.appendedAt < b.appendedAt ? -1 : 1;
  return a.partition - b.partition || Number(a.position - b.position);
}

/** Of one identity: the first is shown, and the first of each other body is a dead letter. */
function settleGroup(group: LogRecord[], rows: string[], letters: string[]): void {
  const bodies = new Set<string>();
  for (const record of group.sort(earlier)) {
    const { body } = record;
    const text = Buffer.from(body.form === 'object' ? body.sha256 : body.bytes).toString('hex');
    if (bodies.has(text)) continue;
    if (bodies.size === 0) rows.push(shownOf(record));
    else letters.push(`${placeOf(record)} validation`);
    bodies.add(text);
  }
}

class SimulatedProjector {
  readonly #world: World;
  readonly #process: Process;
  #reader: ViewReader | undefined;
  #hasBegun = false;

  constructor(world: World, process: Process) {
    this.#world = world;
    this.#process = process;
  }

  async run(): Promise<void> {
    const world = this.#world;
    for (;;) {
      await this.#process.step('pause');
      if (world.phase === 'storm' && world.random.chance(1, 2)) continue;
      const isLast = world.phase === 'end';
      const kind = await tolerant(this.#turn());
      if (kind === null || kind === 'overtaken') this.#hasBegun = false;
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

  /** Opened each time: an older copy of the database may know no view. */
  async #begin(): Promise<ViewReader> {
    const ref = (await this.#world.portsOf(this.#process).views.open(VIEW, PROJECTION.definition)).ref;
    this.#reader ??= this.#make(ref);
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
      PROJECTION,
      ref,
    );
  }

  /** Some records end the process. */
  #touch(tree: number, position: bigint, isNoted: boolean): void {
    const { coverage, scheduler } = this.#world;
    if (isNoted) coverage.note('project: record by itself');
    const record = this.#world.recordAt(tree, position);
    if (record === null || kindOf(record) !== 'poison') return;
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
