/** Wiring of evidence: proofs, the static layout, bundles. */

import type { Storage } from './compose.ts';
import type { Config } from './config.ts';
import { keepTiles } from './evidence/hash-tiles.ts';
import type { AnchorCounts, EvidenceDeps } from './evidence/ports.ts';
import { keySourceOf } from './key-ring.ts';
import type { QueryDeps } from './query/ports.ts';
import { PostgresAnchorStore } from './stores/postgres/anchor-store.ts';
import { PostgresIdentityReader } from './stores/postgres/identities.ts';
import { PostgresLeafLines } from './stores/postgres/leaf-lines.ts';
import { PostgresSignedHeads } from './stores/postgres/signed-heads.ts';
import { PostgresWindowIndex } from './stores/postgres/window-index.ts';

/** What a head is to have where a bundle is asked for with anchors: a token of one authority, cosignatures of the quorum. */
export function wantedAnchorsOf({
  timestamps,
  witnesses,
}: Pick<Config, 'timestamps' | 'witnesses'>): AnchorCounts {
  return { timestamps: timestamps === null ? 0 : 1, cosignatures: witnesses?.quorum ?? 0 };
}

export function evidenceDepsOf(
  storage: Storage,
  query: QueryDeps,
  wantedAnchors: AnchorCounts = { timestamps: 0, cosignatures: 0 },
): EvidenceDeps {
  const { name, logs, tiles, pool, queryPool, treeOf, records, keys } = storage;
  const heads = new PostgresSignedHeads(pool, treeOf);
  const anchors = new PostgresAnchorStore(pool);
  const identities = new PostgresIdentityReader(pool, logs, () => () => undefined);
  return {
    name,
    logs,
    tiles: keepTiles(tiles),
    query,
    heads,
    leaves: new PostgresLeafLines(queryPool, treeOf),
    identities: (sought) => identities.find(sought),
    lost: (log, partition) => records.readLost(log, partition),
    newestAnchored: (epoch, atLeast) => heads.newestAnchored(epoch, atLeast),
    wantedAnchors,
    anchorsOf: (epoch, size) => anchors.of(epoch, size),
    keys: keySourceOf(keys),
    windows: new PostgresWindowIndex(pool),
    sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
  };
}
