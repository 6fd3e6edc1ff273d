import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { it } from 'node:test';
import { encodeUtf8 } from '@evident/core/bytes.ts';
import { askTsa, REPLY_BYTES_MAX } from './ask.ts';

const REPLY = 'application/timestamp-reply';

/** Asks a server that answers like this. */
async function ask(listener: RequestListener, mostMs = 5_000, signal = new AbortController().signal) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    return await askTsa(`http://127.0.0.1:${port}/tsr`, encodeUtf8('query'), signal, mostMs);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

it('posts the query and gives the reply, byte for byte', async () => {
  const seen: unknown[] = [];
  const body = Uint8Array.from({ length: REPLY_BYTES_MAX }, (_, at) => at & 255);
  const answer = await ask((request, response) => {
    let sent = '';
    request.on('data', (chunk) => (sent += String(chunk)));
    request.on('end', () => {
      seen.push(request.method, request.url, request.headers['content-type'], request.headers.accept, sent);
      response.writeHead(200, { 'content-type': `${REPLY}; x=y` }).end(body);
    });
  });
  assert.deepEqual(seen, ['POST', '/tsr', 'application/timestamp-query', REPLY, 'query']);
  assert.ok(answer.kind === 'replied');
  assert.deepEqual(answer.reply, body);
});

it('refuses another status, another media type, a redirect and a reply that is too large', async () => {
  const followed: string[] = [];
  for (const [status, headers, length, reason] of [
    [500, { 'content-type': REPLY }, 1, /status 500/],
    [201, { 'content-type': REPLY }, 1, /status 201/],
    [302, { 'content-type': REPLY, location: '/elsewhere' }, 1, /status 302/],
    [200, { 'content-type': 'text/html' }, 1, /text\/html/],
    [200, {}, 1, /no media type/],
    [200, { 'content-type': REPLY }, REPLY_BYTES_MAX + 1, /more than 65536 bytes/],
  ] as const) {
    const answer = await ask((request, response) => {
      followed.push(request.url ?? '');
      response.writeHead(status, headers).end(new Uint8Array(length));
    });
    assert.ok(answer.kind === 'refused', `${status}`);
    assert.match(answer.reason, reason);
  }
  assert.deepEqual([...new Set(followed)], ['/tsr']);
});

it('hears how long it shall wait, in seconds', async () => {
  for (const [value, ms] of [
    ['120', 120_000],
    ['Sat, 21 Nov 2026 10:00:00 GMT', null],
    ['-1', null],
  ] as const) {
    const answer = await ask((_, response) => response.writeHead(503, { 'retry-after': value }).end());
    assert.ok(answer.kind === 'refused');
    assert.equal(answer.retryAfterMs, ms);
  }
});

it('gives up on one that does not answer, that does not end, or that is not there', async () => {
  const silent = await ask(() => undefined, 50);
  assert.deepEqual(silent, { kind: 'unreachable', reason: 'no answer within 50 ms' });
  const endless = await ask((_, response) => {
    response.writeHead(200, { 'content-type': REPLY }).write('x');
  }, 50);
  assert.deepEqual(endless, { kind: 'unreachable', reason: 'no answer within 50 ms' });
  const absent = await askTsa('http://127.0.0.1:1/', encodeUtf8('q'), new AbortController().signal);
  assert.ok(absent.kind === 'unreachable');
  const stop = new AbortController();
  const stopped = await ask(() => stop.abort(), 60_000, stop.signal);
  assert.equal(stopped.kind, 'unreachable');
});
