/**
 * Chance from a seed: xoshiro128** (Blackman and Vigna), seeded by splitmix32. The same seed gives the same numbers
 * in every run and on every machine; generated data are compared byte for byte, so this file never changes.
 */

const TWO_32 = 4_294_967_296;

export class SeededRandom {
  readonly #state: Uint32Array;

  /** @param seed a 32-bit number, or the four words of the state itself, not all zero */
  constructor(seed: number | readonly number[]) {
    if (typeof seed !== 'number') {
      this.#state = Uint32Array.from(seed);
      return;
    }
    let mixed = seed | 0;
    this.#state = Uint32Array.from({ length: 4 }, () => {
      mixed = (mixed + 0x9e3779b9) | 0;
      let word = mixed ^ (mixed >>> 16);
      word = Math.imul(word, 0x21f0aaad);
      word ^= word >>> 15;
      word = Math.imul(word, 0x735a2d97);
      return word ^ (word >>> 15);
    });
  }

  uint32(): number {
    const s = this.#state;
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** From 0 to below 1. */
  fraction(): number {
    return this.uint32() / TWO_32;
  }

  /** A whole number from 0 to `end` - 1. */
  below(end: number): number {
    return Math.floor(this.fraction() * end);
  }

  /** A whole number from `first` to `last`, both included. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  /** True in `permille` of 1,000 cases. */
  chance(permille: number): boolean {
    return this.below(1_000) < permille;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  /** Waiting time of a Poisson process with this mean. */
  exponential(mean: number): number {
    return -Math.log(1 - this.fraction()) * mean;
  }

  /** Lower-case hexadecimal digits, 1 to any number. */
  hex(digits: number): string {
    let text = '';
    while (text.length < digits) text += this.uint32().toString(16).padStart(8, '0');
    return text.slice(0, digits);
  }

  /** A UUID of version 4. */
  uuid(): string {
    return this.#uuidOf(this.hex(12), '4');
  }

  /** A UUID that begins with a time, as UUIDv7 (RFC 9562 §5.7). @param milliseconds since the Unix epoch */
  uuidAt(milliseconds: number): string {
    return this.#uuidOf(milliseconds.toString(16).padStart(12, '0'), '7');
  }

  #uuidOf(first: string, version: string): string {
    const rest = this.hex(18);
    const variant = '89ab'[this.below(4)];
    return `${first.slice(0, 8)}-${first.slice(8)}-${version}${rest.slice(0, 3)}-${variant}${rest.slice(3, 6)}-${rest.slice(6)}`;
  }
}

/** Draws indices by weight. */
export class Weighted {
  readonly #cumulative: Float64Array;

  constructor(weights: readonly number[]) {
    let sum = 0;
    this.#cumulative = Float64Array.from(weights, (weight) => (sum += weight));
  }

  /** Zipf's law: the index i has the weight 1 / (i + 1)^exponent. */
  static zipf(count: number, exponent: number): Weighted {
    return new Weighted(Array.from({ length: count }, (_, index) => (index + 1) ** -exponent));
  }

  draw(random: SeededRandom): number {
    const sums = this.#cumulative;
    const wanted = random.fraction() * sums[sums.length - 1];
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle] > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
