/**
 * The reader of one generation of a view: rounds of read, map and store.
 *
 *   begin ──► round ──► round … ──► end
 *               │ nothing new: idle · another reader is ahead: overtaken, begin again · too many dead letters: throws
 *
 * Where the reader before it died, it goes carefully (README.md): small steps over what that one may have had in hand,
 * and single records, each noted durably before it is touched, where a small step died, too.
 */

import { Breaker } from './breaker.ts';
import { type Part, POISON_ATTEMPTS, type Tally } from './fill-output.ts';
import type {
  BodyReader,
  Checkpoint,
  RecordSource,
  Suspect,
  TreeHead,
  TreePlace,
  ViewRef,
  ViewStore,
} from './ports.ts';
import { type BatchDeps, projectBatch, type Stored } from './project-batch.ts';
import type { Projection } from './projection.ts';

export interface ReaderBounds {
  /** Most records of a batch, and of what a reader that died may have had in hand of one partition. */
  readonly recordsMax: number;
  /** Most bytes of bodies that a batch holds, but for its last record. */
  readonly bytesMax: number;
  /** Records of a careful step. */
  readonly stepRecords: number;
}

export const READER_BOUNDS: ReaderBounds = {
  recordsMax: 5_000,
  bytesMax: 16 * 1024 * 1024,
  stepRecords: 256,
};

export interface ReaderDeps {
  readonly source: RecordSource;
  readonly store: ViewStore;
  readonly bodies: BodyReader;
  readonly bounds: ReaderBounds;
  /** Which record is worked on from now on; `isNoted`: that is stored already. */
  readonly touch: (tree: number, position: bigint, isNoted: boolean) => void;
  readonly untouch: () => void;
  readonly onBatch: (batch: BatchReport) => void;
}

/** What a batch stored. */
export interface BatchReport {
  readonly tally: Tally;
  readonly repeats: number;
  readonly reused: number;
  /** Positions that hold no record: lost ones, which a record `seal.recovery` names, or damage, which verify finds. */
  readonly missing: bigint;
  /** Partitions that moved: how far, and the time of the last record. */
  readonly moved: readonly {
    readonly tree: number;
    readonly next: bigint;
    readonly lastAppendedAt: bigint | null;
  }[];
}

export type Round =
  /** Something was stored; `isFull`: there is more already. */
  | { readonly kind: 'stored'; readonly isFull: boolean }
  | { readonly kind: 'idle' }
  | { readonly kind: 'overtaken' | 'retired' };

/** A partition whose last reader died here. */
interface Care {
  /** Single records below this. */
  readonly singlesUntil: bigint;
  /** Small steps below this. */
  readonly stepsUntil: bigint;
}

/** What checkpoints count after a step: a small one is a second attempt at what a whole batch failed on, and so on. */
const ATTEMPTS = { batch: 1, step: 2, single: 3 } as const;

const placeOf = (tree: number, position: bigint): string => `${tree} ${position}`;

export class ViewReader {
  readonly #deps: ReaderDeps;
  readonly #projection: Projection;
  readonly #batch: BatchDeps;
  #checkpoints = new Map<number, Checkpoint & { next: bigint }>();
  /** Null before the first `begin`: what the last reader left is looked at once, our own attempts are no deaths. */
  #cares: Map<number, Care> | null = null;
  #suspects = new Map<string, Suspect>();
  /** Suspects noted by this reader: noted once, however often storing them is tried. */
  readonly #noted = new Set<string>();
  /** Those of which it was tried, whatever was answered. */
  readonly #unsure = new Set<string>();
  readonly #counted = new Set<number>();
  #waiting = new Set<number>();
  #isNoted = false;
  /** Dead letters were stored since it was last asked what waits for them. */
  #hasLetters = false;
  /** Where the next read begins, so that no partition goes first for ever. */
  #turn = 0;

  constructor(deps: ReaderDeps, projection: Projection, ref: ViewRef, breaker: Breaker = new Breaker()) {
    this.#deps = deps;
    this.#projection = projection;
    this.#batch = {
      ref,
      projection,
      breaker,
      store: deps.store,
      bodies: deps.bodies,
      haltedKeys: new Set(),
      touch: (tree, position) => deps.touch(tree, position, this.#isNoted),
      untouch: deps.untouch,
      suspectAt: (tree, position) =>
        this.#suspects.size === 0 ? undefined : this.#suspects.get(placeOf(tree, position)),
      onStored: (stored) => this.#onStored(stored),
    };
  }

  get ref(): ViewRef {
    return this.#batch.ref;
  }

  get checkpoints(): readonly Checkpoint[] {
    return [...this.#checkpoints.values()];
  }

  /** After `BreakerTripped`. */
  resetBreaker(allowance: number): void {
    this.#batch.breaker.reset(allowance);
  }

  /** Takes up what is durable: before the first round, and after anything that was thrown or overtaken. */
  async begin(): Promise<void> {
    const { store } = this.#deps;
    const checkpoints = await store.checkpoints(this.ref);
    this.#checkpoints = new Map(checkpoints.map((checkpoint) => [checkpoint.tree, { ...checkpoint }]));
    if (this.#cares === null) {
      const suspects = await store.suspects(this.ref);
      this.#suspects = new Map(suspects.map((suspect) => [placeOf(suspect.tree, suspect.position), suspect]));
      this.#cares = this.#planCares(suspects, await this.#deps.source.heads());
    }
    await this.#loadHalts();
  }

  /** Ends in good order. */
  async end(): Promise<void> {
    await this.#deps.store.rest(this.ref);
  }

  /** One step: a batch of what is new, or a careful step. @throws BreakerTripped, log-unavailable, disk-full */
  async round(): Promise<Round> {
    const heads = await this.#deps.source.heads();
    const careful = this.#nextCare(heads);
    if (careful !== null) return this.#carefulRound(careful);
    const behind = await this.#behind(heads);
    if (behind.length === 0) return { kind: 'idle' };
    await this.#count(behind.map(({ tree }) => tree));
    const { recordsMax, bytesMax } = this.#deps.bounds;
    const parts = await this.#read(behind, recordsMax, bytesMax);
    const records = parts.reduce((sum, part) => sum + part.records.length, 0);
    if (records === 0) return { kind: 'idle' };
    const kind = await this.#store(parts, ATTEMPTS.batch);
    return kind === 'committed' ? { kind: 'stored', isFull: records >= recordsMax / 2 } : { kind };
  }

  /** Partitions of which records are there that were not read. */
  async #behind(heads: readonly TreeHead[]): Promise<Checkpoint[]> {
    if (this.#hasLetters || this.#waiting.size > 0 || this.#batch.haltedKeys.size > 0)
      await this.#loadHalts();
    const behind = heads.flatMap(({ tree, next }) => {
      const checkpoint = this.#checkpoints.get(tree);
      return checkpoint !== undefined && checkpoint.next < next && !this.#waiting.has(tree)
        ? [checkpoint]
        : [];
    });
    this.#turn = (this.#turn + 1) % Math.max(1, behind.length);
    return [...behind.slice(this.#turn), ...behind.slice(0, this.#turn)];
  }

  async #read(from: readonly Checkpoint[], recordsMax: number, bytesMax: number): Promise<Part[]> {
    const places = from.map(({ tree, next }) => ({ tree, position: next }));
    const runs = await this.#deps.source.read(places, { recordsMax, bytesMax });
    return runs.flatMap(({ tree, records }) => {
      const last = records.at(-1);
      const checkpoint = this.#checkpoints.get(tree);
      if (last === undefined || checkpoint === undefined) return [];
      return [{ tree, records, from: checkpoint.next, to: last.position + 1n }];
    });
  }

  /** Counts durably, before anything is read, that a reader begins there. */
  async #count(trees: readonly number[]): Promise<void> {
    const uncounted = trees.filter((tree) => !this.#counted.has(tree)).sort((a, b) => a - b);
    if (uncounted.length === 0) return;
    await this.#deps.store.countAttempt(this.ref, uncounted);
    for (const tree of uncounted) this.#counted.add(tree);
  }

  async #store(parts: readonly Part[], attempts: number): Promise<'committed' | 'overtaken' | 'retired'> {
    return projectBatch(this.#batch, parts, attempts);
  }

  #onStored({ parts, tally, repeats, reused }: Stored): void {
    let missing = 0n;
    if (tally.validation + tally.poison + reused > 0) this.#hasLetters = true;
    const moved = parts.map(({ tree, from, to, records }) => {
      missing += to - from - BigInt(records.length);
      const checkpoint = this.#checkpoints.get(tree);
      if (checkpoint !== undefined) checkpoint.next = to;
      return { tree, next: to, lastAppendedAt: records.at(-1)?.appendedAt ?? null };
    });
    this.#deps.onBatch({ tally, repeats, reused, missing, moved });
  }

  // What the last reader left.

  #planCares(suspects: readonly Suspect[], heads: readonly TreeHead[]): Map<number, Care> {
    const { recordsMax, stepRecords } = this.#deps.bounds;
    const cares = new Map<number, Care>();
    for (const { tree, next, attempts } of this.#checkpoints.values()) {
      const beyond = suspects.filter((suspect) => suspect.tree === tree && suspect.position >= next);
      if (attempts === 0 && beyond.length === 0) continue;
      // It can't have had in hand what was not there yet.
      const head = heads.find((one) => one.tree === tree)?.next ?? next;
      const inHand = next + BigInt(recordsMax);
      const stepsUntil = beyond.reduce(
        (until, { position }) => (position >= until ? position + 1n : until),
        head < inHand ? head : inHand,
      );
      cares.set(tree, {
        stepsUntil,
        singlesUntil: attempts >= ATTEMPTS.step ? next + BigInt(stepRecords) : next,
      });
    }
    return cares;
  }

  /** A partition to go over carefully; null when none is left, or none has news. */
  #nextCare(heads: readonly TreeHead[]): { checkpoint: Checkpoint; care: Care } | null {
    if (this.#cares === null) throw new Error('a round before begin');
    for (const { tree, next } of heads) {
      const care = this.#cares.get(tree);
      const checkpoint = this.#checkpoints.get(tree);
      if (care === undefined || checkpoint === undefined) continue;
      if (checkpoint.next >= care.stepsUntil) this.#cares.delete(tree);
      else if (checkpoint.next < next && !this.#waiting.has(tree)) return { checkpoint, care };
    }
    return null;
  }

  async #carefulRound({ checkpoint, care }: { checkpoint: Checkpoint; care: Care }): Promise<Round> {
    const { tree, next } = checkpoint;
    const { bytesMax, stepRecords } = this.#deps.bounds;
    await this.#count([tree]);
    const [part] = await this.#read([checkpoint], stepRecords, bytesMax);
    if (part === undefined) return { kind: 'idle' };
    const { records } = part;
    const isAlone = (index: number): boolean =>
      records[index].position < care.singlesUntil ||
      this.#suspects.has(placeOf(tree, records[index].position));
    let from = next;
    for (let at = 0; at < records.length; ) {
      let end = at + 1;
      if (!isAlone(at)) while (end < records.length && !isAlone(end)) end++;
      const to = end < records.length ? records[end].position : part.to;
      const step = { tree, from, to, records: records.slice(at, end) };
      const kind = isAlone(at) ? await this.#storeAlone(step) : await this.#store([step], ATTEMPTS.step);
      if (kind !== 'committed') return { kind };
      // A dead letter at which the partition waits.
      if (this.#checkpoints.get(tree)?.next !== to) break;
      from = to;
      at = end;
    }
    return { kind: 'stored', isFull: true };
  }

  /** A record by itself: noted durably before it is touched, unless it is known to be poison. */
  async #storeAlone(part: Part): Promise<'committed' | 'overtaken' | 'retired'> {
    const [{ position }] = part.records;
    const place = placeOf(part.tree, position);
    const known = this.#suspects.get(place);
    if ((known?.attempts ?? 0) < POISON_ATTEMPTS && !this.#noted.has(place)) {
      await this.#note({ tree: part.tree, position }, known);
      this.#noted.add(place);
    }
    this.#isNoted = true;
    try {
      const kind = await this.#store([part], ATTEMPTS.single);
      this.#noted.delete(place);
      this.#unsure.delete(place);
      return kind;
    } finally {
      this.#isNoted = false;
    }
  }

  /** A note whose answer was lost may be stored: another one would count deaths that nobody died. */
  async #note({ tree, position }: TreePlace, known: Suspect | undefined): Promise<void> {
    const { store } = this.#deps;
    const place = placeOf(tree, position);
    if (this.#unsure.has(place)) {
      const suspects = await store.suspects(this.ref);
      const stored = suspects.find((suspect) => suspect.tree === tree && suspect.position === position);
      if ((stored?.attempts ?? 0) > (known?.attempts ?? 0)) return;
    }
    this.#unsure.add(place);
    const error = known?.error ?? 'the process ended while it worked on this record';
    await store.noteSuspect(this.ref, { tree, position }, error);
  }

  /** What waits for dead letters to be resolved: for projections that do not pass over them. */
  async #loadHalts(): Promise<void> {
    const { onDeadLetter } = this.#projection;
    this.#hasLetters = false;
    if (onDeadLetter === 'skip') return;
    const halts = await this.#deps.store.halts(this.ref);
    const open = halts.filter(({ isOpen }) => isOpen);
    if (onDeadLetter === 'haltKey') {
      this.#batch.haltedKeys = new Set(open.map(({ tree, key }) => `${tree} ${key}`));
      return;
    }
    this.#waiting = new Set(open.map(({ tree }) => tree));
    for (const { tree, position, isOpen } of halts) {
      if (isOpen || this.#checkpoints.get(tree)?.next !== position) continue;
      await this.#pass(tree, position);
    }
  }

  /** A dead letter at which a partition waited is resolved, and whoever resolved it has stored its row, if it has one. */
  async #pass(tree: number, position: bigint): Promise<void> {
    const span = { tree, from: position, to: position + 1n, last: null };
    const outcome = await this.#deps.store.commit(
      this.ref,
      [span],
      this.#deps.store.newOutput([tree]),
      ATTEMPTS.batch,
    );
    const checkpoint = this.#checkpoints.get(tree);
    if (outcome.kind === 'committed' && checkpoint !== undefined) checkpoint.next = span.to;
  }
}
