/** In which head evidence ends that is to have its anchors. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { topHead } from './anchoring.ts';
import { headersOfPlanned, plannedOfHeaders } from './planned-headers.ts';
import type { AnchorCounts, EvidenceDeps, SignedTreeHead } from './ports.ts';

const NEWEST = 100n;
const headOf = (size: bigint): SignedTreeHead => ({
  epoch: 0,
  size,
  root: new Uint8Array(32),
  note: new Uint8Array(0),
});

/** Heads of every size, of which these have anchors: [timestamps, cosignatures]. */
function depsOf(
  anchored: Readonly<Record<number, readonly [number, number]>>,
  wantedAnchors: AnchorCounts,
): Pick<EvidenceDeps, 'heads' | 'newestAnchored' | 'wantedAnchors'> {
  const found = Object.entries(anchored).map(([size, counts]) => ({ size: BigInt(size), counts }));
  return {
    wantedAnchors,
    heads: {
      newest: async () => headOf(NEWEST),
      at: async (_log, _partition, _epoch, size) => headOf(size),
      listed: async () => null,
    },
    newestAnchored: async (_epoch, { timestamps, cosignatures }) =>
      found.findLast(({ counts }) => counts[0] >= timestamps && counts[1] >= cosignatures)?.size ?? null,
  };
}

describe('a head that is asked for with its anchors', () => {
  const both = { timestamps: 1, cosignatures: 2 };
  for (const [what, anchored, wanted, size, lacks] of [
    [
      'has all that is wanted, though a newer one has a token',
      { 30: [1, 2], 40: [1, 1], 50: [1, 0] },
      both,
      30n,
      [],
    ],
    ['has a token if none has both', { 40: [1, 1], 50: [0, 2] }, both, 40n, ['cosignature']],
    ['has the quorum if none has a token', { 40: [0, 2], 50: [0, 1] }, both, 40n, ['timestamp']],
    ['has one cosignature if that is all', { 40: [0, 1] }, both, 40n, ['timestamp', 'cosignature']],
    [
      'need have no cosignature that nobody wants',
      { 40: [1, 1], 50: [1, 0] },
      { timestamps: 1, cosignatures: 0 },
      50n,
      [],
    ],
    [
      'has both if nothing is configured any more',
      { 40: [1, 1], 50: [1, 0] },
      { timestamps: 0, cosignatures: 0 },
      40n,
      [],
    ],
    [
      'has what there is if nothing is configured',
      { 50: [0, 1] },
      { timestamps: 0, cosignatures: 0 },
      50n,
      [],
    ],
  ] as const)
    it(what, async () => {
      const found = await topHead(depsOf(anchored, wanted), 'with-anchor');
      assert.deepEqual([found.top.size, found.lacks], [size, lacks]);
      const told = { headSize: size, newer: 7, lacks };
      assert.deepEqual(plannedOfHeaders(new Headers(headersOfPlanned(told))), told);
    });

  it('is not there while nobody vouches, and a head that is not so asked for lacks nothing', async () => {
    const deps = depsOf({}, both);
    await assert.rejects(topHead(deps, 'with-anchor'), { code: 'not-anchored' });
    assert.deepEqual(await topHead(deps, null), { top: headOf(NEWEST), lacks: [] });
    assert.deepEqual(await topHead(deps, 7n), { top: headOf(7n), lacks: [] });
    assert.equal(plannedOfHeaders(new Headers()), null);
  });
});
