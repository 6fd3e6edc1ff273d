import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { openSecretBox } from './secret-box.ts';

const ID = '00000000-0000-4000-8000-000000000001';
const OTHER = '00000000-0000-4000-8000-000000000002';
const secret = new Uint8Array(32).fill(7);

function makeDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'evident-box-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

it('opens what it sealed, after a restart as well, and no two seals are alike', (t) => {
  const dir = makeDir(t);
  const sealed = openSecretBox(dir).seal(ID, secret);
  const box = openSecretBox(dir);
  assert.deepEqual(box.open(ID, sealed), secret);
  assert.ok(box.isSealed(sealed));
  assert.ok(!Buffer.from(sealed).includes(Buffer.from(secret)), 'the secret does not stand in it');
  assert.notDeepEqual(box.seal(ID, secret), sealed);
});

it('keeps its key readable by the owner alone', (t) => {
  const dir = makeDir(t);
  openSecretBox(dir);
  assert.equal(statSync(join(dir, 'webhook.key')).mode & 0o777, 0o600);
  assert.match(readFileSync(join(dir, 'webhook.key'), 'utf8'), /^[0-9a-f]{64}\n$/);
});

it('opens nothing that was changed, moved to another webhook, or sealed with another key', (t) => {
  const dir = makeDir(t);
  const box = openSecretBox(dir);
  const sealed = box.seal(ID, secret);
  assert.equal(box.open(OTHER, sealed), null);
  assert.equal(openSecretBox(makeDir(t)).open(ID, sealed), null);
  for (const at of [4, 16, sealed.length - 1]) {
    const changed = sealed.slice();
    changed[at] ^= 1;
    assert.equal(box.open(ID, changed), null, `byte ${at}`);
  }
});

it('opens a secret that was stored as it is', (t) => {
  const box = openSecretBox(makeDir(t));
  assert.ok(!box.isSealed(secret));
  assert.deepEqual(box.open(ID, secret), secret);
});

it('refuses a key file that holds no key, and leaves it', (t) => {
  const dir = makeDir(t);
  writeFileSync(join(dir, 'webhook.key'), 'cafe\n');
  assert.throws(() => openSecretBox(dir), { code: 'data-unwritable', message: /webhook\.key holds no key/ });
  assert.equal(readFileSync(join(dir, 'webhook.key'), 'utf8'), 'cafe\n');
});
