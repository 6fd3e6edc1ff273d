/**
 * SIGKILL to the server, to PostgreSQL and to both while a view is fed: afterwards the view is the fold of the log,
 * nothing twice, nothing missing, no dead letter.
 *
 *   EVIDENT_PROVE=1   20 kills instead of 3
 */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../simulation/random.ts';
import { attachStorage } from '../src/compose.ts';
import { makeConfig } from '../src/config.ts';
import { readViewLag } from '../src/stores/postgres/view-lag.ts';
import { Load } from './load.ts';
import { makeServer, type ServerProcess, until } from './server-process.ts';
import { assertViewIsTheLog } from './view-check.ts';

const KINDS = ['server', 'postmaster', 'both'] as const;
const KILLS = process.env.EVIDENT_PROVE === '1' ? 20 : KINDS.length;
const SEED = Number(process.env.EVIDENT_KILL_SEED ?? 1);
const RECOVERY_MS_MAX = 60_000;
const WRITERS = 8;

async function writerKey(server: ServerProcess, tenant: string): Promise<string> {
  const answer = await fetch(`${server.url}/v1/api-keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ role: 'writer', tenant }),
  });
  assert.equal(answer.status, 201);
  return ((await answer.json()) as { key: string }).key;
}

async function kill(server: ServerProcess, kind: (typeof KINDS)[number]): Promise<void> {
  if (kind === 'postmaster') return server.killPostmaster();
  if (kind === 'server') await server.killServer();
  else await server.killBoth();
  await server.start();
}

it(`is the fold of the log after ${KILLS} kills under load, seed ${SEED}`, async (t) => {
  const random = new Random(SEED);
  const server = makeServer(t);
  await server.start();
  const keys = new Map<string, string>();
  for (const tenant of ['acme', 'beta']) keys.set(tenant, await writerKey(server, tenant));
  const load = new Load({
    url: () => (server.isAlive ? server.urlOrNull : null),
    keys,
    writers: WRITERS,
    random,
  });
  t.after(() => load.close());
  load.start();
  for (let kills = 0; kills < KILLS; kills++) {
    const least = load.acknowledged.size + random.between(50, 500);
    await until('the load goes on', () => load.acknowledged.size >= least, RECOVERY_MS_MAX);
    await sleep(random.below(300));
    await kill(server, KINDS[kills % KINDS.length]);
  }
  await load.stop();
  const storage = await attachStorage(makeConfig({ data: server.dataDir }), server.postgres);
  t.after(() => storage.close());
  await until(
    'the view has read everything',
    async () => (await readViewLag(storage.pool)).every(({ records }) => records === 0n),
    RECOVERY_MS_MAX,
  );
  const rows = await assertViewIsTheLog(storage);
  assert.ok(rows >= load.acknowledged.size, 'each acknowledged record is shown');
  t.diagnostic(`${rows} rows`);
});
