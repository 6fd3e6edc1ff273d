/** Places of records, packed: eight bytes each, so that a million of them are no burden. */

import { compareText } from '@evident/core/evidence/manifest.ts';

/** Records of one partition, ascending by position, each once. */
export interface PartitionPlaces {
  readonly log: string;
  readonly partition: number;
  readonly positions: Float64Array;
}

/** Numbers in the order in which they come. */
class GrowingNumbers {
  #numbers = new Float64Array(256);
  #count = 0;

  push(value: number): void {
    if (this.#count === this.#numbers.length) {
      const larger = new Float64Array(2 * this.#count);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[this.#count++] = value;
  }

  /** Ascending, without repeats; what was pushed is given up. */
  sorted(): Float64Array {
    const numbers = this.#numbers.subarray(0, this.#count).sort();
    let kept = 0;
    for (const [at, value] of numbers.entries())
      if (at === 0 || value !== numbers[kept - 1]) numbers[kept++] = value;
    return numbers.subarray(0, kept);
  }
}

/** Gathers places in any order. */
export class PlaceGatherer {
  readonly #byPartition = new Map<
    string,
    { readonly log: string; readonly partition: number; readonly numbers: GrowingNumbers }
  >();

  /** Places that were added, repeats among them. */
  count = 0;

  add(log: string, partition: number, position: number): void {
    this.count++;
    const key = `${log}/${partition}`;
    let found = this.#byPartition.get(key);
    if (found === undefined) {
      found = { log, partition, numbers: new GrowingNumbers() };
      this.#byPartition.set(key, found);
    }
    found.numbers.push(position);
  }

  /** In the order of a bundle: by log, by code unit, and partition. */
  finish(): PartitionPlaces[] {
    const places = [...this.#byPartition.values()].map(({ log, partition, numbers }) => ({
      log,
      partition,
      positions: numbers.sorted(),
    }));
    this.#byPartition.clear();
    return places.sort((a, b) => compareText(a.log, b.log) || a.partition - b.partition);
  }
}

export function countPlaces(places: readonly PartitionPlaces[]): number {
  return places.reduce((sum, { positions }) => sum + positions.length, 0);
}
