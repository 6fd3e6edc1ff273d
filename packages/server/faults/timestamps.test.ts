/**
 * A real server whose time stamp authority is down: capture, sealing and search go on, an alert says so; the authority
 * comes back, the alert is settled, and a bundle shows its token to a stranger.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { noOpenssl, TestAuthority } from '@evident/sdk/verify/tsa-fixture';
import { makeFolder, PROGRAM, runCommand, ServerProcess, until } from './server-process.ts';

interface ShownAlert {
  readonly name: string;
  readonly subject: string | null;
  readonly severity: string;
  readonly detail: string;
  readonly closed_at: string | null;
}

function client(server: ServerProcess) {
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${server.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    assert.ok(answer.ok, `${method} ${path}: ${await answer.clone().text()}`);
    return answer.json();
  };
  return {
    capture: async () => {
      const item = { id: randomUUID(), type: 'note', schema: 0, key: 'acme/a', body: { n: 1 } };
      await ask('POST', '/v1/logs/audit/records?tenant=acme', [item]);
      return item.id;
    },
    found: async (id: string): Promise<boolean> =>
      JSON.stringify(await ask('GET', '/v1/events?tenant=acme&type=note')).includes(id),
    alerts: async (): Promise<ShownAlert[]> =>
      ((await ask('GET', '/v1/alerts')) as { alerts: ShownAlert[] }).alerts.filter(
        ({ name }) => name === 'timestamps fail',
      ),
    count: async (metric: string): Promise<number> => {
      const line = (await server.metrics()).split('\n').find((one) => one.startsWith(`${metric} `));
      return Number(line?.split(' ').at(-1) ?? Number.NaN);
    },
  };
}

it('goes on while the authority is down, and is caught up when it answers', {
  skip: noOpenssl,
}, async (t) => {
  const tsa = new TestAuthority();
  t.after(() => tsa.close());
  const url = await tsa.listen();
  await tsa.down();
  const folder = makeFolder(t, () => server.killBoth());
  const config = join(folder, 'evident.json');
  writeFileSync(join(folder, 'tsa-root.pem'), tsa.pem('root'));
  const timestamps = {
    everySeconds: 10,
    authorities: [{ name: 'test-tsa', url, roots: tsa.path('root.pem') }],
  };
  writeFileSync(config, JSON.stringify({ timestamps }));
  const server = new ServerProcess(join(folder, 'evident-data'), { args: ['--config', config] });
  await server.start();
  const { capture, found, alerts, count } = client(server);

  const first = await capture();
  await until('its outage is an alert', async () => (await alerts()).some((one) => one.closed_at === null));
  const [raised] = await alerts();
  assert.deepEqual([raised?.subject, raised?.severity], ['test-tsa', 'high']);
  assert.match(
    raised?.detail ?? '',
    /failed \d+ times in a row: .*ECONNREFUSED.*it has vouched for no head yet/,
  );
  assert.equal(await count('evident_anchors_total{kind="timestamp",by="test-tsa"}'), Number.NaN);
  assert.ok((await count('evident_anchor_failures_total{kind="timestamp",by="test-tsa"}')) >= 3);
  const sealed = await count('evident_sealed_records_total');
  const during = await capture();
  await until('it is sealed', async () => (await count('evident_sealed_records_total')) > sealed);
  await until('search finds both', async () => (await found(first)) && (await found(during)));

  // An answer that must not be: the outage becomes critical, and nothing is stored.
  const stranger = new TestAuthority();
  t.after(() => stranger.close());
  const port = Number(new URL(url).port);
  await stranger.listen(port);
  await until('a token of a stranger is told of', async () =>
    (await alerts()).some(
      ({ closed_at, severity, detail }) =>
        closed_at === null && severity === 'critical' && /no way leads/.test(detail),
    ),
  );
  await stranger.down();
  assert.equal(await count('evident_anchors_total{kind="timestamp",by="test-tsa"}'), Number.NaN);

  await tsa.listen(port);
  await until('the alert is settled', async () => (await alerts()).every((one) => one.closed_at !== null));
  assert.ok((await count('evident_anchors_total{kind="timestamp",by="test-tsa"}')) >= 1);
  assert.ok((await count('evident_anchor_age_seconds{kind="timestamp",by="test-tsa"}')) < 600);
  // A zip that compresses nothing: the id stands in it as it is.
  const path = '/v1/export?format=bundle&tenant=acme&type=note&head=with-anchor';
  await until('a token covers what was captured meanwhile', async () => {
    const headers = { authorization: `Bearer ${server.adminKey}` };
    const answer = await fetch(`${server.url}${path}`, { headers });
    return answer.ok && Buffer.from(await answer.arrayBuffer()).includes(during);
  });
  checkAsThePageSays(folder, tsa);
  await server.stop();
  const verified = await runCommand(['verify', '--data', server.dataDir]);
  assert.equal(verified.code, 0, verified.stdout + verified.stderr);
});

/** Commands of docs/operating/anchors.md, its part on time stamps, as a shell takes them here. */
function pageCommands(folder: string): (beginning: string) => { code: number | null; output: string } {
  const page = readFileSync(
    fileURLToPath(new URL('../../../docs/operating/anchors.md', import.meta.url)),
    'utf8',
  );
  const [, part] = /\n## Time stamps([\s\S]*?)\n## /.exec(page) ?? [];
  const lines = [...(part ?? '').matchAll(/^\$ (.+)$/gm)].map(([, line]) => line ?? '');
  return (beginning) => {
    const line = lines.find((one) => one.startsWith(beginning));
    assert.ok(line !== undefined, `the page has no command ${beginning}`);
    const command = line.replace(/^npx evident/, `'${process.execPath}' '${PROGRAM}'`);
    const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: folder, encoding: 'utf8' });
    return { code: status, output: `${stdout}${stderr}` };
  };
}

/** What somebody without this server does with a bundle: `evident check`, and openssl alone, as the page says. */
function checkAsThePageSays(folder: string, tsa: TestAuthority): void {
  const run = pageCommands(folder);
  const made = run('npx evident export');
  assert.equal(made.code, 0, made.output);
  const checked = run('npx evident check');
  assert.equal(checked.code, 0, checked.output);
  assert.match(checked.output, /test tsa says that the head existed/);
  const byHand = run('openssl ts -verify');
  assert.equal(byHand.code, 0, byHand.output);
  assert.deepEqual(readdirSync(join(folder, 'bundle/timestamps')).length, 1);
  tsa.root('root2');
  writeFileSync(join(folder, 'tsa-root.pem'), tsa.pem('root2'));
  assert.equal(run('npx evident check').code, 2);
  assert.notEqual(run('openssl ts -verify').code, 0);
}

it('does not start with roots that are not there', async (t) => {
  const folder = makeFolder(t);
  const config = join(folder, 'evident.json');
  const authority = { name: 'a', url: 'http://127.0.0.1:1/', roots: join(folder, 'none.pem') };
  writeFileSync(config, JSON.stringify({ timestamps: { authorities: [authority] } }));
  const started = await runCommand([
    'start',
    '--data',
    join(folder, 'data'),
    '--port',
    '0',
    '--config',
    config,
  ]);
  assert.equal(started.code, 64);
  assert.match(started.stderr, /timestamps\.authorities: the roots of a \(.*none\.pem\)/);
});
