/** An older copy of the database put back, with its tiles or without: a break, named; never a fork; recovered on an operator's word. */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { parseNote } from '@evident/core/note.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { ConfigInput } from '../src/config.ts';
import { type Installation, makeInstallation } from './installation.ts';
import { makeSigner } from './signer-scene.ts';

/** Every note ever stored, by origin and size: what somebody outside may have kept. */
async function publishedRoots(one: Installation): Promise<Map<string, string>> {
  const { rows } = await one.asSuperuser('SELECT note FROM evident.heads');
  return new Map(
    rows.map(({ note }) => {
      const parsed = parseNote(note);
      assert.ok(parsed.ok);
      const [origin, size, root] = parsed.value.text.split('\n');
      return [`${origin} ${size}`, root];
    }),
  );
}

async function assertNothingContradicts(
  one: Installation,
  before: ReadonlyMap<string, string>,
): Promise<void> {
  for (const [head, root] of await publishedRoots(one)) {
    const known = before.get(head);
    assert.ok(known === undefined || known === root, `${head} was signed with another root`);
  }
}

/** Seals 400 records, copies the stopped folder, goes on to 700 records, and puts back parts of the copy. */
async function putBack(
  t: TestContext,
  parts: readonly string[],
  settings: ConfigInput = {},
): Promise<{ one: Installation; published: Map<string, string> }> {
  const one = await makeInstallation(t, 2, settings);
  const aside = mkdtempSync(join(tmpdir(), 'evident-aside-'));
  t.after(() => rmSync(aside, { recursive: true, force: true }));
  await one.append(400);
  await one.seal();
  await one.stop();
  for (const part of parts) one.copy(one.path(part), join(aside, part));
  await one.start();
  await one.append(300);
  await one.seal();
  const published = await publishedRoots(one);
  await one.stop();
  for (const part of parts) one.copy(join(aside, part), one.path(part));
  return { one, published };
}

const refusedAsStopped = (error: unknown) => isEvidentError(error) && error.code === 'partition-stopped';

it('names an older copy of the database a break, and takes no records until recovery', async (t) => {
  const { one, published } = await putBack(t, ['postgres']);
  const breaks = await one.start();
  assert.deepEqual(breaks.map(({ log, partition }) => `${log}/${partition}`).sort(), [
    'audit/0',
    'audit/1',
    'heads/0',
  ]);
  for (const { reason } of breaks) assert.match(reason, /older copy/);
  await assert.rejects(one.append(10), refusedAsStopped);
  assert.equal((await one.verify()).verdict, 'tampered');
  await assertNothingContradicts(one, published);
});

it('goes on after seal.recovery: lost positions keep their leaf, and verify as lost', async (t) => {
  const { one, published } = await putBack(t, ['postgres']);
  const breaks = await one.start();
  for (const { log, partition } of breaks) {
    const recovery = await one.recover(log, partition);
    assert.equal(recovery.epoch, 0, 'the tiles are there, so the tree goes on');
    assert.equal(recovery.lost.length, 1);
  }
  await one.stop();
  assert.deepEqual(await one.start(), []);
  await one.append(200);
  assert.deepEqual((await one.seal()).breaks, []);
  const report = await one.verify();
  assert.equal(report.verdict, 'not checked');
  assert.equal(report.tampered, 0);
  assert.ok(
    report.findings.every(
      ({ check, detail }) => check === 'lost' && /^lost, recovery [0-9a-f-]{36}$/.test(detail),
    ),
  );
  assert.equal(
    report.findings
      .filter(({ log }) => log === 'audit')
      .reduce((sum, { from, to }) => sum + Number((to as bigint) - (from as bigint)), 0),
    300,
  );
  await assertNothingContradicts(one, published);
});

it('begins a new tree under a new origin when the tiles were put back too', async (t) => {
  const { one, published } = await putBack(t, ['postgres', 'tiles']);
  const breaks = await one.start();
  assert.equal(breaks.length, 3);
  for (const { log, partition } of breaks) assert.equal((await one.recover(log, partition)).epoch, 1);
  await one.stop();
  assert.deepEqual(await one.start(), []);
  await one.append(200);
  const { sealed, breaks: none } = await one.seal();
  assert.deepEqual(none, []);
  assert.ok(sealed.some(({ origin }) => origin === epochOrigin(one.storage.name, 'audit', 0, 1)));
  const report = await one.verify();
  assert.equal(
    report.verdict,
    'not checked',
    JSON.stringify(report.findings, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
  );
  assert.equal(report.tampered, 0);
  await assertNothingContradicts(one, published);
});

it('moves records that were taken at sealed positions behind them, and loses none', async (t) => {
  const { one, published } = await putBack(t, ['postgres']);
  // The copy is put back under a server that never looked: records land on positions that are sealed.
  await one.start();
  await one.asSuperuser('UPDATE evident.partitions SET stopped = NULL');
  await one.append(50, (index) => `{"late":${index}}`);
  await one.stop();
  const breaks = await one.start();
  const moved = [];
  for (const { log, partition } of breaks) moved.push(...(await one.recover(log, partition)).misplaced);
  assert.equal(moved.length, 50);
  await one.stop();
  await one.start();
  await one.seal();
  const { rows } = await one.asSuperuser(
    "SELECT count(*)::int AS count FROM evident.records WHERE convert_from(body, 'UTF8') LIKE '{\"late\"%'",
  );
  assert.equal(rows[0].count, 50);
  const report = await one.verify();
  assert.equal(
    report.tampered,
    0,
    JSON.stringify(report.findings, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
  );
  await assertNothingContradicts(one, published);
});

it('names a break when the signer has lost its memory, or the database is another one', async (t) => {
  const one = await makeInstallation(t);
  await one.append(50);
  await one.seal();
  await one.stop();
  rmSync(one.path('signer', 'last'));
  const breaks = await one.start();
  assert.equal(breaks.length, 3);
  assert.match(breaks[0].reason, /remembers no head/);
  await one.stop();
  rmSync(one.path('signer'), { recursive: true });
  await assert.rejects(
    one.start(),
    (error: unknown) => isEvidentError(error) && error.code === 'key-mismatch',
  );
});

it('names a break when an older copy of the signer was put back, and recovers by proof', async (t) => {
  const one = await makeInstallation(t);
  await one.append(50);
  await one.seal();
  const older = readFileSync(one.path('signer', 'last'));
  await one.append(300);
  await one.seal();
  const published = await publishedRoots(one);
  await one.stop();
  writeFileSync(one.path('signer', 'last'), older);
  const breaks = await one.start();
  assert.equal(breaks.length, 3);
  for (const { reason } of breaks) assert.match(reason, /remembers size \d+ only/);
  // The signer takes the head that is stored because it is proven to follow the one that it remembers.
  for (const { log, partition } of breaks) assert.equal((await one.recover(log, partition)).epoch, 0);
  await one.stop();
  assert.deepEqual(await one.start(), []);
  await one.append(100);
  assert.deepEqual((await one.seal()).breaks, []);
  assert.equal((await one.verify()).verdict, 'verified');
  await assertNothingContradicts(one, published);
});

it('begins yet another tree when the database forgets the one that a recovery began', async (t) => {
  const { one, published } = await putBack(t, ['postgres', 'tiles']);
  const aside = mkdtempSync(join(tmpdir(), 'evident-aside-'));
  t.after(() => rmSync(aside, { recursive: true, force: true }));
  for (const part of ['postgres', 'tiles']) one.copy(one.path(part), join(aside, part));
  for (const { log, partition } of await one.start()) await one.recover(log, partition);
  await one.stop();
  await one.start();
  await one.append(100);
  await one.seal();
  for (const [head, root] of await publishedRoots(one)) published.set(head, root);
  await one.stop();
  for (const part of ['postgres', 'tiles']) one.copy(join(aside, part), one.path(part));
  for (const { log, partition } of await one.start())
    assert.equal((await one.recover(log, partition)).epoch, 2);
  await one.stop();
  assert.deepEqual(await one.start(), []);
  await one.append(20);
  assert.deepEqual((await one.seal()).breaks, []);
  assert.equal((await one.verify()).tampered, 0);
  await assertNothingContradicts(one, published);
});

it('begins no new tree without the word of the operator of a signer elsewhere', async (t) => {
  const signer = makeSigner(t);
  await signer.start();
  const { one, published } = await putBack(t, ['postgres', 'tiles'], { signer: signer.address });
  const breaks = await one.start();
  assert.equal(breaks.length, 3);
  for (const { log, partition } of breaks)
    await assert.rejects(
      one.recover(log, partition),
      (error: unknown) =>
        isEvidentError(error) && error.code === 'signer-refused' && /no consent to begin/.test(error.message),
    );
  const { name } = one.storage;
  await one.stop();
  await signer.kill();
  await signer.start(
    '--begin-anew',
    breaks.map(({ log, partition }) => epochOrigin(name, log, partition, 1)).join(','),
  );
  await one.start();
  for (const { log, partition } of breaks) assert.equal((await one.recover(log, partition)).epoch, 1);
  await one.stop();
  await signer.kill();
  await signer.start();
  assert.deepEqual(await one.start(), []);
  await one.append(30);
  assert.deepEqual((await one.seal()).breaks, []);
  await assertNothingContradicts(one, published);
});
