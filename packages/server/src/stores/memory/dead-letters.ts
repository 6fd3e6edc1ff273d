/** The port `DeadLetterStore` in memory: letter, row and event change in one synchronous step, as in one transaction. */

import { EvidentError } from '@evident/core/errors.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import {
  type DeadLetterEntry,
  type DeadLetterFilter,
  type DeadLetterPlace,
  type DeadLetterStore,
  type OpenLetters,
  RESOLUTION_LOG,
  type ReplayOutcome,
  type Settlement,
  type SettleOutcome,
} from '../../project/dead-letters.ts';
import { comparePlaces, type ViewPlace } from '../../project/view-snapshot.ts';
import type { MemoryLog, MemoryLogHooks } from './log.ts';
import {
  type MemoryGeneration,
  type MemoryLetter,
  type MemoryTree,
  type MemoryViews,
  placeKey,
  putRows,
  refuseUnstorable,
} from './view-store.ts';

/** What is kept of a resolution, by `<view> <generation> <tree> <position>`. */
export type MemoryResolutions = Map<
  string,
  { readonly at: bigint; readonly by: string; readonly reason: string | null; readonly eventId: string }
>;

export interface MemoryDeadLetterDeps {
  readonly views: MemoryViews;
  readonly resolutions: MemoryResolutions;
  readonly trees: readonly MemoryTree[];
  readonly logs: ReadonlyMap<string, MemoryLog>;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  readonly hooks?: MemoryLogHooks;
}

export class MemoryDeadLetterStore implements DeadLetterStore {
  readonly #deps: MemoryDeadLetterDeps;

  constructor(deps: MemoryDeadLetterDeps) {
    this.#deps = deps;
  }

  list(filter: DeadLetterFilter, after: ViewPlace | null, limit: number): Promise<DeadLetterEntry[]> {
    const { view, log, tenant, type, class: kind, state } = filter;
    return this.#step('list', () =>
      this.#entries(view)
        .filter((letter) => log === undefined || letter.log === log)
        .filter((letter) => tenant === undefined || letter.tenant === tenant)
        .filter((letter) => type === undefined || letter.type === type)
        .filter((letter) => kind === undefined || letter.class === kind)
        .filter(({ resolution }) => state === 'all' || (resolution === null) === (state === 'open'))
        .filter((letter) => after === null || comparePlaces(letter, after) > 0)
        .slice(0, limit),
    );
  }

  find(place: DeadLetterPlace): Promise<DeadLetterEntry | null> {
    return this.#step(
      'find',
      () => this.#entries(place.view).find((letter) => comparePlaces(letter, place) === 0) ?? null,
    );
  }

  countOpen(view: string, tenant: string | null): Promise<OpenLetters> {
    return this.#step('countOpen', () => {
      const open = this.#entries(view).filter(
        (letter) => letter.resolution === null && (tenant === null || letter.tenant === tenant),
      );
      const poison = open.filter((letter) => letter.class === 'poison').length;
      return { validation: open.length - poison, poison };
    });
  }

  resolve(letter: DeadLetterEntry, settlement: Settlement): Promise<SettleOutcome> {
    return this.#step('resolve', () => {
      const open = this.#open(letter);
      if (open === null) return 'changed';
      this.#append(settlement);
      this.#settle(
        open.generation,
        letter,
        { ...open.letter, resolution: settlement.resolution },
        settlement,
      );
      return 'resolved';
    });
  }

  replay(
    letter: DeadLetterEntry,
    record: LogRecord,
    row: EventRow | null,
    settlement: Settlement,
  ): Promise<ReplayOutcome> {
    return this.#step('replay', () => {
      const open = this.#open(letter);
      if (open === null) return 'changed';
      if (row !== null) refuseUnstorable(row);
      const { generation } = open;
      const { tree, attempts, firstAt } = open.letter;
      const key = placeKey(tree, letter.position);
      // Beside it: nothing is done when the event can't be appended.
      const draft = draftOf(generation);
      draft.letters.delete(key);
      if (row !== null) putRows(draft, [{ tree, record, row }], this.#deps.clock());
      const reused = draft.letters.get(key);
      if (reused !== undefined) {
        draft.letters.set(key, { ...reused, attempts: attempts + 1, firstAt });
        takeOver(generation, draft);
        return 'reused';
      }
      this.#append(settlement);
      takeOver(generation, draft);
      const settled = { ...open.letter, attempts: attempts + 1, resolution: 'replayed' as const };
      this.#settle(generation, letter, settled, settlement);
      return generation.rows.has(key) ? 'shown' : 'repeat';
    });
  }

  noteFailure(letter: DeadLetterEntry, error: string, stack: string | null): Promise<SettleOutcome> {
    return this.#step('noteFailure', () => {
      const open = this.#open(letter);
      if (open === null) return 'changed';
      const attempts = open.letter.attempts + 1;
      const lastAt = this.#deps.clock();
      const failed = { ...open.letter, error, stack, attempts, lastAt };
      open.generation.letters.set(placeKey(open.letter.tree, letter.position), failed);
      return 'resolved';
    });
  }

  /** An open letter of the generation that is shown. */
  #open(letter: DeadLetterEntry): { generation: MemoryGeneration; letter: MemoryLetter } | null {
    const view = this.#deps.views.get(letter.view);
    const generation = view?.generations.get(letter.generation);
    if (generation === undefined || view?.live !== letter.generation) return null;
    const held = generation.letters.get(placeKey(this.#treeOf(letter), letter.position));
    return held === undefined || held.resolution !== null ? null : { generation, letter: held };
  }

  #append({ event }: Settlement): void {
    const log = this.#deps.logs.get(RESOLUTION_LOG);
    if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${RESOLUTION_LOG}`);
    log.appendOnceNow([event]);
  }

  #settle(generation: MemoryGeneration, place: DeadLetterEntry, letter: MemoryLetter, by: Settlement): void {
    const key = placeKey(letter.tree, place.position);
    generation.letters.set(key, letter);
    this.#deps.resolutions.set(`${place.view} ${place.generation} ${key}`, {
      at: this.#deps.clock(),
      by: by.by,
      reason: by.reason,
      eventId: by.event.record.id,
    });
  }

  #treeOf({ log, partition }: ViewPlace): number {
    return this.#deps.trees.find((one) => one.log === log && one.partition === partition)?.tree ?? 0;
  }

  #entries(view: string): DeadLetterEntry[] {
    const held = this.#deps.views.get(view);
    const generation = held?.generations.get(held.live);
    if (held === undefined || generation === undefined) return [];
    const entries = [...generation.letters.values()].map((letter): DeadLetterEntry => {
      const { tree, record, error, stack, attempts, firstAt, lastAt, resolution } = letter;
      const { log, partition, position, tenant, id, type } = record;
      const known = this.#deps.resolutions.get(`${view} ${held.live} ${placeKey(tree, position)}`);
      const settled = resolution === null ? undefined : known;
      return {
        view,
        generation: held.live,
        log,
        partition,
        position,
        tenant,
        id,
        type,
        class: letter.class,
        error,
        stack,
        attempts,
        firstAt: firstAt ?? 0n,
        lastAt: lastAt ?? 0n,
        resolution,
        resolvedAt: settled?.at ?? null,
        resolvedBy: settled?.by ?? null,
        reason: settled?.reason ?? null,
        eventId: settled?.eventId ?? null,
      };
    });
    return entries.sort(comparePlaces);
  }

  async #step<T>(operation: string, effect: () => T): Promise<T> {
    const { hooks } = this.#deps;
    await hooks?.before?.(`letters.${operation}`);
    const result = effect();
    await hooks?.after?.(`letters.${operation}`);
    return result;
  }
}

function draftOf(generation: MemoryGeneration): MemoryGeneration {
  const { rows, letters, identities } = generation;
  return { ...generation, rows: new Map(rows), letters: new Map(letters), identities: new Map(identities) };
}

function takeOver({ rows, letters, identities }: MemoryGeneration, draft: MemoryGeneration): void {
  replace(rows, draft.rows);
  replace(letters, draft.letters);
  replace(identities, draft.identities);
}

function replace<Value>(held: Map<string, Value>, by: ReadonlyMap<string, Value>): void {
  held.clear();
  for (const [key, value] of by) held.set(key, value);
}
