/** What the writers of a seeded schedule are going to do. */

import { partitionOf } from '@evident/core/partition.ts';
import type { ProposedRecord } from '@evident/core/record.ts';
import { makeRecord, propose } from '../contract/log-contract.ts';
import type { Proposal } from '../src/log/log.ts';

export const PARTITIONS = 4;
const SHARED_IDENTITIES = 5;
const ATTEMPTS_MAX = 3;

/** Keys by partition. */
const KEYS: readonly string[][] = Array.from({ length: PARTITIONS }, (_, partition) =>
  Array.from({ length: 100 }, (_, i) => `k${i}`).filter((key) => partitionOf(key, PARTITIONS) === partition),
);

/** mulberry32 */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * n);
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  uuid(): string {
    const hex = Array.from({ length: 32 }, () => this.below(16).toString(16)).join('');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }
}

/** One transaction of a writer. */
export interface Attempt {
  readonly proposals: readonly Proposal[];
  readonly once: boolean;
  readonly end: 'COMMIT' | 'ROLLBACK' | 'kill';
  /** For `kill`: how many gates it passes before. */
  gatesLeft: number;
}

/**
 * Where the writers of a schedule meet: anywhere; all at the counters, each naming most partitions; or at the
 * identities and nowhere else, each with a partition of its own.
 */
export type Meeting = 'anywhere' | 'counters' | 'identities';

function pickPartitions(random: Random, meeting: Meeting, writer: number): number[] {
  if (meeting === 'identities') return [writer];
  const percent = meeting === 'counters' ? 80 : 45;
  const partitions = Array.from({ length: PARTITIONS }, (_, p) => p).filter(() => random.chance(percent));
  return partitions.length > 0 ? partitions : [random.below(PARTITIONS)];
}

function planAttempt(
  random: Random,
  shared: readonly string[],
  meeting: Meeting,
  writer: number,
  turn: number,
): Attempt {
  const once = meeting === 'identities' || random.chance(75);
  const sharedPercent = { anywhere: 55, counters: 20, identities: 95 }[meeting];
  const partitions = pickPartitions(random, meeting, writer);
  const count = meeting === 'anywhere' ? 1 + random.below(6) : 4 + random.below(3);
  const records = Array.from({ length: count }, (_, i): ProposedRecord => {
    const id = once && random.chance(sharedPercent) ? random.pick(shared) : undefined;
    const text = id === undefined || random.chance(10) ? `"${writer}.${turn}.${i}"` : `"${id}"`;
    return makeRecord({ id: id ?? random.uuid(), key: random.pick(KEYS[random.pick(partitions)]), text });
  });
  return {
    proposals: records.map((record) => propose(record, random.chance(50) ? 'take' : 'refuse')),
    once,
    end: random.chance(60) ? 'COMMIT' : random.chance(45) ? 'ROLLBACK' : 'kill',
    gatesLeft: random.below(24),
  };
}

/** The transactions of each of 3 or 4 writers. */
export function planWriters(random: Random): { meeting: Meeting; attempts: Attempt[][] } {
  const meeting = random.pick<Meeting>(['anywhere', 'anywhere', 'counters', 'identities']);
  // By turns: an identity that was committed is a repeat, and nobody waits for it any more.
  const shared = Array.from({ length: ATTEMPTS_MAX }, () =>
    Array.from({ length: SHARED_IDENTITIES }, () => random.uuid()),
  );
  const attempts = Array.from({ length: 3 + random.below(2) }, (_, writer) =>
    Array.from({ length: 1 + random.below(ATTEMPTS_MAX) }, (_, turn) =>
      planAttempt(random, shared[meeting === 'identities' ? turn : 0], meeting, writer, turn),
    ),
  );
  return { meeting, attempts };
}
