/** Attacks of whoever has the files: older copies put back, and history rewritten with the signing key. */

import { writeFileSync } from 'node:fs';
import { decodeUtf8, encodeUtf8, toBase64 } from '@evident/core/bytes.ts';
import { formatTreeHead } from '@evident/core/checkpoint.ts';
import { headId } from '@evident/core/derived-id.ts';
import { signNote } from '@evident/core/note.ts';
import { treeOrigin } from '@evident/core/origin.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { Installation } from '../packages/server/faults/installation.ts';
import type { StoredHead } from '../packages/server/src/seal/ports.ts';
import { FolderSigner } from '../packages/server/src/stores/folder/signer.ts';
import type { Attack } from './attack.ts';
import { rebuildTree, replaceHeads } from './rebuild-tree.ts';
import { cutTail, findDenied, rewriteDenied } from './record-attacks.ts';

export const OLDER = 'older';

const CUT_WITH_MEMORY: Attack = {
  letter: 'e+',
  title: "… and edit the signer's memory",
  kept: { earlier: 'no', later: 'caught' },
  t1: 'caught',
  t3: 'no',
  remark:
    'No key is needed for that: the head before the cut is genuine. At T0 the memory is a file like others.',
  run: async (scene) => {
    const { one } = scene;
    const cut = new Map<string, StoredHead>();
    for (const log of ['audit', 'heads']) {
      await cutTail(one, log, 0);
      const origin = treeOrigin(one.storage.name, log, 0);
      cut.set(origin, (await one.storage.records.readSeal(log, 0)) as StoredHead);
    }
    rewriteMemory(one, cut);
    await restart(one);
    return {
      did: "the same cut, and the signer's memory set back to the head before it; the server starts as if nothing were",
      expected: { verdict: 'verified' },
    };
  },
};

const OLDER_DATABASE: Attack = {
  letter: 'f',
  title: 'restore an older database',
  kept: null,
  t1: '',
  t3: '',
  run: async (scene) => {
    const breaks = await scene.putBack(OLDER, ['postgres']);
    if (breaks.length === 0) throw new Error('the server was expected to stop the partitions');
    return {
      did: `the whole database of half the events ago put back; the server, as it starts, stops ${breaks.length} partitions by itself`,
      expected: { verdict: 'tampered', check: 'signer', log: 'audit', partition: 0 },
    };
  },
};

const OLDER_MACHINE: Attack = {
  letter: 'g',
  title: 'restore the whole older machine',
  kept: { earlier: 'no', later: 'caught' },
  t1: 'caught',
  t3: 'no',
  remark:
    'All of it is genuine, only old. The heads of back then agree with it; a head that was signed later does not.',
  run: async (scene) => {
    const breaks = await scene.putBack(OLDER);
    if (breaks.length > 0) throw new Error('the older machine was expected to start');
    return {
      did: "database, tiles, key and the signer's memory of half the events ago put back; the server starts as if nothing were",
      expected: { verdict: 'verified' },
    };
  },
};

const OTHER_FUTURE: Attack = {
  letter: 'g+',
  title: '… and let it grow another way',
  kept: { earlier: 'no', later: 'caught' },
  t1: 'caught',
  t3: 'in part',
  remark: 'The log is longer than the later head again: only its root tells.',
  run: async (scene) => {
    await scene.putBack(OLDER);
    const before = (await scene.one.storage.logs.get('audit')?.heads()) ?? [];
    const had = before.reduce((sum, { next }) => sum + Number(next), 0);
    scene.takeAnotherTurn();
    // More than was lost, in more rounds, so that every tree passes its later head.
    const taken = (await scene.fill(Math.ceil(had * 0.8))) + (await scene.fill(Math.ceil(had * 0.8)));
    return {
      did: `the older machine put back, then ${taken.toLocaleString('en')} other events taken in and sealed, beyond the size it had`,
      expected: { verdict: 'verified' },
    };
  },
};

const WITH_KEY: Attack = {
  letter: 'h',
  title: 'rewrite history with the key',
  kept: { earlier: 'caught', later: 'caught' },
  t1: 'caught',
  t3: 'caught',
  remark:
    'A head catches it that covers the record: one signed before the record was appended says nothing about it.',
  run: async (scene) => {
    const { one } = scene;
    const position = await findDenied(one);
    await rewriteDenied(one, position);
    await forge(one);
    await restart(one);
    await scene.ingest(100);
    await scene.seal();
    return {
      did: `audit/0/${position} rewritten; audit/0 and heads/0 rebuilt and signed again with the key, the signer's memory rewritten; the server starts and seals on`,
      expected: { verdict: 'verified' },
    };
  },
};

/** After a record of audit/0 was changed: everything that was ever derived or signed of it, made anew. */
async function forge(one: Installation): Promise<void> {
  const signer = FolderSigner.open(one.path('signer'));
  const origin = treeOrigin(one.storage.name, 'audit', 0);
  const audit = await rebuildTree(one, 'audit', 0);
  await replaceHeads(one, 'audit', 0, audit, signWith(signer, origin));
  await rewriteListings(one, origin, audit);
  const headsOrigin = treeOrigin(one.storage.name, 'heads', 0);
  const heads = await rebuildTree(one, 'heads', 0);
  await replaceHeads(one, 'heads', 0, heads, signWith(signer, headsOrigin));
  rewriteMemory(
    one,
    new Map([
      [origin, audit.at(-1) as StoredHead],
      [headsOrigin, heads.at(-1) as StoredHead],
    ]),
  );
}

/** Sets what the signer remembers of these trees: a text file without signature. */
function rewriteMemory(one: Installation, heads: ReadonlyMap<string, StoredHead>): void {
  const memory = new Map([...FolderSigner.readLast(one.path('signer')), ...heads]);
  const lines = [...memory].map(([origin, { size, root }]) => `${origin} ${size} ${toBase64(root)}\n`);
  writeFileSync(one.path('signer', 'last'), lines.join(''));
}

/** As after a night: what is stored is held against what the signer remembers. */
async function restart(one: Installation): Promise<void> {
  await one.stop();
  const breaks = await one.start();
  if (breaks.length > 0) throw new Error(`the server was expected to start: ${breaks[0].reason}`);
}

function signWith(signer: FolderSigner, origin: string): (head: StoredHead) => Uint8Array {
  return ({ size, root }) => signNote(formatTreeHead({ origin, size, root }), [signer.noteSigner(origin)]);
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

export const MACHINE_ATTACKS: readonly Attack[] = [
  CUT_WITH_MEMORY,
  OLDER_DATABASE,
  OLDER_MACHINE,
  OTHER_FUTURE,
  WITH_KEY,
];
