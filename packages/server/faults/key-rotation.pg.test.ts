/**
 * Rotation of the signing key on a real store: what was signed before and after verifies from the first key on, and a
 * death at any step leaves one rotation, which the next start ends.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseNote } from '@evident/core/note.ts';
import { sealDepsOf } from '../src/compose.ts';
import { makeConfig } from '../src/config.ts';
import { evidenceDepsOf } from '../src/evidence-deps.ts';
import { projectPending } from '../src/project-pending.ts';
import { queryDepsOf } from '../src/queries.ts';
import { type RotateDeps, type Rotated, resumeRotation, rotateKey } from '../src/seal/rotate-key.ts';
import { openSealer } from '../src/seal/seal.ts';
import { startServer } from '../src/server.ts';
import { check, checkWith, exportFolder, readFolder } from './evidence-scene.ts';
import { type Installation, makeInstallation } from './installation.ts';

type Step = Parameters<NonNullable<RotateDeps['passed']>>[0];

async function withHeads<T>(
  { storage }: Installation,
  call: (deps: RotateDeps, heads: Awaited<ReturnType<typeof openSealer>>['sealer']) => Promise<T>,
  passed?: (step: Step) => void,
): Promise<T> {
  const log = storage.logs.get('heads');
  if (log === undefined) throw new Error('there is no log heads');
  const { signer, rotations } = storage;
  const deps = {
    ...sealDepsOf(storage),
    signer,
    rotations,
    onBreak: ({ reason }: { reason: string }) => assert.fail(reason),
  };
  const { sealer } = await openSealer(deps, log);
  return call(passed === undefined ? deps : { ...deps, passed }, sealer);
}

const rotate = (one: Installation, passed?: (step: Step) => void): Promise<Rotated> =>
  withHeads(one, rotateKey, passed);

const k = ({ storage }: Installation, size = 0n): string => storage.vkeyOf(`${storage.name}/heads/0`, size);

async function bundleOf(
  t: Pick<TestContext, 'after'>,
  one: Installation,
  head: bigint | null = null,
): Promise<Map<string, Buffer>> {
  await projectPending(one.storage);
  const folder = mkdtempSync(join(tmpdir(), 'evident-rotation-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const deps = evidenceDepsOf(one.storage, queryDepsOf(one.storage));
  return readFolder(await exportFolder(deps, join(folder, 'bundle'), { head }));
}

const headOf = (files: ReadonlyMap<string, Buffer>): bigint =>
  BigInt(JSON.parse(String(files.get('manifest.json'))).head.size);

async function assertWhole(t: Pick<TestContext, 'after'>, one: Installation): Promise<Map<string, Buffer>> {
  const report = await one.verify();
  assert.deepEqual(report.findings, []);
  assert.equal(report.verdict, 'verified');
  const files = await bundleOf(t, one);
  const checked = await check(one, files);
  assert.deepEqual(checked.findings, []);
  assert.equal(checked.verdict, 'verified');
  return files;
}

it('keys hand over twice: heads, verification and bundles before, across and after it hold from the first key on', async (t) => {
  const one = await makeInstallation(t);
  const first = k(one);
  await one.append(40);
  await one.seal();
  const before = await assertWhole(t, one);
  const bundles = [before];
  for (const number of [1, 2]) {
    const rotated = await rotate(one);
    assert.equal(rotated.number, number);
    await one.storage.keys.read();
    await one.append(30);
    await one.seal();
    bundles.push(await assertWhole(t, one));
  }
  assert.equal(k(one), first, 'K stays the first key');
  assert.equal(readFileSync(one.path('evident.vkey'), 'utf8').trim(), first);
  const [, middle, last] = bundles;
  assert.ok(last.has('keys/rotation.2.leaf') && !middle.has('keys/rotation.2.leaf'));
  for (const files of bundles) assert.equal((await checkWith(first, files)).verdict, 'verified');
  // The same head gives the same bytes, whatever was rotated since.
  for (const files of bundles) {
    const again = await bundleOf(t, one, headOf(files));
    assert.deepEqual([...again.keys()], [...files.keys()]);
    for (const [path, bytes] of files) assert.deepEqual(again.get(path), bytes, path);
  }
  // Whoever holds a later key accepts from its rotation on.
  const later = k(one, headOf(last));
  assert.notEqual(later, first);
  assert.equal((await checkWith(later, last)).verdict, 'verified');
  assert.notEqual((await checkWith(later, before)).verdict, 'verified');
  // A restart takes the keys from what is stored.
  await one.stop();
  await one.start();
  await one.append(5);
  await one.seal();
  await assertWhole(t, one);
});

for (const step of ['noted', 'appended', 'sealed', 'closed', 'stored'] as const) {
  it(`a death after the step ${step} leaves one rotation, which is ended after the next start`, async (t) => {
    const one = await makeInstallation(t);
    await one.append(20);
    await one.seal();
    const first = k(one);
    const dead = new Error('dead');
    await assert.rejects(
      rotate(one, (passed) => {
        if (passed === step) throw dead;
      }),
      dead,
    );
    await one.stop();
    await one.start();
    // Whether it is over or not: sealing goes on, and everything holds.
    await one.append(20);
    await one.seal();
    await assertWhole(t, one);
    await withHeads(one, resumeRotation);
    assert.deepEqual(await withHeads(one, resumeRotation), []);
    assert.equal(await one.storage.rotations.count(), 1);
    await one.storage.keys.read();
    await one.append(20);
    await one.seal();
    const files = await assertWhole(t, one);
    assert.ok(files.has('keys/rotation.1.leaf') && !files.has('keys/rotation.2.leaf'));
    assert.equal((await checkWith(first, files)).verdict, 'verified');
    const { rows } = await one.asSuperuser(
      `SELECT count(*)::int AS count FROM evident.records WHERE type = 'key.rotation'`,
    );
    assert.equal(rows[0].count, 1);
  });
}

it('while a rotation is open, heads are signed by both keys, and bundles hold one signature', async (t) => {
  const one = await makeInstallation(t);
  await one.append(20);
  await one.seal();
  await assert.rejects(
    rotate(one, (step) => {
      if (step === 'noted') throw new Error('dead');
    }),
  );
  await one.append(40);
  await one.seal();
  const { rows } = await one.asSuperuser(
    'SELECT note FROM evident.heads WHERE tree = $1 ORDER BY size DESC LIMIT 1',
    [one.treeOf('audit', 0)],
  );
  const note = parseNote(rows[0].note);
  assert.ok(note.ok && note.value.signatures.length === 2);
  const open = await assertWhole(t, one);
  await withHeads(one, resumeRotation);
  await one.storage.keys.read();
  await one.append(1);
  await one.seal();
  const over = await assertWhole(t, one);
  for (const files of [open, over])
    for (const [path, bytes] of files)
      if (path.endsWith('checkpoint')) assert.equal(String(bytes).split('\n— ').length, 2, path);
  assert.deepEqual((await bundleOf(t, one, headOf(open))).get('keys.json'), open.get('keys.json'));
});

it('an older copy of the database after a rotation, and rotations that somebody changed, are found', async (t) => {
  const one = await makeInstallation(t);
  await one.append(20);
  await one.seal();
  await rotate(one);
  await one.storage.keys.read();
  await one.append(20);
  await one.seal();
  await assertWhole(t, one);
  await one.asSuperuser('CREATE TABLE kept AS SELECT * FROM evident.key_rotations');
  await one.asSuperuser('DELETE FROM evident.key_rotations');
  await one.stop();
  // The signer holds it: what was taken away is there again.
  await one.start();
  assert.equal(await one.storage.rotations.count(), 1);
  assert.equal((await one.verify()).verdict, 'verified');
  await one.asSuperuser(
    'UPDATE evident.key_rotations SET note = set_byte(note, 200, get_byte(note, 200) # 1)',
  );
  await one.stop();
  await one.start();
  assert.equal((await one.verify()).verdict, 'tampered');
});

const BIN = fileURLToPath(new URL('../bin/evident.js', import.meta.url));
const run = promisify(execFile);

it('evident key rotate and list, with the server running and stopped, for admins of all tenants alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'evident-rotate-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const data = join(folder, 'data');
  const evident = async (...args: string[]) =>
    JSON.parse((await run(process.execPath, [BIN, ...args, '--data', data, '--json'])).stdout);
  const server = await startServer(makeConfig({}, { data, port: 0, logLevel: 'silent' }));
  const keysOfHeads = async () =>
    ((await evident('key', 'list')).keys as { origin: string; vkey: string; to: string | null }[]).filter(
      ({ origin }) => origin.endsWith('/heads/0'),
    );
  try {
    const [only, ...none] = await keysOfHeads();
    assert.deepEqual(none, []);
    assert.equal(only.vkey, server.vkey);
    const admin = readFileSync(server.keyFile, 'utf8').trim();
    const ask = (key: string, path: string, body: object) =>
      fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    const made = await ask(admin, '/v1/api-keys', { role: 'admin', tenant: 'acme' });
    const { key } = (await made.json()) as { key: string };
    assert.equal((await ask(key, '/v1/keys/rotate', { reason: 'a test' })).status, 403);
    assert.equal((await ask(admin, '/v1/keys/rotate', { reason: '' })).status, 400);
    assert.equal((await keysOfHeads()).length, 1);
    const rotated = await evident('key', 'rotate', '--reason', 'a test');
    assert.equal(rotated.rotation, 1);
    const [first, second] = await keysOfHeads();
    assert.equal(first.vkey, server.vkey);
    assert.equal(second.vkey, rotated.vkey);
    assert.ok(first.to !== null && second.to === null);
    assert.equal((await evident('verify')).verdict, 'verified');
    // Twice at once: one after the other.
    const both = await Promise.all([1, 2].map(() => ask(admin, '/v1/keys/rotate', { reason: 'a test' })));
    for (const answer of both) assert.equal(answer.status, 200);
  } finally {
    await server.stop();
  }
  const before = (await keysOfHeads()).length;
  await evident('key', 'rotate', '--reason', 'with the server stopped');
  assert.equal((await keysOfHeads()).length, before + 1);
  assert.equal((await evident('verify')).verdict, 'verified');
});
