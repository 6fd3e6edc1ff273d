/** Stored tokens and cosignatures, changed in storage by a superuser: `evident verify --timestamps` says what is wrong. */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ConfigInput } from '../src/config.ts';
import { checkAnchors, filledLog, grow, OthersWitness } from './attack-scene.ts';
import type { Installation } from './installation.ts';

const undone: (() => void | Promise<void>)[] = [];
const scope = { after: (fn: () => void | Promise<void>) => void undone.unshift(fn) } as Parameters<
  typeof filledLog
>[0];
let one: Installation;
let settings: ConfigInput;

before(async () => {
  one = await filledLog(scope);
  const witness = await OthersWitness.start(scope, one);
  settings = witness.settings;
  for (let round = 0; round < 3; round++) {
    await witness.cosign(one);
    await grow(one, 1);
  }
});
after(async () => {
  for (const undo of undone) await undo();
});

/** Runs a change, and gives the rows back as they were. */
async function changed(sql: string): Promise<Awaited<ReturnType<typeof checkAnchors>>> {
  await one.asSuperuser('CREATE TABLE kept AS SELECT * FROM evident.anchors');
  try {
    await one.asSuperuser(sql);
    return await checkAnchors(one, settings);
  } finally {
    await one.asSuperuser('TRUNCATE evident.anchors');
    await one.asSuperuser('INSERT INTO evident.anchors SELECT * FROM kept');
    await one.asSuperuser('DROP TABLE kept');
  }
}

const FIRST = 'WHERE size = (SELECT min(size) FROM evident.anchors)';
const CASES: readonly [name: string, sql: string, verdict: string, check: string][] = [
  [
    'a bit of a cosignature flipped',
    `UPDATE evident.anchors SET bytes = set_byte(bytes, length(bytes) - 20, 65 + (get_byte(bytes, length(bytes) - 20) - 64) % 20) ${FIRST}`,
    'tampered',
    'cosignature',
  ],
  [
    'the cosignature of another head put in its place',
    `UPDATE evident.anchors SET bytes = (SELECT bytes FROM evident.anchors ORDER BY size DESC LIMIT 1) ${FIRST}`,
    'tampered',
    'cosignature',
  ],
  [
    'its time changed beside it',
    `UPDATE evident.anchors SET at = at - 1000000 ${FIRST}`,
    'tampered',
    'cosignature',
  ],
  [
    'the place of its record changed',
    `UPDATE evident.anchors SET logged_at = 0 ${FIRST}`,
    'tampered',
    'anchor-record',
  ],
  [
    'moved to a head that is not stored',
    `UPDATE evident.anchors SET size = size + 100000 ${FIRST}`,
    'not checked',
    'cosignature',
  ],
  ['removed', `DELETE FROM evident.anchors ${FIRST}`, 'not checked', 'anchor-record'],
];

describe('stored anchors', { timeout: 120_000 }, () => {
  it('are good as they were stored, each with its record', async () => {
    const { verdict, findings, good } = await checkAnchors(one, settings);
    assert.deepEqual(findings, []);
    assert.deepEqual([verdict, good], ['verified', 3]);
  });

  for (const [name, sql, verdict, check] of CASES)
    it(`${verdict}: ${name}`, async () => {
      const report = await changed(sql);
      assert.equal(report.verdict, verdict, JSON.stringify(report.findings.map(({ detail }) => detail)));
      assert.ok(report.findings.some((one) => one.check === check));
      assert.equal((await checkAnchors(one, settings)).verdict, 'verified', 'undone, they are good again');
    });

  it('not checked: of a witness that is not declared any more', async () => {
    const { verdict, findings, good } = await checkAnchors(one, {});
    assert.deepEqual([verdict, good], ['not checked', 0]);
    assert.match(findings[0].detail, /no witness of that name is declared/);
  });

  it('tampered: the tree below the head contradicts it', async () => {
    const tree = one.treeOf('heads', 0);
    const change = `UPDATE evident.heads SET note = (SELECT note FROM evident.heads WHERE tree = ${tree} AND size = (SELECT max(size) FROM evident.anchors)) WHERE tree = ${tree} AND size = (SELECT min(size) FROM evident.anchors)`;
    await one.asSuperuser('CREATE TABLE kept_heads AS SELECT * FROM evident.heads');
    await one.asSuperuser(change);
    const { verdict } = await checkAnchors(one, settings);
    await one.asSuperuser(
      'UPDATE evident.heads h SET note = k.note FROM kept_heads k WHERE (h.tree, h.epoch, h.size) = (k.tree, k.epoch, k.size)',
    );
    assert.equal(verdict, 'tampered');
    assert.equal((await checkAnchors(one, settings)).verdict, 'verified');
  });
});
