/** The query library over memory, for its tests. */

import { randomUUID } from 'node:crypto';
import type { LogRecord } from '@evident/core/record.ts';
import type { EventViewScene } from '../../contract/view-events.ts';
import { MemoryEventView, MemorySavedSearches } from '../stores/memory/event-view.ts';
import { MemoryLog, makeMemoryLogState } from '../stores/memory/log.ts';
import { MemoryViewStore, type MemoryViews, memoryTrees, recordLookup } from '../stores/memory/view-store.ts';
import type { QueryDeps, Reader } from './ports.ts';
import { makeReadRecorder } from './record-read.ts';

export interface QueryScene extends EventViewScene {
  readonly deps: QueryDeps;
  /** Bodies of what the recorder wrote, in order. */
  notes(): Promise<Record<string, unknown>[]>;
  /** From now on the log takes no records of reads. */
  breakRecorder(): void;
  readonly objects: Map<string, Uint8Array>;
}

export const reader = (tenant: string | null, over: Partial<Reader> = {}): Reader => ({
  actor: { id: 'key:a', role: 'auditor' },
  tenant,
  ...over,
});

export function openQueryScene(): QueryScene {
  let now = 1_790_000_000_000_000n;
  const clock = () => ++now;
  const states = new Map(['audit', 'clicks'].map((name) => [name, makeMemoryLogState(name, 3, now)]));
  const logs = new Map([...states].map(([name, state]) => [name, new MemoryLog(state, clock)]));
  const trees = memoryTrees(logs.values());
  const views: MemoryViews = new Map();
  const view = new MemoryEventView({ views, trees, logs });
  const saved = new MemorySavedSearches(clock);
  // A log of its own, so that what is recorded does not mix with what is searched.
  let broken = false;
  const written: LogRecord[] = [];
  const recording = new MemoryLog(makeMemoryLogState('audit', 3, now), clock);
  const recorder = makeReadRecorder({
    log: {
      append: async (records) => {
        if (broken) throw new Error('the log is down');
        const places = await recording.append(records);
        for (const [at, record] of records.entries())
          written.push({ ...record, log: 'audit', ...places[at] });
        return places;
      },
    },
    newId: randomUUID,
    instant: () => '2026-11-20T10:00:00Z',
  });
  const objects = new Map<string, Uint8Array>();
  return {
    view,
    saved,
    logs,
    store: new MemoryViewStore({ views, trees, clock, recordAt: recordLookup(states, trees) }),
    objects,
    deps: {
      view,
      recorder,
      savedSearches: saved,
      bodies: { get: async (_tenant, sha256) => objects.get(Buffer.from(sha256).toString('hex')) ?? null },
      installation: 'evident.invalid/test',
    },
    notes: async () =>
      written.map(({ body, tenant }) => ({
        ...(JSON.parse(new TextDecoder().decode((body as { bytes: Uint8Array }).bytes)) as object),
        recordTenant: tenant,
      })),
    breakRecorder: () => {
      broken = true;
    },
  };
}
