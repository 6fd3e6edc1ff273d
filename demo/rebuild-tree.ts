/** What an attacker needs who rewrites history: the tree over changed records, and everything that is derived of it. */

import { chainStart } from '@evident/core/chain.ts';
import { CompactRange, emptyRoot } from '@evident/core/merkle/tree.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import type { Installation } from '../packages/server/faults/installation.ts';
import type { StoredHead } from '../packages/server/src/seal/ports.ts';
import { growTree, type TreeState } from '../packages/server/src/seal/tree-state.ts';

/** Heads of one tree in these logs: a handful for each round of sealing. */
const HEADS_MAX = 1_000;

/**
 * Computes tiles, upper tiles and chain of one tree from the records as they stand now, and writes them over the
 * old ones. @returns what the head at each signed size would have to be
 */
export async function rebuildTree(one: Installation, log: string, partition: number): Promise<StoredHead[]> {
  const { storage } = one;
  let state: TreeState = {
    log,
    partition,
    head: {
      epoch: 0,
      size: 0n,
      root: emptyRoot(),
      chain: chainStart(treeOrigin(storage.name, log, partition)),
      edge: new Uint8Array(0),
    },
    range: new CompactRange(),
    signed: null,
    lastLeaf: new Uint8Array(0),
  };
  const rebuilt: StoredHead[] = [];
  for (const { size } of await storage.records.readHeads(log, partition, 0, 0n, HEADS_MAX)) {
    const run = await storage.records.readRun(log, partition, state.head.size, size);
    const growth = growTree(state, run.hashes);
    await storage.tiles.write([growth.tiles]);
    state = growth.state;
    rebuilt.push(state.head);
  }
  return rebuilt;
}

/**
 * Writes rebuilt heads over the stored ones.
 * @param sign makes the signed note of a head; null: whoever does this has no key, and the old notes stay
 */
export async function replaceHeads(
  one: Installation,
  log: string,
  partition: number,
  heads: readonly StoredHead[],
  sign: ((head: StoredHead) => Uint8Array) | null,
): Promise<void> {
  const tree = one.treeOf(log, partition);
  for (const head of heads) {
    await one.asSuperuser(
      'UPDATE evident.heads SET root = $3, chain = $4, note = coalesce($5, note) WHERE tree = $1 AND size = $2',
      [tree, head.size, bytea(head.root), bytea(head.chain), sign === null ? null : bytea(sign(head))],
    );
  }
  await putSeal(one, tree, heads.at(-1) as StoredHead);
}

/** The row that sealing goes on from. */
export async function putSeal(one: Installation, tree: number, head: StoredHead): Promise<void> {
  await one.asSuperuser(
    'UPDATE evident.seals SET size = $2, root = $3, chain = $4, edge = $5 WHERE tree = $1',
    [tree, head.size, bytea(head.root), bytea(head.chain), bytea(head.edge)],
  );
}

function bytea(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes);
}
