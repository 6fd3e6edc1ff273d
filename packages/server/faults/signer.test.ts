/** A server whose signer is another process: capture and search go on while it is gone, and sealing catches up. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { makeServer, runCommand, type ServerProcess, until } from './server-process.ts';
import { makeSigner } from './signer-scene.ts';

async function ask(server: ServerProcess, method: string, path: string, body?: unknown) {
  const answer = await fetch(`${server.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  assert.ok(answer.ok, `${method} ${path}: ${await answer.clone().text()}`);
  return answer.json();
}

/** Captures records. @returns their ids */
async function capture(server: ServerProcess, count: number): Promise<string[]> {
  const items = Array.from({ length: count }, (_, n) => ({
    id: randomUUID(),
    type: 'note',
    schema: 0,
    key: `acme/${n}`,
    body: { n },
  }));
  await ask(server, 'POST', '/v1/logs/audit/records?tenant=acme', items);
  return items.map(({ id }) => id);
}

interface Alert {
  readonly name: string;
  readonly closed_at: string | null;
}

async function signerAlerts(server: ServerProcess): Promise<Alert[]> {
  const { alerts } = (await ask(server, 'GET', '/v1/alerts')) as { alerts: Alert[] };
  return alerts.filter(({ name }) => name === 'signer unreachable');
}

/** Positions of the log `audit` that are not sealed. */
async function unsealed(server: ServerProcess): Promise<bigint> {
  const { logs } = (await ask(server, 'GET', '/v1/logs')) as {
    logs: { log: string; partitions: { next: string; sealed: string }[] }[];
  };
  return logs
    .filter(({ log }) => log === 'audit')
    .flatMap(({ partitions }) => partitions)
    .reduce((sum, { next, sealed }) => sum + BigInt(next) - BigInt(sealed), 0n);
}

it('captures and searches without its signer, alerts, and catches up', async (t) => {
  const signer = makeSigner(t);
  await signer.start();
  const server = makeServer(t, { args: ['--signer', signer.address] });
  await server.start();
  assert.equal(existsSync(join(server.dataDir, 'signer')), false, 'no signing key on the data node');
  await capture(server, 20);
  await until('the first records are sealed', async () => (await unsealed(server)) === 0n);
  assert.deepEqual(await signerAlerts(server), []);

  await signer.kill();
  const [id] = await capture(server, 50);
  await until('the alert is raised', async () => (await signerAlerts(server))[0]?.closed_at === null);
  assert.ok((await unsealed(server)) >= 50n);
  assert.ok(await ask(server, 'GET', `/v1/events/${id}`));
  assert.match(await server.metrics(), /^evident_signer_unreachable 1$/m);
  const blind = await runCommand(['verify', '--data', server.dataDir, '--json']);
  assert.equal(blind.code, 2, blind.stdout);
  assert.match(blind.stdout, /what was signed last could not be asked/);

  // Killed, its socket stands in the way: the next one takes its place.
  await signer.start();
  await until('what waited is sealed', async () => (await unsealed(server)) === 0n);
  await until('the alert closes', async () => (await signerAlerts(server))[0].closed_at !== null);
  assert.match(await server.metrics(), /^evident_signer_unreachable 0$/m);
  const seen = await runCommand(['verify', '--data', server.dataDir, '--json']);
  assert.equal(seen.code, 0, seen.stdout);

  // A server that starts while its signer is gone takes records, and seals them later.
  await server.stop();
  await signer.kill('SIGTERM');
  await server.start();
  await capture(server, 10);
  await until('the alert is raised again', async () =>
    (await signerAlerts(server)).some(({ closed_at }) => closed_at === null),
  );
  assert.ok((await unsealed(server)) >= 10n);
  await signer.start();
  await until('all is sealed', async () => (await unsealed(server)) === 0n);
  assert.equal((await server.stop()).code, 0);
  const stopped = await runCommand([
    'verify',
    '--data',
    server.dataDir,
    '--signer',
    signer.address,
    '--json',
  ]);
  assert.equal(stopped.code, 0, stopped.stdout + stopped.stderr);
  const nameless = await runCommand(['verify', '--data', server.dataDir]);
  assert.match(nameless.stderr, /holds no signing key.*--signer/);
});

it('lets one process alone sign from a folder', async (t) => {
  const signer = makeSigner(t);
  await signer.start();
  const other = await runCommand(['signer', '--state', signer.state, '--listen', `${signer.address}-2`]);
  assert.equal(other.code, 70);
  assert.match(other.stderr, /data-locked/);
  assert.equal(await signer.kill('SIGTERM'), 0);
  const server = makeServer(t);
  await server.start();
  const inside = await runCommand([
    'signer',
    '--state',
    join(server.dataDir, 'signer'),
    '--listen',
    signer.address,
  ]);
  assert.match(inside.stderr, /data-locked/);
});

it('signs for the name alone that it was given', async (t) => {
  const signer = makeSigner(t);
  await signer.start('--name', 'first.example');
  const data = join(signer.state, '..', 'data');
  const args = [
    'start',
    '--data',
    data,
    '--port',
    '0',
    '--signer',
    signer.address,
    '--name',
    'second.example',
  ];
  const refused = await runCommand(args);
  assert.equal(refused.code, 64);
  assert.match(refused.stderr, /is for first\.example alone, not for second\.example/);
  // A log that is given no name takes the signer's.
  const server = makeServer(t, { args: ['--signer', signer.address] });
  await server.start();
  assert.match(server.ready.vkey, /^first\.example\/heads\/0\+/);
  await capture(server, 5);
  await until('all is sealed', async () => (await unsealed(server)) === 0n);
  await signer.kill();
  await assert.rejects(
    signer.start('--name', 'second.example'),
    /signs for first\.example, not for second\.example/,
  );
});

it('says what it lacks', async () => {
  for (const [args, pattern] of [
    [['--listen', 'tcp:1'], /unix:\/path or tls:host:port is expected/],
    [['--listen', 'unix:relative'], /begins with \//],
    [['--listen', `unix:/${'x'.repeat(107)}`], /at most 107 bytes/],
    [['--listen', 'tls:127.0.0.1:0', '--cert', 'a'], /all three are needed, or none/],
    [['--listen', 'tls:127.0.0.1:99999'], /unix:\/path or tls:host:port is expected/],
  ] as const) {
    const { code, stderr } = await runCommand(['signer', '--state', '/nonexistent/x', ...args]);
    assert.equal(code, 64);
    assert.match(stderr, pattern);
  }
});
