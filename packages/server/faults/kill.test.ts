/**
 * SIGKILL to the server, to PostgreSQL, to parts of it, to all of it, under load: what was acknowledged is in the log at
 * its place with its bytes, positions are gapless, no identity stands twice, and `evident verify` exits 0.
 *
 *   EVIDENT_PROVE=1          200 kills instead of 20
 *   EVIDENT_KILL_SEED=7      another course of kills (moments are the machine's, so a seed is a tendency, not a replay)
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Random } from '../simulation/random.ts';
import { sealDepsOf } from '../src/compose.ts';
import { openSealer, sealRound } from '../src/seal/seal.ts';
import { makeInstallation } from './installation.ts';
import { Load } from './load.ts';
import { makeServer, runCommand, type ServerProcess, until } from './server-process.ts';

const KINDS = ['server', 'postmaster', 'postgres', 'backend', 'both'] as const;
type Kind = (typeof KINDS)[number];

const SEED = Number(process.env.EVIDENT_KILL_SEED ?? 1);
/** A series is each kind once, in an order of its own; after it everything is checked. */
const SERIES = 4;
/** Folders, each with a course of SERIES × KINDS kills. */
const COURSES = process.env.EVIDENT_PROVE === '1' ? 10 : 1;
const RECOVERY_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
const WRITERS = 8;
const PAGE_RECORDS = 20_000;

async function makeLoad(t: TestContext, server: ServerProcess, random: Random): Promise<Load> {
  const keys = new Map<string, string>();
  for (const tenant of ['acme', 'beta']) {
    const answer = await fetch(`${server.url}/v1/api-keys`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ role: 'writer', tenant }),
    });
    assert.equal(answer.status, 201);
    keys.set(tenant, ((await answer.json()) as { key: string }).key);
  }
  const load = new Load({
    url: () => (server.isAlive ? server.urlOrNull : null),
    keys,
    writers: WRITERS,
    random,
  });
  t.after(() => load.close());
  return load;
}

/** At a random amount of progress and a random instant after it. */
async function untilMoment(load: Load, random: Random): Promise<void> {
  const least = load.acknowledged.size + random.between(1, 150);
  await until('the load goes on', () => load.newestAttempt > 0 && load.acknowledged.size >= least);
  await sleep(random.below(250));
}

/** Kills, restarts what an operator's supervisor would restart, and waits until records are taken again. @returns milliseconds */
async function kill(kind: Kind, server: ServerProcess, load: Load, random: Random): Promise<number> {
  const begun = performance.now();
  const { pid } = server;
  if (kind === 'postmaster') await server.killPostmaster();
  else if (kind === 'postgres') await server.killPostgres();
  else if (kind === 'backend') server.killBackend((count) => random.below(count));
  else if (kind === 'server') await server.killServer();
  else await server.killBoth();
  let from = performance.now();
  if (kind === 'server' || kind === 'both') {
    if (random.chance(1, 4)) {
      server.launch();
      await sleep(random.below(1_200));
      await (random.chance(1, 2) ? server.killServer() : server.killBoth());
    }
    await server.start();
    from = performance.now();
  }
  try {
    await until('records are taken again', () => load.newestAttempt > from, RECOVERY_MS_MAX);
  } catch (error) {
    throw new Error(
      `after ${kind}: ${(error as Error).message}; the server wrote:\n${server.stderr.slice(-4_000)}`,
    );
  }
  if (kind !== 'server' && kind !== 'both')
    assert.equal(server.pid, pid, 'the server brings PostgreSQL back by itself');
  return performance.now() - begun;
}

interface PartitionStatus {
  readonly log: string;
  readonly partition: number;
  readonly next: string;
  readonly sealed: string;
  readonly stopped: string | null;
}

async function readStatus(server: ServerProcess): Promise<PartitionStatus[]> {
  const { code, stdout, stderr } = await runCommand(['status', '--data', server.dataDir, '--json']);
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { partitions: PartitionStatus[] }).partitions;
}

async function untilSealed(server: ServerProcess): Promise<void> {
  const isSealed = async (): Promise<boolean> => {
    const answer = await fetch(`${server.url}/v1/logs`, {
      headers: { authorization: `Bearer ${server.adminKey}` },
    });
    const { logs } = (await answer.json()) as { logs: { log: string; partitions: PartitionStatus[] }[] };
    return logs.every(({ partitions }) =>
      partitions.every(({ next, sealed, stopped }) => {
        assert.equal(stopped, null);
        return next === sealed;
      }),
    );
  };
  await until('everything is sealed', isSealed, RECOVERY_MS_MAX);
}

async function verifyAll(server: ServerProcess): Promise<void> {
  const { code, stdout, stderr } = await runCommand(['verify', '--data', server.dataDir]);
  assert.equal(code, 0, `evident verify: ${stdout}\n${stderr}`);
}

interface StoredRow {
  tree: number;
  partition: number;
  position: string;
  next_position: string;
  id: string;
  tenant: string;
  source: string;
  type: string;
  key: string;
  schema: number;
  in_object: boolean;
  sha256: string;
  size: string;
}

/** Every record of `audit` in order; PostgreSQL hashes the bodies, so nothing of ours stands between. */
async function* readRows(server: ServerProcess): AsyncGenerator<StoredRow> {
  const client = new pg.Client(server.postgres);
  await client.connect();
  try {
    let after: [number, string] = [-1, '-1'];
    for (;;) {
      const { rows } = await client.query<StoredRow>(
        `SELECT p.tree, p.partition, p.next_position, r.position, r.id, r.tenant, r.source, r.type, r.key, r.schema, r.body_form = 2 AS in_object,
           encode(coalesce(r.body_sha256, sha256(r.body)), 'hex') AS sha256, coalesce(r.body_size, length(r.body)) AS size
         FROM evident.records r JOIN evident.partitions p USING (tree) JOIN evident.logs l USING (log_id)
         WHERE l.log = 'audit' AND (r.tree, r.position) > ($1, $2) ORDER BY r.tree, r.position LIMIT ${PAGE_RECORDS}`,
        after,
      );
      yield* rows;
      const last = rows.at(-1);
      if (last === undefined) return;
      after = [last.tree, last.position];
    }
  } finally {
    await client.end();
  }
}

function assertObject(server: ServerProcess, { tenant, sha256 }: StoredRow): void {
  const bytes = readFileSync(join(server.dataDir, 'objects', tenant, sha256));
  assert.equal(createHash('sha256').update(bytes).digest('hex'), sha256);
}

/** The load is stopped and settled: the log is what was acknowledged, each at its place, and nothing else. */
async function assertLogIsWhatWasAcknowledged(server: ServerProcess, load: Load): Promise<void> {
  const next = new Map<number, bigint>();
  const counters = new Map<number, bigint>();
  const seen = new Set<string>();
  let objects = 0;
  for await (const row of readRows(server)) {
    const place = `audit/${row.partition}/${row.position}`;
    const position = BigInt(row.position);
    assert.equal(position, next.get(row.partition) ?? 0n, `a gap before ${place}`);
    next.set(row.partition, position + 1n);
    counters.set(row.partition, BigInt(row.next_position));
    assert.ok(!seen.has(`${row.tenant} ${row.id}`), `${row.id} stands twice, the second time at ${place}`);
    seen.add(`${row.tenant} ${row.id}`);
    // Hours, and that the keys of the load were made.
    if (row.source === 'evident') continue;
    const { repeated: _, ...item } = load.acknowledged.get(row.id) ?? assert.fail(`nobody sent ${place}`);
    const { tenant, type, key, schema, partition } = row;
    const stored = { id: row.id, tenant, type, key, schema, partition, position };
    assert.deepEqual({ ...stored, bodySha256: row.sha256, bodyBytes: Number(row.size) }, item, place);
    if (row.in_object) {
      objects++;
      assertObject(server, row);
    }
  }
  assert.deepEqual(next, counters, 'each partition ends where its counter stands');
  const missing = [...load.acknowledged.values()].filter(({ tenant, id }) => !seen.has(`${tenant} ${id}`));
  assert.deepEqual(missing, [], 'acknowledged, and not in the log');
  assert.ok(objects > 0, 'some bodies lie in the object store');
}

for (let course = 0; course < COURSES; course++) {
  const seed = SEED + course;
  it(`loses nothing in ${SERIES * KINDS.length} kills under load, seed ${seed}`, async (t) => {
    const random = new Random(seed);
    const server = makeServer(t);
    await server.start();
    const load = await makeLoad(t, server, random);
    const took = new Map<Kind, number[]>(KINDS.map((kind) => [kind, []]));
    for (let series = 0; series < SERIES; series++) {
      load.start();
      const kinds = [...KINDS];
      while (kinds.length > 0) {
        const [kind] = kinds.splice(random.below(kinds.length), 1);
        await untilMoment(load, random);
        took.get(kind)!.push(await kill(kind, server, load, random));
      }
      await load.stop();
      await untilSealed(server);
      await assertLogIsWhatWasAcknowledged(server, load);
      await verifyAll(server);
    }
    for (const [kind, list] of took)
      t.diagnostic(`${kind}: takes records again after ${list.map((ms) => Math.round(ms)).join(', ')} ms`);
    t.diagnostic(`${load.acknowledged.size} records, ${load.repeats} of them answered as repeats`);
    t.diagnostic(`unsettled answers: ${JSON.stringify(Object.fromEntries(load.unsettled))}`);
  });
}

it('stops within its bound at SIGTERM under load; what was acknowledged is there, and sealed', async (t) => {
  const random = new Random(SEED);
  const server = makeServer(t);
  await server.start();
  const load = await makeLoad(t, server, random);
  load.start();
  await untilMoment(load, random);
  const { code, ms } = await server.stop();
  const acknowledged = [...load.acknowledged.values()];
  assert.equal(code, 0, server.stderr);
  assert.ok(ms < STOP_MS_MAX, `it took ${ms} ms`);
  t.diagnostic(`stopped in ${Math.round(ms)} ms with ${acknowledged.length} records`);
  // Nobody seals now: what status shows was sealed before the server went.
  const partitions = (await readStatus(server)).filter(({ log }) => log === 'audit');
  for (const { id, partition, position } of acknowledged)
    assert.ok(
      BigInt(partitions[partition].sealed) > position,
      `${id} at ${partition}/${position} is not sealed`,
    );
  await server.start();
  await load.stop();
  await untilSealed(server);
  await assertLogIsWhatWasAcknowledged(server, load);
  await verifyAll(server);
});

// Found by the kills above: the chain of a head that came from PostgreSQL was changed in place by a round that failed.
it('does a sealing round again alike when it broke off while reading, right after a start', async (t) => {
  const one = await makeInstallation(t);
  await one.append(100);
  await one.seal();
  await one.stop();
  await one.start();
  await one.append(100);
  const deps = sealDepsOf(one.storage);
  const { sealer } = await openSealer(deps, one.storage.logs.get('audit')!);
  const leaves: typeof deps.leaves = {
    readLeafHashes: async (log, partition, from, limit) => {
      if (partition === 1) throw new Error('the connection broke');
      return deps.leaves.readLeafHashes(log, partition, from, limit);
    },
  };
  await assert.rejects(sealRound({ ...deps, leaves }, sealer), /the connection broke/);
  await sealRound(deps, sealer);
  const { findings } = await one.verify();
  assert.deepEqual(
    findings.map(({ log, partition, check }) => `${log}/${partition} ${check}`),
    [],
  );
});
