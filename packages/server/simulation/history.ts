/**
 * The leaves of one partition in the order in which the log took them, with the root and the chain at each size.
 * Kept apart from the log's state: it is what the state is held against.
 */

import { concatBytes } from '@evident/core/bytes.ts';
import { CompactRange } from '@evident/core/merkle/tree.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { chainMany } from '@evident/core/sha256.ts';

const MARK_EVERY = 256;

export class History {
  readonly records: LogRecord[];
  readonly hashes: Uint8Array[];
  readonly #chainStart: Uint8Array;
  readonly #roots = new Map<number, Uint8Array>();
  readonly #chains = new Map<number, Uint8Array>();
  /** Chain values after 256, 512, … records. */
  readonly marks: Uint8Array[] = [];
  #range = new CompactRange();
  #chain: Uint8Array;
  #chained = 0;

  constructor(
    chainStart: Uint8Array,
    records: readonly LogRecord[] = [],
    hashes: readonly Uint8Array[] = [],
  ) {
    this.#chainStart = chainStart;
    this.#chain = chainStart.slice();
    this.records = [...records];
    this.hashes = [...hashes];
  }

  get size(): number {
    return this.hashes.length;
  }

  add(record: LogRecord, hash: Uint8Array): void {
    this.records.push(record);
    this.hashes.push(hash);
  }

  /** Another history that shares the first `size` records. */
  fork(size: number): History {
    return new History(this.#chainStart, this.records.slice(0, size), this.hashes.slice(0, size));
  }

  rootAt(size: number): Uint8Array {
    const known = this.#roots.get(size);
    if (known !== undefined) return known;
    const done = Number(this.#range.size);
    const range = size >= done ? this.#range : new CompactRange();
    const from = size >= done ? done : 0;
    if (size > from) range.appendMany(concatBytes(this.hashes.slice(from, size)));
    const root = range.root();
    this.#roots.set(size, root);
    return root;
  }

  chainAt(size: number): Uint8Array {
    const known = this.#chains.get(size);
    if (known !== undefined) return known;
    if (size < this.#chained) return this.fork(size).chainAt(size);
    const packed = concatBytes(this.hashes.slice(this.#chained, size));
    const marks = new Uint8Array(
      (Math.floor(size / MARK_EVERY) - Math.floor(this.#chained / MARK_EVERY)) * 32,
    );
    if (packed.length > 0) chainMany(this.#chain, packed, this.#chained, marks);
    for (let at = 0; at < marks.length; at += 32) this.marks.push(marks.slice(at, at + 32));
    this.#chained = size;
    const chain = this.#chain.slice();
    this.#chains.set(size, chain);
    return chain;
  }
}
