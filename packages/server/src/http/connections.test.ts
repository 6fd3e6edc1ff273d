import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { envelope, openTestServer, type TestServerOptions } from './http-fixture.ts';
import { eventually, RawClient } from './raw-client.ts';

const ONE_MIB = 1024 * 1024;

async function open(test: TestContext, options: TestServerOptions = {}) {
  const server = await openTestServer(test, options);
  const { port } = await server.listen();
  const clients: RawClient[] = [];
  test.after(() => {
    for (const client of clients) client.abort();
  });
  const connect = () => {
    const client = new RawClient(port);
    clients.push(client);
    return client;
  };
  const head = (framing: string, as = 'writer:acme') =>
    `POST /v1/logs/audit/records HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.keys[as]}\r\ncontent-type: application/json\r\n${framing}\r\n\r\n`;
  const inFlight = async () => {
    const { body } = await server.send('admin', { url: '/metrics' });
    return Number(/^evident_http_ingest_bytes_in_flight (\d+)/m.exec(body)?.[1]);
  };
  return { ...server, connect, head, inFlight };
}

describe('bytes that are no HTTP', { timeout: 120_000 }, () => {
  const ROWS: [what: string, bytes: string, status: number, code: string][] = [
    ['noise', '\x16\x03\x01\x02\x00\x01\x00\r\n\r\n', 400, 'request-malformed'],
    ['a version that is none', 'GET / HTTP/9.9\r\n\r\n', 400, 'request-malformed'],
    ['a method that is none', 'FETCH /healthz HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'request-malformed'],
    [
      'a header without a colon',
      'GET /healthz HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n',
      400,
      'request-malformed',
    ],
    [
      'a content length that is negative',
      'POST /v1/logs/audit/records HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n',
      400,
      'request-malformed',
    ],
    [
      'two content lengths',
      'POST /v1/logs/audit/records HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
      400,
      'request-malformed',
    ],
    [
      'a length and chunks',
      'POST /v1/logs/audit/records HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n',
      400,
      'request-malformed',
    ],
    [
      'headers of 20 KiB',
      `GET /healthz HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers-too-large',
    ],
  ];
  it('are each answered with a problem document, and the server stays up', async (test) => {
    const { connect, content, send } = await open(test);
    const before = content();
    for (const [what, bytes, status, code] of ROWS) {
      const client = connect();
      await client.send(bytes);
      const answer = await client.untilClosed();
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), what);
      assert.match(answer, /content-type: application\/problem\+json/, what);
      assert.match(answer, /x-request-id: [0-9a-f-]{36}/, what);
      const problem = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')));
      assert.deepEqual([problem.code, problem.status], [code, status], what);
      assert.equal((await send(null, { url: '/healthz' })).statusCode, 200, what);
    }
    assert.equal(content(), before);
  });

  it('in the middle of a body take nothing of it', async (test) => {
    const { connect, head, content, inFlight } = await open(test);
    const before = content();
    const client = connect();
    await client.send(`${head('transfer-encoding: chunked')}5\r\n[{"id\r\nnonsense\r\n`);
    assert.match(await client.untilClosed(), /^HTTP\/1\.1 400 /);
    await eventually(() => true);
    assert.equal(content(), before);
    assert.equal(await inFlight(), 0);
  });
});

describe('slow clients', { timeout: 120_000 }, () => {
  it('whose body does not arrive in time are answered 408, and their bytes are given back', async (test) => {
    const { connect, head, content, inFlight } = await open(test, { limits: { bodyMsMax: 50 } });
    const before = content();
    const client = connect();
    await client.send(`${head('content-length: 1000')}[`);
    const answer = await client.untilClosed();
    assert.match(answer, /^HTTP\/1\.1 408 /);
    assert.match(answer, /"code":"request-timeout"/);
    assert.equal(await inFlight(), 0);
    assert.equal(content(), before);
  });
});

describe('overload', { timeout: 120_000 }, () => {
  it('is answered 503 with Retry-After before the body is read, and nothing is appended', async (test) => {
    let waiting = 64 * ONE_MIB;
    const { connect, head, append, content } = await open(test, { waitingBytes: () => waiting });
    const before = content();
    const client = connect();
    // Only the headers: an answer now was decided on them alone.
    await client.send(head('content-length: 1000'));
    const answer = await client.until(/\}$/);
    assert.match(answer, /^HTTP\/1\.1 503 /);
    assert.match(answer, /retry-after: 1\r\n/);
    assert.match(answer, /"code":"overloaded"/);
    const response = await append([envelope()]);
    assert.deepEqual(
      [response.statusCode, response.headers['retry-after'], response.json().retryable],
      [503, '1', true],
    );
    assert.equal(content(), before);
    waiting = 0;
    assert.equal((await append([envelope()])).statusCode, 201);
  });

  it('counts what clients announce, and 17 MiB for one that announces nothing', async (test) => {
    const { connect, head, append, inFlight } = await open(test, {
      limits: { inFlightBytesMax: 20 * ONE_MIB },
    });
    const chunked = connect();
    await chunked.send(`${head('transfer-encoding: chunked')}1\r\n[\r\n`);
    const announced = connect();
    await announced.send(`${head(`content-length: ${3 * ONE_MIB - 100}`)}[`);
    while ((await inFlight()) !== 20 * ONE_MIB - 100) await new Promise((done) => setTimeout(done, 5));
    assert.equal((await append([envelope({ body: 'x'.repeat(100) })])).statusCode, 503);
    announced.abort();
    while ((await inFlight()) !== 17 * ONE_MIB) await new Promise((done) => setTimeout(done, 5));
    assert.equal((await append([envelope()])).statusCode, 201);
    await chunked.send('1\r\n]\r\n0\r\n\r\n');
    assert.match(await chunked.until(/"code"/), /"field":"records"/);
    while ((await inFlight()) !== 0) await new Promise((done) => setTimeout(done, 5));
  });

  it('gives the bytes of many aborted uploads back', async (test) => {
    const { connect, head, append, inFlight, content } = await open(test);
    const before = content();
    for (let round = 0; round < 20; round++) {
      const client = connect();
      await client.send(`${head(`content-length: ${10 * ONE_MIB}`)}[${' '.repeat(1000)}`);
      client.abort();
    }
    while ((await inFlight()) !== 0) await new Promise((done) => setTimeout(done, 5));
    assert.equal(content(), before);
    assert.equal((await append([envelope()])).statusCode, 201);
  });

  it('holds nothing for a client that went away while its key was looked up', async (test) => {
    const { connect, head, send, access, keys } = await open(test);
    const gate = Promise.withResolvers<void>();
    const find = access.store.find.bind(access.store);
    let lookups = 0;
    access.store.find = async (keyId) => {
      lookups++;
      await gate.promise;
      return find(keyId);
    };
    const bytes = [
      head('content-length: 1000'),
      `GET /v1/logs/audit/tail HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${keys.auditor}\r\n\r\n`,
    ];
    for (const one of bytes) {
      const client = connect();
      await client.send(one);
      await eventually(() => lookups === bytes.indexOf(one) + 1);
      client.abort();
    }
    await new Promise((done) => setTimeout(done, 50));
    gate.resolve();
    await new Promise((done) => setTimeout(done, 50));
    const { body } = await send('admin', { url: '/metrics' });
    assert.match(body, /^evident_http_ingest_bytes_in_flight 0$/m);
    assert.match(body, /^evident_http_tails 0$/m);
  });

  it('keeps counting a request whose client went away while it is being appended', async (test) => {
    const gate = Promise.withResolvers<void>();
    let appending = false;
    const before = async (operation: string) => {
      if (operation !== 'appendOnce') return;
      appending = true;
      await gate.promise;
    };
    const { connect, head, inFlight } = await open(test, { hooks: { before } });
    const body = JSON.stringify([envelope()]);
    const client = connect();
    await client.send(`${head(`content-length: ${body.length}`)}${body}`);
    await eventually(() => appending);
    client.abort();
    await new Promise((done) => setTimeout(done, 50));
    assert.equal(await inFlight(), body.length);
    gate.resolve();
    while ((await inFlight()) !== 0) await new Promise((done) => setTimeout(done, 5));
  });

  it('gives bytes back on a connection that is kept for the next request', async (test) => {
    const { connect, head, inFlight } = await open(test);
    const client = connect();
    for (let i = 0; i < 3; i++) {
      const body = JSON.stringify([envelope()]);
      client.received = '';
      await client.send(`${head(`content-length: ${body.length}`)}${body}`);
      assert.match(await client.until(/\}$/), /^HTTP\/1\.1 201 /);
      assert.equal(await inFlight(), 0);
    }
  });
});

describe('stopping', { timeout: 120_000 }, () => {
  it('answers 503 shutting-down, takes nothing, and still says that the process lives', async (test) => {
    const stop = new AbortController();
    const { append, send, content } = await open(test, { stopping: stop.signal });
    stop.abort();
    const before = content();
    const response = await append([envelope()]);
    assert.deepEqual(
      [response.statusCode, response.json().code, response.headers['retry-after']],
      [503, 'shutting-down', '1'],
    );
    assert.equal(content(), before);
    assert.equal((await send(null, { url: '/healthz' })).statusCode, 200);
  });

  it('lets a request that is being appended end', async (test) => {
    const gate = Promise.withResolvers<void>();
    let appending = false;
    const before = async (operation: string) => {
      if (operation !== 'appendOnce') return;
      appending = true;
      await gate.promise;
    };
    const { connect, head, app } = await open(test, { hooks: { before } });
    const body = JSON.stringify([envelope()]);
    const client = connect();
    await client.send(`${head(`content-length: ${body.length}`)}${body}`);
    await eventually(() => appending);
    const closed = app.close();
    gate.resolve();
    assert.match(await client.until(/\}$/), /^HTTP\/1\.1 201 /);
    client.socket.destroy();
    await closed;
  });
});
