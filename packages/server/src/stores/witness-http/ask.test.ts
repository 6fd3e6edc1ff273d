import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { COSIGNATURES_BYTES_MAX } from '@evident/core/tlog-witness.ts';
import { WitnessHttp, type WitnessHttpOptions } from './ask.ts';

const REQUEST = Buffer.from('old 0\n\na head\n');
const NEVER = new AbortController().signal;

async function serve(
  t: TestContext,
  listener: RequestListener,
  options: WitnessHttpOptions = {},
): Promise<{ ask: (signal?: AbortSignal) => ReturnType<WitnessHttp['ask']>; connections: () => number }> {
  const server = createServer(listener);
  let connections = 0;
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const http = new WitnessHttp(options);
  t.after(() => {
    http.close();
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a`;
  return { ask: (signal = NEVER) => http.ask(url, REQUEST, signal), connections: () => connections };
}

describe('a request to a witness', () => {
  it('is posted below the prefix, and its answer comes as it was sent', async (t) => {
    const seen: string[] = [];
    const { ask } = await serve(t, async (request, response) => {
      const chunks = await Array.fromAsync(request);
      seen.push(`${request.method} ${request.url} ${Buffer.concat(chunks)}`);
      response.writeHead(409, { 'content-type': 'Text/X.tlog.size; a=b', 'retry-after': '3' });
      response.end('7\n');
    });
    const { body, ...rest } = await ask();
    assert.deepEqual(seen, [`POST /a/add-checkpoint ${REQUEST}`]);
    assert.deepEqual(rest, { status: 409, mediaType: 'text/x.tlog.size', retryAfterMs: 3_000 });
    assert.equal(Buffer.from(body).toString(), '7\n');
  });

  it('uses one connection for many, and follows no redirect', async (t) => {
    const { ask, connections } = await serve(t, (request, response) => {
      request.resume();
      response.writeHead(307, { location: '/elsewhere' }).end();
    });
    for (let asked = 0; asked < 5; asked++) assert.equal((await ask()).status, 307);
    assert.equal(connections(), 1);
  });

  it('is sent again, once, when the connection that was kept has ended', async (t) => {
    let answered = 0;
    const { ask, connections } = await serve(t, (request, response) => {
      request.resume();
      // The second request meets a connection that ends without an answer.
      if (++answered === 2) request.socket.resetAndDestroy();
      else response.end('ok');
    });
    await ask();
    assert.equal((await ask()).status, 200);
    assert.equal(connections(), 2);
    assert.equal(answered, 3);
  });

  it('fails when nothing answers, in time, and at once when it is called off', async (t) => {
    const silent = await serve(t, () => undefined, { answerMs: 50 });
    await assert.rejects(silent.ask(), /no answer within 50 ms/);
    const { ask } = await serve(t, () => undefined);
    await assert.rejects(ask(AbortSignal.abort()), { name: 'AbortError' });
    await assert.rejects(new WitnessHttp().ask('http://127.0.0.1:1', REQUEST, NEVER), /ECONNREFUSED/);
  });

  it('fails when the answer is larger than any, or is cut', async (t) => {
    const large = await serve(t, (_request, response) => {
      response.end(Buffer.alloc(COSIGNATURES_BYTES_MAX + 1));
    });
    await assert.rejects(large.ask(), /over 65536 bytes/);
    const cut = await serve(t, (_request, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('12345', () => response.destroy());
    });
    await assert.rejects(cut.ask());
  });
});
