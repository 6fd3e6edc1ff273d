/**
 * The loop that seals: a round over all logs at most every 250 ms while there is news, heads listed at most every
 * 10 s, hours of idle partitions closed. One per process; of two processes the stored head decides.
 */

import { epochOrigin } from '@evident/core/origin.ts';
import type { Log } from '../log/log.ts';
import { listHeads } from './list-heads.ts';
import type { SealBreak, SealDeps, SealedHead, Sealer } from './seal.ts';
import { openSealer, sealRound } from './seal.ts';

export interface SealLoopDeps extends SealDeps {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Microseconds since the Unix epoch, only to see that an hour has turned. */
  readonly clock: () => bigint;
  readonly onSealed: (heads: readonly SealedHead[], leaves: number) => void;
  readonly onBreak: (found: SealBreak) => void;
  readonly onError: (error: unknown) => void;
}

/** Milliseconds between two rounds. */
const ROUND_MS = 250;
/** Milliseconds between two listings in the log `heads`. */
const LIST_MS = 10_000;
const ERROR_MS_MAX = 5_000;
/** Rounds of a clean stop: what was acknowledged, then the heads that list it. */
const LAST_ROUNDS_MAX = 100;
const HOUR_US = 3_600_000_000n;
export const HEADS_LOG = 'heads';

export class SealLoop {
  readonly #deps: SealLoopDeps;
  readonly #logs: readonly Log[];
  #sealers: Sealer[] = [];
  /** The newest head of each partition that the log `heads` does not list yet. */
  readonly #unlisted = new Map<string, SealedHead>();
  #listedAt = Number.NEGATIVE_INFINITY;
  /** The hour in which hours were closed last. */
  #hour = -1n;
  #stopping = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #errorMs = 0;

  /** @param logs all logs, `heads` among them */
  constructor(deps: SealLoopDeps, logs: readonly Log[]) {
    this.#deps = deps;
    this.#logs = logs;
  }

  /** Holds what is stored against what was signed. Before this, nothing may be appended. @returns the breaks */
  async open(): Promise<SealBreak[]> {
    const found: SealBreak[] = [];
    const sealers: Sealer[] = [];
    for (const log of this.#logs) {
      const { sealer, breaks } = await openSealer(this.#deps, log);
      sealers.push(sealer);
      found.push(...breaks);
      for (const tree of sealer.trees)
        if (tree !== null) this.#noteUnlisted(tree.log, tree.partition, sealer);
    }
    this.#sealers = sealers;
    for (const one of found) this.#deps.onBreak(one);
    return found;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends after a last round, so that what was acknowledged before a clean stop is sealed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const begun = this.#deps.now();
      const busy = await this.#turn();
      const wait = Math.max(ROUND_MS, this.#errorMs) - (this.#deps.now() - begun);
      if (!busy && !this.#stopping && wait > 0) await this.#sleep(wait);
    }
    for (let rounds = 0; rounds < LAST_ROUNDS_MAX && (await this.#turn()); rounds++);
  }

  /** @returns whether more is waiting already; when stopping, whether anything was sealed */
  async #turn(): Promise<boolean> {
    try {
      const more = await this.#roundOfAll();
      await this.#listIfDue();
      await this.#closeHours();
      this.#errorMs = 0;
      return more;
    } catch (error) {
      this.#errorMs = Math.min(ERROR_MS_MAX, Math.max(ROUND_MS, this.#errorMs * 2));
      this.#deps.onError(error);
      return false;
    }
  }

  async #roundOfAll(): Promise<boolean> {
    let more = false;
    for (const sealer of this.#sealers) {
      const round = await sealRound(this.#deps, sealer);
      more ||= round.more;
      for (const one of round.breaks) this.#deps.onBreak(one);
      for (const head of round.sealed) if (head.log !== HEADS_LOG) this.#unlisted.set(head.origin, head);
      if (round.sealed.length > 0) this.#deps.onSealed(round.sealed, round.leaves);
      more ||= this.#stopping && round.sealed.length > 0;
    }
    return more;
  }

  async #listIfDue(): Promise<void> {
    const now = this.#deps.now();
    if (this.#unlisted.size === 0 || (now - this.#listedAt < LIST_MS && !this.#stopping)) return;
    const heads = [...this.#unlisted.values()];
    const log = this.#logs.find(({ name }) => name === HEADS_LOG);
    if (log === undefined || (await log.head(0)).stopped !== null) return;
    await listHeads(log, this.#deps.heads, heads);
    this.#listedAt = now;
    for (const head of heads)
      if (this.#unlisted.get(head.origin) === head) this.#unlisted.delete(head.origin);
  }

  /** Partitions in which nothing happens get their `log.hour` here; an append brings it along. */
  async #closeHours(): Promise<void> {
    const hour = this.#deps.clock() / HOUR_US;
    if (hour === this.#hour) return;
    for (const log of this.#logs) await log.closeHours();
    this.#hour = hour;
  }

  #noteUnlisted(log: string, partition: number, sealer: Sealer): void {
    const tree = sealer.trees[partition];
    if (tree === null || log === HEADS_LOG || tree.head.size === 0n) return;
    const origin = epochOrigin(this.#deps.name, log, partition, tree.head.epoch);
    this.#unlisted.set(origin, { log, partition, origin, size: tree.head.size, root: tree.head.root });
  }

  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, milliseconds);
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this.#wake = () => {
        if (this.#stopping) done();
      };
    });
  }
}
