/**
 * The promises of the port `Outbox`, run over PostgreSQL and over the model that the simulation puts in its place:
 * what the model allows and PostgreSQL does not, or the other way round, would be found in neither.
 */

import { describe } from 'node:test';
import { describeEmptying } from './outbox-emptying-contract.ts';
import { describePolling, describeRecognising, describeSweeping } from './outbox-reading-contract.ts';
import { describeSlots, describeStreaming } from './outbox-streaming-contract.ts';
import type { OpenOutbox } from './outbox-under-test.ts';

export function describeOutbox(name: string, open: OpenOutbox): void {
  describe(`port Outbox: ${name}`, () => {
    describePolling(open);
    describeSweeping(open);
    describeRecognising(open);
    describeEmptying(open);
    describeSlots(open);
    describeStreaming(open);
  });
}
