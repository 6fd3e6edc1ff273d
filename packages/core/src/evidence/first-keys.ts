/**
 * What many keys have, in bounded memory: a pass keeps the first so many keys by code unit and passes over the others,
 * which the next pass takes. Whoever uses it gives every pass the same again, in the same order.
 */

export interface KeyPass<Value> {
  /** Ascending by code unit. */
  readonly entries: readonly (readonly [string, Value])[];
  /** The next pass begins behind this key; null: this was the last. */
  readonly next: string | null;
}

export class FirstKeys<Value> {
  readonly #max: number;
  readonly #after: string | null;
  readonly #make: () => Value;
  #values = new Map<string, Value>();
  /** Keys from here on are left for the next pass. */
  #below: string | null = null;

  /**
   * @param max keys that a pass keeps; while it runs there are up to twice as many
   * @param after keys up to this one are done; null: none is
   * @param make what a key has at first
   */
  constructor(max: number, after: string | null, make: () => Value) {
    this.#max = max;
    this.#after = after;
    this.#make = make;
  }

  /** What a key has; null when another pass takes it. */
  valueOf(key: string): Value | null {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    if (this.#after !== null && key <= this.#after) return null;
    if (this.#below !== null && key >= this.#below) return null;
    if (this.#values.size >= 2 * this.#max) {
      this.#keepFirst();
      return this.valueOf(key);
    }
    const value = this.#make();
    this.#values.set(key, value);
    return value;
  }

  /** Ends the pass. */
  finish(): KeyPass<Value> {
    if (this.#values.size > this.#max) this.#keepFirst();
    const entries = this.#sorted();
    return { entries, next: this.#below === null ? null : (entries.at(-1)?.[0] ?? this.#after) };
  }

  #sorted(): [string, Value][] {
    return [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** A key that is dropped here is dropped for good in this pass: its value would lack what came before. */
  #keepFirst(): void {
    const sorted = this.#sorted();
    this.#below = sorted[this.#max][0];
    this.#values = new Map(sorted.slice(0, this.#max));
  }
}
