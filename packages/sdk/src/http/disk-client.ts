/**
 * The client over disk: an event is durable when it is synced in the folder, and goes to the log from there, in order.
 *
 *   send ──► segment file, synced ──► receipt          ──► log ──► removed
 *                                                       └► refused.ndjson, when the log refuses it
 */

import { open, rm } from 'node:fs/promises';
import { EvidentError } from '@evident/core/errors.ts';
import type {
  FlushOptions,
  FlushResult,
  HttpClient,
  HttpClientMetrics,
  NotDurable,
  Receipt,
  SendOptions,
} from './client.ts';
import { type ClientDeps, reportFailure, withinTime } from './client-deps.ts';
import { type Delivery, deliver } from './deliver.ts';
import { type EncodedEvent, encodeEvent, type HttpEvent } from './envelope.ts';
import { type ExitingProcess, type ExitOptions, flushOnExit } from './exit-flush.ts';
import { type Files, storageError } from './files.ts';
import { type FolderLock, lockFolder } from './folder-lock.ts';
import { type Refusal, RefusedFile } from './refused-file.ts';
import { Pause } from './retry-pause.ts';
import { type FoundFolder, prepareFolder, readFolder } from './segment-folder.ts';
import { type Chunk, SegmentStore } from './segment-store.ts';

export interface DiskBounds {
  readonly folder: string;
  readonly bytesMax: number;
}

const FILES: Files = { open, rm };

/** A flush that waits. */
interface Flushing {
  /** How many events are acknowledged when it is done; null before that is known. */
  target: number | null;
  resolve(): void;
}

export class DiskClient implements HttpClient {
  readonly #deps: ClientDeps;
  readonly #bytesMax: number;
  readonly #lock: FolderLock;
  readonly #found: FoundFolder;
  readonly #store: SegmentStore;
  readonly #refused: RefusedFile;
  readonly #pause = new Pause();
  readonly #flushing = new Set<Flushing>();
  #failures = 0;
  #isClosed = false;
  #hasNews = false;
  #running: Promise<void> | null = null;

  /** @throws data-locked, data-unwritable, disk-full */
  constructor(deps: ClientDeps, { folder, bytesMax }: DiskBounds, files: Files = FILES) {
    this.#deps = deps;
    this.#bytesMax = bytesMax;
    let lock: FolderLock | undefined;
    try {
      prepareFolder(folder);
      lock = lockFolder(folder);
      this.#found = readFolder(folder);
      this.#refused = new RefusedFile(folder, files);
    } catch (error) {
      lock?.release();
      throw storageError(error, `opening the buffer in ${folder}`);
    }
    this.#lock = lock;
    this.#store = new SegmentStore(folder, bytesMax, this.#found, files);
    this.#reportFound();
    if (this.#waiting > 0) this.#wake();
  }

  async send(event: HttpEvent, options?: SendOptions): Promise<Receipt> {
    const encoded = encodeEvent(event, 'event');
    await this.#take([encoded], options);
    return { id: encoded.id, durable: 'disk' };
  }

  async sendMany(events: readonly HttpEvent[], options?: SendOptions): Promise<(Receipt | NotDurable)[]> {
    const encoded = events.map((event, index) => encodeEvent(event, `events.${index}`));
    await this.#take(encoded, options);
    return encoded.map(({ id }) => ({ id, durable: 'disk' }));
  }

  async flush(options?: FlushOptions): Promise<FlushResult> {
    const flushing: Flushing = { target: null, resolve: () => undefined };
    this.#flushing.add(flushing);
    const flushed = await withinTime(this.#untilDelivered(flushing), options);
    this.#flushing.delete(flushing);
    // The pause that began for us would hold the process for nobody.
    if (!flushed) this.#pause.end();
    return { flushed, waiting: this.#waiting };
  }

  async close(options?: FlushOptions): Promise<FlushResult> {
    const wasClosed = this.#isClosed;
    this.#isClosed = true;
    const result = await this.flush(options);
    if (wasClosed) return result;
    this.#deps.closing.abort();
    this.#pause.end();
    await this.#running;
    try {
      await this.#store.close();
    } finally {
      this.#lock.release();
    }
    return result;
  }

  flushOnExit(process: ExitingProcess, options?: ExitOptions): () => void {
    return flushOnExit(this, process, options);
  }

  metrics(): HttpClientMetrics {
    const { tornBytes, damaged } = this.#found;
    const waiting = { waitingEvents: this.#waiting, waitingBytes: this.#store.waitingBytes };
    return { ...this.#deps.counts, ...waiting, tornBytes, damaged: damaged.length };
  }

  /** Bounds are decided, and the order of events fixed, before anything is waited for. */
  async #take(events: readonly EncodedEvent[], options: SendOptions = {}): Promise<void> {
    if (this.#isClosed) throw new EvidentError('shutting-down', 'the client was closed and takes no events');
    options.signal?.throwIfAborted();
    const bytes = SegmentStore.bytesOf(events);
    const room = () => this.#bytesMax - this.#store.bytes - this.#refused.bytes;
    // Only now: somebody may have dealt with the refused events and removed their file.
    if (bytes > room()) this.#refused.measure();
    if (bytes > room()) {
      this.#deps.counts.full++;
      throw new EvidentError(
        'buffer-full',
        `${events.length} events of ${bytes} bytes don't fit: ${this.#store.bytes} of ${this.#bytesMax} bytes wait, and ${this.#refused.bytes} are in ${this.#refused.path}`,
      );
    }
    await this.#store.append(events);
    this.#deps.counts.taken += events.length;
    this.#wake();
  }

  #wake(): void {
    this.#hasNews = true;
    if (!this.#deps.closing.signal.aborted) this.#running ??= this.#run();
  }

  async #untilDelivered(flushing: Flushing): Promise<void> {
    await this.#store.written();
    const target = this.#store.appended;
    if (this.#store.acknowledged >= target) return;
    const done = new Promise<void>((resolve) => {
      flushing.resolve = resolve;
    });
    flushing.target = target;
    this.#failures = 0;
    this.#pause.end();
    await done;
  }

  async #run(): Promise<void> {
    const { closing } = this.#deps;
    while (!closing.signal.aborted) {
      this.#hasNews = false;
      const delayMs = await this.#step();
      if (delayMs === 'idle') {
        if (this.#hasNews) continue;
        break;
      }
      // Nothing is lost when the process ends while events wait for the log: it need not live on for them.
      if (delayMs > 0 && !closing.signal.aborted) await this.#pause.wait(delayMs, this.#flushing.size > 0);
    }
    this.#running = null;
  }

  /** One batch. @returns how long to wait before the next */
  async #step(): Promise<number | 'idle'> {
    const { post, batch, counts } = this.#deps;
    try {
      const chunk = await this.#store.next(batch.events, batch.bytes);
      if (chunk === null) return 'idle';
      const delivery = await deliver(post, chunk.events);
      counts.requests += delivery.requests;
      return await this.#settle(chunk, delivery);
    } catch (error) {
      this.#failures++;
      this.#deps.report({
        kind: 'storage',
        what: `the buffer can't be read or tidied: ${(error as Error).message}`,
        error,
        failures: this.#failures,
      });
      return this.#deps.retry.maxMs;
    }
  }

  /** Moves on past the events that are settled, up to the first that is not: later ones are sent again with it. */
  async #settle(chunk: Chunk, { outcomes, retryAfterMs }: Delivery): Promise<number> {
    const { counts } = this.#deps;
    const firstOpen = outcomes.findIndex(({ kind }) => kind === 'again' || kind === 'held');
    const count = firstOpen < 0 ? outcomes.length : firstOpen;
    const refusals: Refusal[] = [];
    for (const [index, outcome] of outcomes.slice(0, count).entries()) {
      if (outcome.kind === 'refused') refusals.push({ event: chunk.events[index], error: outcome.error });
    }
    if (refusals.length > 0) await this.#refused.add(refusals, new Date().toISOString());
    this.#store.acknowledge(chunk, count);
    for (const outcome of outcomes.slice(0, count))
      if (outcome.kind === 'durable' && outcome.repeat) counts.repeats++;
    counts.delivered += count - refusals.length;
    counts.refused += refusals.length;
    for (const refusal of refusals) this.#reportRefusal(refusal);
    for (const { target, resolve } of this.#flushing) {
      if (target !== null && this.#store.acknowledged >= target) resolve();
    }
    await this.#store.makeRoom();
    const open = outcomes[count];
    this.#failures = count > 0 ? 0 : this.#failures;
    if (open === undefined || (open.kind !== 'again' && open.kind !== 'held')) return 0;
    this.#failures++;
    const failure = { error: open.error, failures: this.#failures, retryAfterMs };
    return reportFailure(this.#deps, open.kind === 'held' ? 'held' : 'retry', failure);
  }

  get #waiting(): number {
    return this.#store.appended - this.#store.acknowledged;
  }

  #reportRefusal({ event, error }: Refusal): void {
    const what = `${error.message} (${error.code}); it stands in ${this.#refused.path}`;
    this.#deps.report({ kind: 'refused', what, error, id: event.id });
  }

  #reportFound(): void {
    const { tornBytes, damaged } = this.#found;
    if (tornBytes > 0) {
      this.#deps.report({ kind: 'torn', what: `${tornBytes} bytes of a write that had not ended were cut` });
    }
    for (const file of damaged) {
      this.#deps.report({
        kind: 'damaged',
        what: `part of a file of the buffer can't be read; a copy of it is ${file}`,
      });
    }
  }
}
