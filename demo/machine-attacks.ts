/** Attacks of whoever has the files: older copies put back, and history rewritten with the signing key. */

import { treeOrigin } from '@evident/core/origin.ts';
import type { Installation } from '../packages/server/faults/installation.ts';
import type { StoredHead } from '../packages/server/src/seal/ports.ts';
import type { Attack } from './attack.ts';
import { forge, ownKeys, rewriteMemory } from './forge-history.ts';
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
    await forge(one, ownKeys(one));
    await restart(one);
    await scene.ingest(100);
    await scene.seal();
    return {
      did: `audit/0/${position} rewritten; audit/0 and heads/0 rebuilt and signed again with the key, the signer's memory rewritten; the server starts and seals on`,
      expected: { verdict: 'verified' },
    };
  },
};

/** As after a night: what is stored is held against what the signer remembers. */
async function restart(one: Installation): Promise<void> {
  await one.stop();
  const breaks = await one.start();
  if (breaks.length > 0) throw new Error(`the server was expected to start: ${breaks[0].reason}`);
}

export const MACHINE_ATTACKS: readonly Attack[] = [
  CUT_WITH_MEMORY,
  OLDER_DATABASE,
  OLDER_MACHINE,
  OTHER_FUTURE,
  WITH_KEY,
];
