/** Inclusion and consistency proofs out of the stored tiles (RFC 9162 §2.1.3, §2.1.4). */

import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { consistencyProof, inclusionProof, readRoot, verifyInclusion } from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, type TileReader } from '@evident/core/merkle/tile.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import { formatTlogProof } from '@evident/core/tlog-proof.ts';
import { hashReader, type TreeId } from './hash-tiles.ts';
import type { EvidenceDeps, SignedTreeHead } from './ports.ts';

/** The C2SP tlog-proof of a position at a head, whatever leaf stands there. */
export async function proofAt(read: TileReader, position: bigint, head: SignedTreeHead): Promise<Uint8Array> {
  const hashes = await inclusionProof(position, head.size, readHashesFromTiles(head.size, read));
  return formatTlogProof({ index: position, hashes, treeHead: head.note });
}

/**
 * The proof of a leaf at a head, held against the head's root before it is given out.
 * @throws evidence-broken when the tiles lack hashes, or leaf and tiles do not give the root
 */
export async function proveLeaf(
  deps: Pick<EvidenceDeps, 'tiles'>,
  tree: TreeId,
  head: SignedTreeHead,
  position: bigint,
  leaf: Uint8Array,
): Promise<Uint8Array> {
  const { size, root, note } = head;
  const hashes = await inclusionProof(position, size, hashReader(deps.tiles, tree, size));
  const verdict = verifyInclusion({ index: position, size, leafHash: hashLeaf(leaf), root, proof: hashes });
  if (verdict !== 'ok')
    throw new EvidentError(
      'evidence-broken',
      `${tree.log}/${tree.partition}/${position}: record and tiles do not give the root of the head of size ${size} (${verdict})`,
      { context: { log: tree.log, partition: tree.partition, position } },
    );
  return formatTlogProof({ index: position, hashes, treeHead: note });
}

/** How one size of a tree follows from another. */
export interface ConsistencyAnswer {
  readonly root1: Uint8Array;
  readonly root2: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/**
 * The proof that the tree of size `to` begins with that of size `from`, with both roots as the tiles give them.
 * @param to at most the size of a stored head of this tree
 * @throws evidence-broken when the tiles lack hashes
 */
export async function proveConsistency(
  deps: Pick<EvidenceDeps, 'tiles'>,
  tree: TreeId,
  from: bigint,
  to: bigint,
): Promise<ConsistencyAnswer> {
  const read = hashReader(deps.tiles, tree, to);
  const [root1, root2, proof] = await Promise.all([
    readRoot(from, hashReader(deps.tiles, tree, from)),
    readRoot(to, read),
    consistencyProof(from, to, read),
  ]);
  return { root1, root2, proof };
}

/**
 * The record at a place.
 * @throws position-trimmed, position-lost, not-found: which of them it is, an auditor has to know
 */
export async function recordAt(
  { logs, lost }: Pick<EvidenceDeps, 'logs' | 'lost'>,
  name: string,
  partition: number,
  position: bigint,
): Promise<LogRecord> {
  const log = logs.get(name);
  if (log === undefined) throw new EvidentError('log-unknown', `there is no log ${name}`);
  const [record] = await log.read(partition, position, 1);
  if (record?.position === position) return record;
  const place = `${name}/${partition}/${position}`;
  const context = { log: name, partition, position };
  const range = (await lost(name, partition)).find(({ from, to }) => position >= from && position < to);
  if (range !== undefined)
    throw new EvidentError(
      'position-lost',
      `the record ${place} was lost; the recovery ${range.recovery} says so`,
      { context },
    );
  const { first, next } = await log.head(partition);
  if (position < first)
    throw new EvidentError('position-trimmed', `${place}: the log begins at ${first} here`, { context });
  if (position >= next) throw new EvidentError('not-found', `there is no record ${place}`, { context });
  throw new EvidentError('evidence-broken', `the record ${place} is missing from the log`, { context });
}

/** The leaf of a record at a place. */
export async function leafAt(
  deps: Pick<EvidenceDeps, 'logs' | 'lost'>,
  log: string,
  partition: number,
  position: bigint,
): Promise<Uint8Array> {
  return leafOf(await recordAt(deps, log, partition, position));
}
