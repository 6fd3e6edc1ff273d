/**
 * A PostgreSQL database of an application, as far as its outbox and a relay can tell: transactions, snapshots, the
 * write-ahead log, the ring, and what a copy of its files or a dump brings back. `contract/outbox-contract.ts` holds
 * the outbox over it beside the one on PostgreSQL.
 *
 *   begin ──first write: gets its xid──► open ──commit record──► in the write-ahead log ──► visible
 *                                          └──abort──► its rows are gone
 *
 * Every method is one synchronous step. Between the commit record and the moment in which other sessions see the
 * transaction lies a step of its own: a stream may bring rows that no snapshot shows yet.
 */

import { EvidentError } from '@evident/core/errors.ts';
import type { Emptied, OutboxRow, RowPlace, SourceIdentity } from '../../relay/ports.ts';
import { comparePlaces } from '../../relay/state.ts';

/** What an application says of a row; the rest comes from defaults. */
export type WrittenEvent = Omit<OutboxRow, 'slot' | 'xid' | 'id'>;

export interface HeldRow extends OutboxRow {
  readonly transaction: ApplicationTransaction;
  /** Microseconds since the Unix epoch. */
  readonly writtenAt: bigint;
}

/** Bytes of write-ahead log that a row, and a commit, take here. */
const ROW_BYTES = 8n;
const COMMIT_BYTES = 4n;
const FIRST_XID = 700n;
/** Of what relays have left, the newest are kept. */
const TOKENS_MAX = 16;

export class ApplicationTransaction {
  /** Which run of the database it belongs to. */
  readonly run: number;
  xid: bigint | null = null;
  /** In the order of insertion; those behind a savepoint that was rolled back are gone. */
  rows: HeldRow[] = [];
  commitLsn: bigint | null = null;
  endLsn: bigint | null = null;
  /** When it got its xid, and when it was over, in steps of the database. */
  begun = 0;
  ended = Number.POSITIVE_INFINITY;

  constructor(run: number) {
    this.run = run;
  }
}

export interface ReplicationSlot {
  confirmed: bigint;
  usable: boolean;
  /** Who streams from it. */
  holder: { readonly isOpen: boolean } | null;
}

/** What a copy of the files brings back. */
interface DatabaseState {
  identity: SourceIdentity;
  nextXid: bigint;
  nextId: bigint;
  walEnd: bigint;
  latestCompleted: bigint;
  /** Rows by slot, those of open transactions included. */
  heap: HeldRow[][];
  /** Transactions that have an xid and are not over. */
  readonly open: Set<ApplicationTransaction>;
  /** Transactions with rows of the outbox, in the order of their commit records. */
  readonly committed: ApplicationTransaction[];
  /** Where in `committed` the present write-ahead log begins. */
  walFirst: number;
  readonly replicationSlots: Map<string, ReplicationSlot>;
  tokens: readonly string[];
}

export interface ApplicationDatabaseOptions {
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  readonly slots: number;
  readonly slotUs: bigint;
  /** Sees the rows that go. */
  readonly onTruncate?: (rows: readonly HeldRow[]) => void;
}

export class ApplicationDatabase {
  readonly options: ApplicationDatabaseOptions;
  #state: DatabaseState;
  /** Sessions that read from every slot in a transaction that goes on. */
  readonly readers = new Set<{ readonly isOpen: boolean }>();
  /** Counts starts of the server: no connection outlives one. */
  run = 1;
  #steps = 0;

  constructor(options: ApplicationDatabaseOptions) {
    this.options = options;
    this.#state = {
      identity: { system: '7000000000000000001', timeline: '00000001' },
      nextXid: FIRST_XID,
      nextId: 1n,
      walEnd: 1_000n,
      latestCompleted: FIRST_XID - 1n,
      heap: Array.from({ length: options.slots }, () => []),
      open: new Set(),
      committed: [],
      walFirst: 0,
      replicationSlots: new Map(),
      tokens: [],
    };
  }

  get identity(): SourceIdentity {
    return this.#state.identity;
  }

  get walEnd(): bigint {
    return this.#state.walEnd;
  }

  get lastId(): bigint {
    return this.#state.nextId - 1n;
  }

  get tokens(): readonly string[] {
    return this.#state.tokens;
  }

  get open(): ReadonlySet<ApplicationTransaction> {
    return this.#state.open;
  }

  get replicationSlots(): Map<string, ReplicationSlot> {
    return this.#state.replicationSlots;
  }

  /** Everything that ever committed here, in the order of the commits; of a database that was restored, its past too. */
  get committed(): readonly ApplicationTransaction[] {
    return this.#state.committed;
  }

  /** What of `committed` the write-ahead log holds. */
  get walFirst(): number {
    return this.#state.walFirst;
  }

  begin(): ApplicationTransaction {
    return new ApplicationTransaction(this.run);
  }

  /** A write of any kind: the first gives the transaction its xid. */
  write(transaction: ApplicationTransaction): bigint {
    this.#demandRun(transaction);
    if (transaction.xid === null) {
      transaction.xid = this.#state.nextXid++;
      transaction.begun = ++this.#steps;
      this.#state.open.add(transaction);
    }
    this.#state.walEnd += ROW_BYTES;
    return transaction.xid;
  }

  /** @param over what only an owner may say: the columns that have defaults */
  insert(
    transaction: ApplicationTransaction,
    event: WrittenEvent,
    over: { readonly slot?: number; readonly xid?: bigint } = {},
  ): HeldRow {
    const xid = this.write(transaction);
    const writtenAt = this.options.clock();
    const id = this.#state.nextId++;
    const row: HeldRow = { ...event, slot: this.slotNow(), xid, ...over, id, writtenAt, transaction };
    transaction.rows.push(row);
    this.#state.heap[row.slot].push(row);
    return row;
  }

  /** What is behind the savepoint goes; its subtransaction has used up an xid. */
  rollBackTo(transaction: ApplicationTransaction, savepoint: number): void {
    this.#demandRun(transaction);
    const gone = new Set(transaction.rows.splice(savepoint));
    this.#forget((row) => gone.has(row));
    if (transaction.xid !== null) this.#state.nextXid++;
  }

  /** The first half of a commit: from now on it survives, and streams bring it. */
  writeCommit(transaction: ApplicationTransaction): void {
    this.#demandRun(transaction);
    if (transaction.xid === null) return;
    transaction.commitLsn = this.#state.walEnd;
    this.#state.walEnd += COMMIT_BYTES;
    transaction.endLsn = this.#state.walEnd;
    if (transaction.rows.length > 0) this.#state.committed.push(transaction);
  }

  /** The second half: other sessions see it. */
  finishCommit(transaction: ApplicationTransaction): void {
    if (transaction.run !== this.run) return;
    this.#end(transaction);
  }

  abort(transaction: ApplicationTransaction): void {
    if (transaction.run !== this.run || transaction.commitLsn !== null) return;
    this.#forget((row) => row.transaction === transaction);
    this.#end(transaction);
  }

  #end(transaction: ApplicationTransaction): void {
    if (!this.#state.open.delete(transaction)) return;
    transaction.ended = ++this.#steps;
    const xid = transaction.xid as bigint;
    if (xid > this.#state.latestCompleted) this.#state.latestCompleted = xid;
  }

  #forget(isGone: (row: HeldRow) => boolean): void {
    this.#state.heap = this.#state.heap.map((rows) => rows.filter((row) => !isGone(row)));
  }

  #demandRun(transaction: ApplicationTransaction): void {
    if (transaction.run !== this.run) throw connectionLost();
  }

  /** As pg_current_snapshot: all below `xmin` are over; none at or beyond `xmax` was when it was taken. */
  snapshot(): { xmin: bigint; xmax: bigint } {
    const xmax = this.#state.latestCompleted + 1n;
    let xmin = xmax;
    for (const { xid } of this.#state.open) if (xid !== null && xid < xmin) xmin = xid;
    return { xmin, xmax };
  }

  /** Visible rows that meet the condition, in (xid, id) order. */
  select(condition: (row: HeldRow) => boolean): HeldRow[] {
    return this.#state.heap
      .flat()
      .filter((row) => !this.#state.open.has(row.transaction) && condition(row))
      .sort(comparePlaces);
  }

  /** Rows of transactions whose commit record lies before `lsn`, in (xid, id) order. */
  selectBefore(lsn: bigint, condition: (row: HeldRow) => boolean): HeldRow[] {
    const past = new Set(this.#state.committed.slice(0, this.#state.walFirst));
    return this.#state.heap
      .flat()
      .filter(
        ({ transaction }) =>
          past.has(transaction) || (transaction.commitLsn !== null && transaction.commitLsn < lsn),
      )
      .filter(condition)
      .sort(comparePlaces);
  }

  beat(token: string): void {
    this.#state.tokens = [token, ...this.#state.tokens].slice(0, TOKENS_MAX);
    const xid = this.#state.nextXid++;
    if (xid > this.#state.latestCompleted) this.#state.latestCompleted = xid;
    this.#state.walEnd += ROW_BYTES + COMMIT_BYTES;
  }

  slotNow(): number {
    return Number((this.options.clock() / this.options.slotUs) % BigInt(this.options.slots));
  }

  /** Whether the slot is written to, or is the next to be. */
  isCurrent(slot: number): boolean {
    const now = this.slotNow();
    return slot === now || slot === (now + 1) % this.options.slots;
  }

  /** Whether ACCESS EXCLUSIVE can be had at once: nobody reads the slot, and no insert into it is open. */
  isFree(slot: number): boolean {
    return (
      ![...this.readers].some(({ isOpen }) => isOpen) &&
      !this.#state.heap[slot].some(({ transaction }) => this.#state.open.has(transaction))
    );
  }

  /** What evident_outbox.empty_slot answers of a slot, were it locked. */
  lookAt(slot: number, done: RowPlace, row: RowPlace, restored: bigint): Emptied {
    const { xmax } = this.snapshot();
    const held = this.select((one) => one.slot === slot);
    const beyond = held.filter((one) => comparePlaces(one, done) > 0);
    if (beyond.some(({ xid }) => xid < xmax)) return 'behind';
    if (BigInt(beyond.length) !== restored) return 'restored';
    if (held.some((one) => comparePlaces(one, row) === 0)) return 'cursor';
    return held.length === 0 ? 'empty' : 'emptied';
  }

  truncate(slot: number): void {
    this.options.onTruncate?.(this.#state.heap[slot]);
    this.#state.heap[slot] = [];
  }

  /** Rows that stand in each slot, visible or not. */
  heldRows(): readonly (readonly HeldRow[])[] {
    return this.#state.heap;
  }

  copyFiles(): DatabaseState {
    const { heap, open, committed, replicationSlots } = this.#state;
    return {
      ...this.#state,
      heap: heap.map((rows) => [...rows]),
      open: new Set(open),
      committed: [...committed],
      replicationSlots: new Map(
        [...replicationSlots].map(([name, slot]) => [name, { ...slot, holder: null }]),
      ),
    };
  }

  /** Starts the server again over what its disk holds, or over a copy: crash recovery. */
  restart(files: DatabaseState = this.copyFiles()): void {
    this.run++;
    this.#state = files;
    this.readers.clear();
    for (const transaction of [...files.open]) {
      const survives = files.committed.includes(transaction);
      if (!survives) this.#forget((row) => row.transaction === transaction);
      files.open.delete(transaction);
      if (survives && transaction.ended === Number.POSITIVE_INFINITY) transaction.ended = ++this.#steps;
    }
    // All xids that the write-ahead log names are over.
    files.latestCompleted = files.nextXid - 1n;
    for (const slot of files.replicationSlots.values()) slot.holder = null;
  }

  promote(): void {
    const timeline = Number.parseInt(this.identity.timeline, 16) + 1;
    this.#state.identity = {
      ...this.identity,
      timeline: timeline.toString(16).padStart(8, '0').toUpperCase(),
    };
    this.#state.replicationSlots.clear();
  }

  /** What a dump holds, in a new cluster: rows keep their xids, though its own counter begins anew at `nextXid`. */
  restoreDump(files: DatabaseState, system: string, nextXid: bigint): void {
    this.restart(files);
    files.identity = { system, timeline: '00000001' };
    files.nextXid = nextXid;
    files.latestCompleted = nextXid - 1n;
    files.replicationSlots.clear();
    files.walFirst = files.committed.length;
    files.walEnd = 1_000n;
  }
}

export type { DatabaseState };

export function connectionLost(): EvidentError {
  return new EvidentError('source-unavailable', 'the connection was lost: the database was started again');
}
