/** SIGKILL to the server between the send of an alert and its mark: it is sent again under the same id, and raised once. */

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { it, type TestContext } from 'node:test';
import { makeServer, until } from './server-process.ts';

interface Got {
  readonly id: string;
  readonly signed: string;
  readonly signature: string;
  readonly body: string;
}

async function receiver(t: TestContext) {
  const got: Got[] = [];
  let answer: (response: ServerResponse) => void = () => undefined;
  const http = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signature } = request.headers;
    got.push({ id: String(id), signed: `${id}.${time}.${body}`, signature: String(signature), body });
    answer(response);
  });
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done));
  t.after(() => {
    http.closeAllConnections();
    http.close();
  });
  const answerWith = (next: (response: ServerResponse) => void) => {
    answer = next;
  };
  return { got, answerWith, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/` };
}

function readEvent() {
  const id = randomUUID();
  const body = {
    event_id: id,
    event_time: new Date().toISOString(),
    tenant: 'acme',
    actor: { id: 'usr_1', type: 'user' },
    action: 'document.read',
    resource: { type: 'document', id: 'doc_1' },
    result: 'success',
    criticality: 'normal',
  };
  return { id, type: 'audit.event', schema: 1, key: 'acme/usr_1', body };
}

it('sends an alert again under one id after the server was killed between the send and its mark', async (t) => {
  const hook = await receiver(t);
  const server = makeServer(t, { environment: { EVIDENT_WEBHOOK_PRIVATE: 'true' } });
  await server.start();
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${server.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    assert.ok(answer.ok, `${method} ${path}: ${await answer.clone().text()}`);
    return answer.json();
  };
  const { secret } = await ask('POST', '/v1/webhooks?tenant=acme', {
    name: 'tenant',
    url: 'https://192.0.2.1/',
  });
  assert.ok(secret);
  const made = await ask('POST', '/v1/webhooks', { name: 'hook', url: hook.url });
  const filter = { action: 'document.read' };
  const rule = {
    name: 'reads',
    filter,
    threshold: 3,
    window_seconds: 3_600,
    group_by: 'actor',
    severity: 'high',
  };
  await ask('POST', '/v1/alert-rules?tenant=acme', rule);

  // The first attempt: taken by the receiver, which never answers.
  await ask('POST', '/v1/logs/audit/records?tenant=acme', Array.from({ length: 5 }, readEvent));
  await until('the alert arrives', () => hook.got.length > 0);
  await server.killServer();
  hook.answerWith((response) => response.end());
  await server.start();
  const state = async () =>
    (await ask('GET', '/v1/webhooks')).webhooks.find(({ name }: { name: string }) => name === 'hook');
  await until('it is delivered', async () => (await state()).delivered === 1);

  assert.ok(hook.got.length >= 2);
  const [first] = hook.got;
  const key = Buffer.from(made.secret.slice('whsec_'.length), 'base64');
  for (const { id, body, signed, signature } of hook.got) {
    assert.deepEqual([id, body], [first.id, first.body]);
    assert.equal(signature, `v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
  }
  const { alerts } = await ask('GET', '/v1/alerts?tenant=acme');
  const raised = alerts.filter(({ name }: { name: string }) => name === 'reads');
  assert.deepEqual(
    raised.map(({ subject, count, events }: { subject: string; count: string; events: unknown[] }) => [
      subject,
      count,
      events.length,
    ]),
    [['usr_1', '5', 5]],
  );
  assert.equal(JSON.parse(first.body).data.id, raised[0].id);
});
