/** Attacks of a database superuser, who writes any table and the files of tiles, but has neither key nor memory of the signer. */

import { TILE_WIDTH } from '@evident/core/merkle/tile.ts';
import type { Installation } from '../packages/server/faults/installation.ts';
import type { HeadRow } from '../packages/server/src/verify/ports.ts';
import type { Attack } from './attack.ts';
import { putSeal, rebuildTree, replaceHeads } from './rebuild-tree.ts';

const IN_AUDIT_0 = { log: 'audit', partition: 0 } as const;
const NOT_NEEDED = { kept: null, t1: '', t3: '' } as const;
const HEADS_MAX = 1_000;

/** Where a denied event stands in audit/0, some way into the log: one that somebody would like to read otherwise. */
export async function findDenied(one: Installation): Promise<bigint> {
  const [first] = await one.storage.records.readHeads('audit', 0, 0, 0n, 1);
  const { rows } = await one.asSuperuser(
    `SELECT position FROM evident.records WHERE tree = $1 AND type = 'audit.event'
       AND convert_from(body, 'UTF8') LIKE '%"result":"denied"%' ORDER BY position < $2, position LIMIT 1`,
    [one.treeOf('audit', 0), first.size],
  );
  return BigInt(rows[0].position);
}

/** Turns a denial into a success, in the stored bytes. */
export async function rewriteDenied(one: Installation, position: bigint): Promise<void> {
  const tree = one.treeOf('audit', 0);
  await one.asSuperuser(
    `UPDATE evident.records SET body = convert_to(replace(convert_from(body, 'UTF8'), '"result":"denied"', '"result":"success"'), 'UTF8')
      WHERE tree = $1 AND position = $2`,
    [tree, position],
  );
  await one.asSuperuser(
    `UPDATE evident.identities i SET body_hash = sha256(r.body) FROM evident.records r
      WHERE r.tree = $1 AND r.position = $2 AND i.tree = r.tree AND i.position = r.position`,
    [tree, position],
  );
}

const EDIT: Attack = {
  letter: 'a',
  title: 'edit a body in SQL',
  ...NOT_NEEDED,
  run: async ({ one }) => {
    const position = await findDenied(one);
    await rewriteDenied(one, position);
    return {
      did: `UPDATE of audit/0/${position}: "result":"denied" now reads "success"`,
      expected: { verdict: 'tampered', check: 'record', ...IN_AUDIT_0, position },
    };
  },
};

const DELETE: Attack = {
  letter: 'b',
  title: 'delete a record',
  ...NOT_NEEDED,
  run: async ({ one }) => {
    const position = await findDenied(one);
    const place = [one.treeOf('audit', 0), position];
    await one.asSuperuser('DELETE FROM evident.records WHERE tree = $1 AND position = $2', place);
    await one.asSuperuser('DELETE FROM evident.identities WHERE tree = $1 AND position = $2', place);
    return {
      did: `DELETE of audit/0/${position}, and of its identity`,
      expected: { verdict: 'tampered', check: 'record-missing', ...IN_AUDIT_0, position },
    };
  },
};

const SWAP: Attack = {
  letter: 'c',
  title: 'swap two records',
  ...NOT_NEEDED,
  run: async ({ one }) => {
    const position = await findDenied(one);
    // Everything but place and time, so that times still rise.
    await one.asSuperuser(
      `UPDATE evident.records a SET (id, tenant, source, source_seq, type, schema, key, meta, body_form, body)
          = (b.id, b.tenant, b.source, b.source_seq, b.type, b.schema, b.key, b.meta, b.body_form, b.body)
         FROM evident.records b WHERE a.tree = $1 AND b.tree = $1
          AND ((a.position = $2 AND b.position = $2 + 1) OR (a.position = $2 + 1 AND b.position = $2))`,
      [one.treeOf('audit', 0), position],
    );
    return {
      did: `audit/0/${position} and its successor change places, their times stay`,
      expected: { verdict: 'tampered', check: 'record', ...IN_AUDIT_0, position },
    };
  },
};

const REHASH: Attack = {
  letter: 'd',
  title: 'edit, and recompute every hash',
  ...NOT_NEEDED,
  remark:
    'No tile tells the old leaf any more, so the place is a span between two signed heads, not a record.',
  run: async ({ one }) => {
    const position = await findDenied(one);
    await rewriteDenied(one, position);
    const heads = await rebuildTree(one, 'audit', 0);
    await replaceHeads(one, 'audit', 0, heads, null);
    return {
      did: `audit/0/${position} rewritten; leaf hash, upper tiles, chain, ${heads.length} head rows and edge recomputed; no key`,
      expected: { verdict: 'tampered', check: 'head', ...IN_AUDIT_0, position },
    };
  },
};

/** Cuts one tree back to the head before its newest one. @returns the position from which on nothing is left */
export async function cutTail(one: Installation, log: string, partition: number): Promise<bigint> {
  const tree = one.treeOf(log, partition);
  const { records, tiles } = one.storage;
  const target = (await records.readHeads(log, partition, 0, 0n, HEADS_MAX)).at(-2) as HeadRow;
  const { size, root, chain } = target;
  const width = Number(size % BigInt(TILE_WIDTH));
  const edge = (await tiles.read(log, partition, 0, size - BigInt(width), width)) as Uint8Array;
  for (const table of ['records', 'identities'])
    await one.asSuperuser(`DELETE FROM evident.${table} WHERE tree = $1 AND position >= $2`, [tree, size]);
  await one.asSuperuser('DELETE FROM evident.heads WHERE tree = $1 AND size > $2', [tree, size]);
  await one.asSuperuser(
    `UPDATE evident.partitions SET next_position = $2::bigint,
            last_appended_at = (SELECT appended_at FROM evident.records WHERE tree = $1 AND position = $2::bigint - 1)
      WHERE tree = $1`,
    [tree, size],
  );
  await putSeal(one, tree, { epoch: 0, size, root, chain, edge });
  return size;
}

const CUT: Attack = {
  letter: 'e',
  title: 'cut off the tail',
  ...NOT_NEEDED,
  run: async ({ one }) => {
    const end = await cutTail(one, 'audit', 0);
    await cutTail(one, 'heads', 0);
    return {
      did: `audit/0 ends at ${end} now: records, counter, their heads and edge cut; so is heads/0, which listed them`,
      expected: { verdict: 'tampered', check: 'signer', ...IN_AUDIT_0, position: end },
    };
  },
};

/** Acknowledged within the last 250 ms, and not sealed. */
const UNSEALED = 40;

const CUT_UNSEALED: Attack = {
  letter: 'i',
  title: 'cut off what is not sealed yet',
  kept: { earlier: 'no', later: 'no' },
  t1: 'no',
  t3: 'no',
  remark:
    'Nothing was signed about these records. Their writers hold acknowledged positions that are gone: only they can tell.',
  run: async (scene) => {
    const { one } = scene;
    const next = new Map<number, bigint>();
    for (const { partition, next: at } of (await one.storage.logs.get('audit')?.heads()) ?? [])
      next.set(one.treeOf('audit', partition), at);
    const appended = await scene.ingest(UNSEALED);
    let cut = 0;
    for (const place of next) {
      for (const table of ['identities', 'records']) {
        const { rowCount } = await one.asSuperuser(
          `DELETE FROM evident.${table} WHERE tree = $1 AND position >= $2`,
          place,
        );
        if (table === 'records') cut += rowCount ?? 0;
      }
      await one.asSuperuser('UPDATE evident.partitions SET next_position = $2 WHERE tree = $1', place);
    }
    if (appended !== UNSEALED || cut < appended) throw new Error(`${appended} were appended, ${cut} cut`);
    return {
      did: `${appended} events were acknowledged; before the next seal (250 ms) they and the counters were cut`,
      expected: { verdict: 'verified' },
    };
  },
};

export const RECORD_ATTACKS: readonly Attack[] = [EDIT, DELETE, SWAP, REHASH, CUT];
export const LAST_ATTACKS: readonly Attack[] = [CUT_UNSEALED];
