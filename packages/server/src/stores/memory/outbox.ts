/** The port `Outbox` over the model of an application's database. Each call waits at its hooks before and after. */

import { EvidentError } from '@evident/core/errors.ts';
import type {
  Emptied,
  Handover,
  Outbox,
  OutboxRow,
  OutboxStream,
  Pressure,
  ReadBounds,
  RowPlace,
  SlotState,
  SourceIdentity,
  Streamed,
  StreamedRow,
  SweepBounds,
} from '../../relay/ports.ts';
import { comparePlaces } from '../../relay/state.ts';
import {
  type ApplicationDatabase,
  connectionLost,
  type HeldRow,
  type ReplicationSlot,
} from './application-database.ts';
import type { MemoryLogHooks } from './log.ts';

/** A process: what it holds in the database goes with it. */
export interface MemorySession {
  readonly isOpen: boolean;
}

export interface MemoryOutboxOptions {
  readonly hooks?: MemoryLogHooks;
  readonly session?: MemorySession;
  /** Whether an acknowledgement stays under way until the stream is asked again. */
  readonly isLate?: () => boolean;
}

function bounded<Row extends OutboxRow>(rows: readonly Row[], { rowsMax, bytesMax }: ReadBounds): Row[] {
  const taken: Row[] = [];
  let bytes = 0;
  for (const row of rows) {
    if (taken.length >= rowsMax || bytes >= bytesMax) break;
    bytes += row.body.length;
    taken.push(row);
  }
  return taken;
}

function rowOf({ transaction: _, writtenAt: __, ...row }: HeldRow): OutboxRow {
  return { ...row, body: row.body.slice() };
}

/** Calls of one connection: they fail once the database was started again. */
class Calls {
  readonly database: ApplicationDatabase;
  readonly session: MemorySession;
  readonly #hooks: MemoryLogHooks;
  readonly #run: number;

  constructor(
    database: ApplicationDatabase,
    { hooks = {}, session = { isOpen: true } }: MemoryOutboxOptions,
  ) {
    this.database = database;
    this.session = session;
    this.#hooks = hooks;
    this.#run = database.run;
  }

  async call<T>(operation: string, effect: () => T): Promise<T> {
    await this.wait(operation);
    const result = effect();
    await this.done(operation);
    return result;
  }

  async wait(operation: string): Promise<void> {
    await this.#hooks.before?.(`outbox.${operation}`);
    this.demandRun();
  }

  async done(operation: string): Promise<void> {
    await this.#hooks.after?.(`outbox.${operation}`);
    this.demandRun();
  }

  demandRun(): void {
    if (this.database.run !== this.#run) throw connectionLost();
  }
}

export class MemoryOutbox implements Outbox {
  readonly #database: ApplicationDatabase;
  readonly #options: MemoryOutboxOptions;
  readonly #calls: Calls;

  constructor(database: ApplicationDatabase, options: MemoryOutboxOptions = {}) {
    this.#database = database;
    this.#options = options;
    this.#calls = new Calls(database, options);
  }

  identify(): Promise<SourceIdentity> {
    return this.#calls.call('identify', () => ({ ...this.#database.identity }));
  }

  beat(token: string): Promise<void> {
    return this.#calls.call('beat', () => this.#database.beat(token));
  }

  tokens(): Promise<readonly string[]> {
    return this.#calls.call('tokens', () => [...this.#database.tokens]);
  }

  readRow(place: RowPlace): Promise<OutboxRow | 'open' | null> {
    return this.#calls.call('readRow', () => {
      if ([...this.#database.open].some(({ xid }) => xid === place.xid)) return 'open';
      const [row] = this.#database.select((one) => comparePlaces(one, place) === 0);
      return row === undefined ? null : rowOf(row);
    });
  }

  read(after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]> {
    return this.#calls.call('read', () => {
      const { xmin } = this.#database.snapshot();
      const isSettled = (row: HeldRow): boolean => row.xid < xmin;
      return this.#rows((row) => comparePlaces(row, after) > 0 && isSettled(row), bounds);
    });
  }

  readAll(after: RowPlace, { through, horizon }: SweepBounds, bounds: ReadBounds): Promise<OutboxRow[]> {
    return this.#calls.call('readAll', () => {
      const { xmax } = this.#database.snapshot();
      const isSwept = ({ xid }: HeldRow): boolean => xid < horizon || xid >= xmax;
      return this.#rows(
        (row) => comparePlaces(row, after) > 0 && comparePlaces(row, through) <= 0 && isSwept(row),
        bounds,
      );
    });
  }

  readRestored(slot: number, after: RowPlace, bounds: ReadBounds): Promise<OutboxRow[]> {
    return this.#calls.call('readRestored', () => {
      const { xmax } = this.#database.snapshot();
      return this.#rows(
        (row) => row.slot === slot && comparePlaces(row, after) > 0 && row.xid >= xmax,
        bounds,
      );
    });
  }

  #rows(condition: (row: HeldRow) => boolean, bounds: ReadBounds): OutboxRow[] {
    return bounded(this.#database.select(condition), bounds).map(rowOf);
  }

  bound(): Promise<{ sweep: SweepBounds | null; horizon: bigint }> {
    return this.#calls.call('bound', () => {
      const { xmin: horizon } = this.#database.snapshot();
      const last = this.#database.select(() => true).at(-1);
      if (last === undefined) return { sweep: null, horizon };
      return { sweep: { through: { xid: last.xid, id: last.id }, horizon }, horizon };
    });
  }

  async horizon(): Promise<{ xid: bigint; lsn: bigint }> {
    await this.#calls.wait('horizon');
    const { xmin: xid } = this.#database.snapshot();
    await this.#calls.wait('horizon.part');
    const { walEnd: lsn } = this.#database;
    await this.#calls.done('horizon');
    return { xid, lsn };
  }

  slots(): Promise<number> {
    return this.#calls.call('slots', () => this.#database.options.slots);
  }

  async emptySlot(slot: number, done: RowPlace, row: RowPlace, restored: bigint): Promise<Emptied> {
    await this.#calls.wait('emptySlot');
    let emptied: Emptied = 'current';
    if (!this.#database.isCurrent(slot)) {
      const isLocked = this.#database.isFree(slot);
      const look = this.#database.lookAt(slot, done, row, restored);
      emptied = isLocked ? look : 'busy';
    }
    if (emptied === 'emptied') this.#database.truncate(slot);
    await this.#calls.done('emptySlot');
    return emptied;
  }

  pressure(done: RowPlace): Promise<Pressure> {
    return this.#calls.call('pressure', () => {
      const [oldest] = this.#database.select((row) => comparePlaces(row, done) > 0);
      const rows = this.#database.heldRows().reduce((sum, slot) => sum + slot.length, 0);
      const now = this.#database.options.clock();
      return {
        bytes: BigInt(rows) * 8_192n,
        lastId: this.#database.lastId,
        oldestMs: oldest === undefined ? null : Number(now - oldest.writtenAt) / 1_000,
        holder: null,
      };
    });
  }

  slotState(name: string): Promise<SlotState | null> {
    return this.#calls.call('slotState', () => {
      const slot = this.#database.replicationSlots.get(name);
      if (slot === undefined) return null;
      const { confirmed, usable, holder } = slot;
      return {
        confirmed,
        usable,
        lagBytes: this.#database.walEnd - confirmed,
        active: holder?.isOpen ?? false,
      };
    });
  }

  dropSlot(name: string): Promise<void> {
    return this.#calls.call('dropSlot', () => {
      if (this.#database.replicationSlots.get(name)?.holder?.isOpen) throw isActive(name);
      this.#database.replicationSlots.delete(name);
    });
  }

  /** Waits twice for what is open, as PostgreSQL may: what began while it waited is waited for again. */
  async createSlot(name: string, signal: AbortSignal): Promise<Handover> {
    await this.#calls.wait('createSlot');
    for (let round = 0; round < 2; round++) {
      const waitedFor = [...this.#database.open];
      while (waitedFor.some((transaction) => this.#database.open.has(transaction))) {
        if (signal.aborted)
          throw new EvidentError('source-unavailable', `making the slot ${name} was given up`);
        await this.#calls.wait('createSlot.part');
      }
    }
    if (this.#database.replicationSlots.has(name))
      throw new EvidentError('source-unavailable', `the slot ${name} is there already`);
    const lsn = this.#database.walEnd;
    const { xmin: horizon } = this.#database.snapshot();
    this.#database.replicationSlots.set(name, { confirmed: lsn, usable: true, holder: null });
    await this.#calls.done('createSlot');
    return this.#handover(lsn, horizon);
  }

  #handover(lsn: bigint, horizon: bigint): Handover {
    const calls = this.#calls;
    const { session } = calls;
    const reader = {
      get isOpen() {
        return session.isOpen;
      },
    };
    return {
      lsn,
      horizon,
      read: (after, bounds) =>
        calls.call('handover.read', () => {
          this.#database.readers.add(reader);
          const rows = this.#database.selectBefore(lsn, (row) => comparePlaces(row, after) > 0);
          return bounded(rows, bounds).map(rowOf);
        }),
      close: async () => {
        this.#database.readers.delete(reader);
      },
    };
  }

  async stream(name: string, acknowledged: bigint): Promise<OutboxStream> {
    await this.#calls.wait('stream');
    const slot = this.#database.replicationSlots.get(name);
    if (slot === undefined || !slot.usable)
      throw new EvidentError('source-unavailable', `the slot ${name} is not there, or lost its log`);
    if (slot.holder?.isOpen) throw isActive(name);
    const isLate = this.#options.isLate ?? (() => false);
    const stream = new MemoryOutboxStream(this.#calls, slot, acknowledged, isLate);
    try {
      await this.#calls.done('stream');
    } catch (error) {
      await stream.close();
      throw error;
    }
    return stream;
  }

  async close(): Promise<void> {}
}

function isActive(name: string): EvidentError {
  return new EvidentError('source-unavailable', `the slot ${name} is active for another session`);
}

class MemoryOutboxStream implements OutboxStream {
  readonly #calls: Calls;
  readonly #slot: ReplicationSlot;
  readonly #isLate: () => boolean;
  readonly #holder: { isOpen: boolean };
  #acknowledged: bigint;
  /** Next transaction of `committed`, and next row of it. */
  #next: number;
  #index = 0;

  constructor(calls: Calls, slot: ReplicationSlot, acknowledged: bigint, isLate: () => boolean) {
    this.#calls = calls;
    this.#slot = slot;
    this.#acknowledged = acknowledged;
    this.#isLate = isLate;
    const { session, database } = calls;
    let isOpen = true;
    this.#holder = {
      get isOpen() {
        return isOpen && session.isOpen;
      },
      set isOpen(is) {
        isOpen = is;
      },
    };
    slot.holder = this.#holder;
    this.#next = database.walFirst;
    const { committed } = database;
    while (this.#next < committed.length && (committed[this.#next].commitLsn as bigint) < slot.confirmed)
      this.#next++;
  }

  async next(bounds: ReadBounds): Promise<Streamed> {
    await this.#calls.wait('stream.next');
    this.#tell();
    if (!this.#slot.usable) throw new EvidentError('source-unavailable', 'the slot lost its log');
    const streamed = this.#take(bounds);
    await this.#calls.done('stream.next');
    return streamed;
  }

  #take({ rowsMax }: ReadBounds): Streamed {
    const { committed, walEnd } = this.#calls.database;
    const rows: StreamedRow[] = [];
    let through = 0n;
    while (rows.length < rowsMax && this.#next < committed.length) {
      const transaction = committed[this.#next];
      const commitLsn = transaction.commitLsn as bigint;
      const row = transaction.rows[this.#index];
      rows.push({ ...rowOf(row), commitLsn, index: this.#index });
      this.#index++;
      if (this.#index < transaction.rows.length) continue;
      this.#next++;
      this.#index = 0;
      through = transaction.endLsn as bigint;
    }
    if (this.#next === committed.length) through = walEnd;
    return { rows, through };
  }

  acknowledge(lsn: bigint): void {
    if (lsn <= this.#acknowledged) return;
    this.#acknowledged = lsn;
    if (!this.#isLate()) this.#tell();
  }

  /** What arrives of it; PostgreSQL does not ask whether it has written as much. */
  #tell(): void {
    if (this.#slot.holder === this.#holder && this.#acknowledged > this.#slot.confirmed)
      this.#slot.confirmed = this.#acknowledged;
  }

  async close(): Promise<void> {
    this.#holder.isOpen = false;
  }
}
