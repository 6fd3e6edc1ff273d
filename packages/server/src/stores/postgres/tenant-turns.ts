/**
 * Turns at the connections that queries have. A slow query keeps its connection for seconds: without a bound of its own one
 * tenant takes all of them, and every other tenant waits.
 *
 *   asks ──► runs, while fewer than its share run for this tenant, and a connection is free
 *      └───► waits, while the tenant has room in its queue ──► runs when somebody ends ──► or gives up after a while
 *      └───► is refused
 *
 * Who waits is served tenant by tenant, the one first that was served longest ago; within a tenant in order.
 */

import { EvidentError } from '@evident/core/errors.ts';
import type pg from 'pg';

export interface TurnBounds {
  /** Queries at once: as many as there are connections. */
  readonly runningMax: number;
  /** Of these, at most so many of one tenant. */
  readonly tenantRunningMax: number;
  /** Queries of one tenant that wait. */
  readonly tenantWaitingMax: number;
  /** Queries of all tenants that wait. */
  readonly waitingMax: number;
  /** Longest wait for a turn, milliseconds. */
  readonly waitMsMax: number;
}

/** Calls `run` after so long. @returns what keeps it from being called */
export type Later = (ms: number, run: () => void) => () => void;

interface Waiter {
  readonly begin: () => void;
  readonly refuse: (error: EvidentError) => void;
  readonly what: string;
  stopClock: () => void;
}

interface Line {
  running: number;
  readonly waiting: Waiter[];
}

/** The name of a reader of all tenants among tenants: it has a share as each of them. */
const ALL = '*';

/** Owned by one process; queries of another process have their own connections. */
export class TenantTurns {
  readonly #bounds: TurnBounds;
  readonly #later: Later;
  /** Tenants that run or wait; the one that was served longest ago first. */
  readonly #lines = new Map<string, Line>();
  #running = 0;
  #waiting = 0;

  constructor(bounds: TurnBounds, later: Later) {
    this.#bounds = bounds;
    this.#later = later;
  }

  /** Queries that wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Runs `work` when it is its turn.
   * @param tenant for whom; null: a reader of all tenants
   * @throws tenant-busy when too many of this tenant run and wait; overloaded when too many of others do
   */
  async run<T>(tenant: string | null, what: string, work: () => Promise<T>): Promise<T> {
    const name = tenant ?? ALL;
    await this.#turn(name, what);
    try {
      return await work();
    } finally {
      this.#end(name);
    }
  }

  #turn(name: string, what: string): Promise<void> | undefined {
    const line = this.#lines.get(name) ?? { running: 0, waiting: [] };
    const { tenantWaitingMax, waitingMax } = this.#bounds;
    if (line.waiting.length === 0 && this.#mayRun(line)) {
      this.#begin(name, line);
      return undefined;
    }
    if (line.waiting.length >= tenantWaitingMax)
      throw busy(`${what}: ${line.running} queries of this tenant run, and ${tenantWaitingMax} wait`);
    if (this.#waiting >= waitingMax) throw overloaded(`${what}: ${waitingMax} queries wait`);
    this.#lines.set(name, line);
    return new Promise((begin, refuse) => {
      const waiter: Waiter = { begin, refuse, what, stopClock: () => undefined };
      line.waiting.push(waiter);
      this.#waiting++;
      waiter.stopClock = this.#later(this.#bounds.waitMsMax, () => this.#giveUp(name, line, waiter));
    });
  }

  #mayRun(line: Line): boolean {
    return this.#running < this.#bounds.runningMax && line.running < this.#bounds.tenantRunningMax;
  }

  #begin(name: string, line: Line): void {
    line.running++;
    this.#running++;
    this.#putLast(name, line);
  }

  /** Behind all others; one that neither runs nor waits is forgotten. */
  #putLast(name: string, line: Line): void {
    this.#lines.delete(name);
    if (line.running > 0 || line.waiting.length > 0) this.#lines.set(name, line);
  }

  #end(name: string): void {
    const line = this.#lines.get(name) as Line;
    line.running--;
    this.#running--;
    this.#putLast(name, line);
    for (const [next, other] of this.#lines) {
      const waiter = this.#mayRun(other) ? other.waiting.shift() : undefined;
      if (waiter === undefined) continue;
      this.#waiting--;
      waiter.stopClock();
      this.#begin(next, other);
      waiter.begin();
      // One ended, so one begins.
      return;
    }
  }

  #giveUp(name: string, line: Line, waiter: Waiter): void {
    line.waiting.splice(line.waiting.indexOf(waiter), 1);
    this.#waiting--;
    const { tenantRunningMax, waitMsMax } = this.#bounds;
    const detail = `${waiter.what}: it waited ${waitMsMax} ms for its turn`;
    waiter.refuse(
      line.running >= tenantRunningMax
        ? busy(`${detail} behind others of this tenant`)
        : overloaded(`${detail} behind those of others`),
    );
    if (line.running === 0 && line.waiting.length === 0) this.#lines.delete(name);
  }
}

const busy = (detail: string) => new EvidentError('tenant-busy', detail);
const overloaded = (detail: string) => new EvidentError('overloaded', detail);

/** Queries of one tenant that wait: a console with a few pages open asks for a dozen things at once. */
const TENANT_WAITING_MAX = 32;
const WAITING_MAX = 512;
/** As long as a statement may take: whoever is behind one has then waited for its end. */
const WAIT_MS_MAX = 10_000;

/** Half of a pool for one tenant at most: whatever it asks, the other half is left to others. */
export function turnsOf(pool: pg.Pool): TenantTurns {
  const connections = pool.options.max;
  const bounds = {
    runningMax: connections,
    tenantRunningMax: Math.max(1, Math.floor(connections / 2)),
    tenantWaitingMax: TENANT_WAITING_MAX,
    waitingMax: WAITING_MAX,
    waitMsMax: WAIT_MS_MAX,
  };
  return new TenantTurns(bounds, (ms, run) => {
    const clock = setTimeout(run, ms);
    return () => clearTimeout(clock);
  });
}
