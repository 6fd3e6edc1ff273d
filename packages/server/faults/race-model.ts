/**
 * What a log must look like, given which writers committed and in which order; and readers that hold it to that
 * while the writers run. The checks of the race suite, the same for every schedule and every removed guard.
 */

import assert from 'node:assert/strict';
import type { LogRecord } from '@evident/core/record.ts';
import type pg from 'pg';
import { readAndVerify } from '../contract/log-contract.ts';
import type { Outcome, Proposal } from '../src/log/log.ts';
import type { PostgresLog } from '../src/stores/postgres/log.ts';

const utf8 = new TextDecoder();

export function textOf(record: Pick<LogRecord, 'body'>): string {
  return record.body.form === 'object' ? '' : utf8.decode(record.body.bytes);
}

interface Committed {
  readonly proposal: Proposal;
  readonly appendedAt: bigint;
  /** Whether its identity was looked for, and so kept. */
  readonly once: boolean;
}

export class RaceModel {
  readonly log: PostgresLog;
  /** By partition, in the order of the commits. */
  readonly committed: Map<bigint, Committed>[];
  /** By partition: no later record may have an earlier time. */
  readonly #floors: bigint[];

  constructor(log: PostgresLog, floors: readonly bigint[]) {
    this.log = log;
    this.committed = Array.from({ length: log.partitions }, () => new Map());
    this.#floors = [...floors];
  }

  get size(): number {
    return this.committed.reduce((sum, { size }) => sum + size, 0);
  }

  /** A writer was told `outcomes` and committed. @param at PostgreSQL's clock before its COMMIT */
  commit(proposals: readonly Proposal[], outcomes: readonly Outcome[], once: boolean, at: bigint): void {
    const touched = new Set<number>();
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.kind !== 'appended') continue;
      const { partition, position, appendedAt } = outcome;
      const here = this.committed[partition];
      const last = [...here.keys()].at(-1) ?? -1n;
      assert.ok(position > last, `${partition}/${position} was given after ${last} was committed`);
      const before = here.get(last)?.appendedAt ?? 0n;
      assert.ok(
        appendedAt >= before,
        `appended_at went back at ${partition}/${position}, from ${before} to ${appendedAt}`,
      );
      // A writer waits for those before it in its partition, so its turn came after they began to commit.
      assert.ok(
        appendedAt >= this.#floors[partition],
        `the time of ${partition}/${position}, ${appendedAt}, lies before that of its turn, ${this.#floors[partition]}`,
      );
      here.set(position, { proposal: proposals[index], appendedAt, once });
      touched.add(partition);
    }
    for (const [index, outcome] of outcomes.entries()) this.#checkOld(proposals[index], outcome);
    for (const partition of touched) if (at > this.#floors[partition]) this.#floors[partition] = at;
  }

  #checkOld({ record }: Proposal, outcome: Outcome): void {
    if (outcome.kind === 'appended') return;
    const first = this.committed[outcome.partition].get(outcome.position)?.proposal.record;
    assert.ok(
      first !== undefined,
      `${outcome.kind} of ${outcome.partition}/${outcome.position}, which nobody committed`,
    );
    assert.equal(first.id, record.id);
    assert.equal(
      textOf(first) === textOf(record),
      outcome.kind === 'repeat',
      `${outcome.kind} of ${textOf(first)} by ${textOf(record)}`,
    );
  }

  /** A record that a reader sees was committed, at this place, as it is. */
  check(record: LogRecord): void {
    if (record.type === 'log.hour') return;
    const place = `${record.partition}/${record.position}`;
    const committed = this.committed[record.partition].get(record.position);
    assert.ok(committed !== undefined, `a reader sees ${place}, which nobody committed`);
    const { appendedAt, proposal } = committed;
    assert.deepEqual(
      { id: record.id, key: record.key, text: textOf(record), appendedAt: record.appendedAt },
      { id: proposal.record.id, key: proposal.record.key, text: textOf(proposal.record), appendedAt },
      `record ${place}`,
    );
  }

  /** Verifies the whole log at rest: records, identities, counters. */
  async checkEnd(owner: pg.Pool): Promise<LogRecord[]> {
    const all = await readAndVerify(this.log);
    for (const record of all) this.check(record);
    assert.equal(all.filter(({ type }) => type !== 'log.hour').length, this.size, 'records in the log');
    for (const { partition, first, next } of await this.log.heads()) {
      const held = all.filter((record) => record.partition === partition);
      assert.equal(next, first + BigInt(held.length), `counter of partition ${partition}`);
    }
    await this.#checkIdentities(owner);
    return all;
  }

  async #checkIdentities(owner: pg.Pool): Promise<void> {
    const { rows } = await owner.query<{ id: string; tree: number; position: string }>(
      `SELECT i.id::text, i.tree, i.position FROM
         (SELECT id, tree, position, log_id FROM evident.identities UNION ALL SELECT id, tree, position, log_id FROM evident.identities_reused) i
         JOIN evident.logs l USING (log_id) WHERE l.log = $1`,
      [this.log.name],
    );
    const kept = rows.map(({ id, tree, position }) => `${this.log.trees.indexOf(tree)}/${position} ${id}`);
    const due = this.committed.flatMap((here, partition) =>
      [...here]
        .filter(([, { once }]) => once)
        .map(([position, { proposal }]) => `${partition}/${position} ${proposal.record.id}`),
    );
    assert.deepEqual(kept.sort(), due.sort(), 'identities');
  }
}

/** Reads on from a remembered vector with the shipped code, and remembers what it saw. */
export class RaceReader {
  readonly #model: RaceModel;
  readonly #next: bigint[];
  readonly #seen: LogRecord[][];
  /** Records of one call; small, so that it is often behind. */
  readonly #limit: number;
  readonly #how: 'read' | 'readMany';

  constructor(model: RaceModel, first: readonly bigint[], how: 'read' | 'readMany', limit: number) {
    this.#model = model;
    this.#next = [...first];
    this.#seen = first.map(() => []);
    this.#how = how;
    this.#limit = limit;
  }

  /** One call a partition, or one for all. @returns how many records came */
  async step(): Promise<number> {
    const { log } = this.#model;
    const page =
      this.#how === 'readMany'
        ? await log.readMany(this.#next, this.#limit)
        : (
            await Promise.all(this.#next.map((from, partition) => log.read(partition, from, this.#limit)))
          ).flat();
    for (const record of page) this.#take(record);
    return page.length;
  }

  #take(record: LogRecord): void {
    const { partition, position } = record;
    assert.equal(position, this.#next[partition], `a reader of partition ${partition} skips or repeats`);
    const last = this.#seen[partition].at(-1);
    assert.ok(
      last === undefined || record.appendedAt >= last.appendedAt,
      `appended_at went back at ${partition}/${position}`,
    );
    this.#model.check(record);
    this.#seen[partition].push(record);
    this.#next[partition]++;
  }

  /** Nothing that was committed is hidden from a reader that reads to the end. */
  async toEnd(): Promise<void> {
    while ((await this.step()) >= this.#limit);
    const seen = this.#seen.flat().filter(({ type }) => type !== 'log.hour').length;
    assert.equal(seen, this.#model.size, 'a reader at the end has seen what is committed');
  }

  /** What it saw while the writers ran is what the log holds now. */
  checkEnd(all: readonly LogRecord[]): void {
    assert.deepEqual(this.#seen.flat(), all);
  }
}
