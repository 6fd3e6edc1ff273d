/** Plain tests of what the simulation found: each was a fork, or a break that nobody named. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import { MemoryLog, type MemoryLogState, makeMemoryLogState } from '../stores/memory/log.ts';
import {
  LogLeafReader,
  MemoryHeadStore,
  type MemoryHeads,
  MemorySigner,
  type MemorySignerState,
  MemoryTileStore,
} from '../stores/memory/seal-stores.ts';
import { checkStored, openSealer, type SealDeps, sealRound } from './seal.ts';

const NOW = 1_800_000_000_000_000n;

function record(text: string): ProposedRecord {
  return {
    id: '0198c0de-0000-7000-8000-000000000001',
    tenant: 'acme',
    source: 'test',
    sourceSeq: null,
    type: 'note',
    schema: 0,
    key: 'acme/1',
    meta: null,
    body: { form: 'json', bytes: encodeUtf8(JSON.stringify(text)) },
  };
}

interface Bench {
  readonly state: MemoryLogState;
  readonly log: MemoryLog;
  readonly heads: MemoryHeads;
  readonly deps: SealDeps;
}

function makeBench(): Bench {
  const state = makeMemoryLogState('audit', 1, NOW);
  const log = new MemoryLog(state, () => NOW);
  const heads: MemoryHeads = { stored: new Map(), published: [] };
  const signed: MemorySignerState = new Map();
  // A signature of nothing in particular: here only what is signed, and after what, matters.
  const signer = (name: string) => ({ name, keyId: '00000000' as never, sign: () => new Uint8Array(64) });
  return {
    state,
    log,
    heads,
    deps: {
      name: 'test.invalid',
      leaves: new LogLeafReader(new Map([['audit', log]])),
      tiles: new MemoryTileStore(new Map()),
      heads: new MemoryHeadStore(heads, new Map([['audit', state]])),
      signer: new MemorySigner(signed, signer),
    },
  };
}

/** An older copy, empty, is put back, and written on with other records. */
async function putBackAndWriteOn({ state, log }: Bench, count: number): Promise<void> {
  Object.assign(state.partitions[0], { records: [], next: 0n, lastAppendedAt: NOW });
  for (let i = 0; i < count; i++) await log.append([record(`other ${i}`)]);
}

it('seals on what is there, and signs nothing twice', async () => {
  const bench = makeBench();
  await bench.log.append([record('a'), record('b')]);
  const { sealer, breaks } = await openSealer(bench.deps, bench.log);
  assert.deepEqual(breaks, []);
  assert.equal((await sealRound(bench.deps, sealer)).sealed[0].size, 2n);
  assert.deepEqual((await sealRound(bench.deps, sealer)).sealed, []);
});

it('names a break when the log no longer gives a head that was signed and not stored', async () => {
  const bench = makeBench();
  await bench.log.append([record('a'), record('b')]);
  // Signed, and then the process dies before the head is stored.
  const dying = {
    ...bench.deps,
    heads: {
      ...bench.deps.heads,
      load: bench.deps.heads.load.bind(bench.deps.heads),
      store: () => Promise.reject(new Error('killed')),
    },
  };
  const first = await openSealer(dying as SealDeps, bench.log);
  await assert.rejects(sealRound(dying as SealDeps, first.sealer), /killed/);
  // The next one looks, and finds all well; then the older copy is put back under it.
  const { sealer, breaks } = await openSealer(bench.deps, bench.log);
  assert.deepEqual(breaks, []);
  await putBackAndWriteOn(bench, 3);
  const round = await sealRound(bench.deps, sealer);
  assert.deepEqual(round.sealed, []);
  assert.match(round.breaks[0].reason, /was signed, but the log now gives another root/);
  assert.equal(bench.heads.published.length, 0);
  assert.notEqual(bench.state.partitions[0].stopped, null);
});

it('names a break when the last sealed record has become another one', async () => {
  const bench = makeBench();
  await bench.log.append([record('a'), record('b')]);
  const { sealer } = await openSealer(bench.deps, bench.log);
  await sealRound(bench.deps, sealer);
  await putBackAndWriteOn(bench, 5);
  const round = await sealRound(bench.deps, sealer);
  assert.deepEqual(round.sealed, []);
  assert.match(round.breaks[0].reason, /holds another record than the one that was sealed/);
});

it('names a break when the stored head of a tree without news went back', async () => {
  const bench = makeBench();
  await bench.log.append([record('a'), record('b')]);
  const { sealer } = await openSealer(bench.deps, bench.log);
  await sealRound(bench.deps, sealer);
  const older = new Map(bench.heads.stored);
  await bench.log.append([record('c')]);
  await sealRound(bench.deps, sealer);
  assert.deepEqual(await checkStored(bench.deps, sealer), []);
  // An older copy that holds all records, and lacks the head that was stored last.
  for (const [name, head] of older) bench.heads.stored.set(name, head);
  assert.deepEqual(await sealRound(bench.deps, sealer), { sealed: [], leaves: 0, breaks: [], more: false });
  const [found, ...others] = await checkStored(bench.deps, sealer);
  assert.deepEqual(others, []);
  assert.match(found.reason, /went back from size 3 to 2/);
  assert.equal(bench.state.partitions[0].stopped, found.reason);
  assert.deepEqual(await checkStored(bench.deps, sealer), []);
});

it('names a break when records, tree and stored head were all rewritten, and the signer signs none of it', async () => {
  const bench = makeBench();
  await bench.log.append([record('a'), record('b')]);
  const { sealer } = await openSealer(bench.deps, bench.log);
  await sealRound(bench.deps, sealer);
  // Whoever owns the data node writes another history, and derives all that he can: everything but signatures.
  const forged = makeBench();
  await forged.log.append([record('another a'), record('b')]);
  await sealRound(forged.deps, (await openSealer(forged.deps, forged.log)).sealer);
  const deps = { ...forged.deps, signer: bench.deps.signer };
  const { breaks } = await openSealer(deps, forged.log);
  assert.match(breaks[0].reason, /of size 2 and root .* was signed, but the log now gives/);
  // And he asks the signer himself.
  const origin = 'test.invalid/audit/0';
  const head = forged.heads.published[0].head;
  for (const after of [await bench.deps.signer.last(origin), { size: 2n, root: head.root }, null]) {
    const [answer] = await bench.deps.signer.sign([{ origin, size: 3n, root: head.root, after, proof: [] }]);
    assert.equal(answer.ok, false);
  }
});
