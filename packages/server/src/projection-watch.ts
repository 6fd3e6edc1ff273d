/**
 * What a projection's worker is doing, in memory that both threads see. The worker writes, the main thread looks: a
 * worker whose record never ends can't say so itself.
 */

const IDLE = 0;
const WORKING = 1;
/** Working on a record that is noted as a suspect durably already. */
const NOTED = 2;

export interface TouchedRecord {
  readonly tree: number;
  readonly position: bigint;
  readonly isNoted: boolean;
}

export class ProjectionWatch {
  readonly memory: SharedArrayBuffer;
  /** State, tree, and a count that changes with every record. */
  readonly #words: Int32Array;
  readonly #position: BigInt64Array;

  constructor(memory = new SharedArrayBuffer(24)) {
    this.memory = memory;
    this.#words = new Int32Array(memory, 0, 3);
    this.#position = new BigInt64Array(memory, 16, 1);
  }

  touch(tree: number, position: bigint, isNoted: boolean): void {
    this.#position[0] = position;
    this.#words[1] = tree;
    this.#words[2]++;
    Atomics.store(this.#words, 0, isNoted ? NOTED : WORKING);
  }

  untouch(): void {
    Atomics.store(this.#words, 0, IDLE);
  }

  /** Changes whenever another record is touched. */
  get count(): number {
    return this.#words[2];
  }

  /** The record that is worked on, or null. */
  get touched(): TouchedRecord | null {
    const state = Atomics.load(this.#words, 0);
    if (state === IDLE) return null;
    return { tree: this.#words[1], position: this.#position[0], isNoted: state === NOTED };
  }
}

/** Says when a worker has been on one record for too many looks: a machine that slept makes no looks. */
export class StallWatch {
  readonly #watch: ProjectionWatch;
  readonly #looksMax: number;
  #count = -1;
  #looks = 0;

  constructor(watch: ProjectionWatch, looksMax: number) {
    this.#watch = watch;
    this.#looksMax = looksMax;
  }

  /** @returns the record that stalls, or null */
  look(): TouchedRecord | null {
    const { touched, count } = this.#watch;
    if (touched === null || count !== this.#count) {
      this.#count = count;
      this.#looks = 0;
      return null;
    }
    return ++this.#looks >= this.#looksMax ? touched : null;
  }
}
