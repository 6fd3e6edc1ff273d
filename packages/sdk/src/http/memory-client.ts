/**
 * The client over memory: a promise for each event, kept until the log has answered for it.
 *
 *   waiting ──batch──► sending ──answer──► settled
 *      ▲                  │ nothing settled: pause, the same again
 *      └──────────────────┘
 *
 * An event whose caller stops waiting leaves the buffer at once; a request that carries it goes on without it.
 */

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
import { type Bounds, type ClientDeps, reportFailure, withinTime } from './client-deps.ts';
import { deliver, type Outcome } from './deliver.ts';
import { type EncodedEvent, encodeEvent, type HttpEvent } from './envelope.ts';
import { type ExitingProcess, type ExitOptions, flushOnExit } from './exit-flush.ts';
import { Pause } from './retry-pause.ts';

interface Entry {
  readonly event: EncodedEvent;
  isSending: boolean;
  /** A request that carried it ended without an answer for it. */
  mayBeTaken: boolean;
  readonly done: Promise<Receipt | NotDurable>;
  settle(result: Receipt | NotDurable): void;
}

export class MemoryClient implements HttpClient {
  readonly #deps: ClientDeps;
  readonly #bounds: Bounds;
  /** Everything that is not settled, in the order of `send`. */
  readonly #entries = new Set<Entry>();
  #bytes = 0;
  #isClosed = false;
  /** Attempts in a row that settled nothing. */
  #failures = 0;
  #running: Promise<void> | null = null;
  readonly #pause = new Pause();

  constructor(deps: ClientDeps, bounds: Bounds) {
    this.#deps = deps;
    this.#bounds = bounds;
  }

  async send(event: HttpEvent, options?: SendOptions): Promise<Receipt> {
    const [entry] = this.#take([encodeEvent(event, 'event')], options);
    const result = await entry.done;
    if (result.durable === false) throw result.error;
    return result;
  }

  async sendMany(events: readonly HttpEvent[], options?: SendOptions): Promise<(Receipt | NotDurable)[]> {
    const encoded = events.map((event, index) => encodeEvent(event, `events.${index}`));
    return Promise.all(this.#take(encoded, options).map(({ done }) => done));
  }

  async flush(options?: FlushOptions): Promise<FlushResult> {
    const all = Promise.all([...this.#entries].map(({ done }) => done));
    this.#failures = 0;
    this.#pause.end();
    const flushed = await withinTime(all, options);
    return { flushed, waiting: this.#entries.size };
  }

  async close(options?: FlushOptions): Promise<FlushResult> {
    this.#isClosed = true;
    const result = await this.flush(options);
    for (const entry of [...this.#entries]) {
      this.#abandon(entry, new EvidentError('shutting-down', 'the client was closed'), 'shutting-down');
    }
    this.#deps.closing.abort();
    this.#pause.end();
    await this.#running;
    return result;
  }

  flushOnExit(process: ExitingProcess, options?: ExitOptions): () => void {
    return flushOnExit(this, process, options);
  }

  metrics(): HttpClientMetrics {
    const waiting = { waitingEvents: this.#entries.size, waitingBytes: this.#bytes };
    return { ...this.#deps.counts, ...waiting, tornBytes: 0, damaged: 0 };
  }

  #take(events: readonly EncodedEvent[], options: SendOptions = {}): Entry[] {
    const { counts } = this.#deps;
    if (this.#isClosed) throw new EvidentError('shutting-down', 'the client was closed and takes no events');
    const { signal, timeoutMs } = options;
    if (signal?.aborted) {
      throw new EvidentError('log-unavailable', 'the wait was over before it began; nothing was sent', {
        cause: signal.reason,
      });
    }
    const bytes = events.reduce((sum, event) => sum + event.bytes.length, 0);
    if (
      this.#entries.size + events.length > this.#bounds.events ||
      this.#bytes + bytes > this.#bounds.bytes
    ) {
      counts.full++;
      throw new EvidentError(
        'buffer-full',
        `${events.length} events of ${bytes} bytes don't fit: ${this.#entries.size} of ${this.#bounds.events} events and ${this.#bytes} of ${this.#bounds.bytes} bytes wait`,
      );
    }
    const entries = events.map((event) => this.#add(event));
    counts.taken += entries.length;
    if (signal !== undefined || timeoutMs !== undefined) this.#bound(entries, signal, timeoutMs);
    this.#running ??= this.#run();
    return entries;
  }

  #add(event: EncodedEvent): Entry {
    let resolve!: (result: Receipt | NotDurable) => void;
    const done = new Promise<Receipt | NotDurable>((fulfil) => {
      resolve = fulfil;
    });
    const settle = (result: Receipt | NotDurable) => {
      if (!this.#entries.delete(entry)) return;
      this.#bytes -= event.bytes.length;
      resolve(result);
    };
    const entry: Entry = { event, isSending: false, mayBeTaken: false, done, settle };
    this.#entries.add(entry);
    this.#bytes += event.bytes.length;
    return entry;
  }

  /** Ends the wait of a call with its signal, or its time. */
  #bound(entries: readonly Entry[], signal: AbortSignal | undefined, timeoutMs: number | undefined): void {
    const end = (cause: unknown) => {
      for (const entry of entries) this.#abandon(entry, cause, 'log-unavailable');
    };
    const abort = () => end(signal?.reason);
    const over = () => end(new Error(`no answer for it within ${timeoutMs} ms`));
    const timer = timeoutMs === undefined ? undefined : setTimeout(over, timeoutMs);
    signal?.addEventListener('abort', abort, { once: true });
    void Promise.all(entries.map(({ done }) => done)).then(() => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    });
  }

  /** @param untaken the code for an event that is surely not in the log */
  #abandon(entry: Entry, cause: unknown, untaken: 'log-unavailable' | 'shutting-down'): void {
    if (!this.#entries.has(entry)) return;
    const { id } = entry.event;
    const isOpen = entry.isSending || entry.mayBeTaken;
    const error = isOpen
      ? unknownOf(id, cause)
      : new EvidentError(untaken, `event ${id} is not in the log: the wait ended before it could be sent`, {
          cause,
          context: { id },
        });
    this.#deps.counts.abandoned++;
    entry.settle({ id, durable: false, error });
  }

  async #run(): Promise<void> {
    // Events of one turn of the event loop shall share a request.
    await Promise.resolve();
    while (this.#entries.size > 0) {
      const batch = this.#nextBatch();
      for (const entry of batch) entry.isSending = true;
      const { outcomes, retryAfterMs, requests } = await deliver(
        this.#deps.post,
        batch.map(({ event }) => event),
      );
      this.#deps.counts.requests += requests;
      const open = batch
        .map((entry, index) => this.#settle(entry, outcomes[index]))
        .filter((one) => one !== null);
      this.#failures = open.length === batch.length ? this.#failures + 1 : Math.min(open.length, 1);
      if (open.length === 0 || this.#entries.size === 0) continue;
      const failure = { error: open[0], failures: this.#failures, retryAfterMs };
      await this.#pause.wait(reportFailure(this.#deps, 'retry', failure), true);
    }
    this.#running = null;
  }

  #nextBatch(): Entry[] {
    const { events, bytes } = this.#deps.batch;
    const batch: Entry[] = [];
    let size = 0;
    for (const entry of this.#entries) {
      size += entry.event.bytes.length;
      if (batch.length > 0 && (batch.length >= events || size > bytes)) break;
      batch.push(entry);
    }
    return batch;
  }

  /** @returns why it is still open, or null */
  #settle(entry: Entry, outcome: Outcome): EvidentError | null {
    const { id } = entry.event;
    const { counts } = this.#deps;
    entry.isSending = false;
    switch (outcome.kind) {
      case 'durable': {
        const { partition, position, repeat } = outcome;
        counts.delivered++;
        if (repeat) counts.repeats++;
        entry.settle({ id, durable: 'log', partition, position, repeat });
        return null;
      }
      case 'refused':
        counts.refused++;
        entry.settle({ id, durable: false, error: outcome.error });
        return null;
      case 'held':
        // Somebody waits for this event and can be told. Waiting would not put a setting right.
        counts.refused++;
        entry.settle({
          id,
          durable: false,
          error: entry.mayBeTaken ? unknownOf(id, outcome.error) : outcome.error,
        });
        return null;
      case 'again':
        entry.mayBeTaken ||= outcome.mayBeTaken;
        return outcome.error;
    }
  }
}

function unknownOf(id: string, cause: unknown): EvidentError {
  return new EvidentError(
    'outcome-unknown',
    `event ${id} was sent, but no answer for it came; it may be in the log`,
    {
      cause,
      context: { id },
    },
  );
}
