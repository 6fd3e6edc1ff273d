/** Alerts of a server: the thread that reads the log for them, conditions, webhooks; wiring, metrics, log lines. */

import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { parseMappingFile } from '@evident/core/mapping/mapping-file.ts';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { AlertWorkerInput, AlertWorkerMessage } from './alert-worker.ts';
import { conditionsOf } from './alerts/conditions.ts';
import { Deliverer } from './alerts/deliver.ts';
import { parsePlace } from './alerts/evaluate.ts';
import type { Alert, Condition, ReadPlaces, SecretBox } from './alerts/ports.ts';
import { removeOldAlerts } from './alerts/retain.ts';
import type { RecordOwn } from './audit/record-own.ts';
import type { Storage } from './compose.ts';
import { ProjectionWatch, StallWatch } from './projection-watch.ts';
import { readStageLag } from './stores/postgres/alert-lag.ts';
import { PostgresAlertStore } from './stores/postgres/alert-store.ts';
import { countOpenDeadLetters, readViewLag } from './stores/postgres/view-lag.ts';
import { PostgresWebhookStore } from './stores/postgres/webhook-store.ts';
import { sendPost } from './stores/webhook/post.ts';

/** Milliseconds between two looks at the worker, and how many at one record end it. */
const LOOK_MS = 250;
const LOOKS_MAX = 20;
/** Milliseconds before a worker that ended is started again. */
const RESTART_MS = 500;
/** Milliseconds that a worker has to end in good order. */
const STOP_MS_MAX = 10_000;
/** Heap of the worker: a record that takes more ends the thread, not the process. */
const HEAP_MIB = 512;
/** Milliseconds between two looks at conditions. */
const CONDITIONS_MS = 5_000;
/** Milliseconds between two looks for alerts that are old enough to go; the first is at the start. */
const RETENTION_MS = 3_600_000;
/** Records that are left out because a worker did not come back from them; beyond it alerts stand still. */
const SKIPPED_MAX = 1_000;

/** Modules are TypeScript here, and JavaScript once built. */
const WORKER = new URL(`./alert-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  await wait(milliseconds, undefined, { signal }).catch(() => undefined);
}

function makeMetrics(registers: Registry[]) {
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers });
  return {
    raised: counter('evident_alerts_total', 'Alerts that were raised', ['severity']),
    records: counter('evident_alert_records_total', 'Records that alert rules were held against', [
      'outcome',
    ]),
    errors: counter(
      'evident_alert_errors_total',
      'Times that reading for alerts, or looking at conditions, failed',
    ),
    ended: counter('evident_alert_worker_ends_total', 'Times that the reader of alerts ended unasked'),
    attempts: counter('evident_webhook_attempts_total', 'Attempts to deliver an alert', ['outcome']),
    waiting: new Gauge({
      name: 'evident_webhook_deliveries',
      help: 'Deliveries of alerts that wait, or were given up',
      labelNames: ['state'],
      registers,
    }),
  };
}

/** Records by place, for what is sent to webhooks. */
function readPlacesOf({ logs, objects }: Storage): ReadPlaces {
  return async (places) => {
    const found = await Promise.all(
      places.map(async (text) => {
        const { log, partition, position } = parsePlace(text);
        const [record] = (await logs.get(log)?.read(partition, position, 1)) ?? [];
        if (record === undefined || record.position !== position) return [];
        const { body } = record;
        const bytes = body.form === 'object' ? await objects.get(record.tenant, body.sha256) : body.bytes;
        return bytes === null ? [] : [{ record, body: bytes }];
      }),
    );
    return found.flat();
  };
}

export interface AlertingOptions {
  /** Mapping files, parsed from JSON. */
  readonly mappings?: readonly unknown[];
  /** Webhooks of the operator may reach private networks. */
  readonly allowPrivate: boolean;
  /** Opens the secrets of webhooks. */
  readonly box: SecretBox;
  /** Days after which acknowledged alerts are removed; null: never. */
  readonly keepDays: number | null;
  readonly record: RecordOwn;
}

export class Alerting {
  readonly #storage: Storage;
  readonly #logger: Logger;
  readonly #metrics: ReturnType<typeof makeMetrics>;
  readonly #options: AlertingOptions;
  readonly #store: PostgresAlertStore;
  readonly #queue: PostgresWebhookStore;
  readonly #deliverer: Deliverer;
  readonly #stopping = new AbortController();
  readonly #skipped: string[] = [];
  /** Keys of conditions that held at the last look. */
  #held = new Set<string>();
  #worker: Worker | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(storage: Storage, metrics: Registry, logger: Logger, options: AlertingOptions) {
    this.#storage = storage;
    this.#logger = logger;
    this.#metrics = makeMetrics([metrics]);
    this.#options = options;
    this.#store = new PostgresAlertStore(storage.pool);
    this.#queue = new PostgresWebhookStore(storage.pool, options.box);
    this.#deliverer = this.#makeDeliverer();
  }

  #makeDeliverer(): Deliverer {
    const { attempts, errors } = this.#metrics;
    return new Deliverer({
      queue: this.#queue,
      board: { raise: (condition) => this.raise(condition), settle: (key) => this.#store.settle(key) },
      send: sendPost,
      allowPrivate: this.#options.allowPrivate,
      clock: () => BigInt(Date.now()) * 1_000n,
      random: Math.random,
      sleep,
      installation: this.#storage.name,
      readPlaces: readPlacesOf(this.#storage),
      rowOf: makeRegistry((this.#options.mappings ?? []).map(parseMappingFile)).rowOf,
      onOutcome: ({ id, attempt, webhook }, mark) => {
        attempts.inc({ outcome: mark.kind });
        if (mark.kind !== 'delivered')
          this.#logger[mark.kind === 'failed' ? 'error' : 'warn'](
            { delivery: id, attempt, webhook: webhook.id, name: webhook.name, reason: mark.error },
            mark.kind === 'failed' ? 'a delivery was given up' : 'a delivery failed; it is tried again',
          );
      },
      onError: (error) => {
        errors.inc();
        this.#logger.warn({ err: error }, 'deliveries could not be looked for; it is tried again');
      },
    });
  }

  start(): void {
    this.#running = Promise.all([this.#keep(), this.#watchConditions(), this.#retain()]);
    this.#deliverer.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const worker = this.#worker;
    worker?.postMessage('stop');
    const late = setTimeout(() => void worker?.terminate(), STOP_MS_MAX);
    await Promise.all([this.#running, this.#deliverer.stop()]);
    clearTimeout(late);
  }

  /** A condition holds. Raised once while it does; what fails is logged, and said again when somebody says it again. */
  async raise(condition: Condition): Promise<string | null> {
    const id = await this.#store.raise(condition);
    if (id !== null) await this.#tell([id]);
    return id;
  }

  /** `raise`, or `settle` where `holds` is false, for those who can't wait; a failure is logged. */
  report(condition: Condition, holds: boolean): void {
    const done = holds ? this.raise(condition) : this.#store.settle(condition.key);
    done.catch((error: unknown) =>
      this.#logger.error({ err: error, ...condition }, 'an alert could not be stored'),
    );
  }

  async #tell(ids: readonly string[]): Promise<void> {
    for (const alert of await this.#store.find(ids)) this.#log(alert);
  }

  #log({ id, tenant, name, severity, subject, count, detail }: Alert): void {
    this.#metrics.raised.inc({ severity });
    this.#logger.warn(
      { alert: id, tenant, name, severity, subject, count: count.toString(), detail },
      'an alert was raised',
    );
  }

  /** Starts the worker, and starts it again when it ended. */
  async #keep(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#runWorker();
      if (!this.#stopping.signal.aborted) this.#metrics.ended.inc();
      await sleep(RESTART_MS, this.#stopping.signal);
    }
  }

  async #runWorker(): Promise<void> {
    const watch = new ProjectionWatch();
    const worker = new Worker(WORKER, {
      name: 'alerts',
      workerData: {
        connection: this.#storage.connection,
        objectsFolder: join(this.#storage.dataDir, 'objects'),
        mappings: this.#options.mappings ?? [],
        memory: watch.memory,
        skip: this.#skipped,
      } satisfies AlertWorkerInput,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
    });
    this.#worker = worker;
    worker.on('message', (message: AlertWorkerMessage) => this.#hear(message));
    worker.on('error', (error: Error) =>
      this.#logger.error({ err: error }, 'the reader of alerts ended; it is started again'),
    );
    const stalls = new StallWatch(watch, LOOKS_MAX);
    const looks = setInterval(() => {
      if (stalls.look() !== null) void worker.terminate();
    }, LOOK_MS);
    await new Promise((resolve) => worker.once('exit', resolve));
    clearInterval(looks);
    this.#worker = undefined;
    const { touched } = watch;
    if (touched === null || this.#stopping.signal.aborted || this.#skipped.length >= SKIPPED_MAX) return;
    this.#skipped.push(`${touched.tree}/${touched.position}`);
    this.#logger.error(touched, 'the reader of alerts did not come back from a record; no rule sees it');
  }

  #hear(message: AlertWorkerMessage): void {
    if (message.kind === 'error') {
      this.#metrics.errors.inc();
      this.#logger.warn(
        { err: message.error },
        'reading for alerts failed; it begins again from its checkpoint',
      );
      return;
    }
    this.#metrics.records.inc({ outcome: 'row' }, message.records - message.unmapped);
    this.#metrics.records.inc({ outcome: 'none' }, message.unmapped);
    if (message.raised.length === 0) return;
    this.#tell(message.raised).catch((error: unknown) =>
      this.#logger.warn({ err: error, alerts: message.raised }, 'alerts were raised, and could not be read'),
    );
  }

  async #watchConditions(): Promise<void> {
    const { pool } = this.#storage;
    while (!this.#stopping.signal.aborted) {
      try {
        // What is being built is behind by nature, and nobody reads it yet.
        const views = (await readViewLag(pool)).filter(({ isShown }) => isShown);
        const stages = [
          ...(await readStageLag(pool)),
          ...views.map(({ view, log, records, ms }) => ({
            stage: `view ${view} of ${log}`,
            records,
            ms,
          })),
        ];
        const letters = (await countOpenDeadLetters(pool)).filter(({ isShown }) => isShown);
        await this.#apply(conditionsOf(stages, letters));
        const { pending, failed } = await this.#queue.backlog();
        this.#metrics.waiting.set({ state: 'pending' }, pending);
        this.#metrics.waiting.set({ state: 'failed' }, failed);
      } catch (error) {
        this.#metrics.errors.inc();
        this.#logger.debug({ err: error }, 'conditions could not be looked at; it is tried again');
      }
      await sleep(CONDITIONS_MS, this.#stopping.signal);
    }
  }

  async #retain(): Promise<void> {
    const { keepDays, record } = this.#options;
    const { signal } = this.#stopping;
    if (keepDays === null) return;
    while (!signal.aborted) {
      try {
        const deps = { alerts: this.#store, record, clock: () => BigInt(Date.now()) * 1_000n };
        const gone = await removeOldAlerts(deps, keepDays, () => signal.aborted);
        if (gone > 0) this.#logger.info({ alerts: gone, keepDays }, 'old alerts were removed');
      } catch (error) {
        this.#metrics.errors.inc();
        this.#logger.warn({ err: error }, 'old alerts could not be removed; it is tried again in an hour');
      }
      await sleep(RETENTION_MS, signal);
    }
  }

  async #apply(conditions: ReadonlyMap<string, Condition | null>): Promise<void> {
    for (const [key, condition] of conditions) {
      if (condition !== null) await this.raise(condition);
      else await this.#store.settle(key);
    }
    // Of what is there no more: a generation that was retired does not lag.
    for (const key of this.#held) if (!conditions.has(key)) await this.#store.settle(key);
    this.#held = new Set([...conditions].flatMap(([key, condition]) => (condition === null ? [] : [key])));
  }
}
