/** For the tests of this folder: a log in memory, a projection over it, and readers that die. */

import { type EventRow, MappingError } from '@evident/core/mapping/row.ts';
import type { LogRecord, ProposedRecord } from '@evident/core/record.ts';
import { MemoryLog, type MemoryLogHooks, makeMemoryLogState } from '../stores/memory/log.ts';
import {
  type MemoryGeneration,
  MemoryRecordSource,
  MemoryViewStore,
  type MemoryViews,
  memoryTrees,
  recordLookup,
} from '../stores/memory/view-store.ts';
import { Breaker } from './breaker.ts';
import type { BodyReader, ViewRef } from './ports.ts';
import type { Projection } from './projection.ts';
import { type BatchReport, READER_BOUNDS, type ReaderBounds, ViewReader } from './reader.ts';

const utf8 = new TextEncoder();
const text = new TextDecoder();

export const idOf = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

/** A record whose body says what the projection is to do with it. */
export function item(n: number, body: string, over: Partial<ProposedRecord> = {}): ProposedRecord {
  return {
    id: idOf(n),
    tenant: 'acme',
    source: 'outbox:bank',
    sourceSeq: null,
    type: 'note',
    schema: 0,
    key: `acme/${n % 7}`,
    meta: null,
    body: { form: 'json', bytes: utf8.encode(body) },
    ...over,
  };
}

function rowOf(action: string, eventTime: bigint | null): EventRow {
  return {
    eventTime,
    actorId: null,
    actorType: null,
    action,
    resourceType: null,
    resourceId: null,
    result: null,
    correlationId: null,
    ip: null,
    corrects: null,
    mapper: 'test/1',
  };
}

/** `bad`: not what its type says; `bug`: a fault of the projection; `none`: no row by rule; `refuse`: the store refuses it. */
export function testProjection(onDeadLetter: Projection['onDeadLetter'] = 'skip'): Projection {
  return {
    name: 'hot',
    definition: 'test/1',
    onDeadLetter,
    map: (_, body) => {
      const what = text.decode(body);
      if (what === 'bad') throw new MappingError('body: it is bad');
      if (what === 'bug') throw new TypeError('a fault of the projection');
      if (what === 'none') return null;
      if (what.startsWith('at ')) return rowOf(what, BigInt(what.slice(3)));
      return rowOf(what === 'refuse' ? 'a\u0000b' : what, null);
    },
  };
}

/** The process dies here. */
export class Death extends Error {}

export interface WorldOptions {
  readonly partitions?: number;
  readonly projection?: Projection;
  readonly bounds?: Partial<ReaderBounds>;
  readonly hooks?: MemoryLogHooks;
  readonly bodies?: BodyReader;
  /** Called with each record before it is mapped; may die. */
  readonly touch?: (tree: number, position: bigint, isNoted: boolean) => void;
}

/** What is durable, and readers over it. */
export class ProjectWorld {
  readonly log: MemoryLog;
  readonly views: MemoryViews = new Map();
  readonly store: MemoryViewStore;
  readonly source: MemoryRecordSource;
  readonly batches: BatchReport[] = [];
  readonly options: WorldOptions;
  now = 1_800_000_000_000_000n;

  constructor(options: WorldOptions = {}) {
    this.options = options;
    const state = makeMemoryLogState('audit', options.partitions ?? 3, this.now);
    this.log = new MemoryLog(state, () => this.now++);
    const logs = new Map([['audit', this.log]]);
    const trees = memoryTrees(logs.values());
    this.source = new MemoryRecordSource(new Map([['audit', state]]), trees, options.hooks);
    this.store = new MemoryViewStore({
      views: this.views,
      trees,
      clock: () => this.now,
      hooks: options.hooks,
      recordAt: recordLookup(new Map([['audit', state]]), trees),
    });
  }

  async reader(ref?: ViewRef, breaker = new Breaker()): Promise<ViewReader> {
    const projection = this.options.projection ?? testProjection();
    const reader = new ViewReader(
      {
        source: this.source,
        store: this.store,
        bodies: this.options.bodies ?? { get: async () => null },
        bounds: { ...READER_BOUNDS, ...this.options.bounds },
        touch: this.options.touch ?? (() => undefined),
        untouch: () => undefined,
        onBatch: (batch) => this.batches.push(batch),
      },
      projection,
      ref ?? (await this.store.open('hot', projection.definition)).ref,
      breaker,
    );
    await reader.begin();
    return reader;
  }

  /** One reader, to the end of the log. */
  async readAll(ref?: ViewRef): Promise<void> {
    const reader = await this.reader(ref);
    while ((await reader.round()).kind === 'stored');
  }

  get view(): MemoryGeneration {
    return this.views.get('hot')?.generations.get(1) as MemoryGeneration;
  }

  /** What a digest is taken of. */
  outcome(generation = 1): string[] {
    const held = this.views.get('hot')?.generations.get(generation) as MemoryGeneration;
    const place = ({ partition, position }: LogRecord) => `${partition}/${position}`;
    return [
      ...[...held.rows.values()].map(({ record, row }) => `${place(record)} row ${row.action}`),
      ...[...held.letters.values()].map(({ record, class: kind }) => `${place(record)} ${kind}`),
    ].sort();
  }
}
