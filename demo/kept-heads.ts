/**
 * What somebody outside can do who once wrote down signed heads (size and root of each tree) and K, and keeps them
 * where the attacker can't reach: ask the log for its newest head and for the proof that it grew from the kept one
 * (RFC 9162 §2.1.4). No proof leads from a history to one that says otherwise.
 */

import { equalBytes, toBase64 } from '@evident/core/bytes.ts';
import { openTreeHead, type TreeHead } from '@evident/core/checkpoint.ts';
import {
  consistencyProof,
  type HashReader,
  readRoot,
  verifyConsistency,
} from '@evident/core/merkle/proof.ts';
import { readHashesFromTiles, TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import { parseVkey, verifierKey, verifierOf } from '@evident/core/note.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import type { Storage } from '../packages/server/src/compose.ts';
import { VERIFY_FUNCTIONS } from '../packages/server/src/stores/folder/signing-keys.ts';

export interface KeptHead {
  readonly log: string;
  readonly partition: number;
  readonly head: TreeHead;
}

export type KeptAnswer =
  | { readonly kind: 'consistent' }
  /** The log is shorter than what was signed, or its tree is not the one that was signed. */
  | { readonly kind: 'contradicted'; readonly detail: string };

/** The newest signed head of a tree, its signature verified with K. */
async function newestHead(vkey: string, storage: Storage, log: string, partition: number): Promise<TreeHead> {
  const key = parseVkey(vkey);
  if (!key.ok) throw new Error(key.reason);
  const origin = treeOrigin(storage.name, log, partition);
  const seal = await storage.records.readSeal(log, partition);
  const rows = await storage.records.readHeads(log, partition, 0, (seal?.size ?? 1n) - 1n, 1);
  if (rows.length === 0) throw new Error(`${origin} has no signed head`);
  const verifier = verifierOf(verifierKey(origin, 'ed25519', key.value.publicKey), VERIFY_FUNCTIONS);
  const opened = openTreeHead(rows[0].note, [verifier], origin);
  if (!opened.ok) throw new Error(opened.reason);
  return opened.value.head;
}

/** The heads of all trees as they stand: what the keeper writes down. */
export async function keepHeads(vkey: string, storage: Storage): Promise<KeptHead[]> {
  const kept: KeptHead[] = [];
  for (const { name, partitions } of storage.logs.values()) {
    for (let partition = 0; partition < partitions; partition++) {
      // A log that nothing was written to yet, such as windows, has no head.
      if (((await storage.records.readSeal(name, partition))?.size ?? 0n) === 0n) continue;
      kept.push({ log: name, partition, head: await newestHead(vkey, storage, name, partition) });
    }
  }
  return kept;
}

export async function checkKeptHead(vkey: string, storage: Storage, kept: KeptHead): Promise<KeptAnswer> {
  const { log, partition, head } = kept;
  const now = await newestHead(vkey, storage, log, partition);
  const place = `${log}/${partition}`;
  if (now.size < head.size) {
    const detail = `${place}: the kept head covers ${head.size} records, the log has ${now.size}`;
    return { kind: 'contradicted', detail };
  }
  const read = tileReader(storage, log, partition, now.size);
  const proof = await consistencyProof(head.size, now.size, read);
  const claim = { size1: head.size, root1: head.root, size2: now.size, root2: now.root, proof };
  const verdict = verifyConsistency(claim);
  if (verdict === 'ok') return { kind: 'consistent' };
  const root = await readRoot(head.size, read);
  const roots = equalBytes(root, head.root)
    ? ''
    : `, root now ${toBase64(root).slice(0, 12)}…, kept ${toBase64(head.root).slice(0, 12)}…`;
  return {
    kind: 'contradicted',
    detail: `${place}: no proof from size ${head.size} to ${now.size} (${verdict})${roots}`,
  };
}

function tileReader(storage: Storage, log: string, partition: number, size: bigint): HashReader {
  return readHashesFromTiles(size, async ({ level, index, width }) => {
    const tile = await storage.tiles.read(log, partition, level, index * BigInt(TILE_WIDTH), width);
    if (tile === null) throw new Error(`a tile of ${log}/${partition} is missing`);
    return tile;
  });
}
