import { describeDeadLetterStore } from '../../../contract/dead-letter-store-contract.ts';
import { MemoryDeadLetterStore } from './dead-letters.ts';
import { MemoryLog, makeMemoryLogState } from './log.ts';
import {
  MemoryRecordSource,
  MemoryViewStore,
  type MemoryViews,
  memoryTrees,
  recordLookup,
} from './view-store.ts';

const START_US = 1_800_000_000_000_000n;

describeDeadLetterStore('memory', async () => {
  let now = START_US;
  const clock = () => now++;
  const states = [makeMemoryLogState('audit', 3, now)];
  const byName = new Map(states.map((state) => [state.name, state]));
  const logs = new Map(states.map((state) => [state.name, new MemoryLog(state, clock)]));
  const trees = memoryTrees(logs.values());
  const views: MemoryViews = new Map();
  return {
    letters: new MemoryDeadLetterStore({ views, resolutions: new Map(), trees, logs, clock }),
    store: new MemoryViewStore({ views, trees, clock, recordAt: recordLookup(byName, trees) }),
    source: new MemoryRecordSource(byName, trees),
    log: logs.get('audit') as MemoryLog,
    rows: async ({ view, generation }) =>
      [...(views.get(view)?.generations.get(generation)?.rows.values() ?? [])].map(
        ({ record: { log, partition, position } }) => `${log}/${partition}/${position}`,
      ),
  };
});
