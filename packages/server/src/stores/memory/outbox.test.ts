import { setImmediate as turn } from 'node:timers/promises';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { describeOutbox } from '../../../contract/outbox-contract.ts';
import type { ApplicationSession } from '../../../contract/outbox-under-test.ts';
import { ApplicationDatabase } from './application-database.ts';
import { MemoryOutbox } from './outbox.ts';

const CLOCK_US = 1_800_000_000_000_000n;
const SLOTS = 4;
let ids = 0;

function begin(database: ApplicationDatabase): ApplicationSession {
  const transaction = database.begin();
  let savepoint = 0;
  return {
    insert: async ({ body = '{}', ...over } = {}) => {
      const eventId = `00000000-0000-4000-8000-${(ids++).toString(16).padStart(12, '0')}`;
      const said = { eventId, tenant: 'acme', type: 'note', key: 'acme/1', schema: 0, meta: null };
      const { xid, id } = database.insert(transaction, { ...said, body: encodeUtf8(body) }, over);
      return { xid, id };
    },
    write: async () => database.write(transaction),
    savepoint: async () => {
      savepoint = transaction.rows.length;
    },
    rollBackToSavepoint: async () => database.rollBackTo(transaction, savepoint),
    commit: async () => {
      database.writeCommit(transaction);
      database.finishCommit(transaction);
    },
    rollBack: async () => database.abort(transaction),
  };
}

describeOutbox('memory', async () => {
  const database = new ApplicationDatabase({ clock: () => CLOCK_US, slots: SLOTS, slotUs: 86_400_000_000n });
  const currentSlot = database.slotNow();
  // What waits must let others go on.
  const another = () => new MemoryOutbox(database, { hooks: { before: () => turn() } });
  return {
    outbox: another(),
    another,
    begin: async () => begin(database),
    currentSlot,
    pastSlot: (currentSlot + 2) % SLOTS,
  };
});
