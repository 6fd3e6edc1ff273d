import { type LeafSource, type LeafWriter, leafBytesBound } from '@evident/core/leaf.ts';
import { LeafBatch } from '@evident/core/leaf-batch.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { LEAF_BYTES_MAX } from '@evident/core/record.ts';

/** Room for leaves between two hash runs. */
const BATCH_BYTES = 2 * 1024 * 1024;
const BATCH_LEAVES = 4_096;

/** Turns rows into leaf hashes: a leaf is written into the memory in which it is hashed, a batch at a time. */
export class HashSink {
  readonly #batch = new LeafBatch(BATCH_BYTES, BATCH_LEAVES);
  #hashes = new Uint8Array(0);
  #done = 0;

  /** Forgets what was hashed, and makes room for `limit` hashes. */
  start(limit: number): void {
    this.#batch.reset();
    this.#done = 0;
    if (this.#hashes.length < limit * HASH_BYTES) this.#hashes = new Uint8Array(limit * HASH_BYTES);
  }

  /**
   * @returns false when the leaf would be longer than any that an append makes; its hash is then all zeros,
   *   which is the hash of nothing that anybody knows
   */
  add(writer: LeafWriter, row: LeafSource): boolean {
    const bound = leafBytesBound(row);
    if (bound > LEAF_BYTES_MAX) {
      this.#flush();
      this.#hashes.fill(0, this.#done * HASH_BYTES, (this.#done + 1) * HASH_BYTES);
      this.#done++;
      return false;
    }
    let at = this.#batch.begin(bound);
    if (at < 0) {
      this.#flush();
      at = this.#batch.begin(bound);
    }
    this.#batch.end(writer(this.#batch.memory, at, row) - at);
    return true;
  }

  /** A leaf that is not made of a row. */
  addLeaf(leaf: Uint8Array): void {
    if (this.#batch.add(leaf)) return;
    this.#flush();
    this.#batch.add(leaf);
  }

  /** The hashes since `start`, packed; a copy. */
  finish(): Uint8Array {
    this.#flush();
    return this.#hashes.slice(0, this.#done * HASH_BYTES);
  }

  #flush(): void {
    const { count } = this.#batch;
    if (count === 0) return;
    this.#batch.hash(this.#hashes.subarray(this.#done * HASH_BYTES, (this.#done + count) * HASH_BYTES));
    this.#done += count;
    this.#batch.reset();
  }
}
