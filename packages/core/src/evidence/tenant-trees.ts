/** Trees of many tenants that grow side by side, in passes of bounded memory (`first-keys.ts`). */

import { CompactRange, HASH_BYTES } from '../merkle/tree.ts';
import { FirstKeys } from './first-keys.ts';

/** Hashes that wait until they are appended together: a call for each leaf would cost more than its hashing. */
const WAITING = 32;

/** The tree over the leaves of one tenant: about 3 KiB. */
export class TenantTree {
  readonly #range = new CompactRange();
  readonly #waiting = new Uint8Array(WAITING * HASH_BYTES);
  #used = 0;

  /** Appends the leaf hash that stands in `hashes` at the byte `at`. */
  append(hashes: Uint8Array, at: number): void {
    if (this.#used === this.#waiting.length) this.#flush();
    const waiting = this.#waiting;
    for (let i = 0, to = this.#used; i < HASH_BYTES; i++) waiting[to++] = hashes[at + i];
    this.#used += HASH_BYTES;
  }

  /** Leaves that were appended. */
  get count(): bigint {
    return this.#range.size + BigInt(this.#used / HASH_BYTES);
  }

  /** RFC 6962 root over them. */
  root(): Uint8Array {
    this.#flush();
    return this.#range.root();
  }

  #flush(): void {
    this.#range.appendMany(this.#waiting.subarray(0, this.#used));
    this.#used = 0;
  }
}

export interface TenantRoot {
  readonly tenant: string;
  readonly count: bigint;
  readonly root: Uint8Array;
}

export interface TenantPass {
  /** Ascending by code unit. */
  readonly roots: readonly TenantRoot[];
  /** The next pass begins behind this tenant; null: this was the last. */
  readonly next: string | null;
}

/** One pass. All leaf hashes are given to each pass again, in the same order. */
export class TenantTrees {
  readonly #trees: FirstKeys<TenantTree>;

  /**
   * @param max trees that a pass keeps; while it runs there are up to twice as many, of about 3 KiB each
   * @param after tenants up to this one are done; null: none is
   */
  constructor(max: number, after: string | null) {
    this.#trees = new FirstKeys(max, after, () => new TenantTree());
  }

  /** The tree of a tenant; null when another pass takes it. */
  treeOf(tenant: string): TenantTree | null {
    return this.#trees.valueOf(tenant);
  }

  /** Ends the pass. */
  finish(): TenantPass {
    const { entries, next } = this.#trees.finish();
    const roots = entries.map(([tenant, tree]) => ({ tenant, count: tree.count, root: tree.root() }));
    return { roots, next };
  }
}
