import assert from 'node:assert/strict';
import { it } from 'node:test';
import { describeWindowIndex } from '../../../contract/window-index-contract.ts';
import { openTestDatabase } from '../../../test/database.ts';
import { PostgresWindowIndex } from './window-index.ts';

/** A database each: the index is one per database. */
async function openIndex() {
  const database = await openTestDatabase();
  for (const [log, partitions] of [
    ['windows', 1],
    ['audit', 3],
    ['clicks', 1],
  ] as const)
    await database.owner.query('SELECT evident.make_log($1, $2)', [log, partitions]);
  return { ...database, index: new PostgresWindowIndex(database.pool) };
}

describeWindowIndex('postgres', async () => (await openIndex()).index);

it('forgets what a recovery of the log windows gives up, and nothing for that of another log', async () => {
  const { owner, index } = await openIndex();
  const at = (tenant: string, position: bigint) => ({
    log: 'audit',
    tenant,
    hour: 5,
    position,
    leafHash: new Uint8Array(32),
  });
  const hours = [{ log: 'audit', hour: 5, position: 2n, ends: [1n, 1n, 1n] }];
  await index.put(0n, 4n, [at('a', 0n), at('b', 1n), at('c', 3n)], hours);
  const lose = (log: string) =>
    owner.query(
      `INSERT INTO evident.lost SELECT p.tree, 1, 3, gen_random_uuid(), 9
         FROM evident.partitions p JOIN evident.logs l USING (log_id) WHERE l.log = $1 AND p.partition = 0`,
      [log],
    );
  await lose('audit');
  assert.equal(await index.next(), 4n);
  await lose('windows');
  assert.equal(await index.next(), 1n);
  assert.equal(await index.lastHour('audit'), null);
  assert.deepEqual([...(await index.newest('audit', 5, ['a', 'b', 'c'])).keys()], ['a']);
});
