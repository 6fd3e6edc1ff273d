import { describeViewStore } from '../../../contract/view-store-contract.ts';
import { MemoryLog, makeMemoryLogState } from './log.ts';
import {
  MemoryRecordSource,
  MemoryViewStore,
  type MemoryViews,
  memoryTrees,
  placeKey,
  recordLookup,
} from './view-store.ts';

const START_US = 1_800_000_000_000_000n;

describeViewStore('memory', async () => {
  let now = START_US;
  const states = [makeMemoryLogState('audit', 3, now), makeMemoryLogState('heads', 1, now)];
  const logs = new Map(states.map((state) => [state.name, new MemoryLog(state, () => now++)]));
  const trees = memoryTrees(logs.values());
  const views: MemoryViews = new Map();
  const place = (tree: number, position: bigint): string => {
    const found = trees.find((one) => one.tree === tree);
    return `${found?.log}/${found?.partition}/${position}`;
  };
  return {
    store: new MemoryViewStore({
      views,
      trees,
      clock: () => now,
      recordAt: recordLookup(new Map(states.map((state) => [state.name, state])), trees),
    }),
    source: new MemoryRecordSource(new Map(states.map((state) => [state.name, state])), trees),
    log: logs.get('audit') as MemoryLog,
    view: 'hot',
    rows: async ({ view, generation }) =>
      [...(views.get(view)?.generations.get(generation)?.rows.values() ?? [])].map(
        ({ tree, record, row }) => {
          const { position, appendedAt, id, tenant, type } = record;
          return { ...row, place: place(tree, position), appendedAt, id, tenant, type };
        },
      ),
    letters: async ({ view, generation }) =>
      [...(views.get(view)?.generations.get(generation)?.letters.values() ?? [])].map((letter) => ({
        place: place(letter.tree, letter.record.position),
        class: letter.class,
        error: letter.error.replace(/[\u0000\ud800]/gu, '\ufffd'),
        attempts: letter.attempts,
      })),
    retire: async ({ view, generation }) => {
      const held = views.get(view)?.generations.get(generation);
      if (held !== undefined) held.state = 'retired';
    },
    resolve: async ({ view, generation }, tree, position) => {
      const letters = views.get(view)?.generations.get(generation)?.letters;
      const letter = letters?.get(placeKey(tree, position));
      if (letter !== undefined)
        letters?.set(placeKey(tree, position), { ...letter, resolution: 'discarded' });
    },
  };
});
