/**
 * The loop that seals: a round over all logs at most every 250 ms while there is news, heads listed at most every
 * 10 s, hours of idle partitions closed. One per process; of two processes the stored head decides.
 */

import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { epochOrigin, treeOrigin } from '@evident/core/origin.ts';
import type { Log } from '../log/log.ts';
import { listHeads, markListedAgain } from './list-heads.ts';
import { type RotateDeps, type Rotated, resumeRotation, rotateKey } from './rotate-key.ts';
import type { SealBreak, SealDeps, SealedHead, Sealer } from './seal.ts';
import { checkStored, openSealer, sealRound } from './seal.ts';
import type { TreeState } from './tree-state.ts';

export interface SealLoopDeps extends SealDeps {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Microseconds since the Unix epoch, only to see that an hour has turned. */
  readonly clock: () => bigint;
  readonly onSealed: (heads: readonly SealedHead[], leaves: number) => void;
  readonly onBreak: (found: SealBreak) => void;
  /** The signer answers no more, or answers again. */
  readonly onSigner: (isReached: boolean) => void;
  readonly onError: (error: unknown) => void;
  /** Replaces the signing key; absent where nobody asks for it. */
  readonly rotation?: Pick<RotateDeps, 'signer' | 'rotations' | 'passed'> & {
    /** Told before anything is signed by the new key alone. */
    readonly onRotated: (rotated: Rotated) => Promise<void>;
  };
}

/** A rotation that somebody waits for. */
interface AskedRotation {
  readonly resolve: (rotated: Rotated) => void;
  readonly reject: (error: unknown) => void;
}

/** Milliseconds between two rounds. */
const ROUND_MS = 250;
/** Milliseconds between two listings in the log `heads`. */
const LIST_MS = 10_000;
/** Milliseconds between two looks at stored heads: 8 KiB a partition, and no news says that they went back. */
const CHECK_MS = 10_000;
const ERROR_MS_MAX = 5_000;
/** Rounds of a clean stop: what was acknowledged, then the heads that list it. */
const LAST_ROUNDS_MAX = 100;
const HOUR_US = 3_600_000_000n;
export const HEADS_LOG = 'heads';

/** The signer does not answer, or another one does. */
function isSignerFault(error: unknown): boolean {
  return (
    isEvidentError(error) &&
    (error.code === 'signer-unreachable' ||
      error.code === 'key-mismatch' ||
      error.code === 'inception-refused')
  );
}

export class SealLoop {
  readonly #deps: SealLoopDeps;
  readonly #logs: readonly Log[];
  #sealers: Sealer[] = [];
  /** The newest head of each partition that the log `heads` does not list yet. */
  readonly #unlisted = new Map<string, SealedHead>();
  #listedAt = Number.NEGATIVE_INFINITY;
  #checkedAt: number;
  /** The hour in which hours were closed last. */
  #hour = -1n;
  #stopping = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #errorMs = 0;
  #isOpen = false;
  #isSignerReached = true;
  #asked: AskedRotation[] = [];
  /** The signer may hold a rotation that is not over, or not stored: nothing is sealed before that is known. */
  #isRotating = true;
  /** Once for each rotation that stays open: it is tried every round. */
  #isRotationTold = false;

  /** @param logs all logs, `heads` among them */
  constructor(deps: SealLoopDeps, logs: readonly Log[]) {
    this.#deps = deps;
    this.#logs = logs;
    this.#checkedAt = deps.now();
  }

  /**
   * Holds what is stored against what was signed. Before this, nothing may be appended; unless the signer can't be
   * reached: then it is done when it answers, and records that landed on sealed positions meanwhile, which takes an
   * older copy of the database as well, are moved by the recovery of that break.
   * @returns the breaks
   */
  async open(): Promise<SealBreak[]> {
    try {
      return await this.#open();
    } catch (error) {
      if (!isSignerFault(error)) throw error;
      this.#noteSigner(false);
      this.#deps.onError(error);
      return [];
    }
  }

  async #open(): Promise<SealBreak[]> {
    const found: SealBreak[] = [];
    const sealers: Sealer[] = [];
    for (const log of this.#logs) {
      const { sealer, breaks } = await openSealer(this.#deps, log);
      sealers.push(sealer);
      found.push(...breaks);
      for (const tree of sealer.trees)
        if (tree !== null) this.#noteUnlisted(tree.log, tree.partition, sealer);
    }
    await this.#markListed(sealers);
    this.#sealers = sealers;
    this.#isOpen = true;
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

  /**
   * Replaces the signing key, between two rounds.
   * @throws usage-invalid where keys are not rotated or the loop ends; what `rotateKey` throws
   */
  rotateKey(): Promise<Rotated> {
    if (this.#stopping || this.#deps.rotation === undefined)
      return Promise.reject(new EvidentError('usage-invalid', 'this process rotates no keys now'));
    return new Promise((resolve, reject) => {
      this.#asked.push({ resolve, reject });
      this.#wake?.();
    });
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const begun = this.#deps.now();
      const busy = await this.#turn();
      const wait = Math.max(ROUND_MS, this.#errorMs) - (this.#deps.now() - begun);
      if (!busy && !this.#stopping && wait > 0) await this.#sleep(wait);
    }
    for (let rounds = 0; rounds < LAST_ROUNDS_MAX && (await this.#turn()); rounds++);
    for (const { reject } of this.#asked.splice(0))
      reject(new EvidentError('usage-invalid', 'sealing has ended'));
  }

  /** @returns whether more is waiting already; when stopping, whether anything was sealed */
  async #turn(): Promise<boolean> {
    try {
      if (!this.#isSignerReached) await this.#askSigner();
      if (!this.#isOpen) await this.#open();
      await this.#rotate();
      const more = await this.#roundOfAll();
      await this.#checkIfDue();
      await this.#listIfDue();
      await this.#closeHours();
      this.#errorMs = 0;
      return more;
    } catch (error) {
      this.#errorMs = Math.min(ERROR_MS_MAX, Math.max(ROUND_MS, this.#errorMs * 2));
      if (isSignerFault(error)) this.#noteSigner(false);
      this.#deps.onError(error);
      return false;
    }
  }

  /** Ends a rotation that a process or a signer that died has left, and does the one that is asked for. */
  async #rotate(): Promise<void> {
    const { rotation } = this.#deps;
    const heads = this.#sealers.find(({ log }) => log.name === HEADS_LOG);
    if (rotation === undefined || heads === undefined || (!this.#isRotating && this.#asked.length === 0))
      return;
    const deps: RotateDeps = { ...this.#deps, ...rotation };
    this.#isRotating = true;
    const asked = this.#asked.splice(0);
    try {
      const ended = asked.length > 0 ? [await rotateKey(deps, heads)] : await resumeRotation(deps, heads);
      for (const one of ended) await rotation.onRotated(one);
      this.#isRotating = false;
      this.#isRotationTold = false;
      for (const { resolve } of asked) resolve(ended[0]);
    } catch (error) {
      for (const { reject } of asked) reject(error);
      // A log heads that is stopped, or a refusal, leaves the rotation open: heads above its sizes are signed by both keys.
      if (!isEvidentError(error) || !['seal-break', 'signer-refused'].includes(error.code)) throw error;
      if (!this.#isRotationTold && asked.length === 0) this.#deps.onError(error);
      this.#isRotationTold = true;
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

  async #checkIfDue(): Promise<void> {
    const now = this.#deps.now();
    if (now - this.#checkedAt < CHECK_MS) return;
    for (const sealer of this.#sealers)
      for (const one of await checkStored(this.#deps, sealer)) this.#deps.onBreak(one);
    // Without news nothing is signed, and nobody would notice that it can't be.
    await this.#askSigner();
    this.#checkedAt = now;
  }

  /** @throws signer-unreachable */
  async #askSigner(): Promise<void> {
    await this.#deps.signer.last(treeOrigin(this.#deps.name, HEADS_LOG, 0));
    this.#noteSigner(true);
  }

  #noteSigner(isReached: boolean): void {
    if (this.#isSignerReached === isReached) return;
    this.#isSignerReached = isReached;
    this.#deps.onSigner(isReached);
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

  async #markListed(sealers: readonly Sealer[]): Promise<void> {
    const heads = this.#logs.find(({ name }) => name === HEADS_LOG);
    if (heads === undefined) return;
    const trees = sealers
      .flatMap(({ trees }) => trees)
      .filter((tree): tree is TreeState => tree !== null && tree.log !== HEADS_LOG)
      .map(({ log, partition, head }) => {
        const origin = epochOrigin(this.#deps.name, log, partition, head.epoch);
        return [origin, { log, partition }] as const;
      });
    await markListedAgain(heads, this.#deps.heads, new Map(trees));
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
        if (this.#stopping || this.#asked.length > 0) done();
      };
    });
  }
}
