import { describeGenerationStore } from '../../../contract/generation-store-contract.ts';
import { MemoryDeadLetterStore, type MemoryResolutions } from './dead-letters.ts';
import { MemoryGenerationStore } from './generations.ts';
import { MemoryLog, type MemoryLogState, makeMemoryLogState } from './log.ts';
import {
  MemoryRecordSource,
  MemoryViewStore,
  type MemoryViews,
  memoryTrees,
  recordLookup,
} from './view-store.ts';

const START_US = 1_800_000_000_000_000n;

describeGenerationStore('memory', async () => {
  let now = START_US;
  const clock = () => now++;
  const states = new Map([['audit', makeMemoryLogState('audit', 3, now)]]);
  const log = new MemoryLog(states.get('audit') as MemoryLogState, clock);
  const logs = new Map([['audit', log]]);
  const trees = memoryTrees(logs.values());
  const views: MemoryViews = new Map();
  const resolutions: MemoryResolutions = new Map();
  return {
    generations: new MemoryGenerationStore({ views, resolutions, logs, clock }),
    letters: new MemoryDeadLetterStore({ views, resolutions, trees, logs, clock }),
    store: new MemoryViewStore({ views, trees, clock, recordAt: recordLookup(states, trees) }),
    source: new MemoryRecordSource(states, trees),
    log,
  };
});
