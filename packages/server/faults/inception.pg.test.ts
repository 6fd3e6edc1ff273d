/** A database that was lost is never replaced by an empty one under the same name, whatever of the log is left. */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { type ErrorCode, isEvidentError } from '@evident/core/errors.ts';
import { Installation, makeInstallation } from './installation.ts';
import { makeSigner } from './signer-scene.ts';

const refused =
  (pattern: RegExp, code: ErrorCode = 'inception-refused') =>
  (error: unknown): boolean => {
    assert.ok(isEvidentError(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  };

/** An installation that has sealed, stopped, its database aside. */
async function makeLost(t: TestContext): Promise<{ one: Installation; putBack: () => void }> {
  const one = await makeInstallation(t);
  await one.append(50);
  await one.seal();
  await one.stop();
  const aside = mkdtempSync(join(tmpdir(), 'evident-aside-'));
  t.after(() => rmSync(aside, { recursive: true, force: true }));
  renameSync(one.path('postgres'), join(aside, 'postgres'));
  return {
    one,
    putBack: () => {
      rmSync(one.path('postgres'), { recursive: true, force: true });
      renameSync(join(aside, 'postgres'), one.path('postgres'));
    },
  };
}

const fresh = (one: Installation): void => rmSync(one.path('postgres'), { recursive: true, force: true });

it('refuses an empty database beside a signer that has signed, and goes on with the right one', async (t) => {
  const { one, putBack } = await makeLost(t);
  await assert.rejects(one.start(), refused(/data holds evident\.invalid\/[0-9a-f]{16}, begun at 20/));
  for (const trace of ['inception.json', 'evident.vkey', 'tiles'])
    rmSync(one.path(trace), { recursive: true });
  fresh(one);
  await assert.rejects(one.start(), refused(/signer was begun for evident\.invalid\/[0-9a-f]{16} at 20/));
  // A memory that is gone too: the key says that it has signed.
  rmSync(one.path('signer', 'last'));
  fresh(one);
  await assert.rejects(one.start(), refused(/the key of .*signer has signed heads/));
  // Nothing says so any more: this is a new log, with an old key.
  rmSync(one.path('signer', 'used'));
  fresh(one);
  assert.deepEqual(await one.start(), []);
  await one.stop();
  fresh(one);
  putBack();
  // The signer and the directory are of another inception now, though name and key are the same.
  await assert.rejects(one.start(), refused(/belongs to evident\.invalid/));
  rmSync(one.path('inception.json'));
  await assert.rejects(one.start(), refused(/signs for no other log/));
});

it('goes on when the database that was lost is put back', async (t) => {
  const { one, putBack } = await makeLost(t);
  await assert.rejects(one.start(), refused(/put that database back/));
  putBack();
  assert.deepEqual(await one.start(), []);
  await one.append(10);
  assert.deepEqual((await one.seal()).breaks, []);
  assert.equal((await one.verify()).verdict, 'verified');
});

it('refuses an empty database where only traces of the log are left, and makes no key beside them', async (t) => {
  const { one } = await makeLost(t);
  rmSync(one.path('signer'), { recursive: true });
  const patterns: [trace: string, pattern: RegExp][] = [
    ['inception.json', /holds evident\.invalid\/[0-9a-f]{16}, begun at/],
    ['evident.vkey', /holds the log of evident\.invalid\/[0-9a-f]{16}\/heads\/0\+/],
    ['tiles', /holds tiles of sealed records/],
  ];
  for (const [trace, pattern] of patterns) {
    await assert.rejects(one.start(), refused(pattern));
    assert.equal(existsSync(one.path('signer', 'key')), false);
    fresh(one);
    rmSync(one.path(trace), { recursive: true });
  }
  assert.deepEqual(await one.start(), [], 'nothing is left of the log before: another begins');
});

it('makes no key for a log that has one', async (t) => {
  const one = await makeInstallation(t);
  await one.stop();
  renameSync(one.path('signer'), one.path('signer.aside'));
  await assert.rejects(one.start(), refused(/holds no signing key.*--signer/, 'key-mismatch'));
  assert.equal(existsSync(one.path('signer')), false);
  renameSync(one.path('signer.aside'), one.path('signer'));
  assert.deepEqual(await one.start(), []);
});

it('refuses a mark that is none, and writes one for a log that was begun before there were marks', async (t) => {
  const one = await makeInstallation(t);
  await one.append(5);
  await one.seal();
  await one.stop();
  const mark = readFileSync(one.path('inception.json'), 'utf8');
  writeFileSync(one.path('inception.json'), mark.slice(0, -5));
  await assert.rejects(one.start(), refused(/is no mark of inception/));
  rmSync(one.path('inception.json'));
  const lines = readFileSync(one.path('signer', 'last'), 'utf8').split('\n');
  const heads = lines
    .filter((line) => line.startsWith('head '))
    .map((line) => `${line.slice('head '.length)}\n`);
  assert.ok(heads.length > 0);
  writeFileSync(one.path('signer', 'last'), heads.join(''));
  assert.deepEqual(await one.start(), []);
  assert.equal(readFileSync(one.path('inception.json'), 'utf8'), mark);
  assert.match(
    readFileSync(one.path('signer', 'last'), 'utf8'),
    /^evident\/signer\/v1\ninception evident\.invalid/,
  );
  await one.append(5);
  assert.deepEqual((await one.seal()).breaks, []);
});

it('refuses a fresh data directory with the signer of another log', async (t) => {
  const signer = makeSigner(t);
  await signer.start();
  const first = await makeInstallation(t, 2, { signer: signer.address });
  const folder = mkdtempSync(join(tmpdir(), 'evident-faults-'));
  const second = new Installation(join(folder, 'data'), 2, { signer: signer.address });
  t.after(async () => {
    await second.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  // Before the first head as well: the signer knows whose it is from the inception on.
  await assert.rejects(second.start(), refused(/the signer at unix:.* was begun for evident\.invalid/));
  assert.equal(existsSync(join(folder, 'data', 'inception.json')), false);
  await first.append(20);
  assert.deepEqual((await first.seal()).breaks, []);
  assert.equal(existsSync(first.path('signer')), false, 'no key on the data node');
  await assert.rejects(second.start(), refused(/the signer at unix:.* was begun for evident\.invalid/));
  // The pair: a signer of its own.
  const own = makeSigner(t);
  await own.start();
  const third = new Installation(join(folder, 'third'), 2, { signer: own.address });
  t.after(() => third.stop());
  assert.deepEqual(await third.start(), []);
  // And the first log goes on, also after its signer was killed.
  await signer.kill();
  await signer.start();
  await first.stop();
  assert.deepEqual(await first.start(), []);
  assert.equal((await first.verify()).verdict, 'verified');
});
