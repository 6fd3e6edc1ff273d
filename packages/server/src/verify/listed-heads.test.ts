/** What the log `heads` lists of trees that this store does not have: a bundle would be checked against them. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { formatHeadBody } from '@evident/core/evidence/head-body.ts';
import { MemoryTileStore } from '../stores/memory/seal-stores.ts';
import { makeRecord, WindowScene } from '../windows/window-fixture.ts';
import { type VerifyDeps, verify } from './verify.ts';

/** What that finds is said of other checks. */
const NO_RECORDS = {
  positions: new Float64Array(0),
  hashes: new Uint8Array(0),
  faults: [],
  objects: [],
};

/** What is said of heads that the log `heads` lists, when only `audit` was asked for. */
async function saidOf(listed: readonly string[]): Promise<string[]> {
  const scene = new WindowScene({ audit: 2, ledger: 1, heads: 1 });
  await scene.append(['acme']);
  await scene.log('heads').append(
    listed.map((origin) => ({
      ...makeRecord('_system'),
      source: 'evident',
      type: 'head',
      body: { form: 'json', bytes: formatHeadBody({ origin, size: 7n, root: new Uint8Array(32) }) },
    })),
  );
  await scene.seal();
  const unreadable = () => Promise.reject(new Error('not read here'));
  const deps: VerifyDeps = {
    name: 'test.invalid',
    logs: [...scene.logs.values()],
    records: { readRun: async () => NO_RECORDS },
    tiles: new MemoryTileStore(scene.tiles),
    heads: {
      readHeads: async () => [],
      readSeal: async (log, partition) => scene.heads.stored.get(`${log}/${partition}`) ?? null,
    },
    objects: { get: unreadable },
    tenantLeaves: { readTenantLeaves: unreadable },
    verifierOf: (name) => ({ name, keyId: '00000000' as never, verify: () => true }),
    refreshKeys: async () => undefined,
    signer: null,
    lost: async () => [],
  };
  const { findings } = await verify(deps, 'audit', () => undefined);
  return findings
    .filter(({ check }) => check === 'heads-log')
    .map(({ verdict, from, detail }) => `${verdict} ${from}: ${detail.slice(detail.indexOf(' of ') + 4)}`);
}

it('takes heads of logs that were not asked for as they are', async () => {
  assert.deepEqual(await saidOf(['test.invalid/ledger/0', 'test.invalid/windows/0']), []);
});

it('finds heads of partitions, epochs, logs and installations that there are not', async () => {
  assert.deepEqual(
    await saidOf([
      'test.invalid/windows/1',
      'test.invalid/r3/audit/0',
      'other.invalid/audit/0',
      'test.invalid/clicks/0',
    ]),
    [
      'tampered 0: test.invalid/windows/1: the log windows has no partition 1',
      'tampered 1: test.invalid/r3/audit/0: the newest tree of audit/0 is test.invalid/audit/0',
      'tampered 2: other.invalid/audit/0: that is no tree of test.invalid',
      'not checked 3: test.invalid/clicks/0: there is no log clicks here',
    ],
  );
});
