/**
 * The static layout of a tree (C2SP tlog-tiles): checkpoint, hash tiles, entry bundles. Nothing of it is stored: tiles
 * are cut out of packs, bundles are made of the log's records.
 *
 * `<log>` in a path is as `tileLog` gives it: a tree that began anew stands beside the one before it.
 */

import { equalBytes } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { encodeEntryBundle, TILE_WIDTH, type TileId, type TilePath } from '@evident/core/merkle/tile.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { type TreeId, tileReader } from './hash-tiles.ts';
import { recordAt } from './inclusion.ts';
import type { EvidenceDeps, SignedTreeHead } from './ports.ts';

const WIDTH = BigInt(TILE_WIDTH);
/** Node levels that one tile spans. */
const TILE_HEIGHT = 8n;
const EPOCH_MAX = 9_999;

/** `audit`, or `audit.r2` of the tree that began anew twice; null for anything else. */
export function parseTileLog(name: string): { readonly log: string; readonly epoch: number } | null {
  const match = /^([a-z0-9-]{1,32})(?:\.r([1-9]\d{0,3}))?$/.exec(name);
  if (match === null) return null;
  const epoch = match[2] === undefined ? 0 : Number(match[2]);
  return epoch <= EPOCH_MAX ? { log: match[1], epoch } : null;
}

/** The newest signed head of a tree. @throws not-found */
export async function newestHead({ heads }: EvidenceDeps, tree: TreeId): Promise<SignedTreeHead> {
  const head = await heads.newest(tree.log, tree.partition, tree.epoch);
  if (head === null || head.size === 0n)
    throw new EvidentError('not-found', `${tree.log}/${tree.partition} has no signed head of this tree yet`);
  return head;
}

/**
 * What a path names, for the tree as it is published. Partial tiles of every width below that are there: those of older
 * checkpoints are among them.
 * @throws not-found beyond the newest head; position-trimmed, position-lost, evidence-broken
 */
export async function readLayout(deps: EvidenceDeps, tree: TreeId, path: TilePath): Promise<Uint8Array> {
  const { size } = await newestHead(deps, tree);
  const level = path.kind === 'hashes' ? path.level : 0;
  // 8 levels of bits a tile level: from level 8 on no tree of 2^63 leaves has a hash.
  const there = level > 7 ? 0n : size >> (BigInt(level) * TILE_HEIGHT);
  if (path.index * WIDTH + BigInt(path.width) > there)
    throw new EvidentError('not-found', `the tree of size ${size} has no such tile yet`);
  if (path.kind === 'hashes') return tileReader(deps.tiles, tree)(path);
  return readEntries(deps, tree, path.index, path.width);
}

/** A bundle of entries, held against the hashes under which they are sealed. */
export async function readEntries(
  deps: EvidenceDeps,
  tree: TreeId,
  index: bigint,
  width: number,
): Promise<Uint8Array> {
  const { log, partition } = tree;
  const from = index * WIDTH;
  const records = (await deps.logs.get(log)?.read(partition, from, width)) ?? [];
  const missing = Array.from({ length: width }, (_, at) => from + BigInt(at)).find(
    (position, at) => records[at]?.position !== position,
  );
  // It says whether it was trimmed, lost or taken away.
  if (missing !== undefined) await recordAt(deps, log, partition, missing);
  const tile: TileId = { level: 0, index, width };
  const hashes = await tileReader(deps.tiles, tree)(tile);
  const entries = records.map(leafOf);
  for (const [at, entry] of entries.entries()) {
    if (equalBytes(hashLeaf(entry), hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES))) continue;
    throw new EvidentError(
      'evidence-broken',
      `${log}/${partition}/${from + BigInt(at)} is not the record that was sealed there`,
      { context: { log, partition, position: from + BigInt(at) } },
    );
  }
  return encodeEntryBundle(entries);
}
