/** Logs in memory that are appended to, sealed, windowed and verified, hour by hour, for tests. */

import { randomUUID } from 'node:crypto';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { readWindowsRecord, type WindowsEntry } from '@evident/core/evidence/window-hours.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { HASH_BYTES } from '@evident/core/merkle/tree.ts';
import type { LogRecord, ProposedRecord } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import type { Log } from '../log/log.ts';
import { openSealer, type SealDeps, sealRound } from '../seal/seal.ts';
import {
  MemoryLog,
  type MemoryLogHooks,
  type MemoryLogState,
  makeMemoryLogState,
} from '../stores/memory/log.ts';
import {
  LogLeafReader,
  MemoryHeadStore,
  type MemoryHeads,
  MemorySigner,
  MemoryTileStore,
} from '../stores/memory/seal-stores.ts';
import {
  LogHourSource,
  MemoryWindowIndex,
  type MemoryWindowState,
  makeMemoryWindowState,
} from '../stores/memory/windows.ts';
import { Findings } from '../verify/finding.ts';
import type { TenantLeaves } from '../verify/ports.ts';
import { verifyWindows, type WindowsReport } from '../verify/verify-windows.ts';
import { WindowLoop, type WindowLoopDeps } from './window-loop.ts';

export const HOUR_US = 3_600_000_000n;
/** 2026-11-20T10:00:00Z. */
export const TEN = BigInt(Date.parse('2026-11-20T10:00:00Z')) * 1_000n;

/** Everything that is durable, and a clock in the test's hand. */
export class WindowScene {
  now: bigint = TEN;
  readonly states: Map<string, MemoryLogState>;
  readonly logs: Map<string, MemoryLog>;
  readonly index: MemoryWindowState = makeMemoryWindowState();
  readonly heads: MemoryHeads = { stored: new Map(), published: [] };
  readonly tiles = new Map<string, Uint8Array>();
  readonly lost: { log: string; partition: number; from: bigint; to: bigint }[] = [];
  readonly #signed = new Map<string, { size: bigint; root: Uint8Array }>();

  /** @param partitions of each log beside `windows` */
  constructor(partitions: Readonly<Record<string, number>> = { audit: 2 }) {
    const made = Object.entries({ windows: 1, ...partitions });
    this.states = new Map(made.map(([log, count]) => [log, makeMemoryLogState(log, count, this.now)]));
    this.logs = new Map(
      [...this.states].map(([name, state]) => [name, new MemoryLog(state, () => this.now)]),
    );
  }

  /** Another installation with the same things on its disks. */
  copy(): WindowScene {
    const other = new WindowScene();
    other.now = this.now;
    for (const map of ['states', 'logs', 'tiles'] as const) other[map].clear();
    for (const [name, state] of structuredClone(this.states)) {
      other.states.set(name, state);
      other.logs.set(name, new MemoryLog(state, () => other.now));
    }
    for (const [name, hash] of this.tiles) other.tiles.set(name, hash);
    for (const [name, head] of this.heads.stored) other.heads.stored.set(name, head);
    for (const [name, head] of this.#signed) other.#signed.set(name, head);
    Object.assign(other.index, structuredClone(this.index));
    return other;
  }

  log(name = 'audit'): MemoryLog {
    return this.logs.get(name) as MemoryLog;
  }

  /** Appends a record for each tenant; keys decide the partition. */
  async append(tenants: readonly string[], log = 'audit', key?: string): Promise<void> {
    await this.log(log).append(
      tenants.map((tenant, place) => makeRecord(tenant, key ?? `${tenant}/${place}`)),
    );
  }

  /** Goes to the minute of an hour after ten, and closes the hours of idle partitions as the sealer does. */
  async goTo(hours: number, minutes = 0): Promise<void> {
    this.now = TEN + BigInt(hours) * HOUR_US + BigInt(minutes) * 60_000_000n;
    for (const log of this.logs.values()) await log.closeHours();
  }

  async seal(): Promise<void> {
    const deps: SealDeps = {
      name: 'test.invalid',
      leaves: new LogLeafReader(this.logs),
      tiles: new MemoryTileStore(this.tiles),
      heads: new MemoryHeadStore(this.heads, this.states),
      signer: new MemorySigner(this.#signed, (name) => ({
        name,
        keyId: '00000000' as never,
        sign: () => new Uint8Array(64),
      })),
    };
    for (const log of this.logs.values()) {
      const { sealer } = await openSealer(deps, log);
      while ((await sealRound(deps, sealer)).more);
    }
  }

  /** A loop over what is durable. @param hooks around each call of its ports: see `MemoryLogHooks` */
  loop(hooks: MemoryLogHooks = {}, over: Partial<WindowLoopDeps> = {}): WindowLoop {
    const logs = new Map<string, Log>(
      [...this.states].map(([name, state]) => [name, new MemoryLog(state, () => this.now, hooks)]),
    );
    return new WindowLoop(
      {
        source: new LogHourSource(
          logs,
          (log, partition) => this.heads.stored.get(`${log}/${partition}`) ?? null,
        ),
        index: new MemoryWindowIndex(this.index, hooks),
        tiles: new MemoryTileStore(this.tiles, hooks),
        windows: logs.get('windows') as Log,
        clock: () => this.now,
        onHour: () => undefined,
        onState: () => undefined,
        onError: (error) => {
          throw error;
        },
        ...over,
      },
      [...logs.values()].filter(({ name }) => name !== 'windows'),
    );
  }

  /** Seals, writes all windows that can be, and seals them. @returns how many turns found an hour */
  async settle(over: Partial<WindowLoopDeps> = {}): Promise<number> {
    let turns = 0;
    await this.seal();
    while (await this.loop({}, over).turn()) turns++;
    await this.seal();
    return turns;
  }

  /** What the log `windows` says, in its order. */
  async entries(): Promise<{ record: LogRecord; entry: WindowsEntry }[]> {
    const records = await this.log('windows').read(0, 0n, 10_000);
    return records.flatMap((record) => {
      const entry = readWindowsRecord(record);
      if (entry === null) return [];
      if (!entry.ok) throw new Error(entry.reason);
      return [{ record, entry: entry.value }];
    });
  }

  /** "audit 2026-11-20T10 acme 3" of each window, and "audit 2026-11-20T10: 2" of each marker. */
  async said(): Promise<string[]> {
    return (await this.entries()).map(({ entry }) =>
      entry.kind === 'window'
        ? `${entry.window.log} ${entry.window.hour.slice(-3)} ${entry.window.tenant} ${entry.window.count}`
        : `${entry.marker.log} ${entry.marker.hour.slice(-3)}: ${entry.marker.windows}`,
    );
  }

  async verify(
    over: { passTenantsMax?: number; chainsMax?: number } = {},
  ): Promise<{ findings: Findings; reports: readonly WindowsReport[]; said: string[] }> {
    const findings = new Findings();
    const scopes = [];
    for (const log of this.logs.values())
      for (const counter of await log.heads())
        scopes.push({
          log: log.name,
          partition: counter.partition,
          epoch: 0,
          origin: '',
          verifierOf: null as never,
          counter,
          sealed: this.heads.stored.get(`${log.name}/${counter.partition}`)?.size ?? 0n,
          lost: this.lost
            .filter((one) => one.log === log.name && one.partition === counter.partition)
            .map(({ from, to }) => ({ from, to, recovery: 'r' })),
        });
    const deps = {
      logs: [...this.logs.values()],
      tenantLeaves: {
        readTenantLeaves: (log: string, partition: number, from: bigint, to: bigint) =>
          this.#leaves(log, partition, from, to),
      },
      ...over,
    };
    const reports = await verifyWindows(deps, scopes, findings, () => undefined);
    return {
      findings,
      reports,
      said: findings.list.map(({ verdict, check, from }) => `${verdict}: ${check} at ${from}`),
    };
  }

  async #leaves(log: string, partition: number, from: bigint, to: bigint): Promise<TenantLeaves> {
    const source = new LogHourSource(this.logs, () => null);
    const page = await this.log(log).read(partition, from, Number(to - from));
    const records = page.filter(({ position }) => position < to);
    const hashes = new Uint8Array(records.length * HASH_BYTES);
    for (const [place, record] of records.entries()) hashes.set(hashLeaf(leafOf(record)), place * HASH_BYTES);
    const run = await source.readTenants(log, partition, from, to);
    return { ...run, hashes, firstAppendedAt: records.at(0)?.appendedAt ?? null };
  }
}

export function makeRecord(tenant: string, key = `${tenant}/1`): ProposedRecord {
  return {
    id: randomUUID(),
    tenant,
    source: 'test',
    sourceSeq: null,
    type: 'note',
    schema: 0,
    key,
    meta: null,
    body: { form: 'json', bytes: encodeUtf8('{"n":1}') },
  };
}
