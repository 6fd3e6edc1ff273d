import { describeOutbox } from '../../../../contract/outbox-contract.ts';
import type { ApplicationSession } from '../../../../contract/outbox-under-test.ts';
import { cleanUp } from '../embedded/engine-fixture.ts';
import { type OutboxDatabase, openOutboxDatabase, SLOTS } from './outbox-fixture.ts';
import { openOutbox } from './postgres-outbox.ts';

async function begin(database: OutboxDatabase): Promise<ApplicationSession> {
  const client = await database.open();
  await client.query('BEGIN');
  const end = async (how: 'COMMIT' | 'ROLLBACK') => {
    await client.query(how);
    await client.end();
  };
  return {
    insert: async ({ slot, xid, body = '{}' } = {}) => {
      const given = { ...(slot === undefined ? {} : { slot }), ...(xid === undefined ? {} : { xid }) };
      const columns = Object.keys(given).map((column) => `${column}, `);
      const values = Object.values(given).map((value) => `'${value}', `);
      const { rows } = await client.query<{ xid: string; id: string }>(
        `INSERT INTO evident_outbox.events (${columns.join('')}event_id, tenant, type, key, schema, meta, body)
         VALUES (${values.join('')}gen_random_uuid(), 'acme', 'note', 'acme/1', 0, NULL, $1) RETURNING xid, id`,
        [body],
      );
      return { xid: BigInt(rows[0].xid), id: BigInt(rows[0].id) };
    },
    write: async () => {
      const { rows } = await client.query<{ xid: string }>('SELECT pg_current_xact_id() AS xid');
      return BigInt(rows[0].xid);
    },
    savepoint: async () => void (await client.query('SAVEPOINT here')),
    rollBackToSavepoint: async () => void (await client.query('ROLLBACK TO here')),
    commit: () => end('COMMIT'),
    rollBack: () => end('ROLLBACK'),
  };
}

describeOutbox('PostgreSQL', async (t) => {
  const database = await openOutboxDatabase(t);
  const another = () => {
    const outbox = openOutbox(database.connection);
    cleanUp(t, () => outbox.close());
    return outbox;
  };
  const pastSlot = await database.pastSlot();
  return {
    outbox: another(),
    another,
    begin: () => begin(database),
    pastSlot,
    currentSlot: (pastSlot + 1) % SLOTS,
  };
});
