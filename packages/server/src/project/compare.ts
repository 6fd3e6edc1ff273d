/**
 * Two generations side by side, up to where both have read: digest of each, and what differs.
 *
 * Both are streamed in one order, so memory does not grow with the view. A generation that has read further may show an
 * identity elsewhere because of a record that the other has not met yet; such a difference is counted as passing and
 * is not one.
 */

import { Digester, rowLine, type ViewDigest } from './digest.ts';
import {
  Cursor,
  comparePlaces,
  type DeadLetterMark,
  type GenerationSummary,
  type Reach,
  type ViewPlace,
  type ViewRow,
  type ViewSnapshot,
} from './view-snapshot.ts';

/** Most differences that are listed; all are counted. */
export const DIFFERENCES_MAX = 100;

export interface Difference extends ViewPlace {
  readonly id: string;
  readonly what: 'row' | 'dead letter';
  /** Which of the two has it alone, or `both` when they differ in it. */
  readonly in: 'first' | 'second' | 'both';
  /** Columns that differ, for a row in both. */
  readonly columns: readonly string[];
}

export interface Comparison {
  readonly equal: boolean;
  /** Up to where both have read. */
  readonly reach: readonly Reach[];
  readonly first: ViewDigest;
  readonly second: ViewDigest;
  readonly different: number;
  readonly differences: readonly Difference[];
  /** Differences that come from one having read further than the other. Then the digests differ as well. */
  readonly passing: number;
}

const COLUMNS = [
  'appendedAt',
  'id',
  'tenant',
  'type',
  'mapper',
  'eventTime',
  'timed',
  'actorId',
  'actorType',
  'action',
  'resourceType',
  'resourceId',
  'result',
  'correlationId',
  'ip',
  'corrects',
] as const satisfies readonly (keyof ViewRow)[];

/** Names of the columns in which two rows differ; the address is among them, though no digest covers it. */
export function changedColumns(a: ViewRow, b: ViewRow): string[] {
  return COLUMNS.filter((column) => a[column] !== b[column]);
}

/** Up to where both have read, partition by partition. */
function commonReach(a: GenerationSummary, b: GenerationSummary): Reach[] {
  return a.reach.flatMap((one) => {
    const other = b.reach.find(({ log, partition }) => log === one.log && partition === one.partition);
    return other === undefined ? [] : [{ ...one, next: one.next < other.next ? one.next : other.next }];
  });
}

type Side = 'first' | 'second';

class GenerationComparison {
  readonly #snapshot: ViewSnapshot;
  readonly #generations: Record<Side, number>;
  readonly #digests: Record<Side, Digester> = { first: new Digester(), second: new Digester() };
  readonly #reach: readonly Reach[];
  readonly #ends: ReadonlyMap<string, bigint>;
  readonly #list: Difference[] = [];
  #different = 0;
  #passing = 0;

  constructor(snapshot: ViewSnapshot, first: GenerationSummary, second: GenerationSummary) {
    this.#snapshot = snapshot;
    this.#generations = { first: first.generation, second: second.generation };
    this.#reach = commonReach(first, second);
    this.#ends = new Map(this.#reach.map(({ log, partition, next }) => [`${log}/${partition}`, next]));
  }

  async run(onRows: (rows: number) => void): Promise<Comparison> {
    await this.#merge(
      (generation) => this.#snapshot.rows(generation),
      (side, row) => this.#digests[side].addRow(row),
      (first, second) => this.#compareRows(first, second),
      onRows,
    );
    await this.#merge(
      (generation) => this.#snapshot.deadLetters(generation),
      (side, letter) => this.#digests[side].addDeadLetter(letter),
      (first, second) => this.#compareLetters(first, second),
      () => undefined,
    );
    const [first, second] = [this.#digests.first.finish(), this.#digests.second.finish()];
    return {
      equal: this.#different === 0,
      reach: this.#reach,
      first,
      second,
      different: this.#different,
      differences: this.#list,
      passing: this.#passing,
    };
  }

  /** Walks both sequences in step; what lies beyond the common reach is left out. */
  async #merge<T extends ViewPlace>(
    read: (generation: number) => AsyncIterable<readonly T[]>,
    digest: (side: Side, one: T) => void,
    compare: (first: T | null, second: T | null) => Promise<void> | undefined,
    onWalked: (count: number) => void,
  ): Promise<void> {
    const first = new Cursor(read(this.#generations.first));
    const second = new Cursor(read(this.#generations.second));
    const taken = (cursor: Cursor<T>, side: Side): T => {
      const one = cursor.current as T;
      cursor.advance();
      digest(side, one);
      return one;
    };
    for (let walked = 1; ; walked++) {
      await this.#skipBeyond(first);
      await this.#skipBeyond(second);
      const [a, b] = [first.current, second.current];
      if (a === null && b === null) return;
      const order = a === null ? 1 : b === null ? -1 : comparePlaces(a, b);
      const waiting = compare(
        order <= 0 ? taken(first, 'first') : null,
        order >= 0 ? taken(second, 'second') : null,
      );
      if (waiting !== undefined) await waiting;
      if (walked % 10_000 === 0) onWalked(walked);
    }
  }

  async #skipBeyond<T extends ViewPlace>(cursor: Cursor<T>): Promise<void> {
    for (;;) {
      if (cursor.isEmpty) await cursor.fill();
      const one = cursor.current;
      if (one === null || one.position < this.#endOf(one)) return;
      cursor.advance();
    }
  }

  #endOf({ log, partition }: ViewPlace): bigint {
    return this.#ends.get(`${log}/${partition}`) ?? 0n;
  }

  #compareRows(first: ViewRow | null, second: ViewRow | null): Promise<void> | undefined {
    if (first === null || second === null) return this.#oneSided('row', first, second);
    if (rowLine(first) === rowLine(second) && first.ip === second.ip) return undefined;
    this.#add({ ...placeOf(first), what: 'row', in: 'both', columns: changedColumns(first, second) });
    return undefined;
  }

  #compareLetters(first: DeadLetterMark | null, second: DeadLetterMark | null): Promise<void> | undefined {
    const a = first?.resolution === 'replayed' ? null : first;
    const b = second?.resolution === 'replayed' ? null : second;
    if (a === null && b === null) return undefined;
    if (a === null || b === null) return this.#oneSided('dead letter', a, b);
    if (a.class !== b.class)
      this.#add({ ...placeOf(a), what: 'dead letter', in: 'both', columns: ['class'] });
    return undefined;
  }

  async #oneSided(
    what: Difference['what'],
    first: (ViewPlace & Identity) | null,
    second: (ViewPlace & Identity) | null,
  ): Promise<void> {
    const one = (first ?? second) as ViewPlace & Identity;
    if ((await this.#isShownBeyond('first', one)) || (await this.#isShownBeyond('second', one))) {
      this.#passing++;
      return;
    }
    this.#add({ ...placeOf(one), what, in: first === null ? 'second' : 'first', columns: [] });
  }

  /** Whether a generation shows the identity at a place that the other has not read. */
  async #isShownBeyond(side: Side, { log, tenant, id }: ViewPlace & Identity): Promise<boolean> {
    const shown = await this.#snapshot.shownAt(this.#generations[side], log, tenant, id);
    return shown !== null && shown.position >= this.#endOf(shown);
  }

  #add(difference: Difference): void {
    this.#different++;
    if (this.#list.length < DIFFERENCES_MAX) this.#list.push(difference);
  }
}

interface Identity {
  readonly tenant: string;
  readonly id: string;
}

function placeOf({ log, partition, position, id }: ViewPlace & Identity): ViewPlace & { id: string } {
  return { log, partition, position, id };
}

/** @param onRows how many rows have been walked, now and then */
export function compareGenerations(
  snapshot: ViewSnapshot,
  first: GenerationSummary,
  second: GenerationSummary,
  onRows: (rows: number) => void,
): Promise<Comparison> {
  return new GenerationComparison(snapshot, first, second).run(onRows);
}
