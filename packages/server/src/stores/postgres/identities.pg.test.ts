import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { propose } from '../../../contract/log-contract.ts';
import { openTestDatabase } from '../../../test/database.ts';
import { Appender } from './appender.ts';
import { PostgresIdentityReader } from './identities.ts';
import { openLog } from './log.ts';

function record(tenant: string, id: string, key: string, n = 1) {
  const body = { form: 'json' as const, bytes: encodeUtf8(`{"n":${n}}`) };
  return { id, tenant, source: 'test', sourceSeq: null, type: 'note', schema: 0, key, meta: null, body };
}

it('finds identities where they stand: of their log and tenant, the first of two bodies, in the order asked', async () => {
  const { pool } = await openTestDatabase();
  const appender = new Appender(pool);
  const deps = { pool, appender };
  const [one, two] = [await openLog(deps, 'one', 5), await openLog(deps, 'two', 2)];
  const logs = new Map([one, two].map((log) => [log.name, log]));
  const reader = new PostgresIdentityReader(pool, logs, (listener) => appender.onAppended(listener));
  let heard = 0;
  const stop = reader.onAppended(() => heard++);
  const ids = Array.from({ length: 20 }, () => randomUUID());
  const places = await one.appendOnce(ids.map((id, n) => propose(record('acme', id, `acme/${n}`))));
  assert.equal(heard, 1);
  stop();
  const [other] = await two.appendOnce([propose(record('acme', ids[0], 'acme/x'))]);
  const [foreign] = await one.appendOnce([propose(record('beta', ids[1], 'beta/x'))]);
  await one.appendOnce([{ ...propose(record('acme', ids[2], 'acme/2', 2)), reused: 'take' }]);
  assert.equal(heard, 1, 'who has stopped listening hears no more');
  const place = ({ partition, position }: { partition: number; position: bigint }) => ({
    partition,
    position,
  });
  const found = await reader.find([
    ...ids.map((id) => ({ log: 'one', tenant: 'acme', id })).reverse(),
    { log: 'two', tenant: 'acme', id: ids[0] },
    { log: 'one', tenant: 'beta', id: ids[1] },
    { log: 'two', tenant: 'acme', id: ids[1] },
    { log: 'one', tenant: 'beta', id: ids[0] },
    { log: 'none', tenant: 'acme', id: ids[0] },
  ]);
  assert.deepEqual(found, [...places.map(place).reverse(), place(other), place(foreign), null, null, null]);
});
