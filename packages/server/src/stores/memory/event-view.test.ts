import { describeEventView } from '../../../contract/event-view-contract.ts';
import { MemoryEventView, MemorySavedSearches } from './event-view.ts';
import { MemoryLog, makeMemoryLogState } from './log.ts';
import { MemoryViewStore, type MemoryViews, memoryTrees, recordLookup } from './view-store.ts';

describeEventView('memory', async () => {
  let now = 1_790_000_000_000_000n;
  const clock = () => ++now;
  const states = new Map(['audit', 'clicks'].map((name) => [name, makeMemoryLogState(name, 3, now)]));
  const logs = new Map([...states].map(([name, state]) => [name, new MemoryLog(state, clock)]));
  const trees = memoryTrees(logs.values());
  const views: MemoryViews = new Map();
  return {
    logs,
    view: new MemoryEventView({ views, trees, logs }),
    saved: new MemorySavedSearches(clock),
    store: new MemoryViewStore({ views, trees, clock, recordAt: recordLookup(states, trees) }),
  };
});
