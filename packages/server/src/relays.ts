/** The relays of a server: one for each registered source whose database it can reach; wiring, metrics, alerts. */

import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { EvidentError } from '@evident/core/errors.ts';
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Condition } from './alerts/ports.ts';
import type { Storage } from './compose.ts';
import type { Config } from './config.ts';
import type { SourceReport } from './http/deps.ts';
import { connectionOf } from './outbox-connections.ts';
import type { AlertName } from './relay/alerts.ts';
import { ALERTS } from './relay/alerts.ts';
import { Relay, type RelayDeps, type RelayStatus } from './relay/relay.ts';
import { checkedOutbox } from './stores/postgres/outbox/checked-outbox.ts';
import { PostgresLocalRelay } from './stores/postgres/relay-log.ts';

/** Milliseconds between two looks for sources that were registered since. */
const SOURCES_MS = 1_000;

const now = () => performance.now();

async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  await wait(milliseconds, undefined, { signal }).catch(() => undefined);
}

function makeMetrics(registers: Registry[]) {
  const labelNames = ['source'];
  const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames, registers });
  return {
    rows: new Counter({
      name: 'evident_relay_rows_total',
      help: 'Rows of outboxes that relays appended, found in the log already (repeat), or rejected',
      labelNames: ['source', 'outcome'],
      registers,
    }),
    errors: new Counter({
      name: 'evident_relay_errors_total',
      help: 'Times that a relay failed and began again',
      labelNames,
      registers,
    }),
    epochs: gauge('evident_relay_epoch', 'How often the database of a source was not the one known before'),
    bytes: gauge('evident_outbox_bytes', 'Bytes that an outbox takes on disk'),
    depth: gauge('evident_outbox_depth', 'Rows of an outbox that are not in the log yet, at most'),
    age: gauge('evident_outbox_oldest_seconds', 'Age of the oldest row that is not in the log yet'),
    slotLag: gauge('evident_relay_slot_lag_bytes', 'Write-ahead log that a replication slot holds back'),
    alert: new Gauge({
      name: 'evident_relay_alert',
      help: '1 while a condition holds that an operator has to hear of',
      labelNames: ['source', 'alert'],
      registers,
    }),
  };
}

/** Hears that a condition of a relay holds, or no longer. */
export type OnRelayAlert = (condition: Condition, holds: boolean) => void;

export class Relays {
  readonly #config: Config;
  readonly #storage: Storage;
  readonly #logger: Logger;
  readonly #onAlert: OnRelayAlert | undefined;
  readonly #metrics: ReturnType<typeof makeMetrics>;
  readonly #relays = new Map<string, Relay>();
  readonly #statuses = new Map<string, RelayStatus>();
  readonly #alerts = new Map<string, Set<AlertName>>();
  readonly #errors = new Map<string, string>();
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(config: Config, storage: Storage, metrics: Registry, logger: Logger, onAlert?: OnRelayAlert) {
    this.#config = config;
    this.#storage = storage;
    this.#logger = logger;
    this.#onAlert = onAlert;
    this.#metrics = makeMetrics([metrics]);
  }

  start(): void {
    this.#running = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await Promise.all([...this.#relays.values()].map((relay) => relay.stop()));
  }

  async reports(): Promise<SourceReport[]> {
    return (await this.#storage.relayLog.listSources()).map((source) => {
      const status = this.#statuses.get(source.name);
      return {
        source: source.name,
        log: source.log,
        tenants: source.tenants,
        wantedMode: source.wantedMode,
        mode: status?.mode ?? source.state?.mode ?? null,
        epoch: status?.epoch ?? source.state?.epoch ?? null,
        depth: status?.depth ?? null,
        bytes: status?.pressure.bytes ?? null,
        oldestMs: status?.pressure.oldestMs ?? null,
        slotLagBytes: status?.slot?.lagBytes ?? null,
        alerts: [...(this.#alerts.get(source.name) ?? [])],
        error: this.#errors.get(source.name) ?? null,
      };
    });
  }

  /** Sources are registered while the server runs. */
  async #watch(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        for (const source of await this.#storage.relayLog.listSources()) {
          if (this.#relays.has(source.name) || this.#stopping.signal.aborted) continue;
          const relay = new Relay(this.#depsOf(source.name), source.name);
          this.#relays.set(source.name, relay);
          relay.start();
        }
      } catch (error) {
        this.#logger.warn({ err: error }, 'the sources could not be read; it is tried again');
      }
      await sleep(SOURCES_MS, this.#stopping.signal);
    }
  }

  #depsOf(name: string): RelayDeps {
    const logger = this.#logger;
    const metrics = this.#metrics;
    return {
      log: this.#storage.relayLog,
      local: new PostgresLocalRelay(this.#storage.pool),
      objects: this.#storage.objects,
      now,
      sleep,
      randomId: randomUUID,
      connect: async (source) => {
        const connection = connectionOf(this.#config, this.#storage.connection, source.name);
        if (connection === null) {
          throw new EvidentError(
            'source-unavailable',
            `nobody said where the outbox of ${source.name} is: evident outbox add ${source.name} --database URL --tenants …`,
          );
        }
        return checkedOutbox(connection, (found) =>
          logger.warn(
            { source: source.name, ...found },
            'the outbox differs from what evident outbox init makes',
          ),
        );
      },
      onRejected: (row, fault) => {
        metrics.rows.inc({ source: name, outcome: 'rejected' });
        logger.warn(
          { source: name, row: row.id.toString(), event: row.eventId, reason: fault.message },
          'a row was rejected; it is recorded as relay.rejected',
        );
      },
      onRelayed: ({ appended, repeats }) => {
        metrics.rows.inc({ source: name, outcome: 'appended' }, appended);
        metrics.rows.inc({ source: name, outcome: 'repeat' }, repeats);
      },
      onEpoch: (source, epoch, reason) =>
        logger.error(
          { source, epoch, reason },
          'the database of a source is another one: its outbox is read again',
        ),
      onAlert: ({ source, name: alert, active, detail }) => {
        const alerts = this.#alerts.get(source) ?? new Set<AlertName>();
        this.#alerts.set(source, alerts);
        if (active) alerts.add(alert);
        else alerts.delete(alert);
        metrics.alert.set({ source, alert }, active ? 1 : 0);
        logger[active ? 'error' : 'info']({ source, alert, active }, detail);
        const key = `relay:${source}:${alert}`;
        const name = `relay: ${alert}`;
        this.#onAlert?.({ key, tenant: null, name, severity: 'high', subject: source, detail }, active);
      },
      onError: (source, error) => {
        this.#errors.set(source, (error as Error).message);
        metrics.errors.inc({ source });
        logger.warn({ source, err: error }, 'a relay failed; it begins again from its cursor');
      },
      onCare: (source, status) => this.#care(source, status),
    };
  }

  #care(source: string, status: RelayStatus): void {
    const { bytes, depth, age, slotLag, epochs, alert } = this.#metrics;
    if (!this.#statuses.has(source))
      for (const one of ALERTS) if (!this.#alerts.get(source)?.has(one)) alert.set({ source, alert: one }, 0);
    this.#statuses.set(source, status);
    this.#errors.delete(source);
    bytes.set({ source }, Number(status.pressure.bytes));
    depth.set({ source }, Number(status.depth));
    age.set({ source }, (status.pressure.oldestMs ?? 0) / 1_000);
    slotLag.set({ source }, Number(status.slot?.lagBytes ?? 0n));
    epochs.set({ source }, status.epoch);
  }
}
