import assert from 'node:assert/strict';
import { it } from 'node:test';
import { describeAnchorStore } from '../../../contract/anchor-store-contract.ts';
import { openTestDatabase } from '../../../test/database.ts';
import { PostgresAnchorStore } from './anchor-store.ts';

/** A database each, with these heads of heads/0 and one of the same size in another tree, signed two days ago. */
async function openAnchors(heads: readonly { epoch: number; size: bigint }[]) {
  const database = await openTestDatabase();
  for (const log of ['heads', 'audit']) await database.owner.query('SELECT evident.make_log($1, 1)', [log]);
  const insert = `INSERT INTO evident.heads (tree, epoch, size, root, chain, note, signed_at)
    SELECT p.tree, $1, $2, sha256(''), sha256(''), 'x', now() - interval '48 hours'
      FROM evident.partitions p JOIN evident.logs l USING (log_id) WHERE l.log = $3`;
  for (const { epoch, size } of heads) await database.owner.query(insert, [epoch, size.toString(), 'heads']);
  await database.owner.query(insert, [0, '8', 'audit']);
  return { ...database, store: new PostgresAnchorStore(database.pool) };
}

describeAnchorStore('postgres', async (heads) => (await openAnchors(heads)).store);

it('keeps a head that somebody vouches for when others are thinned', async () => {
  const heads = [3n, 7n, 12n].map((size) => ({ epoch: 0, size }));
  const { store, owner, pool } = await openAnchors(heads);
  await owner.query(`INSERT INTO evident.seals (tree, size, root, chain, edge)
    SELECT tree, 99, sha256(''), sha256(''), '' FROM evident.partitions`);
  const bytes = new Uint8Array([1]);
  await store.put({ epoch: 0, size: 7n, kind: 'timestamp', by: 'a', bytes, at: 1n });
  const { rows } = await pool.query<{ thinned: string }>('SELECT evident.thin_heads() AS thinned');
  assert.equal(rows[0]?.thinned, '3');
  const left = await pool.query<{ size: string }>('SELECT size FROM evident.heads');
  assert.deepEqual(left.rows, [{ size: '7' }]);
});

it('lets the server’s role change nothing that is stored', async () => {
  const { store, pool } = await openAnchors([{ epoch: 0, size: 3n }]);
  const bytes = new Uint8Array([1]);
  await store.put({ epoch: 0, size: 3n, kind: 'timestamp', by: 'a', bytes, at: 1n });
  for (const statement of [
    "UPDATE evident.anchors SET bytes = 'y'",
    'DELETE FROM evident.anchors',
    "INSERT INTO evident.anchors (epoch, size, kind, by, bytes, at) VALUES (0, 3, 'timestamp', 'b', 'x', 1)",
  ])
    await assert.rejects(pool.query(statement), { code: '42501' });
});
