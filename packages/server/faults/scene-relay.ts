/** A relay in process, whose doings a test can wait for. */

import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';
import type { ObjectStore } from '../src/log/propose.ts';
import type { Alert } from '../src/relay/alerts.ts';
import type { LocalRelay, Outbox, OutboxRow, RelayLog } from '../src/relay/ports.ts';
import { Relay, type RelayStatus } from '../src/relay/relay.ts';
import { openOutbox } from '../src/stores/postgres/outbox/postgres-outbox.ts';

/** The relay's seconds in one of ours. */
const SPEED = 10;

export interface SceneRelayDeps {
  readonly source: string;
  readonly connection: pg.ClientConfig;
  readonly objects: ObjectStore;
  readonly log: RelayLog;
  readonly local?: LocalRelay;
  wrap(outbox: Outbox): Outbox;
}

export class SceneRelay {
  readonly alerts: Alert[] = [];
  readonly errors: unknown[] = [];
  readonly epochs: string[] = [];
  readonly rejected: { row: OutboxRow; fault: EvidentError }[] = [];
  status: RelayStatus | null = null;
  /** Rounds of care so far. */
  cares = 0;
  /** How often it found nothing to do. */
  pauses = 0;
  appended = 0;
  repeats = 0;
  /** Slots that it has emptied. */
  emptied = 0;
  readonly modes = new Set<string>();
  #stopped: Promise<void> | null = null;
  readonly #relay: Relay;

  constructor(deps: SceneRelayDeps) {
    this.#relay = new Relay(
      {
        log: deps.log,
        local: deps.local,
        objects: deps.objects,
        connect: async () => deps.wrap(openOutbox(deps.connection)),
        now: () => performance.now() * SPEED,
        randomId: randomUUID,
        sleep: async (milliseconds, signal) => {
          this.pauses++;
          await wait(milliseconds / SPEED, undefined, { signal }).catch(() => undefined);
        },
        onEpoch: (_source, _epoch, reason) => this.epochs.push(reason),
        onAlert: (alert) => this.alerts.push(alert),
        onError: (_source, error) => this.errors.push(error),
        onCare: (_source, status) => {
          this.status = status;
          this.cares++;
          this.modes.add(status.mode);
          this.emptied += status.slots.filter((slot) => slot === 'emptied').length;
        },
        onRejected: (row, fault) => this.rejected.push({ row, fault }),
        onRelayed: (report) => {
          this.appended += report.appended;
          this.repeats += report.repeats;
        },
      },
      deps.source,
    );
    this.#relay.start();
  }

  /** Codes of what failed. */
  get faults(): string[] {
    return this.errors.map((error) => (error as { code?: string }).code ?? String(error));
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#relay.stop();
    return this.#stopped;
  }
}
