/**
 * The loop that has heads of heads/0 vouched for: each authority and witness in its own time, so that none waits for
 * another. One per process with the role `seal`; nothing that captures, seals or searches waits for it.
 *
 * ```
 *   idle ──interval passed, and news──► asking ──anchored──► idle (settled)
 *     ▲                                   │
 *     └── after a pause that doubles ◄── failed (an alert from the third on, or at once for a bad answer)
 * ```
 *
 * The newest head covers every earlier one, so an outage delays and loses nothing: the first answer after it covers all
 * that was sealed meanwhile.
 */

import type { Log } from '../log/log.ts';
import { isAnchorRecord, logAnchors } from './log-anchor.ts';
import type { AnchorAnswer, Anchorer, AnchorStore, HeadToAnchor, NewestHead } from './ports.ts';

/** How an anchorer stands. */
export interface AnchorState {
  readonly anchorer: Pick<Anchorer, 'kind' | 'name'>;
  /** The time that the newest anchor vouches for, in microseconds since the Unix epoch; null: there is none. */
  readonly at: bigint | null;
  /** Failures since the last answer; 0: it answers, or was not asked yet. */
  readonly failures: number;
  /** Why the last one failed, or null. */
  readonly reason: string | null;
  /** The last answer was one that must not be. */
  readonly isBad: boolean;
  /** Somebody has to hear of it. */
  readonly isAlert: boolean;
}

export interface AnchorLoopDeps {
  /** Name of the installation. */
  readonly name: string;
  readonly store: AnchorStore;
  /** The log `heads`. */
  readonly heads: Pick<Log, 'appendOnce' | 'read'>;
  readonly newestHead: NewestHead;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Microseconds since the Unix epoch: only to tell, after a start, how old the newest anchor is. */
  readonly clock: () => bigint;
  /** From 0 to 1, not in it. */
  readonly random: () => number;
  readonly onAnchored: (anchorer: Anchorer, head: HeadToAnchor, at: bigint) => void;
  readonly onFailure: (anchorer: Anchorer, answer: Exclude<AnchorAnswer, { kind: 'anchored' }>) => void;
  /** After each look at an anchorer. */
  readonly onState: (state: AnchorState) => void;
  /** Our own failures: the database, the log. They are tried again. */
  readonly onError: (error: unknown) => void;
}

/** Milliseconds between two looks for news. */
const LOOK_MS = 1_000;
const BACKOFF_MS_MIN = 1_000;
const BACKOFF_MS_MAX = 300_000;
/** Longest that an answer can make us wait: one that says "in a year" is not believed. */
const RETRY_AFTER_MS_MAX = 3_600_000;
/** Failures in a row from which on it is an alert: one request that gets lost is none. */
export const ALERT_FAILURES = 3;
/** Records of heads/0 read at once in the search for news. */
const PAGE_RECORDS = 500;

/** What the loop knows of one anchorer. */
interface Turn {
  readonly anchorer: Anchorer;
  /** Of which tree `size` and `at` are. */
  epoch: number | null;
  /** The newest head that it vouches for, and the size below which all that follows it is known to be no news. */
  size: bigint;
  quietTo: bigint;
  at: bigint | null;
  /** When it may be asked again, in monotonic milliseconds. */
  dueAt: number;
  /** A head that one who is asked less often has just vouched for: it is asked for the same, whatever its interval. */
  joint: HeadToAnchor | null;
  failures: number;
  reason: string | null;
  isBad: boolean;
  /** Failures of our own in a row. */
  errors: number;
}

export class AnchorLoop {
  readonly #deps: AnchorLoopDeps;
  readonly #turns: readonly Turn[];
  readonly #stopping = new AbortController();
  /** There may be anchors that are stored and not logged: a process before this one may have left some. */
  #isUnlogged = true;
  #running: Promise<unknown> = Promise.resolve();

  constructor(deps: AnchorLoopDeps, anchorers: readonly Anchorer[]) {
    this.#deps = deps;
    this.#turns = anchorers.map((anchorer) => ({
      anchorer,
      epoch: null,
      size: 0n,
      quietTo: 0n,
      at: null,
      dueAt: Number.NEGATIVE_INFINITY,
      joint: null,
      failures: 0,
      reason: null,
      isBad: false,
      errors: 0,
    }));
  }

  start(): void {
    this.#running = Promise.all(this.#turns.map((turn) => this.#run(turn)));
  }

  /** Ends at once: a request that is under way is given up, and made again after the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** One look at each anchorer. @returns milliseconds until the next one has something to do, at most `LOOK_MS` if there is nothing */
  async look(): Promise<number> {
    const waits = await Promise.all(this.#turns.map((turn) => this.#look(turn)));
    return Math.min(LOOK_MS, ...waits);
  }

  async #run(turn: Turn): Promise<void> {
    while (!this.#stopping.signal.aborted) await this.#sleep(await this.#look(turn));
  }

  /** Never throws. @returns milliseconds until the next look */
  async #look(turn: Turn): Promise<number> {
    try {
      if (this.#isUnlogged) await this.#log();
      const joint = await this.#takeJoint(turn);
      const wait = turn.dueAt - this.#deps.now();
      if (joint === null && wait > 0) return Math.min(wait, LOOK_MS);
      const head = joint ?? (await this.#headWithNews(turn));
      if (head === null || (joint === null && turn.dueAt > this.#deps.now())) this.#report(turn);
      else await this.#ask(turn, head);
      turn.errors = 0;
    } catch (error) {
      // Ours, not theirs: nobody is blamed for it, and nobody is asked all the time because we fail to keep the answer.
      turn.dueAt = this.#deps.now() + this.#pauseMs(++turn.errors, BACKOFF_MS_MAX);
      this.#deps.onError(error);
    }
    return LOOK_MS;
  }

  async #takeJoint(turn: Turn): Promise<HeadToAnchor | null> {
    const { joint } = turn;
    turn.joint = null;
    // One that does not answer is not asked out of its turn.
    if (joint === null || turn.failures > 0) return null;
    await this.#readNewest(turn, joint.epoch);
    return joint.size > turn.size ? joint : null;
  }

  /**
   * Heads that all vouch for: without this a token of each hour and a cosignature of each minute hardly ever meet on one
   * head. A witness signs no smaller head than its last, so those who are asked more often follow, not the other way round.
   */
  #join(turn: Turn, head: HeadToAnchor): void {
    for (const other of this.#turns) {
      if (
        other !== turn &&
        other.anchorer.everySeconds <= turn.anchorer.everySeconds &&
        other.size < head.size
      )
        other.joint = head;
    }
  }

  async #log(): Promise<void> {
    await logAnchors(this.#deps);
    this.#isUnlogged = false;
  }

  async #headWithNews(turn: Turn): Promise<HeadToAnchor | null> {
    const head = await this.#deps.newestHead();
    if (head === null || head.size === 0n) return null;
    await this.#readNewest(turn, head.epoch);
    return head.size > turn.size && (await this.#hasNews(turn, head.size)) ? head : null;
  }

  /** Takes over what a process before this one got, or another one beside it, or that the tree began anew. */
  async #readNewest(turn: Turn, epoch: number): Promise<void> {
    const { store, clock, now } = this.#deps;
    const { kind, name, everySeconds } = turn.anchorer;
    const newest = await store.newest(epoch, kind, name);
    const size = newest?.size ?? 0n;
    if (turn.epoch === epoch && turn.size === size) return;
    Object.assign(turn, { epoch, size, quietTo: size, at: newest?.at ?? null });
    if (newest === null) return;
    const everyMs = everySeconds * 1_000;
    const restMs = everyMs - Number((clock() - newest.at) / 1_000n);
    // The other clock may be anywhere: nobody waits for longer than an interval, whatever it says.
    if (restMs > 0) turn.dueAt = now() + Math.min(restMs, everyMs);
  }

  /** Whether anything but anchor records follows the head that it vouches for: else each anchor would call for the next. */
  async #hasNews(turn: Turn, size: bigint): Promise<boolean> {
    while (turn.quietTo < size) {
      const page = await this.#deps.heads.read(0, turn.quietTo, PAGE_RECORDS);
      const last = page.at(-1);
      // Positions that were lost hold no record; a recovery says so, and is news.
      if (last === undefined || page[0].position > turn.quietTo) return true;
      if (page.some((record) => record.position < size && !isAnchorRecord(record))) return true;
      turn.quietTo = last.position + 1n < size ? last.position + 1n : size;
    }
    return false;
  }

  async #ask(turn: Turn, head: HeadToAnchor): Promise<void> {
    const { anchorer } = turn;
    const { store, now } = this.#deps;
    const answer = await this.#answerOf(anchorer, head);
    if (this.#stopping.signal.aborted && answer.kind !== 'anchored') return;
    if (answer.kind !== 'anchored') {
      this.#fail(turn, answer);
      return;
    }
    const { kind, name: by } = anchorer;
    const { bytes, at } = answer;
    const { epoch, size } = head;
    // Died here: the anchor is lost and asked for again. Died behind it: see logAnchors.
    await store.put({ epoch, size, kind, by, bytes, at });
    Object.assign(turn, { size, quietTo: size, at, failures: 0, reason: null, isBad: false });
    turn.dueAt = now() + anchorer.everySeconds * 1_000;
    this.#join(turn, head);
    this.#deps.onAnchored(anchorer, head, at);
    this.#report(turn);
    this.#isUnlogged = true;
    await this.#log();
  }

  async #answerOf(anchorer: Anchorer, head: HeadToAnchor): Promise<AnchorAnswer> {
    try {
      return await anchorer.anchor(head, this.#stopping.signal);
    } catch (error) {
      return { kind: 'unreachable', reason: (error as Error).message, retryAfterMs: null };
    }
  }

  #fail(turn: Turn, answer: Exclude<AnchorAnswer, { kind: 'anchored' }>): void {
    const { kind, reason, retryAfterMs } = answer;
    turn.failures++;
    turn.reason = reason;
    turn.isBad = kind === 'refused';
    const most = Math.min(BACKOFF_MS_MAX, turn.anchorer.everySeconds * 1_000);
    const pauseMs = this.#pauseMs(turn.failures, most);
    turn.dueAt = this.#deps.now() + Math.max(pauseMs, Math.min(retryAfterMs ?? 0, RETRY_AFTER_MS_MAX));
    this.#deps.onFailure(turn.anchorer, answer);
    this.#report(turn);
  }

  /** Doubles with each failure; from half of it to the whole, so that all who lost the same authority don't come back at once. */
  #pauseMs(failures: number, most: number): number {
    const doubled = Math.min(most, BACKOFF_MS_MIN * 2 ** Math.min(failures - 1, 20));
    return doubled * (0.5 + this.#deps.random() / 2);
  }

  #report({ anchorer, at, failures, reason, isBad }: Turn): void {
    const isAlert = isBad || failures >= ALERT_FAILURES;
    this.#deps.onState({ anchorer, at, failures, reason, isBad, isAlert });
  }

  #sleep(milliseconds: number): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener('abort', done, { once: true });
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      }
      if (signal.aborted) done();
    });
  }
}
