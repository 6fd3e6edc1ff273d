/**
 * Verification of the log `windows`: every window and marker derived again from the records' bytes, as
 * `@evident/core/evidence/window-hours.ts` tells how hours are cut. A verifier who sees all leaves shows what a bundle
 * can't: that the operator's windows hold every leaf of every tenant.
 *
 * Not windowed yet is no finding: hours behind the last marker are still to come, and a marker that was taken away is
 * missing in the sealed tree of `windows/0`.
 */

import { equalBytes, toBase64, toHex } from '@evident/core/bytes.ts';
import { FirstKeys, type KeyPass } from '@evident/core/evidence/first-keys.ts';
import type { PositionRange, WindowBody } from '@evident/core/evidence/window.ts';
import {
  type DoneHours,
  foldHour,
  hourName,
  type MarkerBody,
  NO_HOURS,
  readWindowsRecord,
} from '@evident/core/evidence/window-hours.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { CompactRange } from '@evident/core/merkle/tree.ts';
import { type LogRecord, RESERVED_LOGS } from '@evident/core/record.ts';
import { hashLeaf } from '@evident/core/sha256.ts';
import type { Log } from '../log/log.ts';
import { deriveHour, type HourUnderCheck } from './derive-hour.ts';
import type { Check, Finding, Findings } from './finding.ts';
import type { PartitionScope } from './partition-scope.ts';
import type { TenantLeafReader } from './ports.ts';

export const WINDOWS_LOG = 'windows';
/** Records of the log `windows` read at once. */
const PAGE_RECORDS = 1_000;
/** Tenants whose chain is followed in one reading of the log `windows`: about 30 MiB. */
const CHAINS_MAX = 100_000;

export interface WindowsDeps {
  readonly logs: readonly Log[];
  readonly tenantLeaves: TenantLeafReader;
  /** Tenants told apart at once, for tests; see `deriveHour`. */
  readonly passTenantsMax?: number;
  readonly chainsMax?: number;
}

/** How far windows of a log reach. */
export interface WindowsReport {
  readonly log: string;
  readonly hours: number;
  readonly windows: number;
  /** The last hour that is done; null: none. */
  readonly through: string | null;
}

/** What is said of a place in the log `windows`. */
export type NoteWindow = (
  verdict: Finding['verdict'],
  check: Check,
  position: bigint,
  detail: string,
) => void;

/** An hour whose marker has not been read yet. */
interface OpenHour {
  readonly hour: number;
  readonly ranges: readonly PositionRange[];
  readonly from: bigint;
  readonly tree: CompactRange;
}

interface LogState {
  readonly log: Log;
  done: DoneHours;
  open: OpenHour | null;
  hours: number;
  windows: number;
}

/** @param scopes of all partitions that are verified, those of `windows` looked at before the others' */
export async function verifyWindows(
  deps: WindowsDeps,
  scopes: readonly PartitionScope[],
  findings: Findings,
  onPositions: (positions: bigint) => void,
): Promise<readonly WindowsReport[]> {
  const scope = scopes.find(({ log }) => log === WINDOWS_LOG);
  const windows = deps.logs.find(({ name }) => name === WINDOWS_LOG);
  if (scope === undefined || windows === undefined) return [];
  return new WindowsCheck(deps, windows, scope, scopes, findings, onPositions).run();
}

/** The leaf hash of the window that was read last. */
interface ChainTip {
  hash: Uint8Array | null;
}

const newTip = (): ChainTip => ({ hash: null });

class WindowsCheck {
  readonly #deps: WindowsDeps;
  readonly #windows: Log;
  readonly #scope: PartitionScope;
  readonly #scopes: readonly PartitionScope[];
  readonly #findings: Findings;
  readonly #onPositions: (positions: bigint) => void;
  readonly #states = new Map<string, LogState>();

  constructor(
    deps: WindowsDeps,
    windows: Log,
    scope: PartitionScope,
    scopes: readonly PartitionScope[],
    findings: Findings,
    onPositions: (positions: bigint) => void,
  ) {
    this.#deps = deps;
    this.#windows = windows;
    this.#scope = scope;
    this.#scopes = scopes;
    this.#findings = findings;
    this.#onPositions = onPositions;
    for (const log of deps.logs)
      if (!RESERVED_LOGS.includes(log.name))
        this.#states.set(log.name, { log, done: NO_HOURS, open: null, hours: 0, windows: 0 });
  }

  async run(): Promise<readonly WindowsReport[]> {
    try {
      await this.#walk();
      await this.#followChains();
    } catch (error) {
      this.#note('not checked', 'storage', null, `windows can't be checked: ${(error as Error).message}`);
    }
    return [...this.#states.values()].map(({ log, hours, windows, done }) => ({
      log: log.name,
      hours,
      windows,
      through: done.hour === null ? null : hourName(done.hour),
    }));
  }

  async #walk(): Promise<void> {
    for await (const record of this.#records(0n, this.#scope.sealed)) {
      const entry = readWindowsRecord(record);
      if (entry === null) continue;
      const { position } = record;
      if (!entry.ok) this.#note('tampered', 'window', position, entry.reason);
      else if (entry.value.kind === 'window') this.#window(record, entry.value.hour, entry.value.window);
      else await this.#marker(position, entry.value.hour, entry.value.marker);
    }
    // Windows of an hour whose marker was not sealed yet when verification began: each is checked, none is missed.
    for (const state of this.#states.values()) {
      if (state.open === null) continue;
      const { hour, ranges, from } = state.open;
      const folded = foldHour(state.done, hour, ranges);
      if (!folded.ok) this.#note('tampered', 'window-hour', from, folded.reason);
      else await this.#derive(state, { hour, ranges, from, to: this.#scope.sealed, isDone: false });
    }
  }

  #stateOf(log: string, position: bigint): LogState | null {
    const state = this.#states.get(log) ?? null;
    if (state === null) this.#note('tampered', 'window', position, `there is no log ${log} that has windows`);
    return state;
  }

  #window(record: LogRecord, hour: number, window: WindowBody): void {
    const { position } = record;
    const state = this.#stateOf(window.log, position);
    if (state === null) return;
    if (state.done.hour !== null && hour <= state.done.hour) {
      this.#note('tampered', 'window', position, `it stands behind the marker of its hour ${window.hour}`);
      return;
    }
    state.open ??= { hour, ranges: window.ranges, from: position, tree: new CompactRange() };
    if (state.open.hour !== hour) {
      const detail = `a window of ${window.hour} stands among those of ${hourName(state.open.hour)}`;
      this.#note('tampered', 'window-hour', position, detail);
      return;
    }
    if (!sameRanges(state.open.ranges, window.ranges))
      this.#note('tampered', 'window-hour', position, 'its ranges are not those of the hour’s other windows');
    state.open.tree.append(hashLeaf(leafOf(record)));
    state.windows++;
  }

  async #marker(position: bigint, hour: number, marker: MarkerBody): Promise<void> {
    const state = this.#stateOf(marker.log, position);
    if (state === null) return;
    const wrong = (detail: string) => this.#note('tampered', 'window-hour', position, detail);
    const { ranges } = marker;
    const open = state.open ?? { hour, ranges, from: position, tree: new CompactRange() };
    if (open.hour !== hour)
      wrong(`the marker is of ${marker.hour}, but the windows are of ${hourName(open.hour)}`);
    if (marker.windows !== open.tree.size)
      wrong(`the marker counts ${marker.windows} windows; there are ${open.tree.size}`);
    else if (!equalBytes(marker.root, open.tree.root()))
      wrong(
        `the marker has the root ${toBase64(marker.root)}; its windows give ${toBase64(open.tree.root())}`,
      );
    if (!sameRanges(open.ranges, ranges)) wrong('the ranges of the marker are not those of its windows');
    const folded = foldHour(state.done, hour, ranges);
    if (!folded.ok) wrong(folded.reason);
    else await this.#derive(state, { hour, ranges, from: open.from, to: position, isDone: true });
    // Go on behind it all the same, so that one wrong hour is not told of every later one.
    state.done = { hour, ends: ranges.map(({ to }) => to) };
    state.open = null;
    state.hours++;
  }

  async #derive(
    state: LogState,
    part: Pick<HourUnderCheck, 'hour' | 'ranges' | 'isDone'> & { from: bigint; to: bigint },
  ): Promise<void> {
    const { from, to, ...hour } = part;
    await deriveHour(
      { ...this.#deps, onPositions: this.#onPositions },
      {
        ...hour,
        log: state.log,
        done: state.done,
        scopes: this.#scopes.filter(({ log }) => log === state.log.name),
        saidAt: to === this.#scope.sealed ? from : to,
        windows: () => this.#windowsOf(state.log.name, hour.hour, from, to),
      },
      (verdict, check, position, detail) => this.#note(verdict, check, position, detail),
    );
  }

  async *#windowsOf(
    log: string,
    hour: number,
    from: bigint,
    to: bigint,
  ): AsyncGenerator<[bigint, WindowBody]> {
    for await (const record of this.#records(from, to)) {
      const entry = readWindowsRecord(record);
      if (entry === null || !entry.ok || entry.value.kind !== 'window') continue;
      if (entry.value.window.log === log && entry.value.hour === hour)
        yield [record.position, entry.value.window];
    }
  }

  /** Each window names the leaf hash of its tenant's window before it. */
  async #followChains(): Promise<void> {
    for (let after: string | null = null, more = true; more; ) {
      const last: FirstKeys<ChainTip> = new FirstKeys(this.#deps.chainsMax ?? CHAINS_MAX, after, newTip);
      const found: { readonly key: string; readonly position: bigint; readonly detail: string }[] = [];
      for await (const record of this.#records(0n, this.#scope.sealed)) {
        const entry = readWindowsRecord(record);
        if (entry === null || !entry.ok || entry.value.kind !== 'window') continue;
        const { log, tenant, previous } = entry.value.window;
        const key = `${log} ${tenant}`;
        const tip = last.valueOf(key);
        if (tip === null) continue;
        if (!sameHash(previous, tip.hash))
          found.push({
            key,
            position: record.position,
            detail: `it names ${nameOf(previous)} as the window before it; that is ${nameOf(tip.hash)}`,
          });
        tip.hash = hashLeaf(leafOf(record));
      }
      const { next }: KeyPass<ChainTip> = last.finish();
      for (const { key, position, detail } of found)
        if (next === null || key <= next)
          this.#note(this.#broken(position), 'window-chain', position, detail);
      after = next;
      more = next !== null;
    }
  }

  /** What stood at a lost position of `windows/0` can't be read; a window behind it may name it. */
  #broken(position: bigint): Finding['verdict'] {
    return this.#scope.lost.some(({ from }) => from < position) ? 'not checked' : 'tampered';
  }

  async *#records(from: bigint, to: bigint): AsyncGenerator<LogRecord> {
    for (let at = from; at < to; ) {
      const page = await this.#windows.read(0, at, PAGE_RECORDS);
      for (const record of page) if (record.position < to) yield record;
      const last = page.at(-1);
      if (last === undefined) return;
      at = last.position + 1n;
    }
  }

  #note(verdict: Finding['verdict'], check: Check, position: bigint | null, detail: string): void {
    const to = position === null ? null : position + 1n;
    const { log, partition } = this.#scope;
    this.#findings.add({ verdict, log, partition, from: position, to, id: null, check, detail });
  }
}

function sameRanges(a: readonly PositionRange[], b: readonly PositionRange[]): boolean {
  return (
    a.length === b.length && a.every(({ from, to }, index) => from === b[index].from && to === b[index].to)
  );
}

function sameHash(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === null || b === null ? a === b : equalBytes(a, b);
}

function nameOf(hash: Uint8Array | null): string {
  return hash === null ? 'none' : toHex(hash);
}
