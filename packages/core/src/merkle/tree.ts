/**
 * The Merkle tree of RFC 6962 §2.1 (RFC 9162 §2.1.1 with SHA-256): leaves are SHA-256(0x00 ‖ entry), nodes are
 * SHA-256(0x01 ‖ left ‖ right), and a tree of n leaves splits at the largest power of two below n.
 *
 * Many hashes travel packed: one Uint8Array of n × 32 bytes. A node is named by its level and index: (0, i) is
 * leaf i, and (l, i) is the root of the perfect subtree over leaves [i·2^l, (i+1)·2^l).
 */
import { concatBytes } from '../bytes.ts';
import { hashPairs, sha256 } from '../sha256.ts';

/** Bytes of one hash. */
export const HASH_BYTES = 32;

/** The largest tree that proofs and heads may speak of: sizes are signed 64-bit numbers, as in PostgreSQL. */
export const TREE_SIZE_MAX = 2n ** 63n - 1n;

// A compact range counts with doubles: beyond this a size would be rounded silently.
const RANGE_LEVELS = 53;
const RANGE_SIZE_MAX = Number.MAX_SAFE_INTEGER;

// Hashes taken through the levels at once: the two scratch buffers, of 256 and 128 KiB, stay in the L2 cache, and
// the upper levels, where a batch is a node or two, cost a dozen small calls for 8,192 leaves.
const BATCH_HASHES = 8192;

/** The root of the tree without leaves: SHA-256 of nothing (RFC 6962 §2.1). */
export function emptyRoot(): Uint8Array {
  return sha256(new Uint8Array(0));
}

/** The hash of an inner node, SHA-256(0x01 ‖ left ‖ right). @throws RangeError unless both have 32 bytes */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  checkHash(left);
  checkHash(right);
  const node = new Uint8Array(HASH_BYTES);
  hashPairs(concatBytes([left, right]), node);
  return node;
}

/** The root of the tree over these leaf hashes. @throws RangeError unless each has 32 bytes */
export function rootOf(leafHashes: readonly Uint8Array[]): Uint8Array {
  for (const hash of leafHashes) checkHash(hash);
  const range = new CompactRange();
  range.appendMany(concatBytes(leafHashes));
  return range.root();
}

/**
 * The root of a perfect subtree: packed hashes, as many as a power of two.
 * @throws RangeError for any other number
 */
export function perfectRoot(hashes: Uint8Array): Uint8Array {
  const count = hashes.length / HASH_BYTES;
  if (!Number.isInteger(count) || count === 0 || (count & (count - 1)) !== 0) {
    throw new RangeError(`a perfect subtree has a power of two of hashes, not ${hashes.length} bytes`);
  }
  let nodes = hashes;
  while (nodes.length > HASH_BYTES) {
    const parents = new Uint8Array(nodes.length / 2);
    hashPairs(nodes, parents);
    nodes = parents;
  }
  // A single hash is copied, so that the result never changes with the tile it came from.
  return new Uint8Array(nodes);
}

/**
 * Told of the inner nodes that an append completes, in order within a level: `hashes` are packed, the first is
 * node (level, index). The bytes belong to the caller of it only until it returns: copy what is kept.
 */
export type NodeListener = (level: number, index: bigint, hashes: Uint8Array) => void;

/**
 * The right edge of a growing tree: its size and the roots of its perfect subtrees ("peaks"), one for each bit
 * set in the size. It is all that appending and the root need: 32 bytes for each of at most 53 levels.
 *
 * Appending n leaves is binary addition: at each level the nodes that arrive, after the peak that waited there,
 * pair up and carry into the level above; an odd one stays as the new peak.
 */
export class CompactRange {
  #size = 0;
  // The peak of level l stands at l × 32 and counts only while bit l of the size is set.
  readonly #peaks = new Uint8Array(RANGE_LEVELS * HASH_BYTES);

  /**
   * @param size leaves in the tree
   * @param peaks roots of its perfect subtrees, left to right (the largest first), 32 bytes each
   * @throws RangeError if size and peaks cannot belong together
   */
  static fromPeaks(size: bigint, peaks: readonly Uint8Array[]): CompactRange {
    if (size < 0n || size > BigInt(RANGE_SIZE_MAX)) throw new RangeError(`a tree cannot have size ${size}`);
    const range = new CompactRange();
    range.#size = Number(size);
    const levels = range.#levels();
    if (levels.length !== peaks.length) {
      throw new RangeError(`a tree of size ${size} has ${levels.length} peaks, not ${peaks.length}`);
    }
    for (const [i, level] of levels.entries()) {
      const peak = peaks[i]!;
      checkHash(peak);
      range.#peaks.set(peak, level * HASH_BYTES);
    }
    return range;
  }

  get size(): bigint {
    return BigInt(this.#size);
  }

  /** Copies of the peaks, left to right: the largest subtree first. */
  peaks(): Uint8Array[] {
    return this.#levels().map((level) => this.#peaks.slice(level * HASH_BYTES, (level + 1) * HASH_BYTES));
  }

  clone(): CompactRange {
    const copy = new CompactRange();
    copy.#size = this.#size;
    copy.#peaks.set(this.#peaks);
    return copy;
  }

  /** Appends one leaf hash. @throws RangeError unless it has 32 bytes */
  append(leafHash: Uint8Array, onNodes?: NodeListener): void {
    checkHash(leafHash);
    this.appendMany(leafHash, onNodes);
  }

  /**
   * Appends packed leaf hashes, in order.
   * @param onNodes told of every inner node that becomes complete; a sealer takes levels 8, 16, … from it as the
   *   hashes of its upper tiles. It must neither throw nor append to a range itself.
   * @throws RangeError if the bytes are not whole hashes, or the size would pass 2^53 − 1; nothing is appended
   */
  appendMany(hashes: Uint8Array, onNodes?: NodeListener): void {
    if (hashes.length % HASH_BYTES !== 0) {
      throw new RangeError(`leaf hashes have 32 bytes each, so not ${hashes.length} together`);
    }
    if (this.#size + hashes.length / HASH_BYTES > RANGE_SIZE_MAX) {
      throw new RangeError(`a tree holds at most ${RANGE_SIZE_MAX} leaves`);
    }
    for (let start = 0; start < hashes.length; start += BATCH_HASHES * HASH_BYTES) {
      this.#appendBatch(hashes.subarray(start, start + BATCH_HASHES * HASH_BYTES), onNodes);
    }
  }

  /** The root of the tree as it stands (RFC 6962 §2.1). */
  root(): Uint8Array {
    const peaks = this.peaks();
    let root = peaks.pop();
    if (root === undefined) return emptyRoot();
    for (const peak of peaks.reverse()) root = nodeHash(peak, root);
    return root;
  }

  #appendBatch(hashes: Uint8Array, onNodes: NodeListener | undefined): void {
    let [nodes, parents] = scratchBuffers();
    // Each buffer keeps its first 32 bytes free for the peak that may wait in front of the nodes.
    nodes.set(hashes, HASH_BYTES);
    let count = hashes.length / HASH_BYTES;
    let position = this.#size;
    this.#size += count;
    for (let level = 0; count > 0; level++) {
      const peak = this.#peaks.subarray(level * HASH_BYTES, (level + 1) * HASH_BYTES);
      const waiting = position % 2;
      if (waiting === 1) nodes.set(peak, 0);
      const start = waiting === 1 ? 0 : HASH_BYTES;
      const pairs = Math.floor((count + waiting) / 2);
      const end = start + pairs * 2 * HASH_BYTES;
      if (pairs > 0)
        hashPairs(nodes.subarray(start, end), parents.subarray(HASH_BYTES, (pairs + 1) * HASH_BYTES));
      if ((count + waiting) % 2 === 1) peak.set(nodes.subarray(end, end + HASH_BYTES));
      position = Math.floor(position / 2);
      count = pairs;
      if (onNodes !== undefined && count > 0) {
        onNodes(level + 1, BigInt(position), parents.subarray(HASH_BYTES, (count + 1) * HASH_BYTES));
      }
      [nodes, parents] = [parents, nodes];
    }
  }

  /** The levels that have a peak, highest first: the bits set in the size. */
  #levels(): number[] {
    const levels: number[] = [];
    for (let level = 0, rest = this.#size; rest > 0; level++, rest = Math.floor(rest / 2)) {
      if (rest % 2 === 1) levels.unshift(level);
    }
    return levels;
  }
}

// Shared by all ranges of a thread: an append is synchronous, so no two are ever inside one at a time.
let scratch: [Uint8Array, Uint8Array] | undefined;

function scratchBuffers(): [Uint8Array, Uint8Array] {
  // The buffers swap roles at every level. Only the first must hold a whole batch, the second half of one.
  scratch ??= [
    new Uint8Array((BATCH_HASHES + 1) * HASH_BYTES),
    new Uint8Array((BATCH_HASHES / 2 + 2) * HASH_BYTES),
  ];
  return scratch;
}

/** @throws RangeError unless the hash has 32 bytes */
export function checkHash(hash: Uint8Array): void {
  if (hash.length !== HASH_BYTES) throw new RangeError(`a hash has 32 bytes, not ${hash.length}`);
}
