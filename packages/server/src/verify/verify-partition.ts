/**
 * Verifies one partition: every leaf derived from the record's bytes again, every tree head, tile and chain value
 * held against them. Memory is flat: one run of records, its hashes, and the right edge of the tree.
 */

import { chainStart } from '@evident/core/chain.ts';
import { openTreeHead } from '@evident/core/checkpoint.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import type { Verifier } from '@evident/core/note.ts';
import type { PartitionHead } from '../log/log.ts';
import { type TileStore, tileLog } from '../seal/ports.ts';
import { checkObjects } from './check-objects.ts';
import type { Check, Finding, Findings } from './finding.ts';
import type { HeadReader, HeadRow, ObjectReader, RecordReader, RecordRun } from './ports.ts';
import { readSafely } from './read-safely.ts';
import { type Grown, TreeCheck } from './tree-check.ts';

/** Positions of one run: 1 MiB of hashes. */
const RUN_POSITIONS = 32_768;
const HEADS_PAGE = 1_000;
/** Most findings that may wait for a head to decide. */
const PENDING_MAX = 1_000;
const CHAIN_EVERY = 256n;

/** Positions that were sealed and are gone, as a sealed record `seal.recovery` says. */
export interface LostRange {
  readonly from: bigint;
  readonly to: bigint;
  readonly recovery: string;
}

export interface PartitionDeps {
  readonly records: RecordReader;
  readonly tiles: TileStore;
  readonly heads: HeadReader;
  readonly objects: ObjectReader;
}

export interface PartitionScope {
  readonly log: string;
  readonly partition: number;
  readonly epoch: number;
  readonly origin: string;
  readonly verifier: Verifier;
  /** The counter when verification began: what came later is left for the next time. */
  readonly counter: PartitionHead;
  /** Size of the newest stored head when verification began. */
  readonly sealed: bigint;
  readonly lost: readonly LostRange[];
}

export interface PartitionReport {
  readonly log: string;
  readonly partition: number;
  readonly records: number;
  readonly sealed: bigint;
  readonly heads: number;
  readonly objects: number;
}

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
  readonly #findings: Findings;
  readonly #tree: TreeCheck;
  #heads: HeadRow[] = [];
  #headsRead = 0n;
  #headsEnded = false;
  #lastGood = 0n;
  #records = 0;
  #headCount = 0;
  #objects = 0;
  #lastHead: HeadRow | null = null;
  #undecided = false;

  constructor(deps: PartitionDeps, scope: PartitionScope, findings: Findings) {
    this.#deps = deps;
    this.#scope = scope;
    this.#findings = findings;
    this.#tree = new TreeCheck(chainStart(scope.origin));
  }

  report(): PartitionReport {
    const { log, partition, sealed } = this.#scope;
    return { log, partition, sealed, records: this.#records, heads: this.#headCount, objects: this.#objects };
  }

  async run(from: bigint, to: bigint): Promise<void> {
    const { log, partition, sealed } = this.#scope;
    const { run, unreadable } = await readSafely(this.#deps.records, log, partition, from, to);
    for (const range of unreadable)
      this.#note('not checked', 'storage', range.from, range.to, `the log can't be read: ${range.reason}`);
    this.#records += run.positions.length;
    for (const fault of run.faults) {
      this.#note('tampered', fault.check, BigInt(fault.position), BigInt(fault.position) + 1n, fault.detail);
    }
    this.#objects += await checkObjects(this.#deps.objects, run.objects, (verdict, position, detail) =>
      this.#note(verdict, 'object', position, position + 1n, detail),
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
      this.#note(
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
    const tiles = await this.#readTiles(from, count);
    const derived = fillDerived(run, present, count, tiles, (index) => excused(from + BigInt(index)));
    for (const range of this.#scope.lost) {
      const start = range.from > from ? range.from : from;
      const end = range.to < until ? range.to : until;
      if (start < end) this.#note('not checked', 'lost', start, end, `lost, recovery ${range.recovery}`);
    }
    for (let at = from; at < until; ) {
      const head = await this.#nextHead();
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
      if (head !== null && head.size === end) this.#decide(head);
      at = end;
    }
  }

  async #readTiles(from: bigint, count: number): Promise<Uint8Array | null> {
    const { log, partition } = this.#scope;
    try {
      const tiles = await this.#deps.tiles.read(tileLog(log, this.#scope.epoch), partition, 0, from, count);
      if (tiles === null)
        this.#note(
          'not checked',
          'tile',
          from,
          from + BigInt(count),
          'the tiles of these leaves are missing',
        );
      return tiles;
    } catch (error) {
      this.#note(
        'not checked',
        'storage',
        from,
        from + BigInt(count),
        `the tiles can't be read: ${(error as Error).message}`,
      );
      return null;
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
      this.#noteDifferences(at, derived, tiles, present);
    for (const one of grown) {
      await this.#checkNodes(one);
      await this.#checkChain(at, one);
    }
  }

  /** Where records and tiles differ: a finding about the tiles if the records are right, and the other way round. */
  #noteDifferences(at: bigint, derived: Uint8Array, tiles: Uint8Array, present: Int32Array): void {
    for (let index = 0; index < present.length; index++) {
      const start = index * HASH_BYTES;
      const here = derived.subarray(start, start + HASH_BYTES);
      if (Buffer.compare(here, tiles.subarray(start, start + HASH_BYTES)) === 0) continue;
      const position = at + BigInt(index);
      this.#pend(
        this.#tree.records.pending,
        'tile',
        position,
        'the tile holds another leaf hash than the record gives',
      );
      if (this.#tree.tiles === null) continue;
      if (present[index] < 0)
        this.#pend(
          this.#tree.tiles.pending,
          'record-missing',
          position,
          'a record was sealed here, and is gone',
        );
      else
        this.#pend(
          this.#tree.tiles.pending,
          'record',
          position,
          'the record is not the one that was sealed here',
        );
    }
  }

  async #checkNodes({ reading, nodes }: Grown): Promise<void> {
    const { log, partition } = this.#scope;
    for (const { level, index, hashes } of nodes) {
      const count = hashes.length / HASH_BYTES;
      const width = 1n << BigInt(8 * level);
      let stored: Uint8Array | null = null;
      let reason = 'a tile of this level is missing';
      try {
        stored = await this.#deps.tiles.read(tileLog(log, this.#scope.epoch), partition, level, index, count);
      } catch (error) {
        reason = `a tile of this level can't be read: ${(error as Error).message}`;
      }
      for (let i = 0; i < count; i++) {
        const at = (index + BigInt(i)) * width;
        const here = hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES);
        const finding = { from: at, to: at + width, level };
        if (stored === null) {
          this.#note('not checked', 'tile', at, at + width * BigInt(count), `level ${level}: ${reason}`);
          break;
        }
        if (Buffer.compare(stored.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES), here) !== 0) {
          this.#pend(
            reading.pending,
            'tile',
            finding.from,
            `level ${level}: the tile holds another hash than the leaves give`,
            finding.to,
          );
        }
      }
    }
  }

  async #checkChain(at: bigint, { reading, marks }: Grown): Promise<void> {
    const count = marks.length / HASH_BYTES;
    if (count === 0) return;
    const { log, partition } = this.#scope;
    const first = at / CHAIN_EVERY;
    let stored: Uint8Array | null = null;
    let reason = 'chain values are missing';
    try {
      stored = await this.#deps.tiles.readChain(tileLog(log, this.#scope.epoch), partition, first, count);
    } catch (error) {
      reason = `chain values can't be read: ${(error as Error).message}`;
    }
    if (stored === null) {
      this.#note('not checked', 'chain', first * CHAIN_EVERY, (first + BigInt(count)) * CHAIN_EVERY, reason);
      return;
    }
    for (let i = 0; i < count; i++) {
      const from = (first + BigInt(i)) * CHAIN_EVERY;
      if (
        Buffer.compare(
          stored.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
          marks.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
        ) !== 0
      ) {
        this.#pend(
          reading.pending,
          'chain',
          from,
          'the stored chain value is not the one that the leaves give',
          from + CHAIN_EVERY,
        );
      }
    }
  }

  #decide(head: HeadRow): void {
    this.#heads.shift();
    this.#headCount++;
    this.#lastHead = head;
    const { origin, verifier } = this.#scope;
    const opened = openTreeHead(head.note, [verifier], origin);
    if (!opened.ok) {
      this.#note('tampered', 'head-signature', null, null, `the head of size ${head.size}: ${opened.reason}`);
      return;
    }
    const signed = opened.value.head;
    if (signed.size !== head.size || Buffer.compare(signed.root, head.root) !== 0) {
      this.#note(
        'tampered',
        'head',
        null,
        null,
        `the row of the head of size ${head.size} says otherwise than its signed note, which has size ${signed.size}`,
      );
    }
    if (signed.size !== this.#tree.size) return;
    const decision = this.#tree.decide(signed.root);
    if (decision === null) {
      if (!this.#undecided) {
        this.#note(
          'tampered',
          'head',
          this.#lastGood,
          head.size,
          `neither the records nor the tiles give the root that was signed at size ${head.size}; the last head that they give has size ${this.#lastGood}`,
        );
      }
      this.#undecided = true;
      return;
    }
    this.#undecided = false;
    this.#lastGood = head.size;
    for (const finding of decision.findings) this.#findings.add(finding);
    if (Buffer.compare(this.#tree.records.chain, head.chain) !== 0) {
      this.#note(
        'tampered',
        'chain',
        null,
        null,
        `the chain value of the head of size ${head.size} is not the one that the leaves give`,
      );
    }
  }

  /** After the last position: what no head has decided, the stored right edge, and the head itself. */
  async finish(): Promise<void> {
    const { log, partition, sealed } = this.#scope;
    const pending = [...this.#tree.records.pending, ...(this.#tree.tiles?.pending ?? [])];
    if (pending.length > 0 && !this.#undecided) for (const finding of pending) this.#findings.add(finding);
    const seal = await this.#deps.heads.readSeal(log, partition);
    if (seal === null) {
      if (sealed > 0n)
        this.#note('not checked', 'head', null, null, 'the stored head that sealing goes on from is missing');
      return;
    }
    if (this.#lastHead === null || this.#lastHead.size < sealed) {
      if (sealed > 0n)
        this.#note(
          'not checked',
          'head',
          this.#lastHead?.size ?? 0n,
          sealed,
          `the signed head of size ${sealed} is missing`,
        );
      return;
    }
    if (seal.size !== sealed) return;
    const same =
      Buffer.compare(seal.root, this.#lastHead.root) === 0 &&
      Buffer.compare(seal.chain, this.#lastHead.chain) === 0;
    if (!same)
      this.#note(
        'tampered',
        'head',
        null,
        null,
        `the head that sealing goes on from is not the signed head of size ${sealed}`,
      );
    await this.#checkEdge(seal.edge, sealed);
  }

  async #checkEdge(edge: Uint8Array, size: bigint): Promise<void> {
    const width = Number(size % CHAIN_EVERY);
    const { log, partition } = this.#scope;
    const from = size - BigInt(width);
    const { run } = await readSafely(this.#deps.records, log, partition, from, size);
    const tiles =
      width === 0
        ? new Uint8Array(0)
        : await this.#deps.tiles
            .read(tileLog(log, this.#scope.epoch), partition, 0, from, width)
            .catch(() => null);
    const matches =
      Buffer.compare(edge, run.hashes) === 0 || (tiles !== null && Buffer.compare(edge, tiles) === 0);
    if (!matches)
      this.#note('tampered', 'tile', from, size, 'the stored right edge is not the one that the leaves give');
  }

  async #nextHead(): Promise<HeadRow | null> {
    if (this.#heads.length === 0 && !this.#headsEnded) {
      const { log, partition, epoch, sealed } = this.#scope;
      const page = await this.#deps.heads.readHeads(log, partition, epoch, this.#headsRead, HEADS_PAGE);
      this.#headsEnded = page.length < HEADS_PAGE;
      this.#headsRead = page.at(-1)?.size ?? this.#headsRead;
      this.#heads = page.filter(({ size }) => size <= sealed);
    }
    return this.#heads[0] ?? null;
  }

  #lostAt(position: bigint): LostRange | undefined {
    return this.#scope.lost.find(({ from, to }) => position >= from && position < to);
  }

  #finding(
    verdict: Finding['verdict'],
    check: Check,
    from: bigint | null,
    to: bigint | null,
    detail: string,
  ): Finding {
    const { log, partition } = this.#scope;
    return { verdict, log, partition, from, to, id: null, check, detail };
  }

  #note(
    verdict: Finding['verdict'],
    check: Check,
    from: bigint | null,
    to: bigint | null,
    detail: string,
  ): void {
    this.#findings.add(this.#finding(verdict, check, from, to, detail));
  }

  #pend(pending: Finding[], check: Check, from: bigint, detail: string, to: bigint = from + 1n): void {
    if (pending.length < PENDING_MAX) pending.push(this.#finding('tampered', check, from, to, detail));
  }
}

/** For each position of `[from, to)` the index of its hash in the run, or -1. */
function presence(run: RecordRun, from: bigint, to: bigint): Int32Array {
  const present = new Int32Array(Number(to - from)).fill(-1);
  const start = Number(from);
  for (let i = 0; i < run.positions.length; i++) present[run.positions[i] - start] = i;
  return present;
}

/** Leaf hashes by position. Where a record is excused (lost, unreadable) the tile's hash stands in for it. */
function fillDerived(
  run: RecordRun,
  present: Int32Array,
  count: number,
  tiles: Uint8Array | null,
  excused: (index: number) => boolean,
): Uint8Array {
  if (run.positions.length === present.length) return run.hashes.subarray(0, count * HASH_BYTES);
  const derived = new Uint8Array(count * HASH_BYTES);
  for (let index = 0; index < count; index++) {
    const at = index * HASH_BYTES;
    const place = present[index];
    if (place >= 0) derived.set(run.hashes.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES), at);
    else if (tiles !== null && excused(index)) derived.set(tiles.subarray(at, at + HASH_BYTES), at);
  }
  return derived;
}
