/**
 * Reads the log for alerts: its own reader, with its own checkpoints, which move in the transaction that counts.
 *
 * If we die before that transaction, the batch is read again and nothing was counted; after it, it is not read again.
 */

import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import type { BodyReader, ReadBounds, RecordRun, RecordSource } from '../project/ports.ts';
import { evaluate, type MappedRecord } from './evaluate.ts';
import type { AlertSpan, AlertState, AlertStream } from './ports.ts';

/** One step holds so much at once, whatever the backlog. */
export const STEP_BOUNDS: ReadBounds = { recordsMax: 2_000, bytesMax: 4 * 1024 * 1024 };
const IDLE_MS = 250;
const RETRY_MS = 2_000;
const PRUNE_MS = 10_000;
/** How often logs that were made since are looked for. */
const RELOAD_MS = 10_000;

export interface FollowDeps {
  readonly stream: AlertStream;
  readonly source: RecordSource;
  readonly bodies: BodyReader;
  /** As `MapperRegistry.rowOf`. */
  readonly rowOf: (record: LogRecord, body: Uint8Array) => EventRow | null;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  readonly bounds?: ReadBounds;
  /** Before a record is mapped, and null after the last: whoever watches can tell which one it stands at. */
  readonly onRecord?: (place: { readonly tree: number; readonly position: bigint } | null) => void;
  /** Records that a mapper did not come back from: no rule sees them. */
  readonly isSkipped?: (tree: number, position: bigint) => boolean;
  /** After the step is durable. `unmapped`: records without a row, which no rule sees. */
  readonly onStep?: (step: { records: number; unmapped: number; raised: readonly string[] }) => void;
  readonly onError?: (error: unknown) => void;
}

export class AlertReader {
  readonly #deps: FollowDeps;
  readonly #stopping = new AbortController();
  #state: AlertState | null = null;
  #loadedAt = 0;
  #prunedAt = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: FollowDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { sleep, onError } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        const records = await this.step();
        if (records === 0) await sleep(IDLE_MS, signal);
      } catch (error) {
        // What was in memory may not be what is stored: load it anew.
        this.#state = null;
        onError?.(error);
        await sleep(RETRY_MS, signal);
      }
    }
  }

  /** Reads, counts and stores once. @returns how many records; 0: the end was reached, or somebody else was faster */
  async step(): Promise<number> {
    const { stream, source, now, onStep } = this.#deps;
    const at = now();
    if (this.#state === null || at - this.#loadedAt > RELOAD_MS) {
      this.#state = await stream.load();
      this.#loadedAt = at;
    }
    const state = this.#state;
    await this.#prune(at);
    const heads = new Map((await source.heads()).map(({ tree, next }) => [tree, next]));
    const behind = state.checkpoints.filter(({ tree, next }) => (heads.get(tree) ?? 0n) > next);
    if (behind.length === 0) return 0;
    const from = behind.map(({ tree, next }) => ({ tree, position: next }));
    const runs = await source.read(from, this.#deps.bounds ?? STEP_BOUNDS);
    const spans: AlertSpan[] = [];
    let records = 0;
    for (const run of runs) {
      const last = run.records.at(-1);
      const start = behind.find(({ tree }) => tree === run.tree);
      if (last === undefined || start === undefined) continue;
      spans.push({ tree: run.tree, from: start.next, to: last.position + 1n, seen: last.appendedAt });
      records += run.records.length;
    }
    if (spans.length === 0) return 0;
    spans.sort((a, b) => a.tree - b.tree);
    const mapped = await this.#map(runs);
    const advance = await stream.advance(state.rulesVersion, spans, evaluate(state.rules, mapped));
    if (advance.kind !== 'advanced') {
      this.#state = null;
      return 0;
    }
    this.#state = moved(state, spans);
    onStep?.({ records, unmapped: records - mapped.length, raised: advance.raised });
    return records;
  }

  /** What a record that can't be mapped holds is the matter of the view and its dead letters. */
  async #map(runs: readonly RecordRun[]): Promise<MappedRecord[]> {
    const { bodies, onRecord, isSkipped } = this.#deps;
    const mapped: MappedRecord[] = [];
    for (const { tree, records } of runs) {
      for (const record of records) {
        if (isSkipped?.(tree, record.position)) continue;
        const { body, tenant } = record;
        const bytes = body.form === 'object' ? await bodies.get(tenant, body.sha256) : body.bytes;
        onRecord?.({ tree, position: record.position });
        const row = bytes === null ? null : this.#rowOf(record, bytes);
        if (row !== null) mapped.push({ record, row });
      }
    }
    onRecord?.(null);
    return mapped;
  }

  #rowOf(record: LogRecord, body: Uint8Array): EventRow | null {
    try {
      return this.#deps.rowOf(record, body);
    } catch {
      return null;
    }
  }

  async #prune(at: number): Promise<void> {
    if (at - this.#prunedAt < PRUNE_MS) return;
    this.#prunedAt = at;
    await this.#deps.stream.prune();
  }
}

function moved(state: AlertState, spans: readonly AlertSpan[]): AlertState {
  const ends = new Map(spans.map(({ tree, to }) => [tree, to]));
  const checkpoints = state.checkpoints.map(({ tree, next }) => ({ tree, next: ends.get(tree) ?? next }));
  return { ...state, checkpoints };
}
