/** The real server and commands: tiers and self-audit in `status`, `/v1/status` and `/metrics`; heads that were kept, against `verify --head`. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { makeFolder, makeServer, runCommand, until } from './server-process.ts';

it('tells tiers and self-audit everywhere, and holds a kept head against the log while the server runs', async (t) => {
  const folder = makeFolder(t);
  const server = makeServer(t, {});
  await server.start();
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`${server.url}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    });
  const items = Array.from({ length: 50 }, (_, n) => ({
    ...{ id: randomUUID(), type: 'note', schema: 0, key: `acme/${n}`, body: { n } },
  }));
  await ask('/v1/logs/audit/records?tenant=acme', { method: 'POST', body: JSON.stringify(items) });
  const status = async () =>
    (await (await ask('/v1/status')).json()) as {
      tiers: { tier: string; in_force: boolean; covers_to: string | null }[];
      self_audit: { last_full_pass: { records: number } | null; unseen_seconds_max: number | null } | null;
    };
  await until('a full pass of the self-audit has ended', async () => {
    const { self_audit: audit } = await status();
    return audit !== null && audit.last_full_pass !== null;
  });
  const { tiers, self_audit: audit } = await status();
  assert.deepEqual(
    tiers.filter(({ in_force: inForce }) => inForce).map(({ tier }) => tier),
    ['T0'],
  );
  assert.ok((audit?.unseen_seconds_max ?? 0) >= 60);
  assert.match(await server.metrics(), /^evident_audit_pass_seconds \d/m);

  const told = await runCommand(['status', '--data', server.dataDir]);
  assert.equal(told.code, 0, told.stderr);
  assert.match(told.stdout, /tiers in force: T0\n/);
  assert.match(
    told.stdout,
    /T3 {2}not in force \(would resist backdating\): no time stamp authority is declared/,
  );
  assert.match(told.stdout, /self-audit at 5,000 records\/s: the last full pass took/);

  const kept = join(folder, 'kept');
  await until('heads/0 has a head', async () => (await ask('/v1/logs/heads/partitions/0/head')).ok);
  writeFileSync(kept, await (await ask('/v1/logs/heads/partitions/0/head')).text());
  const verified = await runCommand(['verify', '--data', server.dataDir, '--head', kept, '--timestamps']);
  assert.equal(verified.code, 0, verified.stdout);
  assert.match(
    verified.stdout,
    /kept: the head of \S+\/heads\/0 of size \d+ is a beginning of what is stored/,
  );
  assert.match(verified.stdout, /tiers in force: T0\n/);
  assert.match(verified.stdout, /T0 .* not: whoever owns the machine/);

  writeFileSync(kept, 'no head');
  assert.equal((await runCommand(['verify', '--data', server.dataDir, '--head', kept])).code, 64);
  assert.equal(
    (await runCommand(['verify', '--data', server.dataDir, '--head', join(folder, 'none')])).code,
    64,
  );
});
