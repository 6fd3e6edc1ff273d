/** The ports of windows in memory. State and store are apart, as in `log.ts`: the state is what a crash leaves. */

import { SYSTEM_SOURCE } from '@evident/core/record.ts';
import type { Log } from '../../log/log.ts';
import type {
  HourSource,
  IndexedHour,
  IndexedWindow,
  PartitionState,
  PlacedTime,
  TenantRun,
  TenantWindow,
  WindowIndex,
} from '../../windows/ports.ts';
import type { MemoryLogHooks } from './log.ts';

/** The head that is stored of a partition, or null. */
export type SealedOf = (log: string, partition: number) => { epoch: number; size: bigint } | null;

/** Reads logs through their port. */
export class LogHourSource implements HourSource {
  readonly #logs: ReadonlyMap<string, Log>;
  readonly #sealedOf: SealedOf;

  constructor(logs: ReadonlyMap<string, Log>, sealedOf: SealedOf) {
    this.#logs = logs;
    this.#sealedOf = sealedOf;
  }

  async partitions(log: string): Promise<readonly PartitionState[]> {
    const source = this.#log(log);
    const sealed = Array.from({ length: source.partitions }, (_, partition) =>
      this.#sealedOf(log, partition),
    );
    return (await source.heads()).map(({ partition, lastAppendedAt, stopped }) => ({
      partition,
      epoch: sealed[partition]?.epoch ?? 0,
      sealed: sealed[partition]?.size ?? 0n,
      lastAppendedAt,
      stopped,
    }));
  }

  async firstRecord(log: string, partition: number, from: bigint, below: bigint): Promise<PlacedTime | null> {
    const records = from < below ? await this.#log(log).read(partition, from, Number(below - from)) : [];
    const record = records.find(({ position }) => position < below);
    if (record === undefined) return null;
    const { position, appendedAt, type, source } = record;
    return { position, appendedAt, isHour: type === 'log.hour' && source === SYSTEM_SOURCE };
  }

  async readTenants(log: string, partition: number, from: bigint, to: bigint): Promise<TenantRun> {
    const page = await this.#log(log).read(partition, from, Number(to - from));
    const records = page.filter(({ position }) => position < to);
    const tenants = [...new Set(records.map(({ tenant }) => tenant))];
    return {
      positions: Float64Array.from(records, ({ position }) => Number(position)),
      tenants,
      tenantAt: Uint32Array.from(records, ({ tenant }) => tenants.indexOf(tenant)),
      hours: records
        .filter(({ type, source }) => type === 'log.hour' && source === SYSTEM_SOURCE)
        .map(({ position }) => Number(position)),
    };
  }

  #log(name: string): Log {
    const log = this.#logs.get(name);
    if (log === undefined) throw new Error(`there is no log ${name}`);
    return log;
  }
}

/** What is durable of the index. */
export interface MemoryWindowState {
  next: bigint;
  readonly windows: IndexedWindow[];
  readonly hours: IndexedHour[];
}

export function makeMemoryWindowState(): MemoryWindowState {
  return { next: 0n, windows: [], hours: [] };
}

export class MemoryWindowIndex implements WindowIndex {
  readonly #state: MemoryWindowState;
  readonly #hooks: MemoryLogHooks;

  constructor(state: MemoryWindowState, hooks: MemoryLogHooks = {}) {
    this.#state = state;
    this.#hooks = hooks;
  }

  next(): Promise<bigint> {
    return this.#step('index.next', () => this.#state.next);
  }

  put(
    from: bigint,
    next: bigint,
    windows: readonly IndexedWindow[],
    hours: readonly IndexedHour[],
  ): Promise<boolean> {
    return this.#step('index.put', () => {
      const state = this.#state;
      if (state.next !== from || next <= from) return false;
      state.next = next;
      for (const one of windows)
        if (!this.#ofLog(one.log).some(({ tenant, hour }) => tenant === one.tenant && hour === one.hour))
          state.windows.push(one);
      for (const one of hours)
        if (!state.hours.some(({ log, hour }) => log === one.log && hour === one.hour)) state.hours.push(one);
      return true;
    });
  }

  lastHour(log: string): Promise<IndexedHour | null> {
    return this.#step('index.lastHour', () => {
      const hours = this.#state.hours.filter((one) => one.log === log);
      return hours.sort((a, b) => b.hour - a.hour).at(0) ?? null;
    });
  }

  newest(log: string, hour: number, tenants: readonly string[]): Promise<ReadonlyMap<string, TenantWindow>> {
    return this.#step('index.newest', () => {
      const newest = new Map<string, TenantWindow>();
      for (const one of this.#ofLog(log).sort((a, b) => a.hour - b.hour))
        if (one.hour <= hour && tenants.includes(one.tenant)) newest.set(one.tenant, one);
      return newest;
    });
  }

  ofHour(
    log: string,
    hour: number,
    after: bigint,
    limit: number,
  ): Promise<readonly { readonly position: bigint; readonly leafHash: Uint8Array }[]> {
    return this.#step('index.ofHour', () =>
      this.#ofLog(log)
        .filter((one) => one.hour === hour && one.position > after)
        .sort((a, b) => Number(a.position - b.position))
        .slice(0, limit),
    );
  }

  ofTenant(log: string, tenant: string, fromHour: number, limit: number): Promise<readonly TenantWindow[]> {
    return this.#step('index.ofTenant', () =>
      this.#ofLog(log)
        .filter((one) => one.tenant === tenant && one.hour >= fromHour)
        .sort((a, b) => a.hour - b.hour)
        .slice(0, limit),
    );
  }

  #ofLog(log: string): IndexedWindow[] {
    return this.#state.windows.filter((one) => one.log === log);
  }

  async #step<T>(operation: string, effect: () => T): Promise<T> {
    await this.#hooks.before?.(operation);
    const result = effect();
    await this.#hooks.after?.(operation);
    return result;
  }
}
