/**
 * Records that are invalid, that the database refuses, that end the thread or the process, and that never end, among
 * many; connections cut meanwhile. Each gets its class, every other record its row.
 *
 *   EVIDENT_PROVE=1   among a million instead of 20,000
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import pg from 'pg';
import { type Installation, makeInstallation } from './installation.ts';
import { assertViewIsTheLog } from './view-check.ts';

const RECORDS = process.env.EVIDENT_PROVE === '1' ? 1_000_000 : 20_000;
const APPEND_RECORDS = 5_000;
const LIVES_MAX = 12;
const PROCESS = fileURLToPath(new URL('./project-process.ts', import.meta.url));

const CLASSES = {
  kill: 'poison',
  exit: 'poison',
  stall: 'poison',
  heap: 'poison',
  invalid: 'validation',
  refuse: 'validation',
};
type Deed = keyof typeof CLASSES;

/** Which record does what: the invalid ones all over, the deadly ones far from each other. */
function plan(): Map<number, Deed> {
  const deeds = new Map<number, Deed>();
  for (let n = 0; n < RECORDS; n += 997) deeds.set(n, 'invalid');
  for (const [index, deed] of (
    ['refuse', 'stall', 'kill', 'refuse', 'heap', 'exit', 'refuse'] as const
  ).entries())
    deeds.set(Math.floor(((index + 0.5) * RECORDS) / 7), deed);
  return deeds;
}

/** @returns the class of each record that is to be a dead letter, by place */
async function append(
  { storage }: Installation,
  deeds: ReadonlyMap<number, Deed>,
): Promise<Map<string, string>> {
  const log = storage.logs.get('audit')!;
  const letters = new Map<string, string>();
  for (let from = 0; from < RECORDS; from += APPEND_RECORDS) {
    const numbers = Array.from({ length: Math.min(APPEND_RECORDS, RECORDS - from) }, (_, n) => from + n);
    const places = await log.append(
      numbers.map((n) => ({
        id: randomUUID(),
        tenant: n % 3 === 0 ? 'acme' : 'beta',
        source: 'test',
        sourceSeq: null,
        type: deeds.has(n) ? 'deed' : 'note',
        schema: 0,
        key: `acme/${n % 101}`,
        meta: null,
        body: { form: 'json' as const, bytes: encodeUtf8(`{"do":"${deeds.get(n) ?? 'nothing'}","n":${n}}`) },
      })),
    );
    for (const [index, { partition, position }] of places.entries()) {
      const deed = deeds.get(numbers[index]);
      if (deed !== undefined) letters.set(`audit/${partition}/${position}`, CLASSES[deed]);
    }
  }
  return letters;
}

/** Runs the process once. @returns the signal that ended it, or null when it had read everything */
async function live(t: TestContext, { dir, storage }: Installation): Promise<string | null> {
  const child = spawn(process.execPath, [PROCESS, dir, JSON.stringify(storage.connection)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-4_000);
  });
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  assert.ok(code === 0 || signal === 'SIGKILL', `it ended with ${code ?? signal}:\n${stderr}`);
  return signal;
}

/** Cuts the connections of views again and again, as a network does. */
async function cutConnections({ storage }: Installation, signal: AbortSignal): Promise<number> {
  const client = new pg.Client(storage.connection);
  await client.connect();
  let cut = 0;
  while (!signal.aborted) {
    const { rowCount } = await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND query LIKE '%evident.project_batch%'`,
    );
    cut += rowCount ?? 0;
    await sleep(700, undefined, { signal }).catch(() => undefined);
  }
  await client.end();
  return cut;
}

it(`finds each bad record among ${RECORDS}, with its class, and shows all others`, async (t) => {
  const one = await makeInstallation(t);
  const letters = await append(one, plan());
  const done = new AbortController();
  const cutting = cutConnections(one, done.signal);
  let deaths = 0;
  while ((await live(t, one)) !== null) assert.ok(++deaths < LIVES_MAX, 'the process dies again and again');
  done.abort();
  const cut = await cutting;
  assert.ok(deaths >= 3, `${deaths} deaths`);
  const rows = await assertViewIsTheLog(one.storage, letters);
  assert.equal(rows, RECORDS - letters.size);
  const { rows: poison } = await one.storage.pool.query<{ error: string; attempts: number }>(
    `SELECT error, attempts FROM evident.dead_letters WHERE class = 'poison' ORDER BY error`,
  );
  assert.deepEqual(
    poison.map(({ attempts }) => attempts),
    [3, 3, 3, 3],
  );
  t.diagnostic(`${deaths} deaths of the process, ${cut} connections cut`);
  for (const { error } of poison) t.diagnostic(error);
});
