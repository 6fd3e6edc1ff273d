import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EvidentError } from '@evident/core/errors.ts';
import { createHttpClient, type HttpClientOptions, type MemoryBufferOptions } from './client.ts';
import { type Behaviour, eventually, FakeLog, makeEvent, optionsFor } from './fake-log-fixture.ts';

function open(over: Partial<HttpClientOptions> = {}, bounds: Omit<MemoryBufferOptions, 'kind'> = {}) {
  const log = new FakeLog();
  const { options, problems } = optionsFor(log);
  const client = createHttpClient({ ...options, buffer: { kind: 'memory', ...bounds }, ...over });
  return { log, client, problems };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof EvidentError, String(error));
    return error.code;
  }
  return 'it was taken';
}

describe('a client with a memory buffer', { timeout: 120_000 }, () => {
  it('resolves when the log holds the event, and says where', async () => {
    const { client, log } = open({ url: 'https://log.example.invalid/base/', log: 'clicks', tenant: 'acme' });
    const event = makeEvent();
    assert.deepEqual(await client.send(event), {
      id: event.id,
      durable: 'log',
      partition: 0,
      position: 0n,
      repeat: false,
    });
    assert.deepEqual(await client.send(event), {
      id: event.id,
      durable: 'log',
      partition: 0,
      position: 0n,
      repeat: true,
    });
    assert.equal(log.urls[0], 'https://log.example.invalid/base/v1/logs/clicks/records?tenant=acme');
    assert.equal(log.headers[0].authorization, 'Bearer evident_key');
    const { taken, delivered, repeats, waitingEvents, waitingBytes } = client.metrics();
    assert.deepEqual([taken, delivered, repeats, waitingEvents, waitingBytes], [2, 2, 1, 0, 0]);
  });

  it('does not resolve before the log has answered', async () => {
    const { client, log } = open();
    log.script.push('break', 'refuse connection', { status: 503, body: { code: 'overloaded' } });
    let settled = 0;
    const sent = client.send(makeEvent()).then(() => settled++);
    await eventually('three attempts failed', () => log.requests.length === 3);
    assert.equal(settled, 0);
    await sent;
    assert.equal(log.requests.length, 4);
  });

  it('sends again with the same ids until the log answers, and the log holds each once', async () => {
    const { client, log } = open({ batchMax: 7 });
    log.script.push(
      'take and break',
      'break',
      { status: 503, body: { code: 'outcome-unknown' } },
      { status: 500, body: { code: 'internal' } },
      { status: 502, headers: { 'content-type': 'text/html' }, body: '<html>' },
      { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>sign in</html>' },
      { status: 201, body: { results: [] } },
      { status: 429 },
      'answer',
      'take and break',
    );
    const events = Array.from({ length: 30 }, (_, n) => makeEvent(n));
    const receipts = await Promise.all(events.map((event) => client.send(event)));
    assert.deepEqual(
      log.order,
      events.map(({ id }) => id),
      'in the order of send',
    );
    assert.deepEqual(
      receipts.map(({ durable }) => durable),
      events.map(() => 'log'),
    );
    const { delivered, repeats, failures } = client.metrics();
    assert.deepEqual([delivered, repeats, failures], [30, 14, 9]);
  });

  it('waits as long as Retry-After says, and not longer than a bound', async () => {
    const { client, log, problems } = open();
    const day = new Date(Date.now() + 86_400_000).toUTCString();
    log.script.push({ status: 503, headers: { 'retry-after': '7' }, body: { code: 'overloaded' } });
    const sent = client.send(makeEvent());
    await eventually('the first attempt failed', () => problems.length === 1);
    const waitOf = (index: number) => Number(/in (\d+) ms/.exec(problems[index].what)?.[1]);
    assert.ok(waitOf(0) >= 7_000 && waitOf(0) <= 8_750, problems[0].what);
    log.script.push({ status: 503, headers: { 'retry-after': day }, body: { code: 'overloaded' } });
    const flushed = client.flush();
    await eventually('the second attempt failed', () => problems.length === 2);
    assert.ok(waitOf(1) >= 60_000 && waitOf(1) <= 75_000, problems[1].what);
    assert.equal((await client.flush()).flushed, true, 'a flush does not wait for the pause');
    await Promise.all([sent, flushed]);
  });

  it('says which item the log refused and why, and takes the others', async () => {
    const { client, log } = open();
    const events = Array.from({ length: 5 }, (_, n) => makeEvent(n));
    log.refuses.set(events[1].id, { status: 409, code: 'id-reused' });
    log.refuses.set(events[3].id, { status: 400, code: 'a-code-of-tomorrow' });
    const results = await client.sendMany(events);
    assert.deepEqual(
      results.map((result) => (result.durable === false ? result.error.code : result.durable)),
      ['log', 'id-reused', 'log', 'internal', 'log'],
    );
    assert.deepEqual(
      results.map(({ id }) => id),
      events.map(({ id }) => id),
    );
    assert.equal(await codeOf(client.send(events[1])), 'id-reused');
    assert.equal(log.order.length, 3);
  });

  it('asks again for an item that the log answers as unknown or for now', async () => {
    const { client, log } = open();
    const event = makeEvent();
    log.refuses.set(event.id, { status: 503, code: 'log-unavailable', retryable: true });
    const sent = client.send(event);
    await eventually('it was asked for twice', () => log.requests.length >= 2);
    log.refuses.clear();
    assert.equal((await sent).durable, 'log');
  });

  it('finds the event for which a whole request is refused, by smaller requests', async () => {
    const { client, log } = open();
    const events = Array.from({ length: 20 }, (_, n) => makeEvent(n));
    log.poisons.set(events[13].id, { status: 413, code: 'body-too-large' });
    log.poisons.set(events[6].id, { status: 503, code: 'partition-stopped' });
    const results = await client.sendMany(events);
    const refused = results.flatMap((result, index) =>
      result.durable === false ? [[index, result.error.code]] : [],
    );
    assert.deepEqual(refused, [
      [6, 'partition-stopped'],
      [13, 'body-too-large'],
    ]);
    assert.equal(log.order.length, 18);
  });

  it('tells each caller at once when the setting is wrong, and works when it is put right', async () => {
    let key = 'evident_old';
    const { client, log } = open({ key: () => key });
    for (const [status, code] of [
      [401, 'unauthenticated'],
      [403, 'forbidden'],
      [404, 'log-unknown'],
    ] as const) {
      log.script.push({ status, body: { code } });
      assert.equal(await codeOf(client.send(makeEvent())), code);
    }
    log.script.push({ status: 307, headers: { location: 'http://elsewhere.example.invalid' } });
    assert.equal(await codeOf(client.send(makeEvent())), 'request-malformed');
    key = 'evident_new';
    await client.send(makeEvent());
    assert.equal(log.headers.at(-1)?.authorization, 'Bearer evident_new');
    assert.equal(client.metrics().failures, 0);
  });

  it('is full at once past either bound, with nothing half taken', async () => {
    const { client, log } = open({}, { eventsMax: 5, bytesMax: 2_000 });
    log.always = 'hang';
    const first = client.sendMany([makeEvent(), makeEvent(), makeEvent()]);
    assert.equal(await codeOf(client.sendMany([makeEvent(), makeEvent(), makeEvent()])), 'buffer-full');
    assert.equal(client.metrics().waitingEvents, 3);
    const large = { ...makeEvent(), body: { text: 'x'.repeat(2_000) } };
    assert.equal(await codeOf(client.send(large)), 'buffer-full');
    const second = client.sendMany([makeEvent(), makeEvent()]);
    const { taken, full, waitingEvents } = client.metrics();
    assert.deepEqual([taken, full, waitingEvents], [5, 2, 5]);
    await client.close({ timeoutMs: 0 });
    for (const { durable } of [...(await first), ...(await second)]) assert.equal(durable, false);
    assert.equal(client.metrics().waitingBytes, 0);
  });

  it('takes none of many when one of them is not an event', async () => {
    const { client, log } = open();
    const bad = { ...makeEvent(), key: '../etc' };
    assert.equal(await codeOf(client.sendMany([makeEvent(), bad])), 'field-invalid');
    await client.flush();
    assert.equal(log.requests.length, 0);
    assert.deepEqual(await client.sendMany([]), []);
  });
});

describe('the end of a wait', { timeout: 120_000 }, () => {
  it('is outcome-unknown when the event may be in the log, and log-unavailable when it is surely not', async () => {
    const ROWS: [Behaviour, taken: number, code: string][] = [
      ['refuse connection', 0, 'log-unavailable'],
      [{ status: 503, body: { code: 'overloaded' } }, 0, 'log-unavailable'],
      [{ status: 503, body: { code: 'outcome-unknown' } }, 0, 'outcome-unknown'],
      ['take and break', 1, 'outcome-unknown'],
    ];
    for (const [behaviour, taken, code] of ROWS) {
      const { client, log, problems } = open({ retry: { firstMs: 60_000, maxMs: 60_000 } });
      log.always = behaviour;
      const abort = new AbortController();
      const sent = codeOf(client.send(makeEvent(), { signal: abort.signal }));
      await eventually('an attempt has failed', () => problems.length === 1);
      abort.abort();
      assert.deepEqual([await sent, log.order.length], [code, taken]);
      await client.close();
    }
  });

  it('is outcome-unknown while a request is on its way', async () => {
    const { client, log } = open();
    log.always = 'hang';
    assert.equal(await codeOf(client.send(makeEvent(), { timeoutMs: 20 })), 'outcome-unknown');
    await client.close({ timeoutMs: 0 });
  });

  it('stays unknown when the setting goes wrong after an attempt that broke off', async () => {
    const { client, log } = open();
    log.script.push('take and break', { status: 401, body: { code: 'unauthenticated' } });
    assert.equal(await codeOf(client.send(makeEvent())), 'outcome-unknown');
  });

  it('comes by the signal of the caller, frees its room at once, and leaves others alone', async () => {
    const { client, log } = open({ batchMax: 1 }, { eventsMax: 3 });
    log.script.push('hang');
    const abort = new AbortController();
    const hanging = client.send(makeEvent());
    const mine = codeOf(client.send(makeEvent(), { signal: abort.signal }));
    const other = client.send(makeEvent());
    await eventually('the first is on its way', () => log.requests.length === 1);
    assert.equal(await codeOf(client.send(makeEvent())), 'buffer-full');
    abort.abort();
    assert.equal(await mine, 'log-unavailable');
    const later = client.send(makeEvent());
    assert.equal(await codeOf(client.send(makeEvent(), { signal: abort.signal })), 'log-unavailable');
    await client.close({ timeoutMs: 0 });
    for (const work of [hanging, other, later])
      assert.match(await codeOf(work), /outcome-unknown|shutting-down/);
    assert.equal(client.metrics().abandoned, 4);
  });

  it('of a request that is not answered in time is a new attempt', async () => {
    const { client, log } = open({ requestTimeoutMs: 15 });
    log.script.push('hang');
    assert.equal((await client.send(makeEvent())).durable, 'log');
    assert.equal(log.requests.length, 2);
  });

  it('comes even from a fetch that does not heed its signal', async () => {
    const log = new FakeLog();
    let calls = 0;
    const fetch: typeof log.fetch = (url, init) =>
      ++calls === 1 ? new Promise(() => undefined) : log.fetch(url, init);
    const { client } = open({ fetch, requestTimeoutMs: 15 });
    assert.equal((await client.send(makeEvent())).durable, 'log');
  });
});

describe('flush and close of a memory buffer', { timeout: 120_000 }, () => {
  it('wait for what was taken, and say what waits when the time is over', async () => {
    const { client, log } = open();
    const sent = client.send(makeEvent());
    assert.deepEqual(await client.flush(), { flushed: true, waiting: 0 });
    await sent;
    log.always = 'break';
    const open2 = codeOf(client.send(makeEvent()));
    assert.deepEqual(await client.flush({ timeoutMs: 20 }), { flushed: false, waiting: 1 });
    assert.deepEqual(await client.close({ timeoutMs: 20 }), { flushed: false, waiting: 1 });
    assert.equal(await open2, 'outcome-unknown');
    assert.equal(await codeOf(client.send(makeEvent())), 'shutting-down');
    assert.deepEqual(await client.close(), { flushed: true, waiting: 0 });
  });

  it('deliver what waits when the log comes back within the time', async () => {
    const { client, log } = open();
    log.always = 'refuse connection';
    const sent = client.send(makeEvent());
    await eventually('it was tried', () => log.requests.length > 2);
    const closed = client.close();
    log.always = null;
    assert.deepEqual(await closed, { flushed: true, waiting: 0 });
    assert.equal((await sent).durable, 'log');
  });
});

describe('createHttpClient', () => {
  it('refuses options that can not be, by name, and never shows the key', () => {
    const log = new FakeLog();
    const { options } = optionsFor(log);
    const ROWS: [object, string][] = [
      [{ url: 'nonsense' }, 'url'],
      [{ url: 'ftp://log.example.invalid' }, 'url'],
      [{ url: 'http://a:b@log.example.invalid' }, 'url'],
      [{ key: '' }, 'key'],
      [{ key: 'sec ret' }, 'key'],
      [{ log: 'A' }, 'log'],
      [{ tenant: '/' }, 'tenant'],
      [{ batchMax: 0 }, 'batchMax'],
      [{ batchMax: 5_001 }, 'batchMax'],
      [{ requestTimeoutMs: 0.5 }, 'requestTimeoutMs'],
      [{ buffer: undefined }, 'buffer'],
      [{ buffer: { kind: 'memory', bytesMax: -1 } }, 'buffer.bytesMax'],
      [{ buffer: { kind: 'disk', folder: '' } }, 'buffer.folder'],
    ];
    for (const [over, field] of ROWS) {
      assert.throws(
        () => createHttpClient({ ...options, buffer: { kind: 'memory' }, ...over } as HttpClientOptions),
        (error: EvidentError) => error.context.field === field && !error.message.includes('sec ret'),
        JSON.stringify(over),
      );
    }
  });
});
