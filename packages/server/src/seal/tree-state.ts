/** The growing tree of one partition, as its sealer holds it in memory. */

import { equalBytes } from '@evident/core/bytes.ts';
import { consistencyProof, type HashReader, subtreeNodes } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { CompactRange, HASH_BYTES, type NodeListener } from '@evident/core/merkle/tree.ts';
import { chainMany, chainMarks } from '@evident/core/sha256.ts';
import { type SignedHead, type StoredHead, type TileStore, type TileWrite, tileLog } from './ports.ts';

const WIDTH = BigInt(TILE_WIDTH);
/** Levels of the binary tree in one level of tiles. */
const LEVELS_PER_TILE = 8;
/** A tree of 2^53 leaves, the most that a range holds, has as many levels. */
const SIBLING_LEVELS = 54;

export interface TreeState {
  readonly log: string;
  readonly partition: number;
  readonly head: StoredHead;
  readonly range: CompactRange;
  /** The last head that the signer remembers, held against the log: the next head must follow it. */
  readonly signed: SignedHead | null;
  /** Hash of the last leaf of the head, empty at size 0: the log must still have it when the next is built on it. */
  readonly lastLeaf: Uint8Array;
}

/** What a run of leaf hashes makes of a tree: the next state, and what must be durable before its head is. */
export interface Growth {
  readonly state: TreeState;
  readonly tiles: TileWrite;
  /** The subtrees that the proof from the head signed before needs: see `proveGrowth`. */
  readonly nodes: HashReader;
}

/**
 * Rebuilds the right edge from the stored head and the tiles, and holds it against the head's root: a tile that
 * was changed, lost or rolled back is found before anything is built on it.
 * @returns null when the tiles do not give the head's root
 */
export async function loadTree(
  tiles: TileStore,
  log: string,
  partition: number,
  head: StoredHead,
): Promise<TreeState | null> {
  const read = readTree(tiles, log, partition, head);
  const expected = Number(head.size % WIDTH) * HASH_BYTES;
  if (head.edge.length !== expected) return null;
  const peaks = await read(subtreeNodes(0n, head.size));
  const range = CompactRange.fromPeaks(head.size, peaks);
  if (!equalBytes(range.root(), head.root)) return null;
  const lastLeaf =
    head.size === 0n ? new Uint8Array(0) : (await read([{ level: 0, index: head.size - 1n }]))[0];
  return { log, partition, head, range, signed: null, lastLeaf };
}

/** The subtrees of the tree at a stored head, from its tiles and edge. A tile that is gone gives zeros: no root follows. */
export function readTree(tiles: TileStore, log: string, partition: number, head: StoredHead): HashReader {
  return readHashesFromTiles(head.size, async ({ level, index, width }) => {
    // The stored edge, not the file: the file may hold leaves that were written for a head that never was.
    if (level === 0 && width < TILE_WIDTH) return head.edge;
    const hashes = await tiles.read(tileLog(log, head.epoch), partition, level, index * WIDTH, width);
    return hashes ?? new Uint8Array(width * HASH_BYTES);
  });
}

/**
 * The proof that a tree grew from the head that was signed last: what the signer demands.
 * @throws RangeError when it did not grow from there
 */
export async function proveGrowth(
  signed: SignedHead | null,
  size: bigint,
  nodes: HashReader,
): Promise<Uint8Array[]> {
  // Nothing can be proved of the empty tree: every tree begins with it.
  return signed === null || signed.size === 0n ? [] : consistencyProof(signed.size, size, nodes);
}

/** Appends leaf hashes. Pure: the state given is not changed, so that a round that fails is simply dropped. */
export function growTree(state: TreeState, hashes: Uint8Array): Growth {
  const { log, partition, head } = state;
  const count = hashes.length / HASH_BYTES;
  const range = state.range.clone();
  const nodes: { level: number; index: bigint; hashes: Uint8Array }[] = [];
  const tree = new GrowingTree(range, (level, index, packed) => {
    if (level % LEVELS_PER_TILE === 0)
      nodes.push({ level: level / LEVELS_PER_TILE, index, hashes: packed.slice() });
  });
  tree.append(state.signed?.size ?? head.size, hashes);
  // A copy: `slice` of a Buffer, which is what a database gives, would be the same memory.
  const chain = new Uint8Array(head.chain);
  const marks = new Uint8Array(chainMarks(head.size, count) * HASH_BYTES);
  chainMany(chain, hashes, head.size, marks);
  const size = head.size + BigInt(count);
  const next = { epoch: head.epoch, size, root: range.root(), chain, edge: nextEdge(head, hashes, size) };
  return {
    state: {
      log,
      partition,
      head: next,
      range,
      signed: { size, root: next.root },
      lastLeaf: hashes.slice(-HASH_BYTES),
    },
    tiles: {
      log: tileLog(log, head.epoch),
      partition,
      leaves: { from: head.size, hashes },
      nodes,
      chain: { from: head.size / WIDTH, hashes: marks },
    },
    nodes: tree.read,
  };
}

/**
 * Appends to a range and keeps on the way what a consistency proof from a smaller size needs: the peaks of the tree
 * at that size, the right siblings on the way up from its last leaf, and the peaks of the new tree. They are at most
 * three hashes a level; reading them back from tiles would cost a round a dozen reads.
 */
class GrowingTree {
  readonly #range: CompactRange;
  readonly #onNodes: NodeListener;
  readonly #kept = new Map<string, Uint8Array>();

  constructor(range: CompactRange, onNodes: NodeListener) {
    this.#range = range;
    this.#onNodes = onNodes;
  }

  /** @param signed the size that proofs begin at; at most the size after the append */
  append(signed: bigint, hashes: Uint8Array): void {
    const before = Number(signed - this.#range.size) * HASH_BYTES;
    const split = Math.min(Math.max(before, 0), hashes.length);
    if (split > 0) this.#range.appendMany(hashes.subarray(0, split), this.#onNodes);
    this.#keepPeaks();
    const rest = hashes.subarray(split);
    const siblings = rightSiblings(signed);
    this.#keepSibling(siblings, 0, this.#range.size, rest);
    this.#range.appendMany(rest, (level, index, packed) => {
      this.#keepSibling(siblings, level, index, packed);
      this.#onNodes(level, index, packed);
    });
    this.#keepPeaks();
  }

  readonly read: HashReader = async (nodes) =>
    nodes.map(({ level, index }) => {
      const hash = this.#kept.get(`${level}/${index}`);
      if (hash === undefined) throw new RangeError(`the growth did not keep node ${level}/${index}`);
      return hash;
    });

  #keepSibling(siblings: readonly (bigint | null)[], level: number, first: bigint, packed: Uint8Array): void {
    const wanted = siblings[level] ?? null;
    if (wanted === null || wanted < first) return;
    const at = Number(wanted - first) * HASH_BYTES;
    if (at < packed.length)
      this.#kept.set(`${level}/${wanted}`, new Uint8Array(packed.subarray(at, at + HASH_BYTES)));
  }

  #keepPeaks(): void {
    const { size } = this.#range;
    const peaks = this.#range.peaks();
    for (const [i, { level, index }] of subtreeNodes(0n, size).entries())
      this.#kept.set(`${level}/${index}`, peaks[i]);
  }
}

/** By level: the right sibling on the way from the last leaf of a tree to the root, null where the way comes from the right. */
function rightSiblings(size: bigint): (bigint | null)[] {
  const siblings: (bigint | null)[] = [];
  for (let node = size - 1n; node >= 0n && siblings.length < SIBLING_LEVELS; node >>= 1n)
    siblings.push(node % 2n === 0n ? node + 1n : null);
  return siblings;
}

function nextEdge(head: StoredHead, hashes: Uint8Array, size: bigint): Uint8Array {
  const bytes = Number(size % WIDTH) * HASH_BYTES;
  if (bytes <= hashes.length) return hashes.slice(hashes.length - bytes);
  const edge = new Uint8Array(bytes);
  edge.set(head.edge.subarray(0, bytes - hashes.length));
  edge.set(hashes, bytes - hashes.length);
  return edge;
}
