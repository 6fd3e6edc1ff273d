import { describeWindowIndex } from '../../../contract/window-index-contract.ts';
import { MemoryWindowIndex, makeMemoryWindowState } from './windows.ts';

describeWindowIndex('memory', async () => new MemoryWindowIndex(makeMemoryWindowState()));
