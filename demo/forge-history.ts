/** History written anew by whoever has the machine: the tree over changed records, what `heads` lists, the signer's memory. */

import { existsSync, writeFileSync } from 'node:fs';
import { decodeUtf8, encodeUtf8, toBase64 } from '@evident/core/bytes.ts';
import { formatTreeHead } from '@evident/core/checkpoint.ts';
import { headId } from '@evident/core/derived-id.ts';
import { signNote } from '@evident/core/note.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { Installation } from '../packages/server/faults/installation.ts';
import type { StoredHead } from '../packages/server/src/seal/ports.ts';
import { FolderSigner } from '../packages/server/src/stores/folder/signer.ts';
import { SigningKeys } from '../packages/server/src/stores/folder/signing-keys.ts';
import { rebuildTree, replaceHeads } from './rebuild-tree.ts';

/**
 * After a record of audit/0 was changed: everything that was ever derived or signed of it, made anew.
 * @param keys whose signatures the forged heads get; null: none, and the notes stay as they were
 * @returns the forged heads of audit/0
 */
export async function forge(one: Installation, keys: SigningKeys | null): Promise<StoredHead[]> {
  const origin = treeOrigin(one.storage.name, 'audit', 0);
  const headsOrigin = treeOrigin(one.storage.name, 'heads', 0);
  const signWith = (tree: string) => (keys === null ? null : signerOf(keys, tree));
  const audit = await rebuildTree(one, 'audit', 0);
  await replaceHeads(one, 'audit', 0, audit, signWith(origin));
  await rewriteListings(one, origin, audit);
  const heads = await rebuildTree(one, 'heads', 0);
  await replaceHeads(one, 'heads', 0, heads, signWith(headsOrigin));
  // A signer that lies elsewhere has its memory there.
  if (existsSync(one.path('signer', 'last')))
    rewriteMemory(
      one,
      new Map([
        [origin, audit.at(-1) as StoredHead],
        [headsOrigin, heads.at(-1) as StoredHead],
      ]),
    );
  return audit;
}

/** The key of an installation that signs for itself: a file like others. */
export function ownKeys(one: Installation): SigningKeys {
  return SigningKeys.open(one.path('signer'), false);
}

/** Sets what the signer remembers of these trees: a text file without signature. The next start puts the mark back. */
export function rewriteMemory(one: Installation, heads: ReadonlyMap<string, StoredHead>): void {
  const memory = new Map([...FolderSigner.readLast(one.path('signer')), ...heads]);
  const lines = [...memory].map(([origin, { size, root }]) => `${origin} ${size} ${toBase64(root)}\n`);
  writeFileSync(one.path('signer', 'last'), lines.join(''));
}

/** What signs forged heads of a tree. */
function signerOf(keys: SigningKeys, origin: string): (head: StoredHead) => Uint8Array {
  return ({ size, root }) => signNote(formatTreeHead({ origin, size, root }), keys.signersOf(origin));
}

/** The records of the log `heads` that list heads of a tree: id and root of the forged ones. */
async function rewriteListings(
  one: Installation,
  origin: string,
  forged: readonly StoredHead[],
): Promise<void> {
  const tree = one.treeOf('heads', 0);
  const { rows } = await one.asSuperuser(
    "SELECT position, body FROM evident.records WHERE tree = $1 AND type = 'head'",
    [tree],
  );
  for (const { position, body } of rows) {
    const listed = JSON.parse(decodeUtf8(body) ?? '{}') as { origin: string; size: string };
    const head = forged.find(({ size }) => listed.origin === origin && size === BigInt(listed.size));
    if (head === undefined) continue;
    const root = toBase64(head.root);
    const bytes = encodeUtf8(JSON.stringify({ origin, size: listed.size, root }));
    const id = headId(origin, head.size, root);
    const at = [tree, position, id];
    await one.asSuperuser('UPDATE evident.records SET id = $3, body = $4 WHERE tree = $1 AND position = $2', [
      ...at,
      Buffer.from(bytes),
    ]);
    await one.asSuperuser(
      'UPDATE evident.identities SET id = $3, body_hash = $4 WHERE tree = $1 AND position = $2',
      [...at, Buffer.from(sha256(bytes))],
    );
  }
}
