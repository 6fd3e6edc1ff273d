/** proof, export --format bundle and tiles as processes: beside a server, through it, and on the directory when it is gone. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseTlogProof } from '@evident/core/tlog-proof.ts';
import type { ProofJson } from '../src/evidence/proof-json.ts';
import { auditEvent } from '../src/http/http-fixture.ts';
import { checkWith, readFolder } from './evidence-scene.ts';
import { makeFolder, makeServer, runCommand, type ServerProcess, until } from './server-process.ts';

async function run(args: readonly string[], code = 0): Promise<{ stdout: string; stderr: string }> {
  const { code: ended, stdout, stderr } = await runCommand(args);
  assert.equal(ended, code, `${args.join(' ')}: ${stderr}`);
  return { stdout, stderr };
}

async function send(server: ServerProcess, items: readonly unknown[]): Promise<void> {
  const answer = await fetch(`${server.url}/v1/logs/audit/records?tenant=acme`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(items),
  });
  assert.equal(answer.status, 201, await answer.text());
}

describe('proof, export --format bundle and tiles', { timeout: 240_000 }, () => {
  it('write what the checker verifies, through the server and without it', async (t) => {
    const server = makeServer(t);
    await server.start();
    const folder = makeFolder(t);
    const data = ['--data', server.dataDir];
    const events = Array.from({ length: 30 }, (_, n) =>
      auditEvent({ key: `acme/usr_${n}` }, { actor: { id: `usr_${n % 3}`, type: 'user' } }),
    );
    await send(server, events);
    const id = String(events[4].id);
    const vkey = readFileSync(join(server.dataDir, 'evident.vkey'), 'utf8').trim();
    await until('the record is anchored', async () => {
      const { code, stdout } = await runCommand(['proof', id, ...data, '--json']);
      return code === 0 && (JSON.parse(stdout) as ProofJson).anchored !== null;
    });
    const { stdout, stderr } = await run(['proof', id, ...data, '--why', 'a complaint']);
    assert.ok(parseTlogProof(Buffer.from(stdout)).ok, 'standard output is the proof and nothing else');
    assert.match(stderr, /stands in the tree .*\/audit\/\d+ of size \d+/);
    const verify = async (out: string, records: number) => {
      const report = await checkWith(vkey, readFolder(out));
      assert.deepEqual(report.findings, []);
      assert.deepEqual([report.verdict, report.records], ['verified', BigInt(records)]);
    };
    const out = (name: string) => join(folder, name);
    await run(['proof', id, ...data, '--out', out('one')]);
    await verify(out('one'), 1);
    const filter = ['--tenant', 'acme', '--actor', 'usr_1', '--log', 'audit'];
    const bundle = ['export', '--format', 'bundle', ...filter];
    const said = await run([...bundle, ...data, '--out', out('server')]);
    assert.match(said.stdout, /10 records of/);
    await verify(out('server'), 10);
    const { size } = JSON.parse(readFileSync(out('server/manifest.json'), 'utf8')).head;
    const key = out('key');
    writeFileSync(key, server.adminKey);
    const there = ['--url', server.url, '--key-file', key, '--head', size];
    await run([...bundle, ...there, '--out', out('remote.zip')]);
    await run([...bundle, ...there, '--out', out('remote')]);
    assert.deepEqual(readFolder(out('remote')), readFolder(out('server')));
    // Asked for right after they were taken in, records are in the bundle: it waits for a head that covers them.
    await send(
      server,
      Array.from({ length: 5 }, () => auditEvent({}, { actor: { id: 'usr_late', type: 'user' } })),
    );
    const late = ['export', '--format', 'bundle', '--tenant', 'acme', '--actor', 'usr_late', ...data];
    const fresh = await run([...late, '--out', out('late'), '--json']);
    const { records, newer, lacks } = JSON.parse(fresh.stdout);
    assert.deepEqual([records, newer, lacks], ['5', 0, []]);
    await verify(out('late'), 5);
    const none = await run([...late, '--head', size, '--out', out('early')], 70);
    assert.match(none.stderr, /0 of the matching records are covered by the head of size/);
    const nobody = ['export', '--format', 'bundle', '--tenant', 'acme', '--actor', 'nobody', ...data];
    const refused = await run([...nobody, '--head', size, '--out', out('empty')], 70);
    assert.match(refused.stderr, /0 records match/);
    assert.ok(!existsSync(out('empty')) && !existsSync(out('empty.part')));
    await run([...nobody, '--head', size, '--allow-empty', '--out', out('empty')]);
    await verify(out('empty'), 0);
    const twice = await run([...bundle, ...data, '--out', out('server')], 64);
    assert.match(twice.stderr, /is there already/);
    for (const [args, message] of [
      [[...bundle, ...data], /--out/],
      [['export', '--format', 'csv', '--head', '3', ...data], /--head: it goes with --format bundle/],
      [['proof', id, '--head', '3', ...data], /--head: it goes with --out/],
      [['proof', 'nonsense', ...data], /neither an id/],
      [[...bundle, ...data, '--hours', 'x', '--out', out('none')], /actor|hours/],
    ] as const)
      assert.match((await run(args, 64)).stderr, message);
    assert.ok(!existsSync(out('none')) && !existsSync(out('none.part')));
    await server.stop();
    await run([...bundle, ...data, '--head', size, '--out', out('directory')]);
    assert.deepEqual(readFolder(out('directory')), readFolder(out('server')));
    await run([...bundle, ...data, '--head', size, '--out', out('directory.zip')]);
    assert.deepEqual(readFileSync(out('directory.zip')), readFileSync(out('remote.zip')));
    // A head that is older than some of what matches: the bundle leaves them out, and standard error says so.
    const all = ['export', '--format', 'bundle', '--tenant', 'acme', '--log', 'audit', ...data];
    const older = await run([...all, '--head', size, '--out', out('older')]);
    assert.match(older.stderr, /matching records are newer than the head of size \d+, and not in the bundle/);
    // Without a server nobody seals in the background; the command does it, and waits for nothing.
    const whole = await run([...all, '--out', out('whole')]);
    assert.doesNotMatch(whole.stderr, /matching record/);
    const again = JSON.parse((await run(['proof', id, ...data, '--json'])).stdout) as ProofJson;
    assert.equal(JSON.parse(again.leaf).id, id);
    const partition = again.partition;
    await run(['tiles', ...data, '--log', 'audit', '--partition', String(partition), '--out', out('tiles')]);
    assert.ok(existsSync(out('tiles/checkpoint')));
  });
});
