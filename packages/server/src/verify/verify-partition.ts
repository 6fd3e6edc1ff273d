/**
 * Verifies one partition: every leaf derived from the record's bytes again, every tree head, tile and chain value
 * held against them. Memory is flat: one run of records, its hashes, and the right edge of the tree.
 */

import { chainStart } from '@evident/core/chain.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import { checkObjects } from './check-objects.ts';
import type { Findings } from './finding.ts';
import {
  type LostRange,
  type PartitionDeps,
  PartitionNotes,
  type PartitionReport,
  type PartitionScope,
} from './partition-scope.ts';
import type { RecordRun } from './ports.ts';
import { readSafely } from './read-safely.ts';
import { fillDerived, presence } from './run-leaves.ts';
import { SignedHeads } from './signed-heads.ts';
import { StoredTiles } from './stored-tiles.ts';
import { TreeCheck } from './tree-check.ts';

/** Positions of one run: 1 MiB of hashes. */
const RUN_POSITIONS = 32_768;

export async function verifyPartition(
  deps: PartitionDeps,
  scope: PartitionScope,
  findings: Findings,
  onProgress: (positions: number) => void,
): Promise<PartitionReport> {
  const check = new PartitionCheck(deps, scope, findings);
  const end = scope.counter.next > scope.sealed ? scope.counter.next : scope.sealed;
  for (let from = 0n; from < end; ) {
    const to = from + BigInt(RUN_POSITIONS) < end ? from + BigInt(RUN_POSITIONS) : end;
    await check.run(from, to);
    onProgress(Number(to - from));
    from = to;
  }
  await check.finish();
  return check.report();
}

class PartitionCheck {
  readonly #deps: PartitionDeps;
  readonly #scope: PartitionScope;
  readonly #notes: PartitionNotes;
  readonly #tree: TreeCheck;
  readonly #tiles: StoredTiles;
  readonly #heads: SignedHeads;
  #records = 0;
  #objects = 0;

  constructor(deps: PartitionDeps, scope: PartitionScope, findings: Findings) {
    this.#deps = deps;
    this.#scope = scope;
    this.#notes = new PartitionNotes(scope, findings);
    this.#tree = new TreeCheck(chainStart(scope.origin));
    this.#tiles = new StoredTiles(deps.tiles, scope, this.#notes, this.#tree);
    this.#heads = new SignedHeads(deps, scope, this.#notes, this.#tree);
  }

  finish(): Promise<void> {
    return this.#heads.finish();
  }

  report(): PartitionReport {
    const { log, partition, sealed } = this.#scope;
    return {
      log,
      partition,
      sealed,
      records: this.#records,
      heads: this.#heads.count,
      objects: this.#objects,
    };
  }

  async run(from: bigint, to: bigint): Promise<void> {
    const { log, partition, sealed } = this.#scope;
    const { run, unreadable } = await readSafely(this.#deps.records, log, partition, from, to);
    for (const range of unreadable)
      this.#notes.note(
        'not checked',
        'storage',
        range.from,
        range.to,
        `the log can't be read: ${range.reason}`,
      );
    this.#records += run.positions.length;
    for (const fault of run.faults) {
      this.#notes.note(
        'tampered',
        fault.check,
        BigInt(fault.position),
        BigInt(fault.position) + 1n,
        fault.detail,
      );
    }
    this.#objects += await checkObjects(this.#deps.objects, run.objects, (verdict, position, detail) =>
      this.#notes.note(verdict, 'object', position, position + 1n, detail),
    );
    const until = to < sealed ? to : sealed;
    const present = presence(run, from, to);
    const excused = (position: bigint) =>
      unreadable.some((range) => position >= range.from && position < range.to) ||
      this.#lostAt(position) !== undefined;
    this.#noteHolesBeyondSeal(present, from, to, excused);
    if (until > from) await this.#sealedPart(run, present, from, until, excused);
  }

  /** Positions between the newest head and the counter: not sealed yet, but nobody leaves a hole there. */
  #noteHolesBeyondSeal(
    present: Int32Array,
    from: bigint,
    to: bigint,
    excused: (position: bigint) => boolean,
  ): void {
    const start = from > this.#scope.sealed ? from : this.#scope.sealed;
    for (let position = start; position < to; position++) {
      if (present[Number(position - from)] >= 0 || excused(position)) continue;
      this.#notes.note(
        'tampered',
        'record-missing',
        position,
        position + 1n,
        'the counter has passed this position, but there is no record',
      );
    }
  }

  async #sealedPart(
    run: RecordRun,
    present: Int32Array,
    from: bigint,
    until: bigint,
    excused: (position: bigint) => boolean,
  ): Promise<void> {
    const count = Number(until - from);
    const tiles = await this.#tiles.readLeaves(from, count);
    const derived = fillDerived(run, present, count, tiles, (index) => excused(from + BigInt(index)));
    for (const range of this.#scope.lost) {
      const start = range.from > from ? range.from : from;
      const end = range.to < until ? range.to : until;
      if (start < end)
        this.#notes.note('not checked', 'lost', start, end, `lost, recovery ${range.recovery}`);
    }
    for (let at = from; at < until; ) {
      const head = await this.#heads.next();
      const end = head !== null && head.size <= until ? head.size : until;
      if (end > at) {
        const slice = (hashes: Uint8Array) =>
          hashes.subarray(Number(at - from) * HASH_BYTES, Number(end - from) * HASH_BYTES);
        await this.#stretch(
          at,
          slice(derived),
          tiles === null ? null : slice(tiles),
          present.subarray(Number(at - from), Number(end - from)),
        );
      }
      if (head !== null && head.size === end) this.#heads.decide(head);
      at = end;
    }
  }

  async #stretch(
    at: bigint,
    derived: Uint8Array,
    tiles: Uint8Array | null,
    present: Int32Array,
  ): Promise<void> {
    const grown = this.#tree.append(derived, tiles);
    if (tiles !== null && Buffer.compare(derived, tiles) !== 0)
      this.#tiles.noteDifferences(at, derived, tiles, present);
    for (const one of grown) {
      await this.#tiles.checkNodes(one);
      await this.#tiles.checkChain(at, one);
    }
  }

  #lostAt(position: bigint): LostRange | undefined {
    return this.#scope.lost.find(({ from, to }) => position >= from && position < to);
  }
}
