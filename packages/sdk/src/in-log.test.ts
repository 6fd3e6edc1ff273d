import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createAudit } from './audit.ts';
import type { OutboxDriver } from './outbox/driver.ts';

const event = {
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'document.update',
  resource: { type: 'document', id: 'd1' },
} as const;
const driver: OutboxDriver<object> = { query: async () => undefined, transaction: (fn) => fn({}) };

type Handler = (request: IncomingMessage, response: ServerResponse, asked: number) => void;

async function serve(t: TestContext, handler: Handler) {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response, requests.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    requests,
    audit: createAudit({ service: 'bank', driver, server: { url, key: 'k1', log: 'main' } }),
  };
}

const answer = (response: ServerResponse, status: number, body: object) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const found = (response: ServerResponse) =>
  answer(response, 200, { partition: 3, position: '9007199254740993' });

test('sync waits until the log has the event, through answers that say not yet and servers that fail', async (t) => {
  const { audit, requests } = await serve(t, (_request, response, asked) => {
    if (asked === 1) answer(response, 404, { code: 'not-found' });
    else if (asked === 2) answer(response, 503, { code: 'overloaded' });
    else if (asked === 3) response.destroy();
    else found(response);
  });
  const value = await audit.capture(event, () => 5, { sync: true });
  assert.equal(value, 5);
  assert.equal(requests.length, 4);
  assert.match(requests[0].url!, /^\/v1\/logs\/main\/events\/[0-9a-f-]{36}\?wait_ms=\d+&tenant=acme$/);
  assert.equal(requests[0].headers.authorization, 'Bearer k1');
});

test('a receipt tells where the log holds the event; positions are exact', async (t) => {
  const { audit, requests } = await serve(t, (_request, response) => found(response));
  const receipt = await audit.log({}, event);
  assert.ok(receipt.captured);
  assert.deepEqual(await receipt.inLog({ timeoutMs: 1_000 }), { partition: 3, position: 9007199254740993n });
  assert.ok(requests[0].url!.includes(receipt.id));
});

test('an event that is not there in time is sync-timeout, and committed all the same', async (t) => {
  const { audit } = await serve(t, (_request, response) => answer(response, 404, { code: 'not-found' }));
  await assert.rejects(
    audit.capture(event, () => 5, { sync: { timeoutMs: 20 } }),
    { code: 'sync-timeout' },
  );
  assert.equal(audit.metrics().captured, 1);
  assert.equal(audit.metrics().failedBestEffort, 0);
});

test('what waiting cannot change is answered at once', async (t) => {
  for (const [status, code] of [
    [401, 'unauthenticated'],
    [403, 'forbidden'],
    [404, 'log-unknown'],
  ] as const) {
    const { audit, requests } = await serve(t, (_request, response) => answer(response, status, { code }));
    const receipt = await audit.log({}, event);
    assert.ok(receipt.captured);
    await assert.rejects(receipt.inLog(), { code });
    assert.equal(requests.length, 1);
  }
});

test('a capture that asks for sync without a server does not begin', async () => {
  const audit = createAudit({ service: 'bank', driver });
  await assert.rejects(
    audit.capture(event, () => assert.fail('must not run'), { sync: true }),
    { code: 'usage-invalid' },
  );
});
