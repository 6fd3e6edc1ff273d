import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  cleanUp,
  isRunning,
  makeFolder,
  mountSmall,
  query,
  startEngine,
  startHolder,
  until,
} from './engine-fixture.ts';

const TEN_ROWS = 'CREATE TABLE kept AS SELECT n FROM generate_series(1, 10) n';
const COUNT = 'SELECT count(*)::int AS n FROM kept';

/** Another process starts, commits ten rows and dies by SIGKILL. Returns the postmaster it left. */
async function leaveOrphan(t: TestContext, dir: string): Promise<number> {
  const holder = await startHolder(t, dir, TEN_ROWS);
  holder.process.kill('SIGKILL');
  await once(holder.process, 'exit');
  return holder.report.pid!;
}

test('takes over from a process that was killed while its PostgreSQL lives on', async (t) => {
  const dir = join(makeFolder(t), 'data');
  const orphan = await leaveOrphan(t, dir);
  assert.equal(isRunning(orphan), true, 'PostgreSQL outlives the kill');
  const { engine } = await startEngine(t, dir);
  assert.equal(isRunning(orphan), false);
  assert.notEqual(engine.pid, orphan);
  const log = readFileSync(join(dir, 'postgres.log'), 'utf8');
  assert.doesNotMatch(log, /was interrupted/, 'the orphan was asked to end, not killed');
  assert.deepEqual(await query(engine, COUNT), [{ n: 10 }]);
});

test('takes over though postmaster.pid of the living orphan is gone', async (t) => {
  if (process.platform !== 'linux') return t.skip('found by working directory: Linux only');
  const dir = join(makeFolder(t), 'data');
  const orphan = await leaveOrphan(t, dir);
  rmSync(join(dir, 'postgres', 'postmaster.pid'));
  const { engine } = await startEngine(t, dir);
  assert.equal(isRunning(orphan), false);
  assert.deepEqual(await query(engine, COUNT), [{ n: 10 }]);
});

test('comes back after kill -9 of everything, with a half-written postmaster.pid too', async (t) => {
  const dir = join(makeFolder(t), 'data');
  const orphan = await leaveOrphan(t, dir);
  process.kill(orphan, 'SIGKILL');
  const first = await startEngine(t, dir);
  assert.deepEqual(await query(first.engine, COUNT), [{ n: 10 }]);
  await first.stop();
  for (const content of ['', '12x', `${orphan}`]) {
    writeFileSync(join(dir, 'postgres', 'postmaster.pid'), content);
    const next = await startEngine(t, dir);
    assert.deepEqual(await query(next.engine, COUNT), [{ n: 10 }], JSON.stringify(content));
    await next.stop();
  }
});

test('starts again when the postmaster is killed, each time, at the same address', async (t) => {
  const exits: unknown[] = [];
  let restarts = 0;
  const { engine } = await startEngine(t, join(makeFolder(t), 'data'), {
    onExit: (exit) => exits.push(exit.signal),
    onRestart: () => restarts++,
  });
  await query(engine, TEN_ROWS);
  const address = engine.connection();
  for (const round of [1, 2, 3]) {
    const pid = engine.pid!;
    process.kill(pid, 'SIGKILL');
    await until('it runs again', () => restarts === round);
    assert.notEqual(engine.pid, pid);
    assert.deepEqual(await query(engine, COUNT), [{ n: 10 }]);
  }
  assert.deepEqual(exits, ['SIGKILL', 'SIGKILL', 'SIGKILL']);
  assert.deepEqual(engine.connection(), address);
});

test('does not start again when unsupervised, or after stop', async (t) => {
  let exits = 0;
  const options = { supervise: false, onExit: () => exits++ };
  const { engine, stop } = await startEngine(t, join(makeFolder(t), 'data'), options);
  process.kill(engine.pid!, 'SIGKILL');
  await until('the end is reported', () => exits === 1);
  assert.equal(engine.pid, undefined);
  await stop();
  const supervised = await startEngine(t, join(makeFolder(t), 'data'), { onExit: () => exits++ });
  process.kill(supervised.engine.pid!, 'SIGKILL');
  await supervised.stop();
  assert.equal(supervised.engine.pid, undefined);
});

test('a stale postmaster.pid that names a foreign process: that process is not harmed', async (t) => {
  const dir = join(makeFolder(t), 'data');
  const first = await startEngine(t, dir);
  await first.stop();
  // Of the account PostgreSQL runs as: of any other one PostgreSQL itself knows that it cannot be a postmaster.
  const { uid, gid } = statSync(join(dir, 'postgres'));
  const foreign = spawn('sleep', ['600'], { cwd: '/', uid, gid, stdio: 'ignore' });
  cleanUp(t, () => foreign.kill());
  writeFileSync(join(dir, 'postgres', 'postmaster.pid'), `${foreign.pid}\n${join(dir, 'postgres')}\n`);
  const { engine } = await startEngine(t, dir);
  assert.equal((await query(engine, 'SELECT 1')).length, 1);
  assert.equal(isRunning(foreign.pid!), true);
});

test('a stale lock file of the socket that names a living process', async (t) => {
  const dir = join(makeFolder(t), 'data');
  const first = await startEngine(t, dir);
  await first.stop();
  const { uid, gid } = statSync(join(dir, 'postgres'));
  const foreign = spawn('sleep', ['600'], { cwd: '/', uid, gid, stdio: 'ignore' });
  cleanUp(t, () => foreign.kill());
  const lock = `${foreign.pid}\n${join(dir, 'postgres')}\n`;
  writeFileSync(join(dir, 'socket', '.s.PGSQL.5432.lock'), lock);
  writeFileSync(join(dir, 'socket', '.s.PGSQL.5432'), '');
  const { engine } = await startEngine(t, dir);
  assert.equal((await query(engine, 'SELECT 1')).length, 1);
  assert.equal(isRunning(foreign.pid!), true);
});

test('removes half-made clusters and begins anew', async (t) => {
  const dir = join(makeFolder(t), 'data');
  for (const name of ['postgres.new', 'postgres.new-0badcafe']) {
    mkdirSync(join(dir, name, 'base'), { recursive: true });
    writeFileSync(join(dir, name, 'PG_VERSION'), '18\n');
  }
  writeFileSync(join(dir, 'postgres.new-0badcafe.password'), 'half');
  writeFileSync(join(dir, 'postgres.password'), 'made-before-the-crash\n');
  const { engine } = await startEngine(t, dir);
  assert.equal((await query(engine, 'SELECT 1')).length, 1);
  assert.equal(engine.connection().password, 'made-before-the-crash');
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.startsWith('postgres.new')),
    [],
  );
});

test('a process that dies in initdb leaves nothing that stops the next start', async (t) => {
  const dir = join(makeFolder(t), 'data');
  const holder = startHolder(t, dir).catch((error: Error) => error);
  await until(
    'initdb writes',
    () => existsSync(dir) && readdirSync(dir).some((name) => name.includes('.new-')),
  );
  const locks = readFileSync('/proc/locks', 'utf8').split('\n');
  const inode = statSync(join(dir, 'lock')).ino;
  const pid = Number(
    locks
      .find((line) => line.includes(`:${inode} `))!
      .trim()
      .split(/\s+/)[4],
  );
  process.kill(pid, 'SIGKILL');
  assert.match(((await holder) as Error).message, /died without a report/);
  const { engine } = await startEngine(t, dir);
  assert.equal((await query(engine, 'SELECT 1')).length, 1);
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.startsWith('postgres.new')),
    [],
  );
});

test('leaves a cluster of another version, or of nothing, as it is', async (t) => {
  for (const content of ['17\n', undefined]) {
    const dir = join(makeFolder(t), 'data');
    const cluster = join(dir, 'postgres');
    mkdirSync(cluster, { recursive: true });
    writeFileSync(join(cluster, 'something'), 'of value');
    if (content !== undefined) writeFileSync(join(cluster, 'PG_VERSION'), content);
    const before = readdirSync(dir, { recursive: true }).sort();
    await assert.rejects(startEngine(t, dir), { code: 'data-version' });
    const after = readdirSync(dir, { recursive: true }).sort();
    assert.deepEqual(
      after.filter((name) => !['evident.json', 'lock'].includes(String(name))),
      before,
    );
  }
});

test('a missing password file is named', async (t) => {
  const dir = join(makeFolder(t), 'data');
  const first = await startEngine(t, dir);
  await first.stop();
  rmSync(join(dir, 'postgres.password'));
  await assert.rejects(startEngine(t, dir), { code: 'engine-failed', message: /postgres\.password/ });
});

test('a setting that PostgreSQL refuses ends the start at once, with its last lines', async (t) => {
  const dir = join(makeFolder(t), 'data');
  await assert.rejects(startEngine(t, dir, { connectionsMax: -1 }), {
    code: 'engine-failed',
    message: /max_connections/,
  });
  const { engine } = await startEngine(t, dir);
  assert.equal((await query(engine, 'SELECT 1')).length, 1);
});

test('a disk that fills while the cluster is made: disk-full, and the next start works', async (t) => {
  const folder = mountSmall(t, makeFolder(t), 'size=512m,mode=755');
  if (folder === undefined) return t.skip('SKIPPED: mounting is not permitted, so a full disk was not tried');
  const filler = join(folder, 'filler');
  writeFileSync(filler, Buffer.alloc(490 << 20));
  const dir = join(folder, 'data');
  await assert.rejects(startEngine(t, dir), { code: 'disk-full' });
  assert.equal(existsSync(join(dir, 'postgres')), false);
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.startsWith('postgres.new')),
    [],
  );
  rmSync(filler);
  const { engine, stop } = await startEngine(t, dir);
  await query(engine, TEN_ROWS);
  await stop();
});

test('a full disk under an existing cluster: disk-full, and no row is lost', async (t) => {
  const folder = mountSmall(t, makeFolder(t), 'size=256m,mode=755');
  if (folder === undefined) return t.skip('SKIPPED: mounting is not permitted, so a full disk was not tried');
  const dir = join(folder, 'data');
  const orphan = await leaveOrphan(t, dir);
  process.kill(orphan, 'SIGKILL');
  await until('the postmaster is gone', () => !isRunning(orphan));
  const filler = join(folder, 'filler');
  assert.throws(() => writeFileSync(filler, Buffer.alloc(256 << 20)), { code: 'ENOSPC' });
  await assert.rejects(startEngine(t, dir), { code: 'disk-full' });
  rmSync(filler);
  const { engine, stop } = await startEngine(t, dir);
  assert.deepEqual(await query(engine, COUNT), [{ n: 10 }]);
  await stop();
});
