/**
 * Recovery after a break, on an operator's word (design §4 Seal). Sealed positions are never used again: the
 * counter goes on behind them. Positions whose record is gone keep their leaf hash and verify as lost; records
 * that were appended at sealed positions move behind them.
 *
 * If the leaf hashes behind the last signed head are known (tiles, or the log itself), the tree goes on from it.
 * If they are not (the tiles were rolled back too), a new tree begins under a new origin, in which each lost
 * position has a leaf that names the recovery; nothing ever contradicts what was signed under the old one.
 */

import { encodeUtf8, equalBytes, toBase64 } from '@evident/core/bytes.ts';
import { chainStart } from '@evident/core/chain.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { HashReader } from '@evident/core/merkle/proof.ts';
import { CompactRange, emptyRoot, HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { epochOrigin, treeOrigin } from '@evident/core/origin.ts';
import type { Log } from '../log/log.ts';
import { type HeadSigner, type HeadStore, type StoredHead, type TileStore, tileLog } from './ports.ts';
import { growTree, proveGrowth, readTree, type TreeState } from './tree-state.ts';

const RUN = 32_768;
/** Most records that recovery moves: they were appended between a restore and its discovery. */
const MISPLACED_MAX = 100_000;
/** Trees that a partition may begin beyond the stored one. */
const EPOCHS_MAX = 1_000;

export interface LostRange {
  readonly from: bigint;
  readonly to: bigint;
}

export interface Recovery {
  readonly id: string;
  readonly epoch: number;
  readonly head: StoredHead;
  readonly note: Uint8Array | null;
  /** Where the record seal.recovery stands. */
  readonly position: bigint;
  readonly body: Uint8Array;
  readonly misplaced: readonly bigint[];
  readonly lost: readonly LostRange[];
}

export interface RecoverDeps {
  readonly name: string;
  readonly tiles: TileStore;
  readonly heads: HeadStore;
  readonly signer: HeadSigner;
  /** Leaf hashes of what is there: null where there is no record. */
  readonly readPresent: (
    log: string,
    partition: number,
    from: bigint,
    to: bigint,
  ) => Promise<(Uint8Array | null)[]>;
  /** Carries a recovery out, in one transaction. */
  readonly commit: (log: string, partition: number, recovery: Recovery) => Promise<void>;
  readonly newId: () => string;
}

/**
 * Recovers a stopped partition.
 * @param reason the operator's, recorded
 * @throws usage-invalid when the partition is not stopped
 */
export async function recoverPartition(
  deps: RecoverDeps,
  log: Log,
  partition: number,
  reason: string,
): Promise<Recovery> {
  const counter = await log.head(partition);
  if (counter.stopped === null)
    throw new EvidentError(
      'usage-invalid',
      `${log.name}/${partition} is not stopped: there is nothing to recover`,
    );
  const starts = Array.from({ length: log.partitions }, (_, index) =>
    chainStart(treeOrigin(deps.name, log.name, index)),
  );
  const stored = (await deps.heads.load(log.name, starts))[partition];
  const origin = epochOrigin(deps.name, log.name, partition, stored.epoch);
  const last = await deps.signer.last(origin);
  const signed = last !== null && last.size >= stored.size ? last : { size: stored.size, root: stored.root };
  const later = await laterTree(deps, log.name, partition, stored.epoch);
  // A tree that began after this one, and that the database has forgotten, ended this one.
  const tree =
    later.size > 0n ? null : await rebuild(deps, log.name, partition, stored.epoch, origin, signed);
  const end = largest(counter.next, signed.size, later.size);
  const found = await findMisplaced(deps, log.name, partition, stored, signed.size, end, tree !== null);
  const recovery = await plan(deps, {
    log: log.name,
    partition,
    stored,
    signed,
    tree,
    nextEpoch: later.nextEpoch,
    end,
    found,
    reason,
    why: counter.stopped,
  });
  await deps.commit(log.name, partition, recovery);
  return recovery;
}

/** What the signer remembers of trees that began after one: the size of the newest, and the first epoch that is free. */
async function laterTree(
  deps: RecoverDeps,
  log: string,
  partition: number,
  epoch: number,
): Promise<{ size: bigint; nextEpoch: number }> {
  let size = 0n;
  for (let next = epoch + 1; next <= epoch + EPOCHS_MAX; next++) {
    const last = await deps.signer.last(epochOrigin(deps.name, log, partition, next));
    // One that is remembered empty is the beginning of a recovery that never ended.
    if (last === null || last.size === 0n) return { size, nextEpoch: next };
    size = last.size;
  }
  throw new EvidentError('seal-break', `${log}/${partition} has begun anew more than ${EPOCHS_MAX} times`);
}

function largest(...values: readonly bigint[]): bigint {
  return values.reduce((most, value) => (value > most ? value : most));
}

/** The tree at the last signed head, from the tiles or else from the log; null when neither gives its root. */
async function rebuild(
  deps: RecoverDeps,
  log: string,
  partition: number,
  epoch: number,
  origin: string,
  signed: { size: bigint; root: Uint8Array },
): Promise<TreeState | null> {
  for (const prefer of ['tiles', 'records'] as const) {
    let state: TreeState = emptyState(log, partition, epoch, origin);
    let whole = true;
    for (let from = 0n; from < signed.size && whole; ) {
      const to = from + BigInt(RUN) < signed.size ? from + BigInt(RUN) : signed.size;
      const hashes = await leafHashes(deps, log, partition, epoch, from, to, prefer);
      if (hashes === null) whole = false;
      else state = growTree(state, hashes).state;
      from = to;
    }
    if (!whole || !equalBytes(state.head.root, signed.root)) continue;
    await rewriteTiles(deps, log, partition, epoch, origin, signed.size, prefer);
    return state;
  }
  return null;
}

function emptyState(log: string, partition: number, epoch: number, origin: string): TreeState {
  const head = { epoch, size: 0n, root: emptyRoot(), chain: chainStart(origin), edge: new Uint8Array(0) };
  return { log, partition, head, range: new CompactRange(), signed: null, lastLeaf: new Uint8Array(0) };
}

/** Makes every tile below the head what the leaves give: an upper tile, or the chain, may be what broke. */
async function rewriteTiles(
  deps: RecoverDeps,
  log: string,
  partition: number,
  epoch: number,
  origin: string,
  size: bigint,
  prefer: 'tiles' | 'records',
): Promise<void> {
  let state = emptyState(log, partition, epoch, origin);
  for (let from = 0n; from < size; ) {
    const to = from + BigInt(RUN) < size ? from + BigInt(RUN) : size;
    const growth = growTree(
      state,
      (await leafHashes(deps, log, partition, epoch, from, to, prefer)) as Uint8Array,
    );
    await deps.tiles.write([growth.tiles]);
    state = growth.state;
    from = to;
  }
}

async function leafHashes(
  deps: RecoverDeps,
  log: string,
  partition: number,
  epoch: number,
  from: bigint,
  to: bigint,
  prefer: 'tiles' | 'records',
): Promise<Uint8Array | null> {
  const count = Number(to - from);
  if (prefer === 'tiles') return deps.tiles.read(tileLog(log, epoch), partition, 0, from, count);
  const present = await deps.readPresent(log, partition, from, to);
  const hashes = new Uint8Array(count * HASH_BYTES);
  for (const [index, hash] of present.entries()) {
    // A record that is gone: its leaf hash may still stand in the tile.
    const known = hash ?? (await deps.tiles.read(tileLog(log, epoch), partition, 0, from + BigInt(index), 1));
    if (known === null) return null;
    hashes.set(known, index * HASH_BYTES);
  }
  return hashes;
}

interface Found {
  readonly misplaced: bigint[];
  readonly lost: LostRange[];
}

/**
 * Looks at the positions from the stored head on. Below it nothing is touched: a record there that differs from
 * its leaf was changed, and verification goes on saying so.
 */
async function findMisplaced(
  deps: RecoverDeps,
  log: string,
  partition: number,
  stored: StoredHead,
  size: bigint,
  end: bigint,
  known: boolean,
): Promise<Found> {
  const misplaced: bigint[] = [];
  const gone: bigint[] = [];
  for (let from = stored.size; from < end; ) {
    const to = from + BigInt(RUN) < end ? from + BigInt(RUN) : end;
    const present = await deps.readPresent(log, partition, from, to);
    const sealed = size < to ? size : to;
    const tiles =
      known && sealed > from
        ? await deps.tiles.read(tileLog(log, stored.epoch), partition, 0, from, Number(sealed - from))
        : null;
    for (const [index, hash] of present.entries()) {
      const position = from + BigInt(index);
      const tile =
        tiles === null || position >= size
          ? null
          : tiles.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
      if (hash === null) gone.push(position);
      else if (tile !== null && !equalBytes(hash, tile)) {
        misplaced.push(position);
        gone.push(position);
      }
    }
    from = to;
  }
  if (misplaced.length > MISPLACED_MAX) {
    throw new EvidentError(
      'seal-break',
      `${misplaced.length} records stand at sealed positions; recovery moves at most ${MISPLACED_MAX}`,
    );
  }
  return { misplaced, lost: ranges(gone) };
}

function ranges(positions: readonly bigint[]): LostRange[] {
  const found: { from: bigint; to: bigint }[] = [];
  for (const position of positions) {
    const last = found.at(-1);
    if (last !== undefined && last.to === position) last.to++;
    else found.push({ from: position, to: position + 1n });
  }
  return found;
}

interface PlanInput {
  readonly log: string;
  readonly partition: number;
  readonly stored: StoredHead;
  readonly signed: { size: bigint; root: Uint8Array };
  readonly tree: TreeState | null;
  readonly nextEpoch: number;
  readonly end: bigint;
  readonly found: Found;
  readonly reason: string;
  readonly why: string;
}

async function plan(deps: RecoverDeps, input: PlanInput): Promise<Recovery> {
  const { log, partition, stored, signed, tree, nextEpoch, end, found, reason, why } = input;
  const epoch = tree === null ? nextEpoch : stored.epoch;
  const origin = epochOrigin(deps.name, log, partition, epoch);
  const head = tree === null ? emptyState(log, partition, epoch, origin).head : tree.head;
  const id = deps.newId();
  const text = (range: LostRange) => ({ from: range.from.toString(), to: range.to.toString() });
  const body = encodeUtf8(
    JSON.stringify({
      reason,
      break: why,
      origin,
      signed: { size: signed.size.toString(), root: toBase64(signed.root) },
      stored: { size: stored.size.toString(), root: toBase64(stored.root) },
      lost: found.lost.map(text),
      moved: found.misplaced
        .slice(0, 1_000)
        .map((from, index) => ({ from: from.toString(), to: (end + 1n + BigInt(index)).toString() })),
      moved_count: found.misplaced.length,
    }),
  );
  let note: Uint8Array | null = null;
  if (tree !== null && head.size > 0n) {
    // The signer may remember less than is stored, after its memory was put back: it is shown that this grew from it.
    note = await sign(deps, origin, head, readTree(deps.tiles, log, partition, head));
  } else if (tree === null) {
    // The signer takes a tree of another origin from its beginning on only. Crash window: it remembers the empty
    // head, and the next recovery shows it the same one.
    await sign(deps, origin, head, async () => []);
  }
  return { id, epoch, head, note, position: end, body, misplaced: found.misplaced, lost: found.lost };
}

async function sign(
  deps: RecoverDeps,
  origin: string,
  { size, root }: StoredHead,
  nodes: HashReader,
): Promise<Uint8Array> {
  const after = await deps.signer.last(origin);
  const proof = after !== null && after.size > size ? [] : await proveGrowth(after, size, nodes);
  const [signature] = await deps.signer.sign([{ origin, size, root, after, proof }]);
  if (!signature.ok) throw new EvidentError('signer-refused', signature.reason);
  return signature.note;
}
