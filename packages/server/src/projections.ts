/** The views of a server: one worker thread for the generation that is shown; wiring, metrics, and who ends a worker that stalls. */

import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Storage } from './compose.ts';
import type { Drift } from './project/fill-output.ts';
import type { TreePlace, ViewRef } from './project/ports.ts';
import { HOT_VIEW } from './project/projection.ts';
import type { WorkerInput, WorkerMessage, WorkerOrder } from './projection-thread.ts';
import { ProjectionWatch, StallWatch } from './projection-watch.ts';
import { countOpenDeadLetters, readViewLag, type ViewLag } from './stores/postgres/view-lag.ts';
import { PostgresViewStore } from './stores/postgres/view-store.ts';

/** Milliseconds between two looks at what the worker does. */
const LOOK_MS = 250;
/** Milliseconds that one record may take. */
const STALL_MS = 5_000;
/** Milliseconds between two measurements of lag and dead letters. */
const MEASURE_MS = 2_000;
/** Milliseconds before a worker that ended is started again. */
const RESTART_MS = 500;
/** Milliseconds that a worker has to end in good order. */
const STOP_MS_MAX = 10_000;
/** Heap of the worker: a record that takes more ends the thread, not the process. */
const HEAP_MIB = 768;

const WORKER = new URL('./projection-worker.ts', import.meta.url);

/** What somebody may want to hear of while it happens. */
export type ProjectionEvent =
  | { readonly kind: 'drift'; readonly view: string; readonly source: string; readonly drift: Drift }
  | { readonly kind: 'dead-letters'; readonly view: string; readonly count: number }
  | { readonly kind: 'breaker'; readonly view: string; readonly reason: string | null }
  | { readonly kind: 'lag'; readonly lags: readonly ViewLag[] };

/** State of a view that is fed, for status pages. */
export interface ProjectionReport {
  readonly view: string;
  readonly generation: number | null;
  readonly definition: string | null;
  /** Why the breaker is open; null: it is closed. */
  readonly breaker: string | null;
  /** The last failure, until something is stored again. */
  readonly error: string | null;
  readonly lags: readonly ViewLag[];
  readonly openDeadLetters: number;
}

export interface ProjectionOptions {
  /** Milliseconds that one record may take. */
  readonly stallMs?: number;
  /** Mapping files, parsed from JSON. */
  readonly mappings?: readonly unknown[];
  /** The generation to feed, instead of the one that is shown. */
  readonly ref?: ViewRef;
  /** Heap of the worker in MiB. */
  readonly heapMib?: number;
  /** The worker's module, for tests that bring one with records that end it. */
  readonly worker?: URL;
}

function makeMetrics(registers: Registry[]) {
  const counter = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name, help, labelNames: ['view', ...labelNames], registers });
  const gauge = (name: string, help: string, labelNames: string[]) =>
    new Gauge({ name, help, labelNames: ['view', ...labelNames], registers });
  return {
    records: counter(
      'evident_projection_records_total',
      'Records that a view has read, by what became of them',
      ['outcome'],
    ),
    batches: counter('evident_projection_batches_total', 'Transactions that moved a view', []),
    errors: counter('evident_projection_errors_total', 'Times that a projection failed and began again', []),
    ended: counter('evident_projection_worker_ends_total', 'Times that the worker of a view ended unasked', [
      'cause',
    ]),
    drift: counter(
      'evident_event_drift_total',
      'Events whose own time is over a second from the time of their append',
      ['source'],
    ),
    lagRecords: gauge('evident_projection_lag_records', 'Records of a log that a view has not read', ['log']),
    lagSeconds: gauge(
      'evident_projection_lag_seconds',
      'Age of the first record of a log that a view has not read',
      ['log'],
    ),
    open: gauge('evident_dead_letters_open', 'Records that a view lacks until somebody resolves them', []),
    breaker: gauge(
      'evident_projection_breaker_open',
      '1 while a view stands still because too many records failed',
      [],
    ),
  };
}

export class Projections {
  readonly #storage: Storage;
  readonly #logger: Logger;
  readonly #metrics: ReturnType<typeof makeMetrics>;
  readonly #options: ProjectionOptions;
  readonly #store: PostgresViewStore;
  readonly #stopping = new AbortController();
  readonly #listeners = new Set<(event: ProjectionEvent) => void>();
  #worker: Worker | undefined;
  #ref: ViewRef | null = null;
  #definition: string | null = null;
  #breaker: string | null = null;
  #error: string | null = null;
  #lags: readonly ViewLag[] = [];
  #open = 0;
  #running: Promise<unknown> = Promise.resolve();

  constructor(storage: Storage, metrics: Registry, logger: Logger, options: ProjectionOptions = {}) {
    this.#storage = storage;
    this.#logger = logger;
    this.#metrics = makeMetrics([metrics]);
    this.#options = options;
    this.#ref = options.ref ?? null;
    this.#store = new PostgresViewStore(storage.pool);
  }

  start(): void {
    this.#running = Promise.all([this.#keep(), this.#measure()]);
    const forget = this.#storage.appender.onAppended(() => this.#tell({ kind: 'news' }));
    this.#stopping.signal.addEventListener('abort', forget, { once: true });
  }

  /** Ends after the batch at hand. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const worker = this.#worker;
    this.#tell({ kind: 'stop' });
    const late = setTimeout(() => void worker?.terminate(), STOP_MS_MAX);
    await this.#running;
    clearTimeout(late);
  }

  /** @returns what stops hearing */
  subscribe(listener: (event: ProjectionEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  reports(): ProjectionReport[] {
    return [
      {
        view: HOT_VIEW,
        generation: this.#ref?.generation ?? null,
        definition: this.#definition,
        breaker: this.#breaker,
        error: this.#error,
        lags: this.#lags,
        openDeadLetters: this.#open,
      },
    ];
  }

  /** Why the breaker is open; null: it is closed. */
  get breaker(): string | null {
    return this.#breaker;
  }

  /** Goes on after the breaker opened. @param allowance dead letters that were looked at, and are passed uncounted */
  resetBreaker(allowance: number): void {
    this.#tell({ kind: 'reset', allowance });
  }

  #tell(order: WorkerOrder): void {
    this.#worker?.postMessage(order);
  }

  #emit(event: ProjectionEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Starts the worker, and starts it again when it ended. */
  async #keep(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const suspect = await this.#runWorker();
      if (suspect !== null) await this.#noteSuspect(suspect);
      await this.#sleep(RESTART_MS);
    }
  }

  /** @returns the record that ended or stalled it, if it is not noted yet */
  async #runWorker(): Promise<(TreePlace & { error: string }) | null> {
    const watch = new ProjectionWatch();
    const worker = new Worker(this.#options.worker ?? WORKER, {
      name: `project:${HOT_VIEW}`,
      workerData: {
        connection: this.#storage.connection,
        objectsFolder: join(this.#storage.dataDir, 'objects'),
        mappings: this.#options.mappings ?? [],
        memory: watch.memory,
        ref: this.#options.ref ?? null,
      } satisfies WorkerInput,
      resourceLimits: { maxOldGenerationSizeMb: this.#options.heapMib ?? HEAP_MIB },
    });
    this.#worker = worker;
    let why = 'the worker ended while it worked on this record';
    worker.on('message', (message: WorkerMessage) => this.#hear(message));
    worker.on('error', (error: Error) => {
      why = `the worker ended while it worked on this record: ${error.message}`;
      this.#logger.error({ err: error, view: HOT_VIEW }, 'the worker of a view ended; it is started again');
    });
    const stalls = new StallWatch(watch, Math.ceil((this.#options.stallMs ?? STALL_MS) / LOOK_MS));
    const looks = setInterval(() => {
      const stalled = stalls.look();
      if (stalled === null) return;
      clearInterval(looks);
      why = `the worker was on this record for over ${this.#options.stallMs ?? STALL_MS} ms`;
      this.#logger.error({ view: HOT_VIEW, ...stalled }, 'a record stalls the view; its worker is ended');
      void worker.terminate();
    }, LOOK_MS);
    await new Promise((resolve) => worker.once('exit', resolve));
    clearInterval(looks);
    this.#worker = undefined;
    const { touched } = watch;
    if (!this.#stopping.signal.aborted)
      this.#metrics.ended.inc({ view: HOT_VIEW, cause: touched === null ? 'other' : 'record' });
    return touched === null || touched.isNoted ? null : { ...touched, error: why };
  }

  /** Counted durably before the worker begins again. */
  async #noteSuspect({ tree, position, error }: TreePlace & { error: string }): Promise<void> {
    for (let waitMs = RESTART_MS; this.#ref !== null; waitMs = Math.min(2 * waitMs, 10_000)) {
      try {
        await this.#store.noteSuspect(this.#ref, { tree, position }, error);
        return;
      } catch (fault) {
        this.#logger.warn({ err: fault }, 'a suspect could not be noted; it is tried again');
        if (this.#stopping.signal.aborted) return;
        await this.#sleep(waitMs);
      }
    }
  }

  #hear(message: WorkerMessage): void {
    const view = HOT_VIEW;
    switch (message.kind) {
      case 'open':
        this.#ref = message.ref;
        this.#definition = message.definition;
        this.#metrics.breaker.set({ view }, 0);
        break;
      case 'batch':
        this.#count(message.batch);
        break;
      case 'error':
        this.#error = message.error.message;
        this.#metrics.errors.inc({ view });
        this.#logger.warn(
          { err: message.error, view },
          'a projection failed; it begins again from its checkpoint',
        );
        break;
      case 'breaker':
        this.#breaker = message.reason;
        this.#metrics.breaker.set({ view }, message.reason === null ? 0 : 1);
        if (message.reason !== null)
          this.#logger.error(
            { view, reason: message.reason },
            'the breaker is open: the view stands still until it is reset',
          );
        this.#emit({ kind: 'breaker', view, reason: message.reason });
        break;
      case 'overtaken':
        this.#logger.info({ view }, 'another process feeds the view');
        break;
      case 'definition':
        this.#logger.warn(
          { view, definitions: message.definitions },
          'rows of the view are made otherwise from here on; evident rebuild makes them all alike',
        );
    }
  }

  #count({ tally, repeats, reused, missing }: Extract<WorkerMessage, { kind: 'batch' }>['batch']): void {
    const view = HOT_VIEW;
    const { records, batches, drift } = this.#metrics;
    this.#error = null;
    batches.inc({ view });
    records.inc({ view, outcome: 'row' }, tally.rows - repeats - reused);
    records.inc({ view, outcome: 'repeat' }, repeats);
    records.inc({ view, outcome: 'validation' }, tally.validation + reused);
    records.inc({ view, outcome: 'poison' }, tally.poison);
    records.inc({ view, outcome: 'none' }, tally.records - tally.rows - tally.validation - tally.poison);
    records.inc({ view, outcome: 'missing' }, Number(missing));
    const letters = tally.validation + tally.poison + reused;
    if (letters > 0) this.#emit({ kind: 'dead-letters', view, count: letters });
    for (const [source, one] of tally.drift) {
      // Where the settings say so, anybody reads the metrics: of writers over HTTP neither keys nor subjects are told, nor are there ever more labels.
      drift.inc({ view, source: source.startsWith('outbox:') ? source : 'http' }, one.events);
      this.#emit({ kind: 'drift', view, source, drift: one });
    }
  }

  async #measure(): Promise<void> {
    const { pool } = this.#storage;
    const { lagRecords, lagSeconds, open } = this.#metrics;
    while (!this.#stopping.signal.aborted) {
      try {
        const generation = this.#ref?.generation;
        const all = await readViewLag(pool);
        this.#lags = all.filter((lag) => lag.view === HOT_VIEW && lag.generation === generation);
        for (const { view, log, records, ms } of this.#lags) {
          lagRecords.set({ view, log }, Number(records));
          lagSeconds.set({ view, log }, ms / 1_000);
        }
        const letters = await countOpenDeadLetters(pool);
        this.#open = letters.find((one) => one.view === HOT_VIEW && one.generation === generation)?.open ?? 0;
        open.set({ view: HOT_VIEW }, this.#open);
        this.#emit({ kind: 'lag', lags: this.#lags });
      } catch (error) {
        this.#logger.debug({ err: error }, 'the lag of views could not be measured');
      }
      await this.#sleep(MEASURE_MS);
    }
  }

  async #sleep(milliseconds: number): Promise<void> {
    await wait(milliseconds, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}
