/** What proves the records of a bundle in their trees: a proof each, or the hash tiles that they need. */

import { recordProofPath, treeFolder, treeTilePath } from '@evident/core/evidence/bundle-layout.ts';
import type { WholeFile, WrittenRecords } from './bundle.ts';
import type { BundlePlan, PlannedTree } from './bundle-plan.ts';
import { tileReader } from './hash-tiles.ts';
import { proofAt } from './inclusion.ts';
import { neededTiles } from './needed-tiles.ts';
import type { EvidenceDeps } from './ports.ts';

/** @throws evidence-broken when a tile is missing */
export async function* treeFiles(
  deps: EvidenceDeps,
  plan: BundlePlan,
  written: WrittenRecords,
): AsyncGenerator<WholeFile> {
  if (plan.proofs === 'tiles') {
    for (const tree of plan.trees) if (tree.positions.length > 0) yield* tileFiles(deps, tree);
    return;
  }
  const seen = new Map<string, number>();
  let at = 0;
  for (const { log, partition, positions, head } of plan.trees) {
    const read = tileReader(deps.tiles, { log, partition, epoch: head.epoch });
    for (const position of positions) {
      const id = written.ids[at++];
      const nth = (seen.get(id) ?? 0) + 1;
      seen.set(id, nth);
      yield { path: recordProofPath(id, nth), bytes: await proofAt(read, BigInt(position), head) };
    }
  }
}

async function* tileFiles(deps: EvidenceDeps, tree: PlannedTree): AsyncGenerator<WholeFile> {
  const { log, partition, head, positions } = tree;
  const folder = treeFolder(log, partition, head.epoch);
  const read = tileReader(deps.tiles, { log, partition, epoch: head.epoch });
  yield { path: `${folder}checkpoint`, bytes: head.note };
  for (const tile of neededTiles(positions, Number(head.size)))
    yield { path: treeTilePath(folder, tile), bytes: await read(tile) };
}
