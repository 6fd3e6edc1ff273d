/**
 * Counts which occurrence of its bytes a line of a file is: the first, the second, … Log files do repeat lines, and
 * each is a record of its own.
 *
 * Lines are told apart by a keyed 64-bit fingerprint, which nobody can aim at. Two lines of ten million share one
 * with a probability of 3 in a million; then one gets another number, and so another id, that is just as unique, and
 * the same in each run, because the key is the tenant's.
 *
 * Memory is bounded: up to `linesMax` distinct lines are counted in a table here, all others in an OccurrenceStore.
 * A line never moves between the two.
 */

import type { HmacSha256 } from './identity.ts';

/** Where the counts go that no longer fit into memory. Owned by one counter; holds nothing after `close`. */
export interface OccurrenceStore {
  /** Counts one more occurrence; the first answers 1. */
  next(fingerprint: bigint): number;
  close(): void;
}

export interface OccurrenceDependencies {
  readonly hmacSha256: HmacSha256;
  readonly tenantSecret: Uint8Array;
  /** Called at most once, when the table is full. */
  readonly openStore: () => OccurrenceStore;
}

/** Distinct lines that are counted in memory: 48 MiB of table, and 72 MiB for the moment in which it grows. */
export const OCCURRENCE_LINES_MAX = 2_000_000;

const SLOTS_MIN = 1_024;
const FINGERPRINT_DOMAIN = new TextEncoder().encode('evident/import-occurrence\0');

export class OccurrenceCounter {
  readonly #dependencies: OccurrenceDependencies;
  readonly #linesMax: number;
  #table = new CountTable(SLOTS_MIN);
  #store: OccurrenceStore | null = null;

  constructor(dependencies: OccurrenceDependencies, linesMax = OCCURRENCE_LINES_MAX) {
    this.#dependencies = dependencies;
    this.#linesMax = linesMax;
  }

  /** Which occurrence of its bytes this line is, from 1. */
  next(line: Uint8Array): number {
    const { hmacSha256, tenantSecret } = this.#dependencies;
    const digest = hmacSha256(tenantSecret, [FINGERPRINT_DOMAIN, line]);
    const view = new DataView(digest.buffer, digest.byteOffset, 8);
    const high = view.getUint32(0);
    const low = view.getUint32(4);
    const isFull = this.#table.size >= this.#linesMax;
    if (!isFull && this.#table.isCrowded()) this.#table = this.#table.twiceAsLarge();
    const count = this.#table.next(high, low, isFull);
    if (count > 0) return count;
    this.#store ??= this.#dependencies.openStore();
    return this.#store.next(view.getBigUint64(0));
  }

  close(): void {
    this.#store?.close();
    this.#store = null;
    this.#table = new CountTable(SLOTS_MIN);
  }
}

/** Open addressing with linear probing: three 32-bit words a slot, a count of 0 is a free slot. */
class CountTable {
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  readonly #counts: Uint32Array;
  readonly #mask: number;
  size = 0;

  constructor(slots: number) {
    this.#high = new Uint32Array(slots);
    this.#low = new Uint32Array(slots);
    this.#counts = new Uint32Array(slots);
    this.#mask = slots - 1;
  }

  isCrowded(): boolean {
    return this.size * 2 >= this.#counts.length;
  }

  /** The count after this occurrence, or 0 if the fingerprint is new and must not be added. */
  next(high: number, low: number, isFull: boolean): number {
    const slot = this.#slotOf(high, low);
    if (this.#counts[slot] === 0) {
      if (isFull) return 0;
      this.#high[slot] = high;
      this.#low[slot] = low;
      this.size++;
    }
    return ++this.#counts[slot]!;
  }

  twiceAsLarge(): CountTable {
    const larger = new CountTable(this.#counts.length * 2);
    larger.#takeAll(this.#high, this.#low, this.#counts);
    return larger;
  }

  #takeAll(highs: Uint32Array, lows: Uint32Array, counts: Uint32Array): void {
    for (let i = 0; i < counts.length; i++) {
      if (counts[i] === 0) continue;
      this.next(highs[i]!, lows[i]!, false);
      this.#counts[this.#slotOf(highs[i]!, lows[i]!)] = counts[i]!;
    }
  }

  #slotOf(high: number, low: number): number {
    let slot = low & this.#mask;
    while (this.#counts[slot] !== 0 && (this.#low[slot] !== low || this.#high[slot] !== high)) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }
}
