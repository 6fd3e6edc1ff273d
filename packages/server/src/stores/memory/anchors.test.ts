import { describeAnchorStore } from '../../../contract/anchor-store-contract.ts';
import { MemoryAnchorStore, makeMemoryAnchorState } from './anchors.ts';

describeAnchorStore('memory', async (heads) => {
  const has = (epoch: number, size: bigint) =>
    heads.some((head) => head.epoch === epoch && head.size === size);
  return new MemoryAnchorStore(makeMemoryAnchorState(has));
});
