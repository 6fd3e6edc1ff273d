/** The port `GenerationStore` in memory: each call one synchronous step, as each is one transaction on PostgreSQL. */

import { EvidentError } from '@evident/core/errors.ts';
import type { Proposal } from '../../log/log.ts';
import { RESOLUTION_LOG } from '../../project/dead-letters.ts';
import type { ViewRef } from '../../project/ports.ts';
import type { GenerationStore, PromoteOutcome } from '../../project/rebuild.ts';
import type { MemoryResolutions } from './dead-letters.ts';
import type { MemoryLog, MemoryLogHooks } from './log.ts';
import { type MemoryGeneration, type MemoryView, type MemoryViews, newGeneration } from './view-store.ts';

export interface MemoryGenerationDeps {
  readonly views: MemoryViews;
  readonly resolutions: MemoryResolutions;
  readonly logs: ReadonlyMap<string, MemoryLog>;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  readonly hooks?: MemoryLogHooks;
}

export class MemoryGenerationStore implements GenerationStore {
  readonly #deps: MemoryGenerationDeps;

  constructor(deps: MemoryGenerationDeps) {
    this.#deps = deps;
  }

  build(view: string, definition: string, anew: boolean): Promise<{ ref: ViewRef; resumed: boolean }> {
    return this.#step('build', () => {
      const held = this.#deps.views.get(view);
      if (held === undefined) throw new EvidentError('log-unavailable', `there is no view ${view}`);
      for (const one of held.generations.values())
        if (one.state === 'building' && (anew || one.definition !== definition)) this.#retire(one);
      const [generation] = buildingOf(held);
      if (generation !== undefined) return { ref: { view, generation }, resumed: true };
      const begun = Math.max(...held.generations.keys()) + 1;
      held.generations.set(begun, newGeneration(definition, 'building'));
      return { ref: { view, generation: begun }, resumed: false };
    });
  }

  building(view: string): Promise<{ ref: ViewRef; definition: string } | null> {
    return this.#step('building', () => {
      const held = this.#deps.views.get(view);
      const [generation] = held === undefined ? [] : buildingOf(held);
      if (held === undefined || generation === undefined) return null;
      const { definition } = held.generations.get(generation) as MemoryGeneration;
      return { ref: { view, generation }, definition };
    });
  }

  promote({ view, generation }: ViewRef, lagMax: number, event: Proposal): Promise<PromoteOutcome> {
    return this.#step('promote', () => {
      const held = this.#deps.views.get(view);
      const next = held?.generations.get(generation);
      const shown = held?.generations.get(held.live);
      if (held === undefined || shown === undefined || next?.state !== 'building') return 'gone';
      if (behind(shown, next) > BigInt(lagMax)) return 'behind';
      // First: it throws where the partition of the event is stopped, and then nothing was done.
      this.#append(event);
      this.#carryOver(view, [held.live, shown], [generation, next]);
      this.#retire(shown);
      next.state = 'live';
      held.live = generation;
      return 'promoted';
    });
  }

  retired(view: string): Promise<ViewRef[]> {
    return this.#step('retired', () =>
      [...(this.#deps.views.get(view)?.generations ?? [])]
        .filter(([, { state, isDropped }]) => state === 'retired' && !isDropped)
        .map(([generation]) => ({ view, generation })),
    );
  }

  drop({ view, generation }: ViewRef, seconds: number): Promise<boolean> {
    return this.#step('drop', () => {
      const held = this.#deps.views.get(view)?.generations.get(generation);
      if (held?.state !== 'retired' || held.isDropped) return false;
      if ((held.retiredAt ?? 0n) > this.#deps.clock() - BigInt(seconds) * 1_000_000n) return false;
      for (const kept of [held.checkpoints, held.rows, held.letters, held.suspects, held.identities])
        kept.clear();
      held.isDropped = true;
      return true;
    });
  }

  #retire(held: MemoryGeneration): void {
    held.state = 'retired';
    held.retiredAt = this.#deps.clock();
  }

  /** Discarded and manual letters keep their resolution where there is a letter of the same record and class. */
  #carryOver(
    view: string,
    [from, shown]: [number, MemoryGeneration],
    [to, next]: [number, MemoryGeneration],
  ): void {
    const { resolutions } = this.#deps;
    for (const [key, old] of shown.letters) {
      const letter = next.letters.get(key);
      if (old.resolution === null || old.resolution === 'replayed') continue;
      if (letter === undefined || letter.class !== old.class || letter.resolution !== null) continue;
      next.letters.set(key, { ...letter, resolution: old.resolution });
      const how = resolutions.get(`${view} ${from} ${key}`);
      if (how !== undefined) resolutions.set(`${view} ${to} ${key}`, how);
    }
  }

  #append(event: Proposal): void {
    const log = this.#deps.logs.get(RESOLUTION_LOG);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${RESOLUTION_LOG}`);
    log.appendOnceNow([event]);
  }

  async #step<T>(operation: string, effect: () => T): Promise<T> {
    const { hooks } = this.#deps;
    await hooks?.before?.(`generations.${operation}`);
    const result = effect();
    await hooks?.after?.(`generations.${operation}`);
    return result;
  }
}

/** Newest first. */
function buildingOf({ generations }: MemoryView): number[] {
  return [...generations]
    .filter(([, { state }]) => state === 'building')
    .map(([generation]) => generation)
    .sort((a, b) => b - a);
}

/** Records that the one that is shown has read, and the next has not. */
function behind(shown: MemoryGeneration, next: MemoryGeneration): bigint {
  let records = 0n;
  for (const [tree, { next: end }] of shown.checkpoints) {
    const read = next.checkpoints.get(tree)?.next ?? 0n;
    if (end > read) records += end - read;
  }
  return records;
}
