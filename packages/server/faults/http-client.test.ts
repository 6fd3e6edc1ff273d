/** The HTTP client of the SDK against the real server, which is killed while it works. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { createHttpClient, type HttpClient, type HttpClientOptions } from '@evident/sdk/http/client';
import { makeFolder, makeServer, type ServerProcess, until } from './server-process.ts';

const BASE = 'http://evident.example.invalid';
const KEYS = 7;

async function makeKey(server: ServerProcess, role: string, tenant?: string): Promise<string> {
  const answer = await fetch(`${server.url}/v1/api-keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ role, tenant }),
  });
  assert.equal(answer.status, 201);
  return ((await answer.json()) as { key: string }).key;
}

/** A server, and clients that find it again at its new address after a start. */
async function open(t: TestContext) {
  const clients: HttpClient[] = [];
  const folder = makeFolder(t, async () => {
    await Promise.all(clients.map((client) => client.close({ timeoutMs: 0 })));
  });
  const server = makeServer(t);
  await server.start();
  const key = await makeKey(server, 'writer', 'acme');
  const make = (buffer: HttpClientOptions['buffer'], over: Partial<HttpClientOptions> = {}) => {
    const client = createHttpClient({
      url: BASE,
      key,
      buffer,
      batchMax: 50,
      retry: { firstMs: 10, maxMs: 200 },
      onProblem: () => undefined,
      fetch: async (url, init) => {
        const address = server.urlOrNull;
        if (address === null) throw new TypeError('the server is down');
        return fetch(url.replace(BASE, address), init);
      },
      ...over,
    });
    clients.push(client);
    return client;
  };
  return { server, folder, key, make };
}

function makeEvent(n: number) {
  return { id: randomUUID(), type: 'note', key: `acme/usr_${n % KEYS}`, schema: 0, body: { n } };
}

interface Stored {
  readonly id: string;
  readonly key: string;
  readonly partition: number;
  readonly position: string;
  readonly body: { readonly n: number };
}

/** Every record of the tenant, partition by partition. */
async function readLog(server: ServerProcess): Promise<Stored[]> {
  const stored: Stored[] = [];
  const headers = { authorization: `Bearer ${server.adminKey}` };
  const { logs } = (await (await fetch(`${server.url}/v1/logs`, { headers })).json()) as {
    logs: { log: string; partitions: { next: string }[] }[];
  };
  const partitions = logs.find(({ log }) => log === 'audit')!.partitions;
  for (const [partition, { next }] of partitions.entries()) {
    for (let from = '0'; BigInt(from) < BigInt(next); ) {
      const page = await fetch(`${server.url}/v1/logs/audit/partitions/${partition}/records?from=${from}`, {
        headers,
      });
      assert.equal(page.status, 200);
      const lines = (await page.text()).split('\n').filter((line) => line !== '');
      const records = lines.map((line) => JSON.parse(line));
      stored.push(...records.filter(({ tenant, source }) => tenant === 'acme' && source !== 'evident'));
      from = page.headers.get('evident-next-position')!;
    }
  }
  return stored;
}

async function crash(server: ServerProcess, both: boolean): Promise<void> {
  await (both ? server.killBoth() : server.killServer());
  await server.start();
}

it('memory: what is acknowledged stands where the receipt says, once, though the server is killed', {
  timeout: 180_000,
}, async (t) => {
  const { server, make } = await open(t);
  const client = make({ kind: 'memory' });
  const events = Array.from({ length: 3_000 }, (_, n) => makeEvent(n));
  const receipts = Promise.all(
    events.map(async (event, n) => {
      await until('its turn has come', () => client.metrics().taken >= n - 200);
      return client.send(event);
    }),
  );
  for (const [kill, share] of [0.2, 0.5, 0.8].entries()) {
    await until('events are acknowledged', () => client.metrics().delivered >= events.length * share);
    await crash(server, kill === 1);
  }
  const places = new Map((await receipts).map((receipt) => [receipt.id, receipt]));
  const stored = await readLog(server);
  assert.equal(stored.length, events.length);
  for (const { id, partition, position, body } of stored) {
    const receipt = places.get(id);
    assert.ok(receipt?.durable === 'log', id);
    assert.deepEqual([receipt.partition, receipt.position], [partition, BigInt(position)]);
    assert.equal(events[body.n].id, id);
    places.delete(id);
  }
  t.diagnostic(`${client.metrics().failures} attempts failed, ${client.metrics().repeats} repeats`);
});

it('disk: what was taken while the server was down or dying is in the log, once and in order of its key', {
  timeout: 180_000,
}, async (t) => {
  const { server, folder, key, make } = await open(t);
  const buffer = { kind: 'disk', folder: join(folder, 'buffer') } as const;
  const first = make(buffer);
  const events = Array.from({ length: 2_000 }, (_, n) => makeEvent(n));
  for (const [kill, from] of [0, 500, 1_000].entries()) {
    const sent = events.slice(from, from + 500).map((event) => first.send(event));
    await until('events are delivered', () => first.metrics().delivered > from);
    await crash(server, kill === 1);
    for (const receipt of await Promise.all(sent)) assert.equal(receipt.durable, 'disk');
  }
  await server.killServer();
  await first.sendMany(events.slice(1_500));
  assert.ok((await first.close({ timeoutMs: 0 })).waiting >= 500);
  await server.start();
  const last = events.at(-1)!;
  // Asked before the client delivers it: the answer comes when it is there.
  const found = fetch(`${server.url}/v1/logs/audit/events/${last.id}?wait_ms=30000`, {
    headers: { authorization: `Bearer ${key}` },
  });
  const second = make(buffer);
  assert.deepEqual(await second.flush({ timeoutMs: 60_000 }), { flushed: true, waiting: 0 });
  const stored = await readLog(server);
  assert.deepEqual(stored.map(({ id }) => id).sort(), events.map(({ id }) => id).sort());
  for (let key = 0; key < KEYS; key++) {
    const order = stored.filter((record) => record.key === `acme/usr_${key}`).map(({ body }) => body.n);
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
      `events of key ${key} stand in the order of send`,
    );
  }
  const place = (await (await found).json()) as Stored;
  const { partition, position } = stored.find(({ id }) => id === last.id)!;
  assert.deepEqual([place.partition, place.position], [partition, position]);
});

it('says what the real server refuses, item by item, and takes the rest', { timeout: 120_000 }, async (t) => {
  const { server, folder, make } = await open(t);
  const memory = make({ kind: 'memory' });
  const [taken, reused, ...more] = [makeEvent(1), makeEvent(2), makeEvent(3), makeEvent(4)];
  await memory.send(reused);
  const other = { ...reused, body: { n: 0 } };
  const foreign = { ...auditEvent('beta'), key: 'beta/usr_1' };
  const results = await memory.sendMany([taken, taken, other, foreign, auditEvent('acme'), ...more]);
  assert.deepEqual(
    results.map((result) =>
      result.durable === false ? result.error.code : result.durable === 'log' && result.repeat,
    ),
    [false, true, 'id-reused', 'tenant-forbidden', false, false, false],
  );
  const disk = make({ kind: 'disk', folder: join(folder, 'buffer') });
  const later = makeEvent(5);
  await disk.sendMany([other, foreign, later]);
  assert.deepEqual(await disk.flush(), { flushed: true, waiting: 0 });
  const refused = readFileSync(join(folder, 'buffer', 'refused.ndjson'), 'utf8')
    .trimEnd()
    .split('\n');
  assert.deepEqual(
    refused.map((line) => JSON.parse(line)).map(({ id, code }) => [id, code]),
    [
      [other.id, 'id-reused'],
      [foreign.id, 'tenant-forbidden'],
    ],
  );
  assert.ok((await readLog(server)).some(({ id }) => id === later.id));
  const wrong = make(
    { kind: 'memory' },
    { key: 'evident_aaaaaaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' },
  );
  await assert.rejects(wrong.send(makeEvent(6)), { code: 'unauthenticated' });
  const nowhere = make({ kind: 'memory' }, { log: 'nothing' });
  await assert.rejects(nowhere.send(makeEvent(7)), { code: 'log-unknown' });
});

function auditEvent(tenant: string) {
  const id = randomUUID();
  const body = {
    event_id: id,
    event_time: '2026-11-20T10:00:00Z',
    tenant,
    actor: { id: 'usr_1', type: 'user' },
    action: 'document.update',
    resource: { type: 'document', id: 'doc_1' },
    result: 'success',
    criticality: 'normal',
  };
  return { id, type: 'audit.event', key: `${tenant}/usr_1`, schema: 1, body };
}
