/**
 * Windows on real PostgreSQL: an append that commits late, loops that die at every step or run two at a time, an
 * operator who leaves records out, an installation that had none until now. `evident verify` is the judge each time.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { readWindowsRecord } from '@evident/core/evidence/window-hours.ts';
import { partitionOf } from '@evident/core/partition.ts';
import pg from 'pg';
import { makeRecord } from '../contract/log-contract.ts';
import { makeConfig } from '../src/config.ts';
import type { Log } from '../src/log/log.ts';
import { startServer } from '../src/server.ts';
import { Appender } from '../src/stores/postgres/appender.ts';
import { PostgresHourSource } from '../src/stores/postgres/hour-source.ts';
import { openLog, PostgresLog } from '../src/stores/postgres/log.ts';
import { openPool } from '../src/stores/postgres/pool.ts';
import { PostgresWindowIndex } from '../src/stores/postgres/window-index.ts';
import type { HourSource } from '../src/windows/ports.ts';
import { WindowLoop, type WindowLoopDeps } from '../src/windows/window-loop.ts';
import { type Installation, makeInstallation } from './installation.ts';

function depsOf({ storage }: Installation): WindowLoopDeps {
  return {
    source: new PostgresHourSource(storage.pool, storage.treeOf),
    index: new PostgresWindowIndex(storage.pool),
    tiles: storage.tiles,
    windows: storage.logs.get('windows') as Log,
    // No hour is ever late: hours of idle partitions are closed by the test.
    clock: () => 0n,
    onHour: () => undefined,
    onState: () => undefined,
    onError: (error) => {
      throw error;
    },
  };
}

async function runToEnd(deps: WindowLoopDeps, installation: Installation): Promise<void> {
  const loop = new WindowLoop(deps, [installation.storage.logs.get('audit') as Log]);
  while (await loop.turn());
}

/** Keys of a partition. */
function keyOf(partition: number, partitions: number): string {
  for (let n = 0; ; n++) if (partitionOf(`acme/${n}`, partitions) === partition) return `acme/${n}`;
}

async function append({ storage }: Installation, tenants: readonly string[], key?: string): Promise<void> {
  const records = tenants.map((tenant, n) => makeRecord({ tenant, key: key ?? `${tenant}/${n}` }));
  await storage.logs.get('audit')?.append(records);
}

/** The clock is PostgreSQL's own: what was appended becomes an hour older instead. Before it is sealed. */
async function passHour(installation: Installation, trees = 'tree > 0'): Promise<void> {
  await installation.asSuperuser(
    `UPDATE evident.records SET appended_at = appended_at - interval '1 hour' WHERE ${trees}`,
  );
  await installation.asSuperuser(
    `UPDATE evident.partitions SET last_appended_at = last_appended_at - interval '1 hour' WHERE ${trees}`,
  );
}

/** Some hours of some tenants, sealed, without windows. */
async function fill(installation: Installation, hours = 3): Promise<void> {
  for (let hour = 0; hour < hours; hour++) {
    await append(installation, ['acme', 'beta', 'acme', ...(hour % 2 === 0 ? ['gamma', 'delta'] : [])]);
    await passHour(installation);
    await installation.storage.logs.get('audit')?.closeHours();
  }
  await installation.seal();
}

/** "window acme" of each record of the log `windows`, by hour. */
async function said({ storage }: Installation): Promise<Map<string, string[]>> {
  const records = await (storage.logs.get('windows') as Log).read(0, 0n, 10_000);
  const hours = new Map<string, string[]>();
  for (const record of records) {
    const entry = readWindowsRecord(record);
    if (entry === null) continue;
    assert.ok(entry.ok);
    const { value } = entry;
    const hour = value.kind === 'window' ? value.window.hour : value.marker.hour;
    const what = value.kind === 'window' ? `${value.window.tenant} ${value.window.count}` : 'done';
    hours.set(hour, [...(hours.get(hour) ?? []), what]);
  }
  return hours;
}

async function assertVerified(installation: Installation): Promise<void> {
  await installation.seal();
  const report = await installation.verify();
  assert.deepEqual(report.findings, []);
  assert.equal(report.verdict, 'verified');
  const hours = await said(installation);
  assert.ok(hours.size > 0);
  for (const [hour, what] of hours) {
    assert.equal(new Set(what).size, what.length, `${hour}: ${what.join()}`);
    assert.equal(what.at(-1), 'done', hour);
  }
  assert.equal(report.windows.find(({ log }) => log === 'audit')?.hours, hours.size);
}

it('begins with the first hour of an installation that had no windows, and lists their heads', async (t) => {
  const installation = await makeInstallation(t);
  await fill(installation);
  assert.equal((await said(installation)).size, 0);
  assert.equal((await installation.verify()).verdict, 'verified');
  await runToEnd(depsOf(installation), installation);
  await assertVerified(installation);
  const [first] = [...(await said(installation)).values()];
  assert.deepEqual(first, ['acme 2', 'beta 1', 'delta 1', 'gamma 1', 'done']);
  const heads = await (installation.storage.logs.get('heads') as Log).read(0, 0n, 1_000);
  const listed = heads.map(({ body }) => (body.form === 'json' ? Buffer.from(body.bytes).toString() : ''));
  assert.ok(listed.some((body) => body.includes(`${installation.storage.name}/windows/0`)));
});

/** An append into the partition that was empty so far, in a transaction that stays open. */
async function appendLate(t: TestContext, installation: Installation): Promise<pg.Client> {
  const client = new pg.Client(installation.storage.connection);
  // The engine may be stopped before it, when the test has failed.
  client.on('error', () => undefined);
  await client.connect();
  t.after(() => client.end().catch(() => undefined));
  await client.query('BEGIN');
  const pool = { connect: async () => ({ query: client.query.bind(client), release: () => undefined }) };
  const appender = new Appender(pool as unknown as pg.Pool);
  const { trees } = installation.storage.logs.get('audit') as PostgresLog;
  const log = new PostgresLog({ pool: pool as unknown as pg.Pool, appender }, 'audit', trees);
  await log.append([makeRecord({ tenant: 'late', key: keyOf(1, 2) })]);
  return client;
}

/** Hour after hour in partition 0, while the first append into partition 1 does not commit. */
async function raceWithLate(t: TestContext) {
  const installation = await makeInstallation(t);
  await append(installation, ['acme'], keyOf(0, 2));
  const tree = installation.treeOf('audit', 1);
  // Its child table is there already: other partitions would wait to make theirs.
  await installation.asSuperuser(
    'UPDATE evident.partitions SET child_end = evident.make_room(tree, child_end, 1) WHERE tree = $1',
    [tree],
  );
  const late = await appendLate(t, installation);
  // An hour passes: for what is committed, and, in its transaction, for what is not.
  await passHour(installation, `tree = ${installation.treeOf('audit', 0)}`);
  const older = "interval '1 hour' WHERE tree = $1";
  await late.query(`UPDATE evident.records SET appended_at = appended_at - ${older}`, [tree]);
  await late.query(`UPDATE evident.partitions SET last_appended_at = last_appended_at - ${older}`, [tree]);
  await append(installation, ['acme'], keyOf(0, 2));
  await installation.seal();
  return { installation, late };
}

async function finishLate(installation: Installation, late: pg.Client): Promise<void> {
  // The sealer wants to close the hour of the partition that looks empty, and waits for its counter.
  const closing = installation.storage.logs.get('audit')?.closeHours();
  for (let looks = 0; looks < 500; looks++) {
    const { rows } = await installation.asSuperuser(
      "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%close_hours%'",
    );
    if (rows.length > 0) break;
    assert.ok(looks < 499, 'the sealer does not wait for the append');
  }
  await late.query('COMMIT');
  await late.end();
  await closing;
  await installation.seal();
}

it('waits for an append into an empty partition that commits after the hour', async (t) => {
  const { installation, late } = await raceWithLate(t);
  await runToEnd(depsOf(installation), installation);
  assert.equal((await said(installation)).size, 0);
  await finishLate(installation, late);
  await runToEnd(depsOf(installation), installation);
  const [first] = [...(await said(installation)).values()];
  assert.deepEqual(first, ['acme 1', 'late 1', 'done']);
  await assertVerified(installation);
});

it('would leave it out if an empty partition counted as closed, and verify tells', async (t) => {
  const { installation, late } = await raceWithLate(t);
  const deps = depsOf(installation);
  const careless: HourSource = {
    partitions: (log) => deps.source.partitions(log),
    readTenants: (...at) => deps.source.readTenants(...at),
    firstRecord: async (log, partition, from, below) =>
      (await deps.source.firstRecord(log, partition, from, below)) ??
      (partition === 1 ? { position: from, appendedAt: 2n ** 60n, isHour: true } : null),
  };
  await runToEnd({ ...deps, source: careless }, installation);
  await finishLate(installation, late);
  const report = await installation.verify();
  assert.equal(report.verdict, 'tampered');
  assert.ok(report.findings.some(({ check }) => check === 'window-hour'));
});

it('does hours anew whose windows were lost with an older copy of the database; what is lost is not checked', async (t) => {
  const installation = await makeInstallation(t);
  const aside = mkdtempSync(join(tmpdir(), 'evident-aside-'));
  t.after(() => rmSync(aside, { recursive: true, force: true }));
  for (let hour = 0; hour < 3; hour++) {
    await append(installation, ['acme', 'beta', 'acme']);
    await passHour(installation);
    await installation.storage.logs.get('audit')?.closeHours();
  }
  await installation.stop();
  installation.copy(installation.path('postgres'), join(aside, 'postgres'));
  await installation.start();
  await append(installation, ['acme', 'gamma']);
  await installation.seal();
  await runToEnd(depsOf(installation), installation);
  await assertVerified(installation);
  const before = await said(installation);
  await installation.stop();
  installation.copy(join(aside, 'postgres'), installation.path('postgres'));
  for (const { log, partition } of await installation.start()) await installation.recover(log, partition);
  await installation.stop();
  assert.deepEqual(await installation.start(), []);
  await installation.seal();
  assert.equal((await said(installation)).size, 0);
  await runToEnd(depsOf(installation), installation);
  await installation.seal();
  assert.deepEqual(await said(installation), before);
  const { verdict, tampered, findings } = await installation.verify();
  assert.equal(tampered, 0, JSON.stringify(findings.find((one) => one.verdict === 'tampered')?.detail));
  assert.equal(verdict, 'not checked');
  assert.ok(findings.every(({ check }) => check === 'lost'));
});

/** Ports of which the n-th call is the last one: it has its effect or not, and its answer never comes. */
function mortal(deps: WindowLoopDeps, nth: number, when: 'before' | 'after'): WindowLoopDeps {
  let calls = 0;
  const wrap = <Port extends object>(port: Port): Port =>
    new Proxy(port, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== 'function') return member;
        return async (...values: unknown[]) => {
          calls++;
          if (calls > nth || (calls === nth && when === 'before')) throw new Error('killed');
          const answer: unknown = await Reflect.apply(member, target, values);
          if (calls >= nth) throw new Error('killed');
          return answer;
        };
      },
    });
  return {
    ...deps,
    source: wrap(deps.source),
    index: wrap(deps.index),
    tiles: wrap(deps.tiles),
    windows: wrap(deps.windows),
    passTenantsMax: 2,
  };
}

it('is killed before and after every step, and writes each window once', async (t) => {
  const installation = await makeInstallation(t);
  await fill(installation, 4);
  let killed = 0;
  // A step further each time: what the one before has left is gone on from.
  for (let nth = 1; nth < 400; nth++) {
    const when = nth % 2 === 0 ? 'before' : 'after';
    const outcome = await runToEnd(
      mortal(depsOf(installation), Math.ceil(nth / 2), when),
      installation,
    ).catch((error: Error) => error.message);
    if (outcome === undefined) break;
    assert.equal(outcome, 'killed');
    killed++;
  }
  t.diagnostic(`${killed} kills`);
  assert.ok(killed > 20);
  assert.ok((await said(installation)).size >= 4);
  await assertVerified(installation);
});

it('runs in two processes at once, and writes each window once', async (t) => {
  const installation = await makeInstallation(t);
  await fill(installation, 5);
  const { storage } = installation;
  const others = await Promise.all(
    [1, 2].map(async () => {
      const pool = openPool(storage.connection, { role: 'evident_server', max: 3, tenant: '*' });
      const appender = new Appender(pool);
      t.after(async () => {
        await appender.close();
        await pool.end();
      });
      const windows = await openLog({ pool, appender }, 'windows', 1);
      const source = new PostgresHourSource(pool, storage.treeOf);
      const index = new PostgresWindowIndex(pool);
      return { ...depsOf(installation), source, index, windows, passTenantsMax: 1 };
    }),
  );
  await Promise.all(others.map((deps) => runToEnd(deps, installation)));
  assert.ok((await said(installation)).size >= 5);
  await assertVerified(installation);
});

it('is found to leave records out, though tree, heads and chain are all in order', async (t) => {
  const installation = await makeInstallation(t);
  await fill(installation);
  const deps = depsOf(installation);
  // The operator's program passes over one record of acme, and over everything of gamma.
  let left = 1;
  const source: HourSource = {
    partitions: (log) => deps.source.partitions(log),
    firstRecord: (...at) => deps.source.firstRecord(...at),
    readTenants: async (...at) => {
      const run = await deps.source.readTenants(...at);
      const kept = [...run.positions.keys()].filter((place) => {
        const tenant = run.tenants[run.tenantAt[place]];
        return tenant !== 'gamma' && !(tenant === 'acme' && left-- > 0);
      });
      return {
        positions: Float64Array.from(kept, (place) => run.positions[place]),
        tenantAt: Uint32Array.from(kept, (place) => run.tenantAt[place]),
        // Names keep their numbers; one that nobody has is passed over by its own name.
        tenants: run.tenants.map((tenant) => (tenant === 'gamma' ? 'beta' : tenant)),
        hours: run.hours,
      };
    },
  };
  await runToEnd({ ...deps, source }, installation);
  await installation.seal();
  const { verdict, findings } = await installation.verify();
  assert.equal(verdict, 'tampered');
  const checks = findings.map(({ check }) => check);
  assert.ok(checks.includes('window'), checks.join());
  assert.ok(checks.includes('window-missing'), checks.join());
  assert.ok(findings.every(({ log }) => log === 'windows'));
});

it('is found to be another when a superuser rewrites a window', async (t) => {
  const installation = await makeInstallation(t);
  await fill(installation);
  await runToEnd(depsOf(installation), installation);
  await assertVerified(installation);
  await installation.asSuperuser(
    `UPDATE evident.records SET body = $1 WHERE type = 'window' AND position =
       (SELECT min(position) FROM evident.records WHERE type = 'window' AND tenant = 'acme')`,
    [Buffer.from('{"log":"audit"}')],
  );
  const { verdict, findings } = await installation.verify();
  assert.equal(verdict, 'tampered');
  assert.ok(findings.some(({ check, log }) => check === 'window' && log === 'windows'));
});

it('is what a server does by itself, and ends with it', async (t) => {
  const installation = await makeInstallation(t);
  await append(installation, ['acme', 'beta']);
  await passHour(installation);
  await installation.stop();
  const server = await startServer(
    makeConfig({ data: installation.dir, port: 0, logs: { audit: 2 }, logLevel: 'error' }),
  );
  let markers = 0;
  try {
    const windows = server.storage.logs.get('windows') as Log;
    for (let looks = 0; markers === 0 && looks < 600; looks++) {
      const records = await windows.read(0, 0n, 1_000);
      markers = records.filter(({ type }) => type === 'log.windows').length;
      if (markers === 0) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const authorization = `Bearer ${readFileSync(server.keyFile, 'utf8').trim()}`;
    const metrics = await (await fetch(`${server.url}/metrics`, { headers: { authorization } })).text();
    assert.match(metrics, /^evident_windows_total [1-9]/m);
    assert.match(metrics, /^evident_windows_lag_seconds\{log="audit"\} \d/m);
  } finally {
    await server.stop();
  }
  assert.ok(markers > 0);
  await installation.start();
  await assertVerified(installation);
});

it('raises an alert for a log that a stopped partition holds back for over two hours, and closes it', async (t) => {
  const installation = await makeInstallation(t);
  await append(installation, ['acme', 'beta']);
  for (let hours = 0; hours < 4; hours++) await passHour(installation);
  await installation.asSuperuser("UPDATE evident.partitions SET stopped = 'a test' WHERE tree = $1", [
    installation.treeOf('audit', 1),
  ]);
  await installation.stop();
  const config = makeConfig({
    data: installation.dir,
    port: 0,
    logs: { audit: 2 },
    roles: 'seal',
    logLevel: 'error',
  });
  const untilAlert = async (closed: 'IS NULL' | 'IS NOT NULL'): Promise<string> => {
    const server = await startServer(config);
    try {
      for (let looks = 0; looks < 600; looks++) {
        const { rows } = await server.storage.pool.query<{ detail: string }>(
          `SELECT detail FROM evident.alerts WHERE name = 'windows lag' AND subject = 'audit' AND closed_us ${closed}`,
        );
        if (rows.length > 0) return rows[0].detail;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error(`no alert whose end ${closed}`);
    } finally {
      await server.stop();
    }
  };
  assert.match(await untilAlert('IS NULL'), /partition 1 is stopped/);
  await installation.start();
  await installation.asSuperuser('UPDATE evident.partitions SET stopped = NULL');
  await installation.stop();
  await untilAlert('IS NOT NULL');
  await installation.start();
  await assertVerified(installation);
});
