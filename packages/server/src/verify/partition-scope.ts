/** What the check of one partition is about, and how it says what it found. */

import type { Verifier } from '@evident/core/note.ts';
import type { PartitionHead } from '../log/log.ts';
import type { TileStore } from '../seal/ports.ts';
import type { Check, Finding, Findings } from './finding.ts';
import type { HeadReader, ObjectReader, RecordReader } from './ports.ts';

/** Most findings that may wait for a head to decide. */
const PENDING_MAX = 1_000;

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
  /** The key that signs the heads of a size. */
  readonly verifierOf: (origin: string, size: bigint) => Verifier;
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

/** Findings of one partition: said at once, or kept until a head decides which side is wrong. */
export class PartitionNotes {
  readonly #scope: PartitionScope;
  readonly #findings: Findings;

  constructor(scope: PartitionScope, findings: Findings) {
    this.#scope = scope;
    this.#findings = findings;
  }

  /** One that had waited. */
  add(finding: Finding): void {
    this.#findings.add(finding);
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

  note(
    verdict: Finding['verdict'],
    check: Check,
    from: bigint | null,
    to: bigint | null,
    detail: string,
  ): void {
    this.#findings.add(this.#finding(verdict, check, from, to, detail));
  }

  /** Of more than PENDING_MAX that wait the first are kept. */
  pend(pending: Finding[], check: Check, from: bigint, detail: string, to: bigint = from + 1n): void {
    if (pending.length < PENDING_MAX) pending.push(this.#finding('tampered', check, from, to, detail));
  }
}
