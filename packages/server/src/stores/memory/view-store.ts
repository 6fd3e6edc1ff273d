/**
 * The ports of projections in memory: the model that the contract suite and the simulation hold beside PostgreSQL. State
 * and store are apart, as in `log.ts`. The rule of identities is told as what it means, not as PostgreSQL gets there:
 * all bodies of an identity are known with their first places, and the first of these is shown.
 */

import { createHash } from 'node:crypto';
import { toHex } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { EventRow } from '@evident/core/mapping/row.ts';
import { type LogRecord, RESERVED_LOGS } from '@evident/core/record.ts';
import {
  type Checkpoint,
  type CommitOutcome,
  type DeadLetter,
  type Halt,
  type Output,
  OutputRefused,
  type ReadBounds,
  type RecordRun,
  type RecordSource,
  type Span,
  type Suspect,
  type TreeHead,
  type TreePlace,
  type ViewRef,
  type ViewStore,
} from '../../project/ports.ts';
import type { MemoryLogHooks, MemoryLogState } from './log.ts';

export interface MemoryRow {
  readonly tree: number;
  readonly record: LogRecord;
  readonly row: EventRow;
}

export interface MemoryLetter extends DeadLetter {
  readonly tree: number;
  readonly resolution: 'replayed' | 'discarded' | 'manual' | null;
}

/** First place of each body of an identity. */
type Bodies = ReadonlyMap<string, MemoryRow>;

/** What is durable of one generation; values are replaced, never changed, so that copying the maps copies it. */
export interface MemoryGeneration {
  definition: string;
  state: 'building' | 'live' | 'retired';
  /** Microseconds since the Unix epoch; null while it is built or shown. */
  retiredAt: bigint | null;
  /** What it held is gone; its number is not used again. */
  isDropped: boolean;
  readonly checkpoints: Map<number, { readonly next: bigint; readonly attempts: number }>;
  /** By `<tree> <position>`. */
  readonly rows: Map<string, MemoryRow>;
  readonly letters: Map<string, MemoryLetter>;
  readonly suspects: Map<string, Suspect>;
  /** By `<log> <tenant> <id>`. */
  readonly identities: Map<string, Bodies>;
}

/** What is durable of a view. */
export interface MemoryView {
  live: number;
  readonly generations: Map<number, MemoryGeneration>;
}

export type MemoryViews = Map<string, MemoryView>;

export interface MemoryTree {
  readonly tree: number;
  readonly log: string;
  readonly partition: number;
}

/** Numbers every partition, as the database does. */
export function memoryTrees(
  logs: Iterable<{ readonly name: string; readonly partitions: number }>,
): MemoryTree[] {
  let tree = 0;
  return [...logs].flatMap(({ name, partitions }) =>
    Array.from({ length: partitions }, (_, partition) => ({ tree: ++tree, log: name, partition })),
  );
}

/** The record at a place of the log, as the database that both lie in would see it. */
export function recordLookup(
  states: ReadonlyMap<string, MemoryLogState>,
  trees: readonly MemoryTree[],
): MemoryViewDeps['recordAt'] {
  const placeOf = new Map(trees.map((one) => [one.tree, one]));
  return (tree, position) => {
    const place = placeOf.get(tree);
    return (place && states.get(place.log)?.partitions[place.partition].records[Number(position)]) ?? null;
  };
}

export const placeKey = (tree: number, position: bigint): string => `${tree} ${position}`;

export const newGeneration = (definition: string, state: MemoryGeneration['state']): MemoryGeneration => ({
  definition,
  state,
  retiredAt: null,
  isDropped: false,
  checkpoints: new Map(),
  rows: new Map(),
  letters: new Map(),
  suspects: new Map(),
  identities: new Map(),
});

class MemoryOutput implements Output {
  readonly made: MemoryRow[] = [];
  readonly letters: MemoryLetter[] = [];

  get rows(): number {
    return this.made.length;
  }

  addRow(tree: number, record: LogRecord, row: EventRow): void {
    this.made.push({ tree, record, row });
  }

  addDeadLetter(tree: number, letter: DeadLetter): void {
    const { record, error, stack, attempts, firstAt, lastAt } = letter;
    this.letters.push({
      tree,
      record,
      class: letter.class,
      error,
      stack,
      attempts,
      firstAt,
      lastAt,
      resolution: null,
    });
  }
}

export interface MemoryViewDeps {
  readonly views: MemoryViews;
  readonly trees: readonly MemoryTree[];
  readonly recordAt: (tree: number, position: bigint) => LogRecord | null;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  readonly hooks?: MemoryLogHooks;
}

export class MemoryViewStore implements ViewStore {
  readonly #deps: MemoryViewDeps;

  constructor(deps: MemoryViewDeps) {
    this.#deps = deps;
  }

  open(view: string, definition: string): Promise<{ ref: ViewRef; definition: string }> {
    return this.#step('open', () => {
      const { views } = this.#deps;
      let held = views.get(view);
      if (held === undefined) {
        held = { live: 1, generations: new Map([[1, newGeneration(definition, 'live')]]) };
        views.set(view, held);
      }
      const ref = { view, generation: held.live };
      return { ref, definition: this.#generation(ref).definition };
    });
  }

  continueWith(ref: ViewRef, definition: string): Promise<string | null> {
    return this.#step('continueWith', () => {
      const held = this.#generation(ref);
      if (held.definition === definition || held.definition.endsWith(` then ${definition}`)) return null;
      held.definition = `${held.definition} then ${definition}`;
      return held.definition;
    });
  }

  begin(view: string, definition: string): Promise<ViewRef> {
    return this.#step('begin', () => {
      const { generations } = this.#deps.views.get(view) as MemoryView;
      const generation = Math.max(...generations.keys()) + 1;
      generations.set(generation, newGeneration(definition, 'building'));
      return { view, generation };
    });
  }

  checkpoints(ref: ViewRef): Promise<Checkpoint[]> {
    return this.#step('checkpoints', () => {
      const { checkpoints } = this.#generation(ref);
      return this.#deps.trees
        .filter(({ log }) => !RESERVED_LOGS.includes(log))
        .map((place) => {
          const held = checkpoints.get(place.tree) ?? { next: 0n, attempts: 0 };
          checkpoints.set(place.tree, held);
          return { ...place, ...held };
        });
    });
  }

  countAttempt(ref: ViewRef, trees: readonly number[]): Promise<void> {
    return this.#step('countAttempt', () => {
      const { checkpoints } = this.#generation(ref);
      for (const tree of trees) {
        const held = checkpoints.get(tree);
        if (held !== undefined) checkpoints.set(tree, { ...held, attempts: held.attempts + 1 });
      }
    });
  }

  rest(ref: ViewRef): Promise<void> {
    return this.#step('rest', () => {
      const { checkpoints } = this.#generation(ref);
      for (const [tree, { next }] of checkpoints) checkpoints.set(tree, { next, attempts: 0 });
    });
  }

  newOutput(): Output {
    return new MemoryOutput();
  }

  commit(ref: ViewRef, spans: readonly Span[], output: Output, attempts: number): Promise<CommitOutcome> {
    return this.#step('commit', () => this.commitNow(ref, spans, output as MemoryOutput, attempts));
  }

  protected commitNow(
    ref: ViewRef,
    spans: readonly Span[],
    output: MemoryOutput,
    attempts: number,
  ): CommitOutcome {
    const held = this.#generation(ref);
    if (held.state === 'retired') return { kind: 'retired' };
    if (this.isOvertaken(held, spans)) return { kind: 'overtaken' };
    for (const { row } of output.made) refuseUnstorable(row);
    const put = putRows(held, output.made, this.#deps.clock());
    const now = this.#deps.clock();
    for (const letter of output.letters)
      held.letters.set(placeKey(letter.tree, letter.record.position), {
        ...letter,
        firstAt: letter.firstAt ?? now,
        lastAt: letter.lastAt ?? now,
      });
    for (const { tree, to } of spans) {
      held.checkpoints.set(tree, { next: to, attempts });
      for (const [key, suspect] of held.suspects)
        if (suspect.tree === tree && suspect.position < to) held.suspects.delete(key);
    }
    return { kind: 'committed', ...put };
  }

  protected isOvertaken(held: MemoryGeneration, spans: readonly Span[]): boolean {
    if (spans.some(({ tree, from }) => held.checkpoints.get(tree)?.next !== from)) return true;
    return spans.some(({ tree, to, last }) => {
      const now = this.#deps.recordAt(tree, to - 1n);
      return (
        last !== null && last !== undefined && (now?.id !== last.id || now.appendedAt !== last.appendedAt)
      );
    });
  }

  suspects(ref: ViewRef): Promise<Suspect[]> {
    return this.#step('suspects', () => [...this.#generation(ref).suspects.values()]);
  }

  noteSuspect(ref: ViewRef, { tree, position }: TreePlace, error: string): Promise<number> {
    return this.#step('noteSuspect', () => {
      const { suspects } = this.#generation(ref);
      const known = suspects.get(placeKey(tree, position));
      const now = this.#deps.clock();
      const attempts = (known?.attempts ?? 0) + 1;
      suspects.set(placeKey(tree, position), {
        tree,
        position,
        attempts,
        firstAt: known?.firstAt ?? now,
        lastAt: now,
        error,
      });
      return attempts;
    });
  }

  halts(ref: ViewRef): Promise<Halt[]> {
    return this.#step('halts', () => {
      const { letters, checkpoints } = this.#generation(ref);
      return [...letters.values()]
        .map(({ tree, record: { position, key }, resolution }) => ({
          tree,
          position,
          key,
          isOpen: resolution === null,
        }))
        .filter(({ tree, position, isOpen }) => isOpen || checkpoints.get(tree)?.next === position);
    });
  }

  #generation({ view, generation }: ViewRef): MemoryGeneration {
    const held = this.#deps.views.get(view)?.generations.get(generation);
    if (held === undefined)
      throw new EvidentError('log-unavailable', `there is no generation ${generation} of ${view}`);
    return held;
  }

  #step<T>(operation: string, effect: () => T): Promise<T> {
    return step(this.#deps.hooks, operation, effect);
  }
}

/** PostgreSQL's text holds no U+0000. */
export function refuseUnstorable(row: EventRow): void {
  for (const value of Object.values(row))
    if (typeof value === 'string' && value.includes('\u0000'))
      throw new OutputRefused('the view refuses it: a text holds U+0000');
}

function bodyHash({ body }: LogRecord): string {
  return body.form === 'object' ? toHex(body.sha256) : createHash('sha256').update(body.bytes).digest('hex');
}

function standsBefore(a: LogRecord, b: LogRecord): boolean {
  if (a.appendedAt !== b.appendedAt) return a.appendedAt < b.appendedAt;
  return a.partition !== b.partition ? a.partition < b.partition : a.position < b.position;
}

/** Takes rows in by the rule of identities. */
export function putRows(
  held: MemoryGeneration,
  made: readonly MemoryRow[],
  now: bigint,
): { shown: number; repeats: number; reused: number } {
  let repeats = 0;
  let reused = 0;
  for (const one of made) {
    const { record } = one;
    const identity = `${record.log} ${record.tenant} ${record.id}`;
    const bodies = new Map(held.identities.get(identity));
    const hash = bodyHash(record);
    const known = bodies.get(hash);
    if (known !== undefined) repeats++;
    else if (bodies.size > 0) reused++;
    if (known === undefined || standsBefore(record, known.record)) bodies.set(hash, one);
    showIdentity(held, held.identities.get(identity), bodies, now);
    held.identities.set(identity, bodies);
  }
  const shown = made.filter(({ tree, record }) => held.rows.has(placeKey(tree, record.position))).length;
  return { shown, repeats, reused };
}

/** The body whose first record stands first is shown; the first record of each other body is a dead letter. */
function showIdentity(held: MemoryGeneration, before: Bodies | undefined, bodies: Bodies, now: bigint): void {
  const resolutions = new Map<string, MemoryLetter['resolution']>();
  for (const [hash, { tree, record }] of before ?? []) {
    const key = placeKey(tree, record.position);
    const resolution = held.letters.get(key)?.resolution ?? null;
    // One that was replayed is shown, or open again when an earlier body comes.
    resolutions.set(hash, resolution === 'replayed' ? null : resolution);
    held.rows.delete(key);
    held.letters.delete(key);
  }
  const [first, ...others] = [...bodies.values()].sort((a, b) => (standsBefore(a.record, b.record) ? -1 : 1));
  held.rows.set(placeKey(first.tree, first.record.position), first);
  for (const { tree, record } of others) {
    held.letters.set(placeKey(tree, record.position), {
      tree,
      record,
      class: 'validation',
      error: `id-reused: ${first.record.log}/${first.record.partition}/${first.record.position} has this identity with another body`,
      stack: null,
      attempts: 1,
      firstAt: now,
      lastAt: now,
      resolution: resolutions.get(bodyHash(record)) ?? null,
    });
  }
}

/** The log as projections read it: each call is one step, as a statement is. */
export class MemoryRecordSource implements RecordSource {
  readonly #states: ReadonlyMap<string, MemoryLogState>;
  readonly #trees: readonly MemoryTree[];
  readonly #hooks: MemoryLogHooks;

  constructor(
    states: ReadonlyMap<string, MemoryLogState>,
    trees: readonly MemoryTree[],
    hooks: MemoryLogHooks = {},
  ) {
    this.#states = states;
    this.#trees = trees;
    this.#hooks = hooks;
  }

  heads(): Promise<readonly TreeHead[]> {
    return step(this.#hooks, 'heads', () =>
      this.#trees.map(({ tree, log, partition }) => ({ tree, next: this.#held(log, partition)?.next ?? 0n })),
    );
  }

  read(from: readonly TreePlace[], { recordsMax }: ReadBounds): Promise<readonly RecordRun[]> {
    return step(this.#hooks, 'read', () => {
      const limit = Math.max(1, Math.floor(recordsMax / from.length));
      return from.flatMap(({ tree, position }) => {
        const place = this.#trees.find((one) => one.tree === tree);
        const held = place && this.#held(place.log, place.partition)?.records;
        const records = (held?.slice(Number(position)) ?? [])
          .filter((record) => record !== null)
          .slice(0, limit);
        return records.length === 0 ? [] : [{ tree, records }];
      });
    });
  }

  #held(log: string, partition: number): MemoryLogState['partitions'][number] | undefined {
    return this.#states.get(log)?.partitions[partition];
  }
}

async function step<T>(hooks: MemoryLogHooks | undefined, operation: string, effect: () => T): Promise<T> {
  await hooks?.before?.(`view.${operation}`);
  const result = effect();
  await hooks?.after?.(`view.${operation}`);
  return result;
}
