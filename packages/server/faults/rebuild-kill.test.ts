/**
 * SIGKILL to a rebuild beside a running server: the same command goes on from what it had stored, and what it builds has
 * the digest of what is shown. Then a server with other mappers: it says so, builds, and shows what it built, by itself.
 *
 *   EVIDENT_PROVE=1   20 kills instead of 3
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import pg from 'pg';
import { makeServer, PROGRAM, runCommand, type ServerProcess, until } from './server-process.ts';

const KILLS = process.env.EVIDENT_PROVE === '1' ? 20 : 3;
const LINES = 30_000;
const BUILD_MS_MAX = 120_000;

interface Generation {
  generation: number;
  state: string;
  behind: string;
  digest: { digest: string; rows: number; deadLetters: number } | null;
}
interface View {
  live: number;
  isCurrent: boolean;
  generations: Generation[];
}

async function view(server: ServerProcess, ...more: string[]): Promise<View> {
  const { code, stdout, stderr } = await runCommand(['status', '--json', '--data', server.dataDir, ...more]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout).views[0];
}

/** Every hundredth line is none of the format's. */
function accessLog(): string {
  return Array.from({ length: LINES }, (_, n) =>
    n % 100 === 99
      ? `not a line ${n}\n`
      : `192.0.2.${n % 250} - usr_${n % 40} [20/Nov/2026:10:00:${String(n % 60).padStart(2, '0')} +0000] "GET /doc/${n} HTTP/1.1" 200 ${n} "-" "test"\n`,
  ).join('');
}

/** Records that a generation that is being built has read. */
async function readOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query(
    "SELECT coalesce(sum(c.next_position), 0)::int AS read FROM evident.checkpoints c JOIN evident.generations g USING (view, generation) WHERE g.state = 'building'",
  );
  return rows[0].read;
}

it(`is gone on with after ${KILLS} kills, and gives the digest of what is shown`, async (t) => {
  const server = makeServer(t);
  await server.start();
  const file = join(dirname(server.dataDir), 'access.log');
  writeFileSync(file, accessLog());
  const imported = await runCommand(['import', 'apache', file, '--data', server.dataDir]);
  assert.equal(imported.code, 0, imported.stderr);
  await until(
    'the view has read it',
    async () => (await view(server, '--no-digest')).generations[0].behind === '0',
    BUILD_MS_MAX,
  );
  const client = new pg.Client(server.postgres);
  await client.connect();
  t.after(() => client.end().catch(() => undefined));

  let read = 0;
  for (let kills = 0; kills < KILLS; kills++) {
    const child = spawn(process.execPath, [PROGRAM, 'rebuild', 'hot', '--data', server.dataDir], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    await until(
      'the rebuild goes on',
      async () => child.exitCode !== null || (await readOf(client)) > read,
      BUILD_MS_MAX,
    );
    child.kill('SIGKILL');
    await ended;
    read = await readOf(client);
  }
  assert.ok(read > 0 && read <= LINES + 100, `${read} records were read before the last kill`);
  const built = await runCommand(['rebuild', 'hot', '--json', '--data', server.dataDir]);
  assert.equal(built.code, 0, built.stderr);
  assert.equal(JSON.parse(built.stdout).resumed, true);
  const diff = await runCommand(['diff', 'hot', '--json', '--data', server.dataDir]);
  const compared = JSON.parse(diff.stdout);
  assert.deepEqual([diff.code, compared.equal, compared.differences], [0, true, []], diff.stderr);
  assert.equal(compared.shown.digest, compared.built.digest);
  assert.equal(compared.shown.deadLetters, LINES / 100);
  const promoted = await runCommand(['promote', 'hot', '--data', server.dataDir]);
  assert.equal(promoted.code, 0, promoted.stderr);
  const { live, generations } = await view(server);
  assert.deepEqual(
    [live, generations.map(({ generation, state }) => `${generation} ${state}`)],
    [2, ['2 live']],
  );
  const verified = await runCommand(['verify', '--view', 'hot', '--data', server.dataDir]);
  assert.equal(verified.code, 0, verified.stdout);

  await client.end();
  await server.stop();
  mkdirSync(join(server.dataDir, 'mappings'), { recursive: true });
  writeFileSync(
    join(server.dataDir, 'mappings', 'note.json'),
    JSON.stringify({
      mapping: 1,
      type: 'ndjson',
      format: 'ndjson',
      rules: [{ actor: { id: '{/who}' }, action: 'seen' }],
    }),
  );
  const other = await start(server);
  await until(
    'the server shows a generation of its own making',
    async () => {
      const now = await view(other, '--no-digest');
      return now.isCurrent && now.live === 3;
    },
    BUILD_MS_MAX,
  );
  assert.match(other.stderr, /rows that are shown were not all made by the mappers of this server/);
  const again = await runCommand(['verify', '--view', 'hot', '--data', server.dataDir]);
  assert.equal(again.code, 0, again.stdout);
});

/** A server that was stopped is started again. */
async function start(server: ServerProcess): Promise<ServerProcess> {
  await server.start();
  return server;
}
