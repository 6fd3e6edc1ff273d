/**
 * Anchoring: a head of a partition stands in heads/0, so one signed head of heads/0 covers every partition of every log
 * (design §5). Foreign tools check each proof alone; that the two belong together is what `evident check` adds.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { leafAt, proveLeaf } from './inclusion.ts';
import {
  type AnchorCounts,
  type EvidenceDeps,
  HEADS_LOG,
  type HeadAnchor,
  type ListedHead,
  type SignedTreeHead,
} from './ports.ts';

/** A partition's head as a head of heads/0 covers it. */
export interface Anchoring {
  readonly head: ListedHead;
  /** The leaf of the record that lists it. */
  readonly leaf: Uint8Array;
  /** Its C2SP tlog-proof in heads/0. */
  readonly proof: Uint8Array;
}

type TopDeps = Pick<EvidenceDeps, 'heads' | 'newestAnchored' | 'wantedAnchors'>;

/** The head that evidence ends in. */
export interface TopHead {
  readonly top: SignedTreeHead;
  /** Of a head that was asked for with its anchors: the kinds that the configuration wants and it hasn't (enough of). */
  readonly lacks: readonly HeadAnchor['kind'][];
}

/**
 * The head of heads/0 that evidence ends in.
 * @param wanted its size, or the newest that those vouch for whom the configuration names; null: the newest
 * @throws not-anchored before the first, not-found when none of this size is stored
 */
export async function topHead(deps: TopDeps, wanted: bigint | 'with-anchor' | null): Promise<TopHead> {
  const newest = await deps.heads.newest(HEADS_LOG, 0, null);
  if (newest === null || newest.size === 0n)
    throw new EvidentError('not-anchored', 'the log heads has no signed head yet');
  if (wanted === null) return { top: newest, lacks: [] };
  if (wanted !== 'with-anchor') return { top: await headOfSize(deps, newest, wanted), lacks: [] };
  const { size, lacks } = await bestAnchored(deps, newest.epoch);
  return { top: await headOfSize(deps, newest, size), lacks };
}

/**
 * The newest head with every kind of anchor that is wanted; if there is none, with a token, which comes rarely; else with
 * cosignatures.
 */
async function bestAnchored(
  { newestAnchored, wantedAnchors }: TopDeps,
  epoch: number,
): Promise<{ readonly size: bigint; readonly lacks: TopHead['lacks'] }> {
  const { timestamps, cosignatures } = wantedAnchors;
  // Where nothing is configured, or no more, there may be anchors of earlier times.
  const every = timestamps + cosignatures > 0 ? wantedAnchors : { timestamps: 1, cosignatures: 1 };
  const noToken = timestamps > 0 ? (['timestamp'] as const) : [];
  const noCosignature = cosignatures > 0 ? (['cosignature'] as const) : [];
  const steps: readonly (readonly [atLeast: AnchorCounts, lacks: TopHead['lacks']])[] = [
    [every, []],
    [{ timestamps: 1, cosignatures: 0 }, noCosignature],
    [{ timestamps: 0, cosignatures: Math.max(1, cosignatures) }, noToken],
    [{ timestamps: 0, cosignatures: 1 }, [...noToken, ...noCosignature]],
  ];
  for (const [atLeast, lacks] of steps) {
    const size = await newestAnchored(epoch, atLeast);
    if (size !== null) return { size, lacks };
  }
  throw new EvidentError(
    'not-anchored',
    `no authority and no witness vouches for a head of ${HEADS_LOG}/0 yet`,
  );
}

/** @throws not-found */
async function headOfSize({ heads }: TopDeps, newest: SignedTreeHead, size: bigint): Promise<SignedTreeHead> {
  if (size === newest.size) return newest;
  const found = size > newest.size ? null : await heads.at(HEADS_LOG, 0, newest.epoch, size);
  if (found === null)
    throw new EvidentError(
      'not-found',
      `head: no signed head of ${HEADS_LOG}/0 has the size ${size}; the newest has ${newest.size}`,
      { context: { field: 'head' } },
    );
  return found;
}

/** The newest head of a partition that `top` covers, with its proof; null: it covers none. @throws evidence-broken */
export async function anchoringOf(
  deps: EvidenceDeps,
  log: string,
  partition: number,
  top: SignedTreeHead,
): Promise<Anchoring | null> {
  const head = await deps.heads.listed(log, partition, top.size);
  return head === null ? null : proveListed(deps, head, top);
}

/** The proof that a head is listed where it says. @throws evidence-broken */
export async function proveListed(
  deps: EvidenceDeps,
  head: ListedHead,
  top: SignedTreeHead,
): Promise<Anchoring> {
  const leaf = await leafAt(deps, HEADS_LOG, 0, head.position);
  const tree = { log: HEADS_LOG, partition: 0, epoch: top.epoch };
  return { head, leaf, proof: await proveLeaf(deps, tree, top, head.position, leaf) };
}
