import { describeLog } from '../../../contract/log-contract.ts';
import { MemoryLog, makeMemoryLogState } from './log.ts';

describeLog('memory', async (partitions) => {
  let now = 1_800_000_000_000_000n;
  const state = makeMemoryLogState('contract', partitions, now);
  return {
    log: new MemoryLog(state, () => now),
    passHours: async (hours) => {
      now += BigInt(hours) * 3_600_000_000n;
    },
    archive: async (partition, next) => {
      state.archived[partition] = next;
    },
    stop: async (partition, reason) => {
      state.partitions[partition].stopped = reason;
    },
    trimUnit: 5n,
  };
});
