/** The view over the memory logs of a test server, fed when a test says so, and what was recorded of reads. */

import { EvidentError } from '@evident/core/errors.ts';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import { hotProjection } from '../project/projection.ts';
import { READER_BOUNDS, ViewReader } from '../project/reader.ts';
import type { QueryDeps, Reader, ReadNote } from '../query/ports.ts';
import { MemoryEventView, MemorySavedSearches } from '../stores/memory/event-view.ts';
import { MemoryLog, type MemoryLogState } from '../stores/memory/log.ts';
import {
  MemoryRecordSource,
  MemoryViewStore,
  type MemoryViews,
  memoryTrees,
  recordLookup,
} from '../stores/memory/view-store.ts';

export interface Reads {
  /** In order, before each answer. */
  readonly notes: (ReadNote & { readonly reader: Reader })[];
  /** Whether the log takes no record of a read. */
  isRefusing: boolean;
}

export interface MemoryQuery {
  readonly deps: QueryDeps;
  readonly reads: Reads;
  /** Feeds the view with what the logs hold. */
  project(): Promise<void>;
}

export function openMemoryQuery(
  states: ReadonlyMap<string, MemoryLogState>,
  objects: ReadonlyMap<string, Uint8Array>,
  clock: () => bigint,
): MemoryQuery {
  // Without the hooks of the server's logs: what a test does to requests is not done to the projection.
  const logs = new Map([...states].map(([name, state]) => [name, new MemoryLog(state, clock)]));
  const trees = memoryTrees(logs.values());
  const views: MemoryViews = new Map();
  const bodies = {
    get: async (tenant: string, sha256: Uint8Array) =>
      objects.get(`${tenant}/${Buffer.from(sha256).toString('hex')}`) ?? null,
  };
  const reads: Reads = { notes: [], isRefusing: false };
  const deps: QueryDeps = {
    view: new MemoryEventView({ views, trees, logs }),
    recorder: {
      record: async (reader, note) => {
        if (reads.isRefusing) throw new EvidentError('read-unrecorded', 'The log did not take the record.');
        reads.notes.push({ reader, ...note });
      },
    },
    savedSearches: new MemorySavedSearches(clock),
    bodies,
    installation: 'evident.invalid/x',
  };
  const project = async () => {
    const store = new MemoryViewStore({ views, trees, clock, recordAt: recordLookup(states, trees) });
    const projection = hotProjection(makeRegistry());
    const { ref } = await store.open(projection.name, projection.definition);
    const ignore = () => undefined;
    const source = new MemoryRecordSource(states, trees);
    const reader = new ViewReader(
      { source, store, bodies, bounds: READER_BOUNDS, touch: ignore, untouch: ignore, onBatch: ignore },
      projection,
      ref,
    );
    await reader.begin();
    while ((await reader.round()).kind === 'stored');
    await reader.end();
  };
  return { deps, reads, project };
}
