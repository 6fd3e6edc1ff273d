/** Tiles before heads: when a head is published, all hashes below it are durable and right. */

import { concatBytes, equalBytes } from '@evident/core/bytes.ts';
import { perfectRoot } from '@evident/core/merkle/tree.ts';
import type { StoredHead } from '../../src/seal/ports.ts';
import type { MemoryTiles } from '../../src/stores/memory/seal-stores.ts';
import type { History } from '../history.ts';
import { demand } from '../violation.ts';

const WIDTH = 256;

/** @param from below this, the tiles were found whole before */
export function checkTiles(
  tiles: MemoryTiles,
  tree: string,
  head: StoredHead,
  history: History,
  from: number,
): void {
  const size = Number(head.size);
  const same = (row: string, index: number, expected: Uint8Array): void => {
    const hash = tiles.get(`${tree}/${row}/${index}`);
    const state = hash === undefined ? 'is not there' : 'is wrong';
    demand(
      hash !== undefined && equalBytes(hash, expected),
      'tiles before heads',
      () => `${tree} has a head of size ${size}, but hash ${index} of row ${row} ${state}`,
    );
  };
  for (let index = from; index < size; index++) same('0', index, history.hashes[index]);
  history.chainAt(size);
  for (let full = Math.floor(from / WIDTH); full < Math.floor(size / WIDTH); full++) {
    same('1', full, perfectRoot(concatBytes(history.hashes.slice(full * WIDTH, (full + 1) * WIDTH))));
    same('chain', full, history.marks[full]);
  }
  const edge = concatBytes(history.hashes.slice(size - (size % WIDTH), size));
  demand(
    equalBytes(head.edge, edge),
    'tiles before heads',
    () => `the edge stored with the head of ${tree} at size ${size} is wrong`,
  );
}
