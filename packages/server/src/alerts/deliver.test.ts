import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { it, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { makeRegistry } from '@evident/core/mapping/registry.ts';
import { ocsfFaults } from '@evident/core/shapes/ocsf-fixture.ts';
import { makeEvent } from '../../contract/alert-scene.ts';
import { until } from '../../faults/server-process.ts';
import { MemoryAlertStore, MemoryWebhookStore } from '../stores/memory/alert-store.ts';
import { sendPost } from '../stores/webhook/post.ts';
import { type DeliverDeps, Deliverer, delayMs } from './deliver.ts';
import { placeText } from './evaluate.ts';
import type { DeliveryMark, Payload } from './ports.ts';
import { payloadOf } from './webhook.ts';

const secret = new Uint8Array(32).fill(5);

interface Got {
  readonly id: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** A receiver that answers as it is told, and keeps what it got. */
async function receiver(t: TestContext, answer: (response: ServerResponse, nth: number) => void) {
  const got: Got[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    got.push({ id: String(request.headers['webhook-id']), headers: request.headers, body });
    answer(response, got.length);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { got, server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook` };
}

function scene(t: TestContext, over: Partial<DeliverDeps> = {}) {
  const clock = () => BigInt(Date.now()) * 1_000n;
  const alerts = new MemoryAlertStore({ source: { heads: async () => [] }, clock, newId: randomUUID });
  const webhooks = new MemoryWebhookStore(alerts);
  const marks: DeliveryMark['kind'][] = [];
  const deliverer = new Deliverer({
    queue: webhooks,
    board: alerts,
    send: sendPost,
    allowPrivate: true,
    clock,
    random: () => 0.5,
    sleep: async (milliseconds, signal) => wait(milliseconds, undefined, { signal }).catch(() => undefined),
    installation: 'evident.invalid/0123456789abcdef',
    readPlaces: async () => [],
    rowOf: () => null,
    onOutcome: (_delivery, { kind }) => marks.push(kind),
    delayMsFirst: 5,
    idleMs: 5,
    sendMsMax: 2_000,
    ...over,
  });
  t.after(() => deliverer.stop());
  const add = async (url: string, tenant: string | null = null) => {
    const id = randomUUID();
    await webhooks.add({ id, tenant, name: id, url, payload: 'alert', madeBy: 'key:a' }, secret);
    return id;
  };
  const raise = (tenant: string | null = null) =>
    alerts.raise({ key: randomUUID(), tenant, name: 'n', severity: 'high', subject: 's', detail: 'd' });
  return { alerts, webhooks, deliverer, add, raise, marks };
}

it('sends an alert signed, as a CloudEvent', async (t) => {
  const { got, url } = await receiver(t, (response) => response.end());
  const { deliverer, add, raise, webhooks } = scene(t);
  await add(url);
  const id = await raise();
  deliverer.start();
  await until('it was delivered', async () => (await webhooks.list(null))[0].delivered === 1);
  const [{ headers, body }] = got;
  const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
  const mac = createHmac('sha256', secret).update(signed).digest('base64');
  assert.equal(headers['webhook-signature'], `v1,${mac}`);
  assert.equal(headers['content-type'], 'application/cloudevents+json');
  const event = JSON.parse(body);
  assert.deepEqual(
    [event.type, event.id, event.data.name, event.data.severity],
    ['evident.alert', id, 'n', 'high'],
  );
});

it('sends again under one id, with the same body, until it is taken', async (t) => {
  const { got, url } = await receiver(t, (response, nth) => response.writeHead(nth < 4 ? 503 : 200).end());
  const { deliverer, add, raise, webhooks, marks } = scene(t);
  await add(url);
  await raise();
  deliverer.start();
  await until('it was delivered', async () => (await webhooks.list(null))[0].delivered === 1);
  assert.equal(got.length, 4);
  assert.equal(new Set(got.map(({ id, body }) => `${id} ${body}`)).size, 1);
  assert.deepEqual(marks, ['again', 'again', 'again', 'delivered']);
});

it('gives up within a bound, raises one alert of it, and settles that when it is reached again', async (t) => {
  let status = 500;
  const { got, url } = await receiver(t, (response) => response.writeHead(status).end());
  const { deliverer, add, raise, webhooks, alerts } = scene(t, { attemptsMax: 3 });
  const id = await add(url);
  await raise();
  await raise();
  deliverer.start();
  await until('both were given up', async () => (await webhooks.list(null))[0].failed === 2);
  assert.equal(got.length, 6);
  const failures = async () =>
    (await alerts.list({ tenant: null, state: 'all', before: null, limit: 9 })).filter(
      ({ name }) => name === 'webhook failed',
    );
  assert.deepEqual(
    (await failures()).map(({ subject, closedAt }) => [subject, closedAt]),
    [[id, null]],
  );
  assert.match((await failures())[0].detail, /it answered 500/);
  // It is not told of its own failure.
  assert.equal((await webhooks.list(null))[0].pending, 0);
  status = 200;
  assert.equal(await webhooks.retry(id, null), 2);
  await until('both were delivered', async () => (await webhooks.list(null))[0].delivered === 2);
  await until('the alert is settled', async () => (await failures())[0].closedAt !== null);
});

it('lets a receiver that hangs hold nobody else', async (t) => {
  const slow = await receiver(t, () => undefined);
  const quick = await receiver(t, (response) => response.end());
  const { deliverer, add, raise, webhooks } = scene(t, { sendMsMax: 60_000 });
  await add(slow.url);
  for (let i = 0; i < 20; i++) await raise();
  await add(quick.url);
  for (let i = 0; i < 20; i++) await raise();
  deliverer.start();
  const state = async () => (await webhooks.list(null)).find(({ url }) => url === quick.url)!;
  await until('the quick one has all of its own', async () => (await state()).delivered === 20, 20_000);
  assert.equal(slow.got.length, 2);
});

it('sends again what a process had sent, and died before it could say so', async (t) => {
  const { got, url } = await receiver(t, (response) => response.end());
  const { deliverer, add, raise, webhooks } = scene(t);
  await add(url);
  await raise();
  // The attempt of the process that died: claimed, for no time at all.
  const lost = await webhooks.claim([], 0n);
  deliverer.start();
  await until('it was delivered', async () => (await webhooks.list(null))[0].delivered === 1);
  assert.deepEqual(
    got.map(({ id }) => id),
    [lost?.id],
  );
});

it('waits for a receiver that was killed, and reaches it when it is back', async (t) => {
  const { server, url } = await receiver(t, (response) => response.end());
  const { port } = server.address() as AddressInfo;
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  const { deliverer, add, raise, webhooks, marks } = scene(t);
  await add(url);
  await raise();
  deliverer.start();
  await until('it was tried twice', () => marks.length >= 2);
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  await until('it was delivered', async () => (await webhooks.list(null))[0].delivered === 1);
});

it('reaches private addresses for the operator alone, and for him if he says so', async (t) => {
  for (const [allowPrivate, tenant, reached] of [
    [true, null, true],
    [true, 'acme', false],
    [false, null, false],
  ] as const) {
    const { got, url } = await receiver(t, (response) => response.end());
    const { deliverer, add, raise, marks } = scene(t, { allowPrivate, attemptsMax: 1 });
    await add(url, tenant);
    await raise(tenant);
    deliverer.start();
    await until('it was tried', () => marks.length === 1);
    assert.deepEqual([got.length > 0, marks], [reached, [reached ? 'delivered' : 'failed']]);
  }
});

it('waits twice as long each time, within a bound, and not in step', () => {
  assert.deepEqual(
    [1, 2, 3].map((attempt) => delayMs(attempt, 1)),
    [2_000, 4_000, 8_000],
  );
  assert.equal(delayMs(1, 0), 1_000);
  assert.equal(delayMs(60, 1), 3_600_000);
});

it('sends the events themselves as CloudEvents or OCSF where that is asked for', async () => {
  const { record } = makeEvent(1, 7, 0);
  const body = Buffer.from(
    JSON.stringify({
      event_id: record.id,
      event_time: '2026-11-20T10:00:00Z',
      tenant: 'acme',
      actor: { id: 'usr_1', type: 'user' },
      action: 'document.read',
      resource: { type: 'document', id: 'doc_1' },
      result: 'success',
      criticality: 'normal',
    }),
  );
  const asked: string[][] = [];
  const deps = {
    installation: 'evident.invalid/x',
    readPlaces: async (places: readonly string[]) => {
      asked.push([...places]);
      return [{ record, body }];
    },
    rowOf: makeRegistry().rowOf,
  };
  const alerts = new MemoryAlertStore({
    source: { heads: async () => [] },
    clock: () => 1n,
    newId: randomUUID,
  });
  const id = await alerts.raise({
    key: 'k',
    tenant: 'acme',
    name: 'n',
    severity: 'low',
    subject: null,
    detail: '',
  });
  const [alert] = await alerts.find([id!]);
  const webhook = {
    id: 'w',
    tenant: 'acme',
    name: 'w',
    url: 'https://example.com/',
    madeBy: 'key:a',
    madeAt: 1n,
  };
  const payload = async (kind: Payload) => {
    const delivery = { id: 'd', attempt: 1, secret, webhook: { ...webhook, payload: kind }, alert };
    const { type, body: bytes } = await payloadOf(deps, {
      ...delivery,
      alert: { ...alert, places: [placeText(record)] },
    });
    return { type, events: JSON.parse(Buffer.from(bytes).toString()) };
  };
  const ocsf = await payload('ocsf');
  assert.deepEqual([ocsf.type, ocsf.events[0].class_uid], ['application/json', 6003]);
  assert.deepEqual(ocsfFaults(ocsf.events[0]), []);
  const cloud = await payload('cloudevents');
  assert.deepEqual([cloud.type, cloud.events[0].id], ['application/cloudevents-batch+json', record.id]);
  assert.deepEqual(asked, [[placeText(record)], [placeText(record)]]);
});
