/** The signed heads of one partition in their order: each decides what the leaves below it are worth. */

import { openTreeHead } from '@evident/core/checkpoint.ts';
import { tileLog } from '../seal/ports.ts';
import type { PartitionDeps, PartitionNotes, PartitionScope } from './partition-scope.ts';
import type { HeadRow } from './ports.ts';
import { readSafely } from './read-safely.ts';
import type { TreeCheck } from './tree-check.ts';

const HEADS_PAGE = 1_000;
/** Leaves of a full tile. */
const TILE_WIDTH = 256n;

export class SignedHeads {
  readonly #deps: PartitionDeps;
  readonly #scope: PartitionScope;
  readonly #notes: PartitionNotes;
  readonly #tree: TreeCheck;
  #heads: HeadRow[] = [];
  #headsRead = 0n;
  #headsEnded = false;
  #lastGood = 0n;
  #headCount = 0;
  #lastHead: HeadRow | null = null;
  #undecided = false;

  constructor(deps: PartitionDeps, scope: PartitionScope, notes: PartitionNotes, tree: TreeCheck) {
    this.#deps = deps;
    this.#scope = scope;
    this.#notes = notes;
    this.#tree = tree;
  }

  /** How many were decided. */
  get count(): number {
    return this.#headCount;
  }

  /** The first head that is not decided yet, or null. */
  async next(): Promise<HeadRow | null> {
    if (this.#heads.length === 0 && !this.#headsEnded) {
      const { log, partition, epoch, sealed } = this.#scope;
      const page = await this.#deps.heads.readHeads(log, partition, epoch, this.#headsRead, HEADS_PAGE);
      this.#headsEnded = page.length < HEADS_PAGE;
      this.#headsRead = page.at(-1)?.size ?? this.#headsRead;
      this.#heads = page.filter(({ size }) => size <= sealed);
    }
    return this.#heads[0] ?? null;
  }

  /** Holds the tree, as far as it has grown, against a head of that size, which is the next one. */
  decide(head: HeadRow): void {
    this.#heads.shift();
    this.#headCount++;
    this.#lastHead = head;
    const { origin, verifierOf } = this.#scope;
    const opened = openTreeHead(head.note, [verifierOf(origin, head.size)], origin);
    if (!opened.ok) {
      this.#notes.note(
        'tampered',
        'head-signature',
        null,
        null,
        `the head of size ${head.size}: ${opened.reason}`,
      );
      return;
    }
    const signed = opened.value.head;
    if (signed.size !== head.size || Buffer.compare(signed.root, head.root) !== 0) {
      this.#notes.note(
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
        this.#notes.note(
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
    for (const finding of decision.findings) this.#notes.add(finding);
    if (Buffer.compare(this.#tree.records.chain, head.chain) !== 0) {
      this.#notes.note(
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
    if (pending.length > 0 && !this.#undecided) for (const finding of pending) this.#notes.add(finding);
    const seal = await this.#deps.heads.readSeal(log, partition);
    if (seal === null) {
      if (sealed > 0n)
        this.#notes.note(
          'not checked',
          'head',
          null,
          null,
          'the stored head that sealing goes on from is missing',
        );
      return;
    }
    if (this.#lastHead === null || this.#lastHead.size < sealed) {
      if (sealed > 0n)
        this.#notes.note(
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
      this.#notes.note(
        'tampered',
        'head',
        null,
        null,
        `the head that sealing goes on from is not the signed head of size ${sealed}`,
      );
    await this.#checkEdge(seal.edge, sealed);
  }

  async #checkEdge(edge: Uint8Array, size: bigint): Promise<void> {
    const width = Number(size % TILE_WIDTH);
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
      this.#notes.note(
        'tampered',
        'tile',
        from,
        size,
        'the stored right edge is not the one that the leaves give',
      );
  }
}
