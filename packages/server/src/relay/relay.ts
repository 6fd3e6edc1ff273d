/**
 * A relay: the life of one source's way into the log. It claims the source, recognises the database, and then sweeps,
 * polls or streams until something fails; then it begins anew from what is stored. All that it knows is in the
 * cursor, so a relay that dies anywhere is replaced by another.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { type Alert, AlertBoard } from './alerts.ts';
import { SlotEmptier } from './empty-slots.ts';
import { beginEpoch, leaveToken, strangenessOf } from './epoch.ts';
import { beginHandover, finishHandover, slotName } from './handover.ts';
import { pollUntilEmpty, sweepOnce } from './poll.ts';
import type {
  Emptied,
  Handover,
  Outbox,
  OutboxStream,
  Pressure,
  RowPlace,
  SlotState,
  Source,
} from './ports.ts';
import { proposeEpoch } from './propose-row.ts';
import { type RelayReport, type RelayRowsDeps, relayRows } from './relay-rows.ts';
import { comparePlaces, FIRST_PLACE, type RelayState } from './state.ts';
import { StreamRelay, type WalState } from './stream.ts';

export interface RelayDeps extends RelayRowsDeps {
  /** Opens the outbox of a source. @throws source-unavailable, outbox-damaged */
  connect(source: Source): Promise<Outbox>;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** A new unguessable id. */
  readonly randomId: () => string;
  /** Resolves after the time, or when the signal aborts. */
  readonly sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  readonly onEpoch: (source: string, epoch: number, reason: string) => void;
  readonly onAlert: (alert: Alert) => void;
  readonly onError: (source: string, error: unknown) => void;
  readonly onCare: (source: string, status: RelayStatus) => void;
}

export interface RelayStatus {
  readonly mode: RelayState['mode'];
  readonly epoch: number;
  readonly pressure: Pressure;
  /** Rows that are not in the log yet, at most: ids of rolled-back rows count. */
  readonly depth: bigint;
  readonly slot: SlotState | null;
  readonly slots: readonly Emptied[];
}

/** Milliseconds between two looks at an outbox that is empty. */
const IDLE_MS = 25;
/** Milliseconds between two rounds of care: registration, slots, pressure, alerts. */
const CARE_MS = 1_000;
const CLAIM_MS = 1_000;
const ERROR_MS_MIN = 100;
const ERROR_MS_MAX = 5_000;

/** A slot in the making. */
interface HandoverAttempt {
  readonly abort: AbortController;
  ready: Handover | null;
  error: unknown;
}

/** A connection to the source, and what goes on over it. */
interface Work {
  readonly outbox: Outbox;
  readonly emptier: SlotEmptier;
  /** The outbox lies in the log's own database. */
  readonly isLocal: boolean;
  source: Source;
  state: RelayState;
  stream: { relay: StreamRelay; stream: OutboxStream } | null;
  /** Where polling stood when it left its last token. */
  proved: RowPlace;
  /** A slot in the making; null when none is. */
  handover: HandoverAttempt | null;
  /** When a slot may be made again, after one that could not be. */
  handoverAt: number;
  careAt: number;
}

export class Relay {
  readonly name: string;
  readonly #deps: RelayDeps;
  readonly #alerts: AlertBoard;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #relayed = 0;
  #errorMs = 0;

  constructor(deps: RelayDeps, name: string) {
    this.name = name;
    this.#deps = {
      ...deps,
      onRelayed: (report: RelayReport) => {
        this.#relayed += report.rows;
        deps.onRelayed(report);
      },
    };
    this.#alerts = new AlertBoard(name, deps.onAlert);
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends between two steps; what was taken is in the log with its cursor. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      try {
        const claim = await this.#deps.log.claim(this.name);
        if (claim === null) {
          await this.#sleep(CLAIM_MS);
          continue;
        }
        try {
          await this.#work();
        } finally {
          await claim.release();
        }
      } catch (error) {
        this.#errorMs = Math.min(ERROR_MS_MAX, Math.max(ERROR_MS_MIN, this.#errorMs * 2));
        this.#deps.onError(this.name, error);
        await this.#sleep(this.#errorMs);
      }
    }
  }

  async #work(): Promise<void> {
    const source = await this.#deps.log.readSource(this.name);
    if (source === null) throw new EvidentError('source-unknown', `no source ${this.name} is registered`);
    const outbox = await this.#deps.connect(source);
    let work: Work | undefined;
    try {
      work = await this.#begin(outbox, source);
      while (!this.#isStopping) {
        await this.#turn(work);
        this.#errorMs = 0;
        if (this.#deps.now() - work.careAt >= CARE_MS) await this.#care(work);
      }
    } finally {
      // Whatever failed, the connections end: the next attempt makes its own.
      await work?.stream?.stream.close().catch(() => undefined);
      work?.handover?.abort.abort();
      await work?.handover?.ready?.close().catch(() => undefined);
      await outbox.close().catch(() => undefined);
    }
  }

  /** Recognises the database; one that is not the known one begins an epoch. */
  async #begin(outbox: Outbox, source: Source): Promise<Work> {
    const identity = await outbox.identify();
    const strange = source.state === null ? null : await strangenessOf(outbox, identity, source.state);
    let known = source;
    if (source.state === null) {
      known = await relayRows(
        this.#deps,
        source,
        await beginEpoch(outbox, identity, 1, this.#deps.randomId()),
        [],
      );
    } else if (strange !== null) {
      const state = await beginEpoch(outbox, identity, source.state.epoch + 1, this.#deps.randomId());
      const said = await proposeEpoch(this.#deps.objects, source, state.epoch, strange);
      known = await relayRows(this.#deps, source, state, [], [said]);
      this.#deps.onEpoch(this.name, state.epoch, strange);
    } else {
      known = await this.#adoptToken(outbox, source, source.state);
    }
    const emptier = new SlotEmptier(this.#deps, outbox);
    const isLocal = (await this.#deps.local?.isLocal(await outbox.tokens())) ?? false;
    const careAt = Number.NEGATIVE_INFINITY;
    const state = known.state as RelayState;
    return {
      outbox,
      emptier,
      isLocal,
      source: known,
      state,
      stream: null,
      proved: FIRST_PLACE,
      handover: null,
      handoverAt: Number.NEGATIVE_INFINITY,
      careAt,
    };
  }

  /**
   * A relay that died after it left a token, and before it stored it: that token is stored now. The source keeps few:
   * left on top of one another by relays that die there, they would make the database look like another one.
   */
  async #adoptToken(outbox: Outbox, source: Source, state: RelayState): Promise<Source> {
    const [token] = await outbox.tokens();
    return token === state.token ? source : relayRows(this.#deps, source, { ...state, token }, []);
  }

  async #turn(work: Work): Promise<void> {
    switch (work.state.mode) {
      case 'sweep':
        this.#take(work, await sweepOnce(this.#deps, work.outbox, work.source, work.state));
        return;
      case 'polling':
        await this.#pollTurn(work, work.state);
        return;
      case 'wal':
        await this.#streamTurn(work, work.state);
    }
  }

  #take(work: Work, source: Source): void {
    work.source = source;
    work.state = source.state as RelayState;
  }

  /**
   * Leaves a token behind the place that polling has come to. The row at that place alone does not prove it: a copy of
   * the files may hold it, and beside it a prepared transaction of a lower xid that was rolled back since, was passed
   * over, and can be committed in the copy.
   */
  async #proveDone(work: Work): Promise<void> {
    const { state } = work;
    if (state.mode !== 'polling' || comparePlaces(state.done, work.proved) === 0) return;
    const token = this.#deps.randomId();
    await leaveToken(work.outbox, token, state.token);
    this.#take(work, await relayRows(this.#deps, work.source, { ...state, token }, []));
    work.proved = state.done;
  }

  async #pollTurn(work: Work, state: Extract<RelayState, { mode: 'polling' }>): Promise<void> {
    const isCareDue = () => this.#isStopping || this.#deps.now() - work.careAt >= CARE_MS;
    const { source, rows } = await pollUntilEmpty(
      this.#deps,
      work.outbox,
      work.source,
      state,
      work.isLocal,
      isCareDue,
    );
    this.#take(work, source);
    if (work.source.wantedMode === 'wal') {
      await this.#handOver(work);
      return;
    }
    await this.#giveUpHandover(work);
    if (rows === 0) await this.#sleep(IDLE_MS);
  }

  /** Polling goes on while the slot waits for open transactions, and when it can't be made at all. */
  async #handOver(work: Work): Promise<void> {
    if (work.handover?.error != null) {
      this.#deps.onError(this.name, work.handover.error);
      work.handover = null;
      work.handoverAt = this.#deps.now() + ERROR_MS_MAX;
    }
    if (this.#deps.now() >= work.handoverAt) work.handover ??= this.#beginHandover(work);
    if (work.handover === null || work.handover.ready === null) {
      await this.#sleep(IDLE_MS);
      return;
    }
    const { ready } = work.handover;
    if (work.state.mode !== 'polling') return;
    this.#take(
      work,
      await finishHandover(this.#deps, ready, work.outbox, work.source, work.state, this.#deps.randomId()),
    );
    work.handover = null;
    await ready.close();
  }

  /** Polling is wanted again: the snapshot goes at once, a slot that is made already with the next round of care. */
  async #giveUpHandover(work: Work): Promise<void> {
    const { handover } = work;
    work.handover = null;
    handover?.abort.abort();
    await handover?.ready?.close();
  }

  #beginHandover(work: Work): HandoverAttempt {
    const attempt: HandoverAttempt = { abort: new AbortController(), ready: null, error: null };
    beginHandover(work.outbox, this.name, attempt.abort.signal).then(
      (ready) => {
        attempt.ready = ready;
        if (attempt.abort.signal.aborted) void ready.close();
      },
      (error: unknown) => {
        attempt.error = error;
      },
    );
    return attempt;
  }

  async #streamTurn(work: Work, state: WalState): Promise<void> {
    if (work.source.wantedMode === 'polling') {
      await this.#leaveStream(work, state, true);
      return;
    }
    work.stream ??= await this.#openStream(work, state);
    if (work.stream === null) return;
    await work.stream.relay.step();
    this.#take(work, work.stream.relay.source);
  }

  async #openStream(work: Work, state: WalState): Promise<Work['stream']> {
    const name = slotName(this.name);
    const slot = await work.outbox.slotState(name);
    let fault = slotFault(slot, state);
    if (slot !== null && fault === null) {
      const { confirmed } = slot;
      const stream = await work.outbox.stream(name, confirmed);
      try {
        // Asked again: somebody may have moved it in between, and nobody moves a slot that is streamed from.
        fault = slotFault(await work.outbox.slotState(name), state);
      } catch (error) {
        await stream.close();
        throw error;
      }
      if (fault === null) {
        this.#alerts.set('slot-lost', false, 'the slot is there again');
        const relay = new StreamRelay(this.#deps, work.outbox, stream, work.source, state, confirmed);
        return { stream, relay };
      }
      await stream.close();
    }
    this.#alerts.set('slot-lost', true, fault ?? '');
    await this.#leaveStream(work, state, slot !== null);
    return null;
  }

  /** Back to polling, from the horizon: what the stream brought beyond it is recognised by identity. */
  async #leaveStream(work: Work, state: WalState, drop: boolean): Promise<void> {
    const { epoch, identity, token, row, done } = state;
    await work.stream?.stream.close();
    work.stream = null;
    this.#take(
      work,
      await relayRows(this.#deps, work.source, { mode: 'polling', epoch, identity, token, row, done }, []),
    );
    // After the state: a slot that is gone while the state still names it would be an alarm.
    if (drop) await work.outbox.dropSlot(slotName(this.name));
  }

  async #care(work: Work): Promise<void> {
    const fresh = await this.#deps.log.readSource(this.name);
    if (fresh === null) throw new EvidentError('source-unknown', `the source ${this.name} is gone`);
    if (fresh.version !== work.source.version)
      throw new EvidentError('cursor-moved', `the cursor of ${this.name} was moved by another relay`);
    work.source = { ...fresh, state: work.state };
    await this.#proveDone(work);
    const { source, slots } = await work.emptier.pass(work.source, work.state);
    this.#take(work, source);
    work.stream?.relay.adopt(source);
    const pressure = await work.outbox.pressure(work.state.done);
    const slot = await this.#slotState(work);
    this.#alerts.look({ pressure, slot, relayed: this.#relayed, now: this.#deps.now() });
    const depth = pressure.oldestMs === null ? 0n : pressure.lastId - (work.state.row?.id ?? 0n);
    const { mode, epoch } = work.state;
    this.#deps.onCare(this.name, { mode, epoch, pressure, depth: depth > 0n ? depth : 0n, slot, slots });
    work.careAt = this.#deps.now();
  }

  /** A slot that nobody reads is dropped: one may be left when a relay dies while it leaves a stream or makes a slot. */
  async #slotState(work: Work): Promise<SlotState | null> {
    const slot = await work.outbox.slotState(slotName(this.name));
    if (work.state.mode === 'wal') return slot;
    if (slot !== null && !slot.active && work.handover === null)
      await work.outbox.dropSlot(slotName(this.name));
    return null;
  }

  #sleep(milliseconds: number): Promise<void> {
    return this.#deps.sleep(milliseconds, this.#stopping.signal);
  }
}

/** @returns why a slot can't be streamed from without a gap, or null */
function slotFault(slot: SlotState | null, state: WalState): string | null {
  if (slot === null) return 'the replication slot is gone; what it held is read from the outbox';
  if (!slot.usable)
    return 'PostgreSQL has removed write-ahead log that the slot needed; it is read from the outbox';
  if (slot.confirmed > state.through)
    return 'the slot was moved by somebody else; what it passed over is read from the outbox';
  return null;
}
