/** The loop over memory: what it does by the clock, on a clock that the test moves. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { MemoryLog, makeMemoryLogState } from '../stores/memory/log.ts';
import {
  LogLeafReader,
  MemoryHeadStore,
  type MemoryHeads,
  MemorySigner,
  MemoryTileStore,
} from '../stores/memory/seal-stores.ts';
import type { SealBreak } from './seal.ts';
import { SealLoop } from './seal-loop.ts';

const NOW = 1_800_000_000_000_000n;
const LOOKS_MAX = 2_000;

async function until(claim: string, condition: () => boolean): Promise<void> {
  for (let looks = 0; looks < LOOKS_MAX; looks++) {
    if (condition()) return;
    await pause(5);
  }
  throw new Error(`it never comes that ${claim}`);
}

it('notices within ten seconds that a stored head went back, in a partition without news', async () => {
  const state = makeMemoryLogState('audit', 1, NOW);
  const log = new MemoryLog(state, () => NOW);
  const heads: MemoryHeads = { stored: new Map(), published: [] };
  const signer = (name: string) => ({ name, keyId: '00000000' as never, sign: () => new Uint8Array(64) });
  const breaks: SealBreak[] = [];
  const errors: unknown[] = [];
  let now = 0;
  let looks = 0;
  const loop = new SealLoop(
    {
      name: 'test.invalid',
      leaves: new LogLeafReader(new Map([['audit', log]])),
      tiles: new MemoryTileStore(new Map()),
      heads: new MemoryHeadStore(heads, new Map([['audit', state]]), {
        before: (operation) => {
          if (operation === 'heads.load') looks++;
        },
      }),
      signer: new MemorySigner(new Map(), signer),
      now: () => now,
      clock: () => NOW,
      onSealed: () => undefined,
      onBreak: (found) => breaks.push(found),
      onError: (error) => errors.push(error),
      onSigner: () => undefined,
    },
    [log],
  );
  const append = (): Promise<unknown> =>
    log.append([
      {
        id: '0198c0de-0000-7000-8000-000000000001',
        tenant: 'acme',
        source: 'test',
        sourceSeq: null,
        type: 'note',
        schema: 0,
        key: 'acme/1',
        meta: null,
        body: { form: 'json', bytes: encodeUtf8('1') },
      },
    ]);
  await append();
  await loop.open();
  loop.start();
  await until('the first record is sealed', () => heads.stored.get('audit/0')?.size === 1n);
  const older = new Map(heads.stored);
  await append();
  await until('the second record is sealed', () => heads.stored.get('audit/0')?.size === 2n);
  const before = looks;
  now += 10_000;
  await until('the stored heads are looked at', () => looks > before);
  assert.equal(breaks.length, 0);
  for (const [name, head] of older) heads.stored.set(name, head);
  now += 10_000;
  await until('a break is named', () => breaks.length > 0);
  assert.match(breaks[0].reason, /went back from size 2 to 1/);
  await loop.stop();
  assert.equal(breaks.length, 1);
  assert.deepEqual(errors, []);
});
