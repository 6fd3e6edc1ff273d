import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatWindowBody, windowId } from '@evident/core/evidence/window.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { MemoryLog } from '../stores/memory/log.ts';
import { envelope, NOTE, openTestServer } from './http-fixture.ts';

const PAGE = '/v1/logs/clicks/partitions/0/records';

describe('GET /v1/logs', () => {
  it('says how far each partition is filled and sealed, and why one is stopped', async (test) => {
    const server = await openTestServer(test);
    await server.append([envelope(), envelope()]);
    server.states.get('audit')!.partitions[1].stopped = 'storage contradicts head 7';
    const { logs } = (await server.send('writer:acme', { url: '/v1/logs' })).json();
    assert.deepEqual(
      logs.map(({ log }: { log: string }) => log),
      ['audit', 'clicks', 'heads', 'windows'],
    );
    const audit = logs[0].partitions;
    assert.equal(
      audit.reduce((sum: number, { next }: { next: string }) => sum + Number(next), 0),
      2,
    );
    assert.equal(audit[1].stopped, 'storage contradicts head 7');
    assert.equal(audit[0].sealed, '0');
  });
});

describe('GET /v1/logs/{log}/partitions/{p}/records', () => {
  it('gives leaf lines, byte for byte what the tree hashes, and where the next page begins', async (test) => {
    const server = await openTestServer(test);
    for (let i = 0; i < 7; i++)
      await server.send('writer:acme', {
        method: 'POST',
        url: '/v1/logs/clicks/records',
        headers: { 'content-type': 'application/json' },
        payload: JSON.stringify([envelope()]),
      });
    const records = server.states.get('clicks')!.partitions[0].records;
    const seen: string[] = [];
    let next = '0';
    for (const size of [3, 3, 1, 0]) {
      const page = await server.send('auditor', { url: `${PAGE}?from=${next}&limit=3` });
      assert.match(String(page.headers['content-type']), /^application\/x-ndjson/);
      const lines = page.body.split('\n').slice(0, -1);
      assert.equal(lines.length, size);
      seen.push(...lines);
      next = String(page.headers['evident-next-position']);
    }
    assert.equal(next, '7');
    assert.deepEqual(
      seen,
      records.map((record) => Buffer.from(leafOf(record!)).toString()),
    );
  });

  it('ends a page by its bytes, and at most a step later', async (test) => {
    const server = await openTestServer(test, { limits: { pageBytesMax: 1_000, readRecordsMax: 2 } });
    const items = Array.from({ length: 20 }, () => envelope({ body: 'x'.repeat(400) }));
    await server.send('writer:acme', {
      method: 'POST',
      url: '/v1/logs/clicks/records',
      headers: { 'content-type': 'application/json' },
      payload: JSON.stringify(items),
    });
    const page = await server.send('auditor', { url: PAGE });
    assert.equal(page.headers['evident-next-position'], '2');
    assert.ok(page.body.length < 2_000);
  });

  it('moves a reader of one tenant past the records of others within a bound, without a word about them', async (test) => {
    const server = await openTestServer(test, { limits: { scanPositionsMax: 10, readRecordsMax: 4 } });
    const send = (as: string, count: number) =>
      server.send(as, {
        method: 'POST',
        url: '/v1/logs/clicks/records',
        headers: { 'content-type': 'application/json' },
        payload: JSON.stringify(Array.from({ length: count }, () => envelope())),
      });
    await send('writer:other', 15);
    await send('writer:acme', 1);
    const first = await server.send('auditor:acme', { url: PAGE });
    assert.deepEqual([first.body, first.headers['evident-next-position']], ['', '10']);
    const second = await server.send('auditor:acme', { url: `${PAGE}?from=10` });
    assert.equal(JSON.parse(second.body).tenant, 'acme');
    assert.equal(second.headers['evident-next-position'], '16');
  });

  it('shows a tenant its own windows, and no other’s', async (test) => {
    const server = await openTestServer(test);
    const log = new MemoryLog(server.states.get('windows')!, () => 1_800_000_000_000_000n);
    const window = (tenant: string) => ({
      id: windowId('audit', '2027-01-15T07', tenant),
      tenant,
      source: 'evident',
      sourceSeq: null,
      type: 'window',
      schema: 0,
      key: '_system',
      meta: null,
      body: {
        form: 'json' as const,
        bytes: Buffer.from(
          formatWindowBody({
            log: 'audit',
            hour: '2027-01-15T07',
            tenant,
            count: 1n,
            root: new Uint8Array(32),
            ranges: [{ from: 0n, to: 2n }],
            previous: null,
          }),
        ),
      },
    });
    await log.append(['acme', 'other'].map(window));
    const url = '/v1/logs/windows/partitions/0/records';
    const own = (await server.send('auditor:acme', { url })).body.split('\n').slice(0, -1);
    assert.deepEqual(
      own.map((line) => JSON.parse(line).body.tenant),
      ['acme'],
    );
    assert.equal((await server.send('auditor', { url })).body.split('\n').length, 3);
  });

  it('refuses positions that were trimmed instead of passing over them', async (test) => {
    const server = await openTestServer(test);
    server.states.get('clicks')!.partitions[0].first = 5n;
    server.states.get('clicks')!.partitions[0].next = 5n;
    const response = await server.send('auditor', { url: `${PAGE}?from=4` });
    assert.deepEqual([response.statusCode, response.json().code], [410, 'position-trimmed']);
    assert.equal((await server.send('auditor', { url: PAGE })).headers['evident-next-position'], '5');
  });

  it('answers 503 when pages that are being sent fill their bound', async (test) => {
    const gate = Promise.withResolvers<void>();
    const reading = Promise.withResolvers<void>();
    const before = async (operation: string) => {
      if (operation !== 'head') return;
      reading.resolve();
      await gate.promise;
    };
    const server = await openTestServer(test, {
      hooks: { before },
      limits: { pageBytesMax: 1_000, pagesBytesMax: 3_000 },
    });
    const first = server.send('auditor', { url: PAGE });
    await reading.promise;
    const second = await server.send('auditor', { url: PAGE });
    assert.deepEqual([second.statusCode, second.headers['retry-after']], [503, '1']);
    gate.resolve();
    assert.equal((await first).statusCode, 200);
    assert.equal((await server.send('auditor', { url: PAGE })).statusCode, 200);
  });
});

describe('GET /v1/logs/{log}/partitions/{p}/head', () => {
  it('gives the bytes of the signed note, and 404 before there is one', async (test) => {
    const server = await openTestServer(test);
    const head = await server.send('writer:acme', { url: '/v1/logs/audit/partitions/0/head' });
    assert.equal(head.headers['content-type'], 'text/plain; charset=utf-8');
    assert.deepEqual(head.rawPayload, Buffer.from(NOTE));
    assert.equal(
      (await server.send('writer:acme', { url: '/v1/logs/audit/partitions/1/head' })).statusCode,
      404,
    );
  });
});

describe('routes of operation', () => {
  it('say that the process lives even when it is not ready, and why it is not', async (test) => {
    const server = await openTestServer(test, {
      ready: async () => ({ ready: false, reasons: ['the log cannot be reached'] }),
    });
    assert.equal((await server.send(null, { url: '/healthz' })).statusCode, 200);
    const ready = await server.send(null, { url: '/readyz' });
    assert.deepEqual([ready.statusCode, ready.json().reasons], [503, ['the log cannot be reached']]);
  });

  it('count requests by declared route, so that nobody makes up labels', async (test) => {
    const server = await openTestServer(test);
    await server.append([envelope()]);
    await server.send(null, { url: '/made/up' });
    const { body } = await server.send('admin', { url: '/metrics' });
    assert.match(
      body,
      /evident_http_requests_total\{method="POST",route="\/v1\/logs\/:log\/records",status="201"\} 1/,
    );
    assert.match(body, /route="unknown",status="404"/);
    assert.doesNotMatch(body, /made/);
  });

  it('list every error code, and lead from the type of a problem to its entry', async (test) => {
    const server = await openTestServer(test);
    const { errors } = (await server.send(null, { url: '/v1/errors' })).json();
    for (const entry of errors)
      assert.deepEqual((await server.send(null, { url: `/errors/${entry.code}` })).json(), entry);
    assert.equal((await server.send(null, { url: '/errors/toString' })).statusCode, 404);
  });
});
