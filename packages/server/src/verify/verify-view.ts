/**
 * Verification of a view against the log: every record up to the checkpoints is mapped again, and what comes out is held
 * against what the view shows (I5). Both are streamed in one order; memory does not grow with either.
 *
 * It relies on the records, which `verify` holds against signed heads, and on this program's mappers. Of the view it
 * trusts nothing: neither its list of identities, nor its checkpoints, nor its resolutions, each of which must name an
 * audit event that stands in the log.
 */

import { isEvidentError } from '@evident/core/errors.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { Log } from '../log/log.ts';
import {
  Cursor,
  comparePlaces,
  type DeadLetterMark,
  type GenerationSummary,
  type ViewPlace,
  type ViewRow,
  type ViewSnapshot,
  type ViewSnapshots,
} from '../project/view-snapshot.ts';
import type { Findings } from './finding.ts';
import { type JudgeDeps, type Note, RecordJudge } from './judge-record.ts';

export interface VerifyViewDeps extends JudgeDeps {
  readonly snapshots: ViewSnapshots;
}

export interface ViewReport {
  readonly view: string;
  readonly generation: number;
  readonly definition: string;
  /** Records that were mapped again. */
  readonly records: number;
  readonly rows: number;
  readonly deadLetters: number;
  /** Records that the log holds and the view has not read. */
  readonly behind: bigint;
}

type OnProgress = (progress: { readonly done: bigint; readonly total: bigint }) => void;

interface PartitionScope {
  readonly log: Log;
  readonly partition: number;
  /** First position that the log holds. */
  readonly first: bigint;
  /** First position that the view has not read, or the log does not hold. */
  readonly end: bigint;
}

/** Logs that no view reads. */
const UNREAD_LOGS: readonly string[] = ['heads', 'windows'];
const READ_RECORDS = 2_000;
const IDENTITY_FAULTS_MAX = 1_000;

/** @returns null when the view has no generation */
export function verifyView(
  deps: VerifyViewDeps,
  view: string,
  findings: Findings,
  onProgress: OnProgress,
): Promise<ViewReport | null> {
  return deps.snapshots.withSnapshot(view, async (snapshot) => {
    const generation = snapshot.generations.find((one) => one.generation === snapshot.live);
    if (generation === undefined) return null;
    return new ViewCheck(deps, snapshot, generation, findings).run(onProgress);
  });
}

class ViewCheck {
  readonly #deps: VerifyViewDeps;
  readonly #snapshot: ViewSnapshot;
  readonly #generation: GenerationSummary;
  readonly #findings: Findings;
  readonly #judge: RecordJudge;
  readonly #rows: Cursor<ViewRow>;
  readonly #letters: Cursor<DeadLetterMark>;
  #records = 0;
  #rowCount = 0;
  #letterCount = 0;
  #behind = 0n;

  constructor(
    deps: VerifyViewDeps,
    snapshot: ViewSnapshot,
    generation: GenerationSummary,
    findings: Findings,
  ) {
    this.#deps = deps;
    this.#snapshot = snapshot;
    this.#generation = generation;
    this.#findings = findings;
    this.#judge = new RecordJudge(deps, snapshot, generation, this.#note);
    this.#rows = new Cursor(snapshot.rows(generation.generation));
    this.#letters = new Cursor(snapshot.deadLetters(generation.generation));
  }

  async run(onProgress: OnProgress): Promise<ViewReport> {
    const { generation, definition } = this.#generation;
    const scopes = await this.#scopes();
    const total = scopes.reduce((sum, { first, end }) => sum + (end > first ? end - first : 0n), 0n);
    for (const scope of scopes)
      await this.#checkPartition(scope, () => onProgress({ done: BigInt(this.#records), total }));
    await this.#takeBefore(null, 'no view reads such a partition');
    for (const fault of await this.#snapshot.identityFaults(generation, IDENTITY_FAULTS_MAX))
      this.#note('tampered', 'view-identity', fault, fault.detail, fault.id);
    this.#noteOtherMappers();
    return {
      view: this.#snapshot.view,
      generation,
      definition,
      records: this.#records,
      rows: this.#rowCount,
      deadLetters: this.#letterCount,
      behind: this.#behind,
    };
  }

  /** Every partition that the view reads, in the order in which rows are streamed. */
  async #scopes(): Promise<PartitionScope[]> {
    const scopes: PartitionScope[] = [];
    const logs = this.#deps.logs.filter(({ name }) => !UNREAD_LOGS.includes(name));
    logs.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const log of logs) {
      for (const { partition, first, next } of await log.heads()) {
        const reach = this.#generation.reach.find(
          (one) => one.log === log.name && one.partition === partition,
        );
        const end = reach?.next ?? 0n;
        if (end > next) {
          const detail = `the view says that it has read up to position ${end}, but the log ends at ${next}`;
          this.#add('tampered', 'view-checkpoint', { log: log.name, partition, from: next, to: end }, detail);
        } else this.#behind += next - end;
        scopes.push({ log, partition, first, end: end < next ? end : next });
      }
    }
    return scopes;
  }

  async #checkPartition(scope: PartitionScope, onRecords: () => void): Promise<void> {
    const { log, partition, first, end } = scope;
    const place = (position: bigint): ViewPlace => ({ log: log.name, partition, position });
    if (first > 0n && (await this.#skipTo(place(first)))) {
      const detail = `the log was trimmed below position ${first}: what the view shows of it can't be mapped again`;
      this.#add('not checked', 'view-row', { log: log.name, partition, from: 0n, to: first }, detail);
    }
    for (let from = first; from < end; ) {
      const records = await this.#read(scope, from);
      if (records === null) break;
      for (const record of records) {
        const waiting = this.#checkRecord(record);
        if (waiting !== undefined) await waiting;
      }
      if (records.length === 0) break;
      from = (records.at(-1) as LogRecord).position + 1n;
      onRecords();
    }
    await this.#takeBefore(place(end), 'the log holds no record at this position');
    const beyond = { log: log.name, partition: partition + 1, position: 0n };
    await this.#takeBefore(beyond, 'the view says that it has not read this position');
  }

  /** @returns null when storage can't be read: the rest of the partition is not checked */
  async #read({ log, partition, end }: PartitionScope, from: bigint): Promise<LogRecord[] | null> {
    const wanted = end - from < BigInt(READ_RECORDS) ? Number(end - from) : READ_RECORDS;
    try {
      return (await log.read(partition, from, wanted)).filter(({ position }) => position < end);
    } catch (error) {
      if (!isEvidentError(error)) throw error;
      this.#add('not checked', 'storage', { log: log.name, partition, from, to: end }, error.message);
      await this.#skipTo({ log: log.name, partition, position: end });
      return null;
    }
  }

  /** Synchronous for a record whose row is at hand: a promise a record would cost more than mapping it. */
  #checkRecord(record: LogRecord): Promise<void> | undefined {
    const [rows, letters] = [this.#rows, this.#letters];
    if (
      rows.isEmpty ||
      letters.isEmpty ||
      isBefore(rows.current, record) ||
      isBefore(letters.current, record)
    )
      return this.#catchUp(record);
    this.#records++;
    const row = rows.current !== null && comparePlaces(rows.current, record) === 0 ? rows.current : null;
    const letter =
      letters.current !== null && comparePlaces(letters.current, record) === 0 ? letters.current : null;
    if (row !== null) {
      this.#rowCount++;
      rows.advance();
    }
    if (letter !== null) {
      this.#letterCount++;
      letters.advance();
    }
    return this.#judge.judge(record, row, letter);
  }

  async #catchUp(record: LogRecord): Promise<void> {
    await this.#takeBefore(record, 'the log holds no record at this position');
    await this.#checkRecord(record);
  }

  /** Passes over rows and dead letters before a place. @returns whether there were some */
  async #skipTo(place: ViewPlace): Promise<boolean> {
    let skipped = false;
    for (const cursor of [this.#rows, this.#letters]) {
      for (;;) {
        if (cursor.isEmpty) await cursor.fill();
        if (!isBefore(cursor.current, place)) break;
        cursor.advance();
        skipped = true;
      }
    }
    return skipped;
  }

  /** Reports rows and dead letters before a place, null being the end: no record accounts for them. */
  async #takeBefore(place: ViewPlace | null, reason: string): Promise<void> {
    for (;;) {
      if (this.#rows.isEmpty) await this.#rows.fill();
      const row = this.#rows.current;
      if (row === null || !isBefore(row, place)) break;
      this.#note('tampered', 'view-row-extra', row, `a row stands here, but ${reason}`, row.id);
      this.#rows.advance();
    }
    for (;;) {
      if (this.#letters.isEmpty) await this.#letters.fill();
      const letter = this.#letters.current;
      if (letter === null || !isBefore(letter, place)) break;
      this.#note(
        'tampered',
        'view-dead-letter',
        letter,
        `a dead letter stands here, but ${reason}`,
        letter.id,
      );
      this.#letters.advance();
    }
  }

  #noteOtherMappers(): void {
    const count = this.#judge.otherMappers;
    if (count === 0) return;
    const { generation, definition } = this.#generation;
    const detail = `${count} rows were made by mappers that this program does not have (the generation: ${definition}; the program: ${this.#deps.registry.definition}); evident rebuild makes them anew`;
    const where = { log: `view ${this.#snapshot.view}`, partition: generation, from: null, to: null };
    this.#add('not checked', 'view-definition', where, detail);
  }

  readonly #note: Note = (verdict, check, { log, partition, position }, detail, id) => {
    this.#add(verdict, check, { log, partition, from: position, to: position + 1n }, detail, id);
  };

  #add(
    verdict: Parameters<Note>[0],
    check: Parameters<Note>[1],
    where: { log: string; partition: number; from: bigint | null; to: bigint | null },
    detail: string,
    id: string | null = null,
  ): void {
    this.#findings.add({ verdict, ...where, id, check, detail });
  }
}

function isBefore(one: ViewPlace | null, place: ViewPlace | null): boolean {
  return one !== null && (place === null || comparePlaces(one, place) < 0);
}
