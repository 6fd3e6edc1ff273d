/**
 * Relaying from the write-ahead log: rows come in the order of their commits, as soon as they are committed.
 *
 * The cursor is (commit LSN, number in the transaction), moved in the log's transaction; PostgreSQL is told only
 * after that, and never of more than the stored state says. If we die in between, it sends rows again that are
 * in the log: they are passed over by the cursor.
 *
 * What is believed of the write-ahead log is what this very stream has said. The stored state may know of places that
 * the log has not reached: a copy of the database that was put back can hold the row and the token of the state, and
 * lack what was only passed over since. It is acknowledged no further than its own stream has come.
 *
 * Beside it runs the horizon: (xid, LSN) read now and then, the transaction first. When the stream has passed the
 * LSN, every row of an earlier transaction is in the log. It tells which slots of the ring are done with, and is
 * where polling would go on.
 */

import { leaveToken } from './epoch.ts';
import type { Outbox, OutboxStream, ReadBounds, Source, StreamedRow } from './ports.ts';
import { lastRow, type RelayRowsDeps, relayRows } from './relay-rows.ts';
import { beforeXid, type RelayState } from './state.ts';

export type WalState = Extract<RelayState, { mode: 'wal' }>;

export interface StreamDeps extends RelayRowsDeps {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** A new unguessable id. */
  readonly randomId: () => string;
}

const BATCH: ReadBounds = { rowsMax: 4_000, bytesMax: 8 * 1024 * 1024 };
/** Milliseconds between two looks at the horizon. */
const HORIZON_MS = 1_000;
/** Milliseconds between two writes of a cursor that moves though nothing is relayed. */
const IDLE_MS = 5_000;

export class StreamRelay {
  readonly #deps: StreamDeps;
  readonly #outbox: Outbox;
  readonly #stream: OutboxStream;
  #source: Source;
  #state: WalState;
  /** Where the slot stood, and then what this stream has said to have brought. */
  #through: bigint;
  /** What of that the stored state holds. */
  #stored: bigint;
  #horizon: { xid: bigint; lsn: bigint } | null = null;
  /** A horizon that the stream has passed, and the token that was left after it: waits to be stored. */
  #passed: { xid: bigint; token: string } | null = null;
  #horizonAt = Number.NEGATIVE_INFINITY;
  #storedAt: number;

  /** @param confirmed where the slot stands */
  constructor(
    deps: StreamDeps,
    outbox: Outbox,
    stream: OutboxStream,
    source: Source,
    state: WalState,
    confirmed: bigint,
  ) {
    this.#deps = deps;
    this.#outbox = outbox;
    this.#stream = stream;
    this.#source = source;
    this.#state = state;
    this.#through = confirmed;
    this.#stored = confirmed;
    this.#storedAt = deps.now();
  }

  get source(): Source {
    return this.#source;
  }

  /** Takes over a source whose cursor was moved, or whose registration was read again, between two steps. */
  adopt(source: Source): void {
    this.#source = source;
  }

  get state(): WalState {
    return this.#state;
  }

  /** Takes what has come. @returns how many rows went into the log */
  async step(): Promise<number> {
    const { rows: streamed, through } = await this.#stream.next(BATCH);
    const rows = streamed.filter((row) => isBehind(row, this.#state));
    if (through > this.#through) this.#through = through;
    if (this.#horizon !== null && this.#through >= this.#horizon.lsn)
      await this.#passHorizon(this.#horizon.xid);
    const isDue = this.#deps.now() - this.#storedAt >= IDLE_MS && this.#through > this.#stored;
    if (rows.length > 0 || isDue) await this.#store(rows);
    this.#stream.acknowledge(this.#stored);
    await this.#lookAtHorizon();
    return rows.length;
  }

  async #store(rows: readonly StreamedRow[]): Promise<void> {
    const last = rows.at(-1);
    const next: WalState = {
      ...this.#state,
      row: lastRow(rows, this.#state.row),
      // Never back: the slot of the database as it was may have been told so much.
      through: this.#through > this.#state.through ? this.#through : this.#state.through,
      ...(this.#passed === null ? {} : { done: beforeXid(this.#passed.xid), token: this.#passed.token }),
      ...(last === undefined ? {} : { lsn: last.commitLsn, index: last.index }),
    };
    this.#source = await relayRows(this.#deps, this.#source, next, rows);
    this.#state = next;
    this.#stored = this.#through;
    this.#passed = null;
    this.#storedAt = this.#deps.now();
  }

  /** The token goes into the source before the state that names it: dying in between is no harm. */
  async #passHorizon(xid: bigint): Promise<void> {
    const token = this.#deps.randomId();
    await leaveToken(this.#outbox, token, this.#state.token);
    this.#passed = { xid, token };
    this.#horizon = null;
  }

  async #lookAtHorizon(): Promise<void> {
    if (this.#horizon !== null || this.#passed !== null || this.#deps.now() - this.#horizonAt < HORIZON_MS)
      return;
    this.#horizonAt = this.#deps.now();
    this.#horizon = await this.#outbox.horizon();
  }
}

function isBehind(row: StreamedRow, state: WalState): boolean {
  return row.commitLsn > state.lsn || (row.commitLsn === state.lsn && row.index > state.index);
}
