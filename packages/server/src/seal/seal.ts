/**
 * Sealing: appends each record's leaf to the tree of its partition and signs tree heads (design §4).
 *
 * One round of a log, and what exists if the process dies at each step:
 *
 *   1 read leaves beyond the stored head      nothing
 *   2 tiles and chain durable                 hashes beyond the stored head: never trusted, written again alike
 *   3 signer checks the proof, remembers,     a remembered head above the stored one: the next start derives the
 *                                             same head from the log again (`openSealer`), or names a break
 *   4 heads stored, if the predecessor is     published: readers see them from here on
 *     still the stored one
 *
 * A break (what is stored contradicts what was signed) is never repaired here: the partition stops until an
 * operator has recorded seal.recovery.
 */

import { equalBytes, toBase64 } from '@evident/core/bytes.ts';
import { chainStart } from '@evident/core/chain.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { epochOrigin, treeOrigin } from '@evident/core/origin.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import type { Log } from '../log/log.ts';
import type {
  HeadMove,
  HeadSigner,
  HeadStore,
  LeafReader,
  SignedHead,
  SignRequest,
  StoredHead,
  TileStore,
} from './ports.ts';
import { type Growth, growTree, loadTree, proveGrowth, type TreeState } from './tree-state.ts';

/** Leaves of one partition in one round: 2 MiB of hashes, and a head at least every so often under load. */
export const ROUND_LEAVES_MAX = 65_536;

export interface SealDeps {
  /** Name of the installation: the first part of every origin. */
  readonly name: string;
  readonly leaves: LeafReader;
  readonly tiles: TileStore;
  readonly heads: HeadStore;
  readonly signer: HeadSigner;
}

/** What is stored contradicts what was signed. */
export interface SealBreak {
  readonly log: string;
  readonly partition: number;
  readonly reason: string;
}

export interface SealedHead {
  readonly log: string;
  readonly partition: number;
  readonly origin: string;
  readonly size: bigint;
  readonly root: Uint8Array;
}

export interface RoundResult {
  readonly sealed: readonly SealedHead[];
  readonly leaves: number;
  readonly breaks: readonly SealBreak[];
  /** Leaves are waiting beyond what this round took. */
  readonly more: boolean;
}

/** The sealer of one log: the trees it holds. Partitions that are stopped, or broke, have none. */
export interface Sealer {
  readonly log: Log;
  readonly trees: (TreeState | null)[];
}

/**
 * Loads the trees of a log and holds each against the signer's memory, before anything is appended to them.
 */
export async function openSealer(deps: SealDeps, log: Log): Promise<{ sealer: Sealer; breaks: SealBreak[] }> {
  const stored = await deps.heads.load(log.name, chainStarts(deps, log));
  const heads = await log.heads();
  const sealer: Sealer = { log, trees: stored.map(() => null) };
  const breaks: SealBreak[] = [];
  for (const [partition, head] of stored.entries()) {
    if (heads[partition].stopped !== null) continue;
    const opened = await openTree(deps, log, partition, head);
    if (typeof opened === 'string') await noteBreak(deps, sealer, breaks, partition, opened);
    else sealer.trees[partition] = opened;
  }
  return { sealer, breaks };
}

/** @returns the tree, or why it is broken */
async function openTree(
  deps: SealDeps,
  log: Log,
  partition: number,
  head: StoredHead,
): Promise<TreeState | string> {
  const state = await loadTree(deps.tiles, log.name, partition, head);
  if (state === null) return `the tiles do not give the root of the stored head of size ${head.size}`;
  const last = await deps.signer.last(epochOrigin(deps.name, log.name, partition, head.epoch));
  // Read in the order stored, signed, log: each is at or beyond the one before it, whoever seals beside us.
  const { next } = await log.head(partition);
  if (next < head.size) return `the log ends at position ${next}, but ${head.size} positions are sealed`;
  if (last === null) {
    return head.size === 0n ? state : `the signer remembers no head, but one of size ${head.size} is stored`;
  }
  if (last.size < head.size)
    return `the signer remembers size ${last.size} only, but a head of size ${head.size} is stored`;
  return (
    (await contradictsSigner(deps, log, state, last, next)) ??
    (await contradictsLastLeaf(log, state)) ?? { ...state, signed: last }
  );
}

/**
 * A head that the signer remembers above the stored one was signed just before a crash, or the database is an
 * older copy. The log tells: from its bytes the same root must follow at that size.
 */
async function contradictsSigner(
  deps: SealDeps,
  log: Log,
  state: TreeState,
  last: { size: bigint; root: Uint8Array },
  next: bigint,
): Promise<string | undefined> {
  const signed = `a head of size ${last.size} and root ${toBase64(last.root)} was signed`;
  if (next < last.size) return `${signed}, but the log ends at position ${next}: it is an older copy`;
  const range = state.range.clone();
  while (range.size < last.size) {
    const wanted = Number(minimum(last.size - range.size, BigInt(ROUND_LEAVES_MAX)));
    const run = await deps.leaves.readLeafHashes(log.name, state.partition, range.size, wanted);
    if (run.holeAt !== null) return `${signed}, but position ${run.holeAt} is missing`;
    if (run.hashes.length === 0) return `${signed}, but the log ends at position ${range.size}`;
    range.appendMany(run.hashes.subarray(0, wanted * HASH_BYTES));
  }
  return equalBytes(range.root(), last.root)
    ? undefined
    : `${signed}, but the log now gives ${toBase64(range.root())}`;
}

/** Records that were appended where sealed ones were lost differ from them: the last one tells. */
async function contradictsLastLeaf(log: Log, state: TreeState): Promise<string | undefined> {
  const last = state.head.size - 1n;
  if (last < 0n) return undefined;
  const [record] = await log.read(state.partition, last, 1);
  // Not there: trimmed, lost and recovered, or taken away, which is for verify to find.
  if (record?.position !== last || equalBytes(hashLeaf(leafOf(record)), state.lastLeaf)) return undefined;
  return `position ${last} holds another record than the one that was sealed: the database is an older copy, written on`;
}

function minimum(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

async function noteBreak(
  deps: SealDeps,
  sealer: Sealer,
  breaks: SealBreak[],
  partition: number,
  reason: string,
): Promise<void> {
  // If this fails, the tree stays, and the next round finds the break again.
  await deps.heads.stop(sealer.log.name, partition, reason);
  sealer.trees[partition] = null;
  breaks.push({ log: sealer.log.name, partition, reason });
}

/**
 * One round over all partitions of a log. A failure of a store throws and changes nothing in memory: the next
 * round begins again at the stored heads.
 */
export async function sealRound(deps: SealDeps, sealer: Sealer): Promise<RoundResult> {
  const breaks: SealBreak[] = [];
  const growths: Growth[] = [];
  let more = false;
  for (const head of await sealer.log.heads()) {
    const tree = sealer.trees[head.partition];
    if (tree === null) continue;
    if (head.stopped !== null) {
      // Stopped by another sealer, or by us when the answer was lost.
      sealer.trees[head.partition] = null;
      breaks.push({ log: sealer.log.name, partition: head.partition, reason: head.stopped });
    } else if (head.next < tree.head.size) {
      const reason = `the log ends at position ${head.next}, but ${tree.head.size} positions are sealed: it is an older copy`;
      await noteBreak(deps, sealer, breaks, head.partition, reason);
    } else if (head.next > tree.head.size) {
      const growth = await readGrowth(deps, sealer.log, tree);
      if (typeof growth === 'string') await noteBreak(deps, sealer, breaks, head.partition, growth);
      else growths.push(growth);
      more ||= typeof growth !== 'string' && growth.state.head.size < head.next;
    }
  }
  const sealed = await publish(deps, sealer, growths, breaks);
  const leaves = growths.reduce((sum, { tiles }) => sum + tiles.leaves.hashes.length / HASH_BYTES, 0);
  return { sealed, leaves, breaks, more };
}

/**
 * A head that was signed and not stored, because we died in between, lies above the stored one: what is sealed now
 * must give it at its size. Opening the tree has looked already; an older copy may have been put back since.
 */
function contradictsSigned({ signed, head, range }: TreeState, hashes: Uint8Array): string | undefined {
  if (signed === null || signed.size <= head.size) return undefined;
  const count = Number(signed.size - head.size) * HASH_BYTES;
  if (hashes.length < count) return `a head of size ${signed.size} was signed, but the log ends before it`;
  const upTo = range.clone();
  upTo.appendMany(hashes.subarray(0, count));
  if (equalBytes(upTo.root(), signed.root)) return undefined;
  return `a head of size ${signed.size} was signed, but the log now gives another root: the database is an older copy, written on`;
}

async function readGrowth(deps: SealDeps, log: Log, tree: TreeState): Promise<Growth | string> {
  // At least to the size that was signed already: the signer would refuse a smaller one.
  const wanted = Math.max(ROUND_LEAVES_MAX, Number((tree.signed?.size ?? 0n) - tree.head.size));
  const contradiction = await contradictsLastLeaf(log, tree);
  if (contradiction !== undefined) return contradiction;
  const run = await deps.leaves.readLeafHashes(tree.log, tree.partition, tree.head.size, wanted);
  if (run.holeAt !== null) return `position ${run.holeAt} is missing from the log`;
  if (run.hashes.length === 0)
    return `the log's counter is beyond position ${tree.head.size}, but there is no record`;
  return contradictsSigned(tree, run.hashes) ?? growTree(tree, run.hashes);
}

async function publish(
  deps: SealDeps,
  sealer: Sealer,
  growths: Growth[],
  breaks: SealBreak[],
): Promise<SealedHead[]> {
  if (growths.length === 0) return [];
  await deps.tiles.write(growths.map(({ tiles }) => tiles));
  const signatures = await deps.signer.sign(
    await Promise.all(growths.map((growth) => signRequest(deps, treeBefore(sealer, growth).signed, growth))),
  );
  const moves: (HeadMove & { growth: Growth })[] = [];
  for (const [index, signature] of signatures.entries()) {
    const growth = growths[index];
    const { partition, head } = growth.state;
    const from = treeBefore(sealer, growths[index]).head;
    if (signature.ok) moves.push({ partition, from, to: head, note: signature.note, growth });
    else await noteBreakUnlessOvertaken(deps, sealer, breaks, partition, signature.reason);
  }
  const stored = await deps.heads.store(sealer.log.name, moves);
  for (const { partition, growth } of moves) {
    if (stored.has(partition)) sealer.trees[partition] = growth.state;
    else await reload(deps, sealer, breaks, partition);
  }
  return moves
    .filter(({ partition }) => stored.has(partition))
    .map(({ growth }) => headOf(deps, growth.state));
}

async function signRequest(
  deps: SealDeps,
  after: SignedHead | null,
  { state, nodes }: Growth,
): Promise<SignRequest> {
  const { origin, size, root } = headOf(deps, state);
  return { origin, size, root, after, proof: await proveGrowth(after, size, nodes) };
}

function treeBefore(sealer: Sealer, { state }: Growth): TreeState {
  return sealer.trees[state.partition] as TreeState;
}

function headOf(deps: SealDeps, { log, partition, head }: TreeState): SealedHead {
  return {
    log,
    partition,
    origin: epochOrigin(deps.name, log, partition, head.epoch),
    size: head.size,
    root: head.root,
  };
}

/**
 * The signer refuses as well when another sealer, or a round of ours that failed, has signed meanwhile: then what
 * it remembers now has just been held against the log, and the next round goes on. If nothing has moved, it is a break.
 */
async function noteBreakUnlessOvertaken(
  deps: SealDeps,
  sealer: Sealer,
  breaks: SealBreak[],
  partition: number,
  reason: string,
): Promise<void> {
  const before = sealer.trees[partition] as TreeState;
  await reload(deps, sealer, breaks, partition);
  const now = sealer.trees[partition];
  const moved = now === null || now.head.size > before.head.size || now.signed?.size !== before.signed?.size;
  if (!moved) await noteBreak(deps, sealer, breaks, partition, reason);
}

/**
 * Looks at the stored heads of trees that have no news: a round would not come by them. An older copy of the database
 * that lacks nothing but their last heads would be noticed with the next record only, and until then whoever waits for
 * a stored head, as relays do that empty an outbox, would wait.
 * @returns the partitions whose stored head went back: they are stopped
 */
export async function checkStored(deps: SealDeps, sealer: Sealer): Promise<SealBreak[]> {
  const breaks: SealBreak[] = [];
  const stored = await deps.heads.load(sealer.log.name, chainStarts(deps, sealer.log));
  for (const [partition, tree] of sealer.trees.entries())
    if (tree !== null && isBelow(stored[partition], tree.head)) await reload(deps, sealer, breaks, partition);
  return breaks;
}

function isBelow(stored: StoredHead, known: StoredHead): boolean {
  return stored.epoch === known.epoch ? stored.size < known.size : stored.epoch < known.epoch;
}

function chainStarts(deps: SealDeps, { name, partitions }: Log): Uint8Array[] {
  return Array.from({ length: partitions }, (_, index) => chainStart(treeOrigin(deps.name, name, index)));
}

/** Another sealer stored a head first: go on from there. A stored head below ours is an older copy put back. */
async function reload(deps: SealDeps, sealer: Sealer, breaks: SealBreak[], partition: number): Promise<void> {
  const { log } = sealer;
  const before = sealer.trees[partition] as TreeState;
  const head = (await deps.heads.load(log.name, chainStarts(deps, log)))[partition];
  if (isBelow(head, before.head)) {
    await noteBreak(
      deps,
      sealer,
      breaks,
      partition,
      `the stored head went back from size ${before.head.size} to ${head.size}: the database is an older copy`,
    );
    return;
  }
  const opened = await openTree(deps, log, partition, head);
  if (typeof opened === 'string') await noteBreak(deps, sealer, breaks, partition, opened);
  else sealer.trees[partition] = opened;
}
