/**
 * Waits for identities to appear in logs. However many requests wait, one query at a time looks for all of them:
 * when one begins to wait, when this process has committed, and now and then for what others commit.
 *
 *   idle ──find──► look for all who wait → answer those found, and those whose time is over → pause → look again
 */

import type { IdentityPlace, IdentityReader, SoughtIdentity } from './deps.ts';

/** Between two looks, so that commits that follow one another closely share one. */
const LOOKS_APART_MS = 5;

export interface IdentityWatchOptions {
  readonly identities: IdentityReader;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Longest pause between two looks: another process, or the relay, may append without a word to us. */
  readonly pollMs: number;
}

interface Waiter {
  readonly sought: SoughtIdentity;
  readonly until: number;
  readonly resolve: (place: IdentityPlace | null) => void;
  readonly reject: (error: unknown) => void;
}

export class IdentityWatch {
  readonly #options: IdentityWatchOptions;
  readonly #waiters = new Set<Waiter>();
  #isRunning = false;
  /** Something may have changed since the last look began. */
  #isStale = false;
  #wake: () => void = () => undefined;

  constructor(options: IdentityWatchOptions) {
    this.#options = options;
  }

  /**
   * The place of an identity as soon as its log holds it, or null when `waitMs` have passed without it. Looks at
   * least once.
   * @param signal ends the wait with its reason
   * @throws log-unavailable
   */
  find(sought: SoughtIdentity, waitMs: number, signal: AbortSignal): Promise<IdentityPlace | null> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiters.delete(waiter);
        reject(signal.reason);
        this.#wake();
      };
      const settle =
        <T>(how: (outcome: T) => void) =>
        (outcome: T) => {
          this.#waiters.delete(waiter);
          signal.removeEventListener('abort', leave);
          how(outcome);
        };
      const until = this.#options.now() + waitMs;
      const waiter: Waiter = { sought, until, resolve: settle(resolve), reject: settle(reject) };
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      signal.addEventListener('abort', leave, { once: true });
      this.#waiters.add(waiter);
      this.#changed();
      if (!this.#isRunning) void this.#run();
    });
  }

  readonly #changed = (): void => {
    this.#isStale = true;
    this.#wake();
  };

  async #run(): Promise<void> {
    this.#isRunning = true;
    const stopListening = this.#options.identities.onAppended(this.#changed);
    while (this.#waiters.size > 0) {
      this.#isStale = false;
      await this.#look();
      await this.#pause(LOOKS_APART_MS, false);
      await this.#pause(this.#options.pollMs, true);
    }
    stopListening();
    this.#isRunning = false;
  }

  async #look(): Promise<void> {
    const asked = [...this.#waiters];
    try {
      const places = await this.#options.identities.find(asked.map(({ sought }) => sought));
      const now = this.#options.now();
      for (const [index, waiter] of asked.entries()) {
        const place = places[index];
        if (place !== null || now >= waiter.until) waiter.resolve(place);
      }
    } catch (error) {
      for (const waiter of asked) waiter.reject(error);
    }
  }

  /** Ends early when somebody's time is over, when nobody waits any more and, if asked for, when there may be something new. */
  async #pause(ms: number, untilStale: boolean): Promise<void> {
    const end = this.#options.now() + ms;
    while (this.#waiters.size > 0 && !(untilStale && this.#isStale)) {
      const now = this.#options.now();
      let next = end;
      if (untilStale) for (const { until } of this.#waiters) next = Math.min(next, until);
      if (now >= next) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, next - now);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = () => undefined;
    }
  }
}
