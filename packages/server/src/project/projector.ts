/** The loop of one view: rounds while there is news, a pause when the log or the view can't be reached. */

import { BreakerTripped } from './breaker.ts';
import type { ViewRef } from './ports.ts';
import { isAmong, type Projection } from './projection.ts';
import { type ReaderDeps, type Round, ViewReader } from './reader.ts';

export interface ProjectorDeps extends ReaderDeps {
  readonly sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  /** From 0 to 1: spreads retries of several processes. */
  readonly random: () => number;
  readonly onError: (error: unknown) => void;
  /** The breaker opened, with its reason; null: it was reset. */
  readonly onBreaker: (reason: string | null) => void;
  /** Another reader feeds the view. */
  readonly onOvertaken: () => void;
  /** The rows of the view were begun by another definition: all definitions, in order. */
  readonly onDefinition: (definitions: string) => void;
}

/** Milliseconds between two looks at the log, if nobody says that there is news. */
const POLL_MS = 100;
/** Milliseconds to let records gather when there were few: each transaction costs the same whatever it holds. */
const GATHER_MS = 40;
/** Milliseconds after which a reader that was overtaken looks again. */
const OVERTAKEN_MS = 1_000;
const ERROR_MS_MAX = 5_000;

export class Projector {
  readonly #deps: ProjectorDeps;
  readonly #projection: Projection;
  /** The generation to feed; null: the one that is shown. */
  readonly #wanted: ViewRef | null;
  readonly #stopping = new AbortController();
  #nap = new AbortController();
  #reader: ViewReader | undefined;
  #hasBegun = false;
  #errorMs = 0;
  #reset: ((allowance: number) => void) | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: ProjectorDeps, projection: Projection, wanted: ViewRef | null = null) {
    this.#deps = deps;
    this.#projection = projection;
    this.#wanted = wanted;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends after the batch at hand. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#nap.abort();
    await this.#running;
  }

  /** There are new records. */
  wake(): void {
    this.#nap.abort();
  }

  /** Goes on after the breaker opened. @param allowance dead letters that were looked at, and are passed uncounted */
  resetBreaker(allowance: number): void {
    this.#reset?.(allowance);
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        const reader = await this.#ready();
        await this.#follow(reader);
      } catch (error) {
        this.#hasBegun = false;
        if (error instanceof BreakerTripped) await this.#waitForReset(error);
        else await this.#pause(error);
      }
    }
    await this.#reader?.end().catch((error: unknown) => this.#deps.onError(error));
  }

  async #ready(): Promise<ViewReader> {
    if (this.#hasBegun && this.#reader !== undefined) return this.#reader;
    const reader = await this.#readerOfNow();
    await reader.begin();
    this.#hasBegun = true;
    return reader;
  }

  /** Looked up each time: another generation may be shown by now, and an older copy of the database may know no view. */
  async #readerOfNow(): Promise<ViewReader> {
    const { store } = this.#deps;
    const { name, definition } = this.#projection;
    const opened =
      this.#wanted === null ? await store.open(name, definition) : { ref: this.#wanted, definition };
    const known = this.#reader?.ref.generation === opened.ref.generation ? this.#reader : undefined;
    // An older copy may be from before this definition began, and its rows would pass for those of another one.
    if (known === undefined || !isAmong(opened.definition, definition)) {
      const definitions = await store.continueWith(opened.ref, definition);
      if (definitions !== null) this.#deps.onDefinition(definitions);
    }
    this.#reader = known ?? new ViewReader(this.#deps, this.#projection, opened.ref);
    return this.#reader;
  }

  async #follow(reader: ViewReader): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#nap = new AbortController();
      const round = await reader.round();
      this.#errorMs = 0;
      if (await this.#after(round)) return;
    }
  }

  /** @returns whether to begin anew */
  async #after(round: Round): Promise<boolean> {
    switch (round.kind) {
      case 'stored':
        if (!round.isFull) await this.#deps.sleep(GATHER_MS, this.#stopping.signal);
        return false;
      case 'idle':
        if (!this.#stopping.signal.aborted) await this.#deps.sleep(POLL_MS, this.#nap.signal);
        return false;
      case 'overtaken':
        this.#hasBegun = false;
        this.#deps.onOvertaken();
        await this.#deps.sleep(OVERTAKEN_MS * (1 + this.#deps.random()), this.#stopping.signal);
        return true;
      case 'retired':
        // Another generation is shown now; one that was asked for is not fed any more.
        this.#hasBegun = false;
        this.#reader = undefined;
        if (this.#wanted !== null) this.#stopping.abort();
        return true;
    }
  }

  async #pause(error: unknown): Promise<void> {
    this.#deps.onError(error);
    this.#errorMs = Math.min(ERROR_MS_MAX, Math.max(POLL_MS, this.#errorMs * 2));
    await this.#deps.sleep(this.#errorMs * (0.5 + this.#deps.random()), this.#stopping.signal);
  }

  async #waitForReset(tripped: BreakerTripped): Promise<void> {
    this.#deps.onBreaker(tripped.message);
    const { signal } = this.#stopping;
    const allowance = await new Promise<number | null>((resolve) => {
      this.#reset = resolve;
      signal.addEventListener('abort', () => resolve(null), { once: true });
      if (signal.aborted) resolve(null);
    });
    this.#reset = undefined;
    if (allowance === null) return;
    this.#reader?.resetBreaker(allowance);
    this.#deps.onBreaker(null);
  }
}
