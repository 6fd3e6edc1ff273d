import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { lockDataDirectory, prepareDataDirectory } from './data-lock.ts';

const isRoot = process.getuid?.() === 0;

const mounted = new WeakMap<TestContext, string>();

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evident-test-'));
  t.after(() => {
    // One hook for both: hooks run in the order of registration, and a mount point cannot be removed.
    const mount = mounted.get(t);
    if (mount !== undefined) execFileSync('umount', ['-l', mount]);
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** What another process is told when it takes the lock: `held`, or the code and message of the refusal. */
function lockElsewhere(dir: string): string {
  const module = new URL('./data-lock.ts', import.meta.url).href;
  const script = `const { lockDataDirectory } = await import('${module}');
    try { lockDataDirectory(process.argv[1]); console.log('held') } catch (e) { console.log(e.code, e.message) }`;
  return execFileSync(process.execPath, ['--input-type=module', '-e', script, dir], {
    encoding: 'utf8',
  }).trim();
}

test('makes the directory with a format and an owner-only mode, and takes it again', (t) => {
  const dir = prepareDataDirectory(join(makeFolder(t), 'a', 'data'));
  assert.equal(statSync(dir).mode & 0o777, isRoot ? 0o711 : 0o700);
  assert.deepEqual(JSON.parse(readFileSync(join(dir, 'evident.json'), 'utf8')), { format: 1 });
  assert.deepEqual(readdirSync(dir), ['evident.json']);
  assert.equal(prepareDataDirectory(dir), dir);
});

test('narrows the mode of an empty directory, and leaves that of a foreign one', (t) => {
  const folder = makeFolder(t);
  const [empty, foreign] = [join(folder, 'empty'), join(folder, 'foreign')];
  for (const dir of [empty, foreign]) {
    mkdirSync(dir);
    chmodSync(dir, 0o755);
  }
  writeFileSync(join(foreign, 'theirs'), '');
  prepareDataDirectory(empty);
  prepareDataDirectory(foreign);
  assert.equal(statSync(empty).mode & 0o777, isRoot ? 0o711 : 0o700);
  assert.equal(statSync(foreign).mode & 0o777, 0o755);
});

test('refuses another format and changes nothing', (t) => {
  for (const content of ['{"format":2}', '{"form', 'null']) {
    const dir = join(makeFolder(t), 'data');
    mkdirSync(dir);
    writeFileSync(join(dir, 'evident.json'), content);
    const before = statSync(dir);
    assert.throws(() => prepareDataDirectory(dir), { code: 'data-version' });
    assert.deepEqual(readdirSync(dir), ['evident.json']);
    assert.equal(readFileSync(join(dir, 'evident.json'), 'utf8'), content);
    assert.equal(statSync(dir).mode, before.mode);
  }
});

test('says that a file is in the way', (t) => {
  const file = join(makeFolder(t), 'file');
  writeFileSync(file, 'of value');
  for (const path of [file, join(file, 'data')]) {
    assert.throws(() => prepareDataDirectory(path), { code: 'data-unwritable' });
  }
  assert.equal(readFileSync(file, 'utf8'), 'of value');
});

test('says that a directory cannot be written', (t) => {
  const dir = join(makeFolder(t), 'data');
  mkdirSync(dir);
  if (isRoot) {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=1m', 'evident-test', dir], { stdio: 'pipe' });
    } catch {
      return t.skip('SKIPPED: root, and mounting is not permitted, so a read-only directory was not tried');
    }
    mounted.set(t, dir);
  } else chmodSync(dir, 0o500);
  assert.throws(() => prepareDataDirectory(dir), { code: 'data-unwritable' });
});

test('says that the disk is full, and goes on when it is not', (t) => {
  const dir = join(makeFolder(t), 'data');
  mkdirSync(dir);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=755', 'evident-test', dir], { stdio: 'pipe' });
  } catch {
    return t.skip('SKIPPED: mounting is not permitted, so a full disk was not tried');
  }
  mounted.set(t, dir);
  assert.throws(() => writeFileSync(join(dir, 'filler'), Buffer.alloc(1 << 20)), { code: 'ENOSPC' });
  assert.throws(() => prepareDataDirectory(dir), { code: 'disk-full' });
  assert.deepEqual(readdirSync(dir), ['filler']);
  rmSync(join(dir, 'filler'));
  prepareDataDirectory(dir);
});

test('one process holds the directory, by whichever path it is named', (t) => {
  const folder = makeFolder(t);
  const dir = prepareDataDirectory(join(folder, 'data'));
  symlinkSync(dir, join(folder, 'link'));
  const lock = lockDataDirectory(dir);
  for (const path of [dir, join(folder, 'link')]) {
    assert.throws(() => lockDataDirectory(path), { code: 'data-locked' });
    assert.match(lockElsewhere(path), /^data-locked /);
  }
  lock.release();
  lock.release();
  assert.equal(lockElsewhere(dir), 'held');
  lockDataDirectory(dir).release();
});

test('names the holder from the file it left', (t) => {
  const dir = prepareDataDirectory(join(makeFolder(t), 'data'));
  const lock = lockDataDirectory(dir);
  t.after(() => lock.release());
  assert.match(lockElsewhere(dir), /held by another Evident process\.$/);
  writeFileSync(
    join(dir, 'server.json'),
    JSON.stringify({ pid: process.pid, address: 'http://127.0.0.1:8080' }),
  );
  assert.match(lockElsewhere(dir), new RegExp(`pid ${process.pid}, http://127.0.0.1:8080`));
  writeFileSync(join(dir, 'server.json'), '{"pid":');
  assert.match(lockElsewhere(dir), /^data-locked /);
});
