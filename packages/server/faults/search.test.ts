/** The commands that find and look, as processes beside a real server, and on its directory when it is gone. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import pg from 'pg';
import { auditEvent } from '../src/http/http-fixture.ts';
import { makeFolder, makeServer, runCommand, type ServerProcess, until } from './server-process.ts';

interface Page {
  events: {
    id: string;
    log: string;
    partition: number;
    position: string;
    actor_id: string;
    corrected_by: string[];
  }[];
  cursor: string | null;
  complete: { behind: string };
}

interface Report {
  places: {
    place: string;
    state: string;
    leaf_hash: string | null;
    sealed_hash: string | null;
    copies: { where: string; found: boolean | null }[];
  }[];
  read_recorded: boolean;
}

async function runJson<T>(args: readonly string[], code = 0): Promise<T> {
  const { code: ended, stdout, stderr } = await runCommand([...args, '--json']);
  assert.equal(ended, code, `${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** What was sent, and no record of who looked at it: that is of today. */
const SENT = ['--tenant', 'acme', '--to', '2021-01-01'];

const event = (n: number, over: Record<string, unknown> = {}) => {
  const actor = `usr_${n % 2}`;
  const event_time = `2020-11-20T10:00:${String(n).padStart(2, '0')}Z`;
  return auditEvent({ key: `acme/${actor}` }, { actor: { id: actor, type: 'user' }, event_time, ...over });
};

async function send(server: ServerProcess, items: readonly unknown[]): Promise<void> {
  const answer = await fetch(`${server.url}/v1/logs/audit/records?tenant=acme`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(items),
  });
  assert.equal(answer.status, 201, await answer.text());
}

async function untilRead(data: readonly string[]): Promise<void> {
  await until('the view has read what was sent', async () => {
    const { events } = await runJson<Page>(['search', ...data, ...SENT, '--limit', '1000']);
    return events.length === 40;
  });
}

describe('search, show, export, saved and investigate', { timeout: 240_000 }, () => {
  it('find what was captured, beside the server and without it, and leave a record of every look', async (t) => {
    const server = makeServer(t);
    await server.start();
    const data = ['--data', server.dataDir];
    const items = Array.from({ length: 40 }, (_, n) => event(n, n === 7 ? { action: 'secret.read' } : {}));
    await send(server, items);
    await untilRead(data);

    const first = await runJson<Page>([
      'search',
      ...data,
      '--actor',
      'usr_1',
      '--limit',
      '15',
      '--why',
      'ticket 9',
    ]);
    const rest = await runJson<Page>([
      'search',
      ...data,
      '--actor',
      'usr_1',
      '--cursor',
      String(first.cursor),
    ]);
    const found = [...first.events, ...rest.events].map(({ id }) => id);
    assert.deepEqual(
      found,
      items
        .filter((_, n) => n % 2 === 1)
        .map(({ id }) => id)
        .reverse(),
    );
    assert.equal(rest.cursor, null);

    const table = await runCommand(['search', ...data, '--action', 'secret.read']);
    assert.match(table.stdout, /^2020-11-20 10:00:07 success usr_1 +secret\.read +doc_1 +audit\/\d\/\d+$/m);
    assert.match(table.stdout, /^1 event$/m);
    const counts = await runCommand(['search', ...data, '--tenant', 'acme', '--count-by', 'action']);
    assert.match(counts.stdout, /^document\.update +39 +#+$/m);

    await runJson(['saved', 'put', 'secrets', '--action', 'secret.read', ...data]);
    const saved = await runJson<Page>(['search', ...data, '--saved', 'secrets']);
    assert.deepEqual(
      saved.events.map(({ id }) => id),
      [items[7].id],
    );

    const folder = makeFolder(t);
    const file = join(folder, 'events.csv');
    await runJson(['export', ...data, ...SENT, '--out', file]);
    assert.equal(readFileSync(file, 'utf8').trimEnd().split('\r\n').length, 41);
    assert.ok(!existsSync(`${file}.part`));
    const lines = await runCommand(['export', ...data, '--format', 'ndjson', '--saved', 'secrets']);
    assert.equal(JSON.parse(lines.stdout).leaf.id, items[7].id);

    const shown = await runCommand(['show', String(items[7].id), ...data]);
    assert.match(shown.stdout, /did +secret\.read/);
    const looks = ['search', ...data, '--action-prefix', 'audit.', '--limit', '100'];
    await until('the read of the event is found as any other event', async () => {
      const { events } = await runJson<Page>(looks);
      return events.some(({ actor_id }) => actor_id === 'operator') && events.length > 8;
    });
    assert.equal((await runCommand(['show', randomUUID(), ...data])).code, 70);

    await server.stop();
    const alone = await runJson<Page>(['search', ...data, '--saved', 'secrets']);
    assert.deepEqual(
      alone.events.map(({ id }) => id),
      [items[7].id],
    );
    const all = await runJson<Page>(['search', ...data, '--tenant', '_system', '--limit', '100']);
    assert.equal(all.complete.behind, '0', 'what was recorded since the server went is read');
  });

  it('say of a changed and of a missing record what was sealed, where copies are, and keep evidence', async (t) => {
    const server = makeServer(t);
    await server.start();
    const data = ['--data', server.dataDir];
    const items = Array.from({ length: 40 }, (_, n) => event(n));
    await send(server, items);
    await untilRead(data);
    const { events } = await runJson<Page>(['search', ...data, '--actor', 'usr_1', '--limit', '5']);
    const { partition, position } = events[2];
    await until('it is sealed', async () => (await runCommand(['verify', ...data])).code === 0);
    const place = (offset: number) => `audit/${partition}/${Number(position) + offset}`;
    const client = new pg.Client(server.postgres);
    await client.connect();
    const tree = `tree = (SELECT tree FROM evident.partitions JOIN evident.logs USING (log_id)
                           WHERE log = 'audit' AND partition = ${partition})`;
    await client.query(
      `UPDATE evident.records SET body = set_byte(body, 20, 88) WHERE ${tree} AND position = ${position}`,
    );
    await client.query(`DELETE FROM evident.records WHERE ${tree} AND position = ${Number(position) + 1}`);
    await client.end();

    const out = join(makeFolder(t), 'evidence');
    const report = await runJson<Report>(
      ['investigate', ...data, '--out', out, '--why', 'finding of tonight'],
      1,
    );
    assert.deepEqual(
      report.places.map(({ place, state }) => [place, state]),
      [
        [place(0), 'changed'],
        [place(1), 'missing'],
      ],
    );
    for (const { copies } of report.places)
      assert.deepEqual(
        copies.filter(({ found }) => found).map(({ where }) => where),
        ['view', 'identities'],
      );
    assert.equal(report.read_recorded, true);
    const kept = readFileSync(join(out, 'SHA256SUMS'), 'utf8');
    assert.match(kept, /report\.json/);
    assert.match(kept, new RegExp(`audit-${partition}/leaf-${Number(position) - 1}\\.json`));
    assert.doesNotMatch(
      kept,
      new RegExp(`leaf-${Number(position) + 1}\\.json`),
      'what is gone is not made up',
    );
    assert.match(kept, /head-\d+\.note/);
    assert.equal((await runCommand(['investigate', place(-1), ...data, '--out', `${out}2`])).code, 0);
    assert.equal((await runCommand(['investigate', ...data, '--out', out])).code, 64);
    // A stored hash: one level-0 hash of 32 bytes a position.
    const pack = await open(join(server.dataDir, 'tiles', 'audit', String(partition), '0-00000000'), 'r+');
    await pack.write(Uint8Array.of(1, 2, 3), 0, 3, (Number(position) - 2) * 32);
    await pack.close();
    const tile = await runJson<Report>(['investigate', place(-2), ...data, '--out', `${out}3`], 1);
    assert.deepEqual(
      tile.places.map(({ state, leaf_hash, sealed_hash }) => [state, leaf_hash === sealed_hash]),
      [['tile changed', true]],
    );
    assert.equal((await runCommand(['verify', ...data])).code, 1, 'nothing was repaired');
  });
});
