/**
 * The background self-audit: reads what is stored again and again, at a bounded rate, derives leaf hashes from the bytes
 * and holds them against the newest signed head by its tiles. It shortens the time that a change stays unseen, and is no
 * substitute for `evident verify`, which looks at everything at once: at older heads, the chain, windows and views too.
 *
 * ```
 *   begin a pass: every partition, as far as it is sealed now
 *     └─► a chunk of each partition in turn ──good, or tampered (told at once)──► the next chunk
 *           ▲       └──can't be read──► pause, which doubles ──► the same chunk again
 *           │                             └──the sixth time──► past it: this pass is not full
 *           └── until all are through; a pass is full if nothing was passed over
 * ```
 *
 * What a crash leaves: a cursor some seconds old, so that some records are read twice.
 */

import { isEvidentError } from '@evident/core/errors.ts';
import type { Log } from '../log/log.ts';
import { describeFinding, type Finding, Findings } from './finding.ts';
import { type AuditPass, type AuditState, type AuditStateStore, placeKey } from './self-audit-state.ts';
import { type SpanDeps, verifyPositions } from './verify-span.ts';

export interface SelfAuditDeps extends SpanDeps {
  readonly logs: readonly Log[];
  readonly state: AuditStateStore;
  readonly recordsPerSecond: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Microseconds since the Unix epoch: to say when a pass began and ended. */
  readonly clock: () => bigint;
  /** Records of one chunk, as they were read. */
  readonly onRecords: (count: number) => void;
  /** What contradicts a signed head. Told each time that it is met. */
  readonly onTampered: (findings: readonly Finding[]) => void;
  /** Something can't be read, and why; null: what could not be read is read again. */
  readonly onUnread: (reason: string | null) => void;
  readonly onState: (state: AuditState) => void;
  /** Our own failures, such as a state that can't be stored. */
  readonly onError: (error: unknown) => void;
}

/** Positions read at once: some 10 ms. */
export const CHUNK_POSITIONS = 2_048n;
/** Shortest time from one pass to the next, in milliseconds: a small log is not read all the time. */
export const PASS_MS_MIN = 60_000;
const SAVE_MS = 10_000;
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 60_000;
/** Times that a chunk is tried before it is passed over. */
export const TRIES_MAX = 6;

export class SelfAudit {
  readonly #deps: SelfAuditDeps;
  readonly #stopping = new AbortController();
  #state: AuditState | null = null;
  /** Which partition had its turn last. */
  #turn = -1;
  #tries = 0;
  #pauses = 0;
  /** An alert that something can't be read may be open: also one of a process before this one. */
  #isUnread = true;
  #savedAt = Number.NEGATIVE_INFINITY;
  /** Monotonic milliseconds at which this process saw the pass begin. */
  #begunAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: SelfAuditDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends after the chunk that is being read, and keeps the cursor. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#save();
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) await this.#sleep(await this.step());
  }

  /** One chunk. Never throws. @returns milliseconds until the next step */
  async step(): Promise<number> {
    const begun = this.#deps.now();
    try {
      this.#state ??= await this.#load();
      const pass = this.#state.pass ?? (await this.#beginPass());
      if (pass === null) return this.#restOfPass();
      const place = this.#nextPlace(pass);
      const read = place === null ? 0 : await this.#audit(pass, place);
      if (read === null) return this.#pause();
      this.#pauses = 0;
      if (this.#nextPlace(pass) === null) await this.#endPass(pass);
      if (this.#deps.now() - this.#savedAt >= SAVE_MS) await this.#save();
      return Math.max(0, (read * 1_000) / this.#deps.recordsPerSecond - (this.#deps.now() - begun));
    } catch (error) {
      this.#deps.onError(error);
      if (isEvidentError(error)) this.#unread(error.message);
      return this.#pause();
    }
  }

  async #load(): Promise<AuditState> {
    const stored = await this.#deps.state.load();
    return stored ?? { pass: null, last: null, isIncomplete: false };
  }

  /** @returns null while the pass before this one is too young */
  async #beginPass(): Promise<AuditPass | null> {
    const { logs, heads, clock, now } = this.#deps;
    if (now() - this.#begunAt < PASS_MS_MIN) return null;
    const places: AuditPass['places'] = new Map();
    for (const log of logs) {
      for (const { partition, first } of await log.heads()) {
        const seal = await heads.readSeal(log.name, partition);
        if (seal === null || seal.size <= first) continue;
        places.set(placeKey(log.name, partition), { epoch: seal.epoch, next: first, to: seal.size });
      }
    }
    if (places.size === 0) return null;
    const pass = { begunAt: clock(), records: 0, passedOver: 0, tampered: 0, newest: null, places };
    this.#begunAt = now();
    this.#turn = -1;
    this.#state = { ...(this.#state as AuditState), pass };
    await this.#save();
    return pass;
  }

  #restOfPass(): number {
    return Math.max(PAUSE_MS_MIN, Math.min(PASS_MS_MIN, PASS_MS_MIN - (this.#deps.now() - this.#begunAt)));
  }

  /** The partition whose turn it is, of those that are not through; null: all are. */
  #nextPlace({ places }: AuditPass): string | null {
    const keys = [...places.keys()];
    for (let step = 1; step <= keys.length; step++) {
      const key = keys[(this.#turn + step) % keys.length];
      const place = places.get(key);
      if (place !== undefined && place.next < place.to) return key;
    }
    return null;
  }

  /** One chunk of a partition. @returns how many records were read; null: it can't be read now */
  async #audit(pass: AuditPass, key: string): Promise<number | null> {
    const place = pass.places.get(key);
    const [name, partition] = key.split('/');
    const log = this.#deps.logs.find((one) => one.name === name);
    if (place === undefined) return 0;
    const seal = log === undefined ? null : await this.#deps.heads.readSeal(name, Number(partition));
    // The tree began anew, or the log is gone or shorter: the next pass sees it as it is then; `verify` says why.
    if (log === undefined || seal === null || seal.epoch !== place.epoch || seal.size < place.to) {
      this.#pass(pass, key, place.to, true);
      return 0;
    }
    const end = place.next + CHUNK_POSITIONS < place.to ? place.next + CHUNK_POSITIONS : place.to;
    const findings = new Findings();
    const { records } = await verifyPositions(this.#deps, log, Number(partition), place.next, end, findings);
    return this.#judge(pass, key, end, findings, records);
  }

  #judge(pass: AuditPass, key: string, end: bigint, findings: Findings, records: number): number | null {
    const tampered = findings.list.filter(({ verdict }) => verdict === 'tampered');
    // That a record is lost was recorded: nobody can read it any more, and nothing is to be done.
    const unread = findings.list.find(({ verdict, check }) => verdict === 'not checked' && check !== 'lost');
    this.#deps.onRecords(records);
    if (tampered.length > 0) this.#deps.onTampered(tampered);
    if (unread !== undefined && tampered.length === 0) {
      this.#unread(`${unread.log}/${unread.partition}: ${unread.detail}`);
      if (++this.#tries < TRIES_MAX) return null;
    }
    pass.tampered += findings.count.tampered;
    const newest = tampered.at(-1);
    if (newest !== undefined) pass.newest = describeFinding(newest);
    pass.records += records;
    if (unread === undefined && pass.passedOver === 0 && !(this.#state as AuditState).isIncomplete)
      this.#readAgain();
    this.#pass(pass, key, end, unread !== undefined);
    return records;
  }

  #pass(pass: AuditPass, key: string, next: bigint, isOver: boolean): void {
    const place = pass.places.get(key);
    if (place === undefined) return;
    if (isOver) pass.passedOver += Number(next - place.next);
    place.next = next;
    this.#turn = [...pass.places.keys()].indexOf(key);
    this.#tries = 0;
    this.#deps.onState(this.#state as AuditState);
  }

  async #endPass(pass: AuditPass): Promise<void> {
    const { begunAt, records, passedOver, tampered, newest } = pass;
    const ended = { begunAt, endedAt: this.#deps.clock(), records, tampered, newest };
    const { last } = this.#state as AuditState;
    // A pass that left something out does not count: the age of the last full one goes on.
    const isIncomplete = passedOver > 0;
    this.#state = { pass: null, last: isIncomplete ? last : ended, isIncomplete };
    if (!isIncomplete) this.#readAgain();
    await this.#save();
    this.#deps.onState(this.#state);
  }

  #unread(reason: string): void {
    this.#isUnread = true;
    this.#deps.onUnread(reason);
  }

  #readAgain(): void {
    if (!this.#isUnread) return;
    this.#isUnread = false;
    this.#deps.onUnread(null);
  }

  #pause(): number {
    return Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(this.#pauses++, 10));
  }

  async #save(): Promise<void> {
    if (this.#state === null) return;
    this.#savedAt = this.#deps.now();
    try {
      await this.#deps.state.save(this.#state);
    } catch (error) {
      this.#deps.onError(error);
    }
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
