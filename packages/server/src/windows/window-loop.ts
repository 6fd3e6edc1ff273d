/**
 * The loop that writes windows: hour after hour of every log but `heads` and `windows`, as soon as the hour is closed
 * and sealed in every partition. One per process with the role `seal`; several may run at once (`write-hour.ts`).
 *
 * A log that has no windows yet, as after an upgrade, is begun at its first hour: logs take turns, an hour each, so
 * that one with years to catch up on does not hold the others.
 */

import type { Log } from '../log/log.ts';
import { type OpenHour, planHour } from './plan-hour.ts';
import { catchUpIndex, type WindowDeps, type WrittenHour, writeHour } from './write-hour.ts';

export interface WindowLoopDeps extends Omit<WindowDeps, 'isStopping'> {
  /** Microseconds since the Unix epoch: to tell how late an hour is, never which hour it is. */
  readonly clock: () => bigint;
  readonly onHour: (log: string, hour: number, written: WrittenHour) => void;
  /** After a look at a log: nothing is ready, it failed, or many hours were ready in a row. */
  readonly onState: (state: WindowState) => void;
  readonly onError: (error: unknown) => void;
}

/** How windows of a log stand. */
export interface WindowState {
  readonly log: string;
  /** The last hour that is done, or null. */
  readonly hour: number | null;
  /** Seconds since the first hour that is not done was over; 0 while it is not over. */
  readonly lagSeconds: number;
  /** Partitions that hold it back. */
  readonly waiting: OpenHour['waiting'];
}

/** Milliseconds between two looks when no hour was ready. */
const LOOK_MS = 5_000;
/** Turns that a log whose hour failed is passed over: some 15 s, or less while others have hours ready. */
const RETRY_TURNS = 3;
/** Hours written in a row after which their lag is told all the same. */
const TELL_HOURS = 48;
/** Seconds after which an hour that is over and not closed is asked to be: its idle partitions need a log.hour. */
const CLOSE_AFTER_S = 5;
const HOUR_S = 3_600;

export class WindowLoop {
  readonly #deps: WindowLoopDeps;
  readonly #logs: readonly Log[];
  #stopping = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #turns = 0;
  /** By log the turn that failed last. */
  readonly #failedAt = new Map<string, number>();
  /** By log how many hours were ready one after the other. */
  readonly #inARow = new Map<string, number>();

  /** @param logs every log but `heads` and `windows` */
  constructor(deps: WindowLoopDeps, logs: readonly Log[]) {
    this.#deps = deps;
    this.#logs = logs;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends between two reads; an hour that is cut short is written to its end at the next start. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    await this.#running;
  }

  /** One turn: an hour of each log that has one ready. @returns whether there was one */
  async turn(): Promise<boolean> {
    let wrote = false;
    this.#turns++;
    for (const log of this.#logs) {
      if (this.#stopping) return false;
      if ((this.#failedAt.get(log.name) ?? Number.NEGATIVE_INFINITY) + RETRY_TURNS > this.#turns) continue;
      try {
        wrote = (await this.#turnOf(log)) || wrote;
      } catch (error) {
        // Of one log: its next try comes later, and no other log waits for it.
        this.#failedAt.set(log.name, this.#turns);
        this.#deps.onError(error);
      }
    }
    return wrote;
  }

  async #turnOf(log: Log): Promise<boolean> {
    const deps = { ...this.#deps, isStopping: () => this.#stopping };
    await catchUpIndex(deps);
    const last = await deps.index.lastHour(log.name);
    const plan = await planHour(deps.source, log.name, last);
    const lagSeconds = plan.hour === null ? 0 : Math.max(0, this.#secondsSince(plan.hour));
    const state: WindowState = {
      log: log.name,
      hour: last?.hour ?? null,
      lagSeconds,
      waiting: plan.kind === 'open' ? plan.waiting : [],
    };
    if (plan.kind === 'open') {
      this.#inARow.delete(log.name);
      // The sealer does it when the hour turns by its clock; the log's clock may be a little behind that.
      if (lagSeconds > CLOSE_AFTER_S) await log.closeHours();
      deps.onState(state);
      return false;
    }
    const inARow = (this.#inARow.get(log.name) ?? 0) + 1;
    this.#inARow.set(log.name, inARow);
    try {
      const written = await writeHour(deps, plan);
      if (written === null) return false;
      deps.onHour(log.name, plan.hour, written);
    } catch (error) {
      deps.onState(state);
      throw error;
    }
    // An hour or two behind a pause are written within seconds, and are no lag to speak of.
    if (inARow % TELL_HOURS === 0) deps.onState(state);
    return true;
  }

  /** Seconds since an hour was over. */
  #secondsSince(hour: number): number {
    return Number(this.#deps.clock() / 1_000_000n) - (hour + 1) * HOUR_S;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) if (!(await this.turn()) && !this.#stopping) await this.#sleep(LOOK_MS);
  }

  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, milliseconds);
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this.#wake = done;
    });
  }
}
