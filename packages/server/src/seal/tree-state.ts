/** The growing tree of one partition, as its sealer holds it in memory. */

import { equalBytes } from '@evident/core/bytes.ts';
import { subtreeNodes } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { CompactRange, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { chainMany, chainMarks } from '@evident/core/sha256.ts';
import { type SignedHead, type StoredHead, type TileStore, type TileWrite, tileLog } from './ports.ts';

const WIDTH = BigInt(TILE_WIDTH);
/** Levels of the binary tree in one level of tiles. */
const LEVELS_PER_TILE = 8;

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
  const read = readHashesFromTiles(head.size, async ({ level, index, width }) => {
    // The stored edge, not the file: the file may hold leaves that were written for a head that never was.
    if (level === 0 && width < TILE_WIDTH) return head.edge;
    const hashes = await tiles.read(tileLog(log, head.epoch), partition, level, index * WIDTH, width);
    return hashes ?? new Uint8Array(width * HASH_BYTES);
  });
  const expected = Number(head.size % WIDTH) * HASH_BYTES;
  if (head.edge.length !== expected) return null;
  const peaks = await read(subtreeNodes(0n, head.size));
  const range = CompactRange.fromPeaks(head.size, peaks);
  if (!equalBytes(range.root(), head.root)) return null;
  const lastLeaf =
    head.size === 0n ? new Uint8Array(0) : (await read([{ level: 0, index: head.size - 1n }]))[0];
  return { log, partition, head, range, signed: null, lastLeaf };
}

/** Appends leaf hashes. Pure: the state given is not changed, so that a round that fails is simply dropped. */
export function growTree(state: TreeState, hashes: Uint8Array): Growth {
  const { log, partition, head } = state;
  const count = hashes.length / HASH_BYTES;
  const range = state.range.clone();
  const nodes: { level: number; index: bigint; hashes: Uint8Array }[] = [];
  range.appendMany(hashes, (level, index, packed) => {
    if (level % LEVELS_PER_TILE === 0)
      nodes.push({ level: level / LEVELS_PER_TILE, index, hashes: packed.slice() });
  });
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
  };
}

function nextEdge(head: StoredHead, hashes: Uint8Array, size: bigint): Uint8Array {
  const bytes = Number(size % WIDTH) * HASH_BYTES;
  if (bytes <= hashes.length) return hashes.slice(hashes.length - bytes);
  const edge = new Uint8Array(bytes);
  edge.set(head.edge.subarray(0, bytes - hashes.length));
  edge.set(hashes, bytes - hashes.length);
  return edge;
}
