import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { EmbeddedPostgres } from './engine.ts';
import { isRoot, isRunning, makeFolder, query, quiet, startEngine, startHolder } from './engine-fixture.ts';

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

test('starts from an empty directory, and again, and answers', async (t) => {
  const dir = join(makeFolder(t), 'data');
  const begun = performance.now();
  const first = await startEngine(t, dir, { sharedBuffersMb: 256 });
  t.diagnostic(`from empty: ${Math.round(performance.now() - begun)} ms`);
  assert.deepEqual(await query(first.engine, 'SELECT 1 AS one'), [{ one: 1 }]);
  await query(first.engine, 'CREATE TABLE kept AS SELECT 7 AS n');
  const { password } = first.engine.connection();
  await first.stop();
  const again = performance.now();
  const second = await startEngine(t, dir);
  t.diagnostic(`second start: ${Math.round(performance.now() - again)} ms`);
  assert.deepEqual(await query(second.engine, 'SELECT n FROM kept'), [{ n: 7 }]);
  assert.equal(second.engine.connection().password, password);
});

test('has durable settings, checksums, no network and a password', async (t) => {
  const { engine } = await startEngine(t, join(makeFolder(t), 'data'));
  const names = ['fsync', 'full_page_writes', 'synchronous_commit', 'wal_level', 'data_checksums'];
  names.push('listen_addresses', 'timezone', 'server_encoding', 'jit', 'unix_socket_permissions');
  const rows = await query(
    engine,
    `SELECT name, setting FROM pg_settings WHERE lower(name) IN (${names.map((name) => `'${name}'`).join()})`,
  );
  assert.deepEqual(Object.fromEntries(rows.map((row) => [String(row.name).toLowerCase(), row.setting])), {
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    wal_level: 'logical',
    data_checksums: 'on',
    listen_addresses: '',
    timezone: 'UTC',
    server_encoding: 'UTF8',
    jit: 'off',
    unix_socket_permissions: '0700',
  });
  const stranger = new pg.Client({ ...engine.connection(), password: 'guessed' });
  stranger.on('error', () => undefined);
  await assert.rejects(stranger.connect(), { code: '28P01' });
});

test('lets nobody but the owner read the data', async (t) => {
  const { dataDir, engine } = await startEngine(t, join(makeFolder(t), 'data'));
  assert.equal(mode(dataDir), isRoot ? '711' : '700');
  for (const name of ['postgres', 'socket']) assert.equal(mode(join(dataDir, name)), '700', name);
  for (const name of ['postgres.password', 'evident.json', 'lock', 'postgres.log']) {
    assert.equal(mode(join(dataDir, name)), '600', name);
  }
  assert.deepEqual(
    readdirSync(dataDir).filter((name) => name.includes('new')),
    [],
  );
  assert.equal(engine.connection().password, readFileSync(join(dataDir, 'postgres.password'), 'utf8').trim());
});

test('runs as another account for root, with a capability only where it must', async (t) => {
  if (!isRoot || process.platform !== 'linux') return t.skip('needs root on Linux');
  const folder = makeFolder(t);
  const status = (pid: number) => readFileSync(`/proc/${pid}/status`, 'utf8');
  const below = await startEngine(t, join(folder, 'data'));
  assert.match(status(below.engine.pid!), /^Uid:\t[1-9]/m);
  assert.doesNotMatch(status(below.engine.pid!), /^CapEff:\t0+$/m);
  chmodSync(folder, 0o755);
  const open = await startEngine(t, join(folder, 'open'));
  assert.match(status(open.engine.pid!), /^CapEff:\t0+$/m);
});

test('works in a directory with a long path, a blank, a comma and a quote', async (t) => {
  const strange = join(makeFolder(t), `a, "b" 'c'`, 'data');
  const near = await startEngine(t, strange);
  assert.equal(near.engine.connection().host, join(near.dataDir, 'socket'));
  assert.equal((await query(near.engine, 'SELECT 1')).length, 1);
  const long = await startEngine(t, join(makeFolder(t), 'd'.repeat(80), 'e'.repeat(80), 'data'));
  const { host } = long.engine.connection();
  assert.equal(host.startsWith(tmpdir()), true);
  assert.equal(mode(host), '700');
  assert.equal((await query(long.engine, 'SELECT 1')).length, 1);
  await long.stop();
  assert.equal(existsSync(host), false);
});

test('works on a loopback port where there are no Unix sockets', async (t) => {
  const { engine } = await startEngine(t, join(makeFolder(t), 'data'), { transport: 'tcp' });
  assert.equal(engine.connection().host, '127.0.0.1');
  assert.equal((await query(engine, 'SELECT 1')).length, 1);
});

test('refuses a second start, from this and from another process, while the first goes on', async (t) => {
  const first = await startEngine(t, join(makeFolder(t), 'data'));
  const { pid } = first.engine;
  await assert.rejects(startEngine(t, first.dataDir), { code: 'data-locked' });
  const other = await startHolder(t, first.dataDir);
  assert.equal(other.report.code, 'data-locked');
  assert.match(other.report.message!, new RegExp(first.dataDir));
  assert.equal(first.engine.pid, pid);
  assert.equal((await query(first.engine, 'SELECT 1')).length, 1);
  // The lock still stands after the refusals: POSIX locks are lost by closing the wrong descriptor.
  assert.equal((await startHolder(t, first.dataDir)).report.code, 'data-locked');
});

test('stops within its bound though a statement runs, and leaves no process', async (t) => {
  const { engine } = await startEngine(t, join(makeFolder(t), 'data'));
  const client = new pg.Client(engine.connection());
  client.on('error', () => undefined);
  await client.connect();
  const endless = client.query('SELECT pg_sleep(600)').then(
    () => 'finished',
    () => 'ended',
  );
  const pid = engine.pid!;
  const begun = performance.now();
  await engine.stop(10_000);
  assert.ok(performance.now() - begun < 9_000, 'SIGINT sufficed');
  assert.equal(await endless, 'ended');
  assert.equal(isRunning(pid), false);
});

test('ends even a PostgreSQL that does not react', async (t) => {
  const { engine } = await startEngine(t, join(makeFolder(t), 'data'));
  const pid = engine.pid!;
  process.kill(pid, 'SIGSTOP');
  await engine.stop(100);
  assert.equal(isRunning(pid), false);
});

test('stop during the start ends the start', async (t) => {
  const dir = join(makeFolder(t), 'data');
  mkdirSync(dir);
  for (const bound of [0, 300]) {
    const engine = new EmbeddedPostgres({ dataDir: dir, logger: quiet });
    const outcome = engine.start().then(
      () => 'started',
      (error: { code?: string }) => error.code,
    );
    await new Promise((resolve) => setTimeout(resolve, bound));
    await engine.stop();
    assert.equal(await outcome, 'shutting-down');
    assert.equal(engine.pid, undefined);
    assert.deepEqual(
      readdirSync(dir).filter((name) => name.startsWith('postgres.new')),
      [],
    );
  }
});
