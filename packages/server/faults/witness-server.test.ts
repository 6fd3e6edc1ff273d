/** A real server, a real witness and the commands of docs/operating/anchors.md, while the witness goes away and comes back. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseCosignerVkey } from '@evident/core/cosignature.ts';
import { ScriptedLog } from '../src/witness/witness-fixture.ts';
import { makeFolder, PROGRAM, ServerProcess, until } from './server-process.ts';
import { freePort, startOwnWitness } from './witness-scene.ts';

const PAGE = readFileSync(
  fileURLToPath(new URL('../../../docs/operating/anchors.md', import.meta.url)),
  'utf8',
);
const hasCurl = spawnSync('curl', ['--version']).status === 0;

/** Commands that a part of the page shows, as a shell takes them here. */
function commandsBelow(title: string): string[] {
  const witnesses = PAGE.slice(PAGE.indexOf('\n## Witnesses'));
  const part = witnesses.slice(witnesses.indexOf(`\n### ${title}\n`) + 1).split('\n### ')[0];
  return [...part.matchAll(/^\$ (.+)$/gm)].map(([, line]) =>
    line.replace(/^npx evident/, `'${process.execPath}' '${PROGRAM}'`),
  );
}

/** Runs a line in a shell. Not at once: the witness lives in this process. */
async function runLine(cwd: string, line: string): Promise<{ code: number | null; output: string }> {
  const child = spawn('sh', ['-c', line], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  await once(child, 'close');
  return { code: child.exitCode, output };
}

/** Each look runs two commands, on a machine that may have much else to do. */
const CAUGHT_UP_MS_MAX = 240_000;

interface ShownAlert {
  readonly name: string;
  readonly subject: string | null;
  readonly closed_at: string | null;
}

it('a server has its heads cosigned; an outage is an alert, refuses no record, and is caught up', async (t) => {
  const folder = makeFolder(t, async () => {
    await server.killBoth();
    await witness?.stop();
  });
  const [data, config, port] = [join(folder, 'evident-data'), join(folder, 'config.json'), await freePort()];
  let witness: Awaited<ReturnType<typeof startOwnWitness>> | null = null;
  let server = new ServerProcess(data);
  await server.start();
  const { vkey } = server.ready;
  await server.stop();

  const startWitness = () =>
    startOwnWitness(join(folder, 'witness'), [vkey], { listen: { host: '127.0.0.1', port } });
  witness = await startWitness();
  const list = [{ url: witness.url, vkey: witness.vkey, runByOthers: true }];
  writeFileSync(config, JSON.stringify({ witnesses: { everySeconds: 1, quorum: 1, list } }));
  server = new ServerProcess(data, { args: ['--config', config] });
  await server.start();

  const ask = async (method: string, path: string, body?: string): Promise<Response> =>
    fetch(`${server.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body }),
    });
  const capture = async (): Promise<string> => {
    const id = randomUUID();
    const item = { id, type: 'note', key: 'acme/a', schema: 0, body: { text: id } };
    const answer = await ask('POST', '/v1/logs/audit/records?tenant=acme', JSON.stringify([item]));
    assert.ok(answer.ok, await answer.text());
    return id;
  };
  let exported = { code: 0, output: '' } as { code: number | null; output: string };
  const [exportIt, checkIt] = commandsBelow('In a bundle');
  /** Runs the page's commands: whether a bundle that holds this record ends in a head that the witness has cosigned. */
  const isWitnessed = async (id: string): Promise<boolean> => {
    rmSync(join(folder, 'bundle'), { recursive: true, force: true });
    exported = await runLine(folder, exportIt);
    if (exported.code !== 0) return false;
    const check = await runLine(folder, checkIt);
    assert.equal(check.code, 0, check.output);
    return readFileSync(join(folder, 'bundle', 'records.ndjson'), 'utf8').includes(id);
  };
  const failing = async (): Promise<ShownAlert | undefined> => {
    const { alerts } = (await (await ask('GET', '/v1/alerts')).json()) as { alerts: ShownAlert[] };
    return alerts.find(({ name }) => name === 'cosignatures fail');
  };

  writeFileSync(join(folder, 'witness.vkey'), witness.vkey);
  const first = await capture();
  await until('the head over the record is cosigned', () => isWitnessed(first), CAUGHT_UP_MS_MAX).catch(
    (cause) => {
      throw new Error(exported.output, { cause });
    },
  );
  assert.equal(await failing(), undefined);

  await witness.stop();
  const second = await capture();
  await until('the outage is an alert', async () => (await failing())?.closed_at === null);
  await capture();
  assert.equal(await isWitnessed(second), false);

  witness = await startWitness();
  await until('it is caught up', () => isWitnessed(second), CAUGHT_UP_MS_MAX);
  await until('the alert is settled', async () => (await failing())?.closed_at !== null);
});

it("the commands of the page start a witness of one's own, and show its owner what it has seen", {
  skip: hasCurl ? false : "curl is not installed: install it to run the page's command",
}, async (t) => {
  const folder = makeFolder(t);
  const port = await freePort();
  const [start, showHeads] = commandsBelow('Your own witness').map((line) =>
    line.replace('7380', String(port)),
  );
  const log = new ScriptedLog('log.example/heads/0', 1);
  writeFileSync(join(folder, 'evident.vkey'), `${log.vkey}\n`);
  // `exec`: the signal below goes to the witness and not to a shell before it.
  const child = spawn('sh', ['-c', `exec ${start}`], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (chunk) => (said += String(chunk)));
  await until('it says where it listens', () => said.includes('last heads'));
  const vkey = / {2}vkey +(\S+)\n/.exec(said)?.[1] ?? '';
  assert.ok(parseCosignerVkey(vkey).ok, said);

  const url = `http://127.0.0.1:${port}/add-checkpoint`;
  const body = (await log.request(0, 5)) as BodyInit;
  assert.equal((await fetch(url, { method: 'POST', body })).status, 200);
  const shown = spawnSync('sh', ['-c', showHeads], { cwd: folder, encoding: 'utf8' });
  assert.equal(JSON.parse(shown.stdout).heads[0].size, '5');
  child.kill('SIGTERM');
  await until('it ends', () => child.exitCode !== null);
  assert.equal(child.exitCode, 0);
  assert.ok(existsSync(join(folder, 'witness-state', 'used')));
});
