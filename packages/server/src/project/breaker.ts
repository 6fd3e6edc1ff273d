/**
 * The breaker: so many dead letters that the fault is in the projection, not in the data.
 *
 *   closed ──too many──► open: the reader stops, says so, and stores nothing of the batch ──reset──► closed
 *
 * It looks at each record type by itself, because a broken mapper breaks one type while others go on. Bad data is told
 * from a broken mapper by two signs: a mapper refuses bad data with a `MappingError`, and bad data comes from one
 * source. An import that is wrong from its first to its last line passes, as long as it has fewer than 100,000 in a
 * row; all imports count as one source, so two bad ones at once pass, too.
 */

import { EvidentError } from '@evident/core/errors.ts';

export interface BreakerBounds {
  /** Dead letters of a type without a row of that type between them, whose cause is no `MappingError`. */
  readonly unexpectedInARow: number;
  /** … whatever their cause, from several sources. */
  readonly inARow: number;
  /** … all from one source. */
  readonly oneSourceInARow: number;
  /** Records of a type over which the share is taken, and how much of it may be dead letters of several sources. */
  readonly window: number;
  readonly shareMax: number;
}

export const BREAKER_BOUNDS: BreakerBounds = {
  unexpectedInARow: 100,
  inARow: 1_000,
  oneSourceInARow: 100_000,
  window: 2_000,
  shareMax: 0.5,
};

/** Types that are watched; of more than this, all begin anew. */
const TYPES_MAX = 1_000;

/** Stops the reader until it is reset. */
export class BreakerTripped extends Error {
  override readonly name = 'BreakerTripped';
}

interface Watch {
  inARow: number;
  unexpected: number;
  /** The one source of the run, or null when there were several. */
  source: string | null;
  records: number;
  letters: number;
  windowSource: string | null;
}

const newWatch = (): Watch => ({
  inARow: 0,
  unexpected: 0,
  source: null,
  records: 0,
  letters: 0,
  windowSource: null,
});

/** Imports are one source: each run has an id of its own. */
const sourceKind = (source: string): string => (source.startsWith('import:') ? 'import:' : source);

export class Breaker {
  readonly #bounds: BreakerBounds;
  #watches = new Map<string, Watch>();
  /** Dead letters that an operator let through. */
  #allowance = 0;
  #last: { readonly type: string; readonly watch: Watch } | undefined;

  constructor(bounds: BreakerBounds = BREAKER_BOUNDS) {
    this.#bounds = bounds;
  }

  /** A copy to count a batch in: it counts only once the batch is stored. */
  draft(): Breaker {
    const copy = new Breaker(this.#bounds);
    copy.#watches = new Map([...this.#watches].map(([type, watch]) => [type, { ...watch }]));
    copy.#allowance = this.#allowance;
    return copy;
  }

  /** Begins anew. @param allowance dead letters that are passed without being counted: they were looked at */
  reset(allowance: number): void {
    if (!Number.isSafeInteger(allowance) || allowance < 0)
      throw new EvidentError('field-invalid', 'allow: a whole number is expected', {
        context: { field: 'allow' },
      });
    this.#watches.clear();
    this.#last = undefined;
    this.#allowance = allowance;
  }

  row(type: string): void {
    const watch = this.#watch(type);
    watch.inARow = 0;
    watch.unexpected = 0;
    this.#advance(watch);
  }

  /** @throws BreakerTripped */
  letter(type: string, source: string, isExpected: boolean, error: string): void {
    if (this.#allowance > 0) {
      this.#allowance--;
      return;
    }
    const watch = this.#watch(type);
    const from = sourceKind(source);
    watch.source = watch.inARow === 0 || watch.source === from ? from : null;
    watch.windowSource = watch.letters === 0 || watch.windowSource === from ? from : null;
    watch.inARow++;
    watch.letters++;
    if (!isExpected) watch.unexpected++;
    this.#advance(watch);
    const why = this.#tooMany(watch);
    if (why !== null) throw new BreakerTripped(`records of the type ${type}: ${why}; the last: ${error}`);
  }

  #tooMany(watch: Watch): string | null {
    const { unexpectedInARow, inARow, oneSourceInARow, window, shareMax } = this.#bounds;
    const most = watch.source === null ? inARow : oneSourceInARow;
    if (watch.unexpected >= unexpectedInARow)
      return `the projection failed on ${watch.unexpected} in a row in a way that no mapper foresees`;
    if (watch.inARow >= most) return `${watch.inARow} dead letters in a row`;
    if (watch.windowSource === null && watch.letters > window * shareMax)
      return `${watch.letters} dead letters among the last ${watch.records}`;
    return null;
  }

  /** Halves what it knows when the window is full: older records count less and less. */
  #advance(watch: Watch): void {
    if (++watch.records < this.#bounds.window) return;
    watch.records >>= 1;
    watch.letters >>= 1;
  }

  #watch(type: string): Watch {
    if (this.#last?.type === type) return this.#last.watch;
    let watch = this.#watches.get(type);
    if (watch === undefined) {
      if (this.#watches.size >= TYPES_MAX) this.#watches.clear();
      watch = newWatch();
      this.#watches.set(type, watch);
    }
    this.#last = { type, watch };
    return watch;
  }
}
