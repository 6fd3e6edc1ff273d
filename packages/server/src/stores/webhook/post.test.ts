import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { it, type TestContext } from 'node:test';
import { isPublicAddress } from './addresses.ts';
import { type Resolve, sendPost } from './post.ts';

const never = new AbortController().signal;

async function receiver(
  t: TestContext,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<number> {
  const server = createServer(answer);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const post = (url: string, over: object = {}) => ({
  url,
  headers: { 'content-type': 'application/json' },
  body: Buffer.from('{}'),
  allowPrivate: true,
  timeoutMs: 5_000,
  ...over,
});

it('tells public addresses from all others', () => {
  for (const address of ['1.1.1.1', '8.8.8.8', '172.32.0.1', '2606:4700::1111', '2a00::1'])
    assert.equal(isPublicAddress(address), true, address);
  for (const address of [
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.169.254',
    '172.31.255.255',
    '192.168.1.1',
    '198.19.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '64:ff9b::a9fe:a9fe',
    'fc00::1',
    'fe80::1',
    'ff02::1',
    '2001:db8::1',
    '2002:7f00:1::',
    'localhost',
    '0x7f.1',
    '',
  ])
    assert.equal(isPublicAddress(address), false, address);
});

it('sends the body, and answers with the status', async (t) => {
  let got = '';
  const port = await receiver(t, async (request, response) => {
    for await (const chunk of request) got += chunk;
    response.writeHead(204).end();
  });
  assert.deepEqual(await sendPost(post(`http://127.0.0.1:${port}/a`), never), {
    kind: 'answered',
    status: 204,
  });
  assert.equal(got, '{}');
});

it('reaches no private address, however it is written or named', async (t) => {
  let reached = 0;
  const port = await receiver(t, (_request, response) => {
    reached++;
    response.end();
  });
  const rebinding: Resolve = async () => [
    { address: '8.8.8.8', family: 4 },
    { address: '127.0.0.1', family: 4 },
  ];
  for (const host of [
    '127.0.0.1',
    'localhost',
    '[::1]',
    '0x7f000001',
    '2130706433',
    '127.1',
    '[::ffff:127.0.0.1]',
    '0.0.0.0',
  ]) {
    const answer = await sendPost(post(`http://${host}:${port}/`, { allowPrivate: false }), never);
    assert.ok(answer.kind === 'unreachable' && /not of the public network/.test(answer.reason), host);
  }
  const answer = await sendPost(post(`http://a.example:${port}/`, { allowPrivate: false }), never, rebinding);
  assert.deepEqual(answer, {
    kind: 'unreachable',
    reason: 'a.example has no address, or one that is not of the public network',
  });
  // A name that does not exist is answered alike: nobody finds out so which names there are in here.
  const nameless: Resolve[] = [async () => [], () => Promise.reject(new Error('getaddrinfo ENOTFOUND'))];
  for (const resolve of nameless)
    assert.deepEqual(
      await sendPost(post('https://a.example/', { allowPrivate: false }), never, resolve),
      answer,
    );
  assert.equal(reached, 0);
});

it('connects to the address that was looked at, not to what the name means later', async (t) => {
  let host: string | undefined;
  const port = await receiver(t, (request, response) => {
    host = request.headers.host;
    response.end();
  });
  let asked = 0;
  const once: Resolve = async () => {
    asked++;
    return [{ address: '127.0.0.1', family: 4 }];
  };
  const answer = await sendPost(post(`http://no-such-name.invalid:${port}/`), never, once);
  assert.deepEqual(answer, { kind: 'answered', status: 200 });
  assert.equal(asked, 1);
  assert.equal(host, `no-such-name.invalid:${port}`);
});

it('follows no redirect', async (t) => {
  const paths: (string | undefined)[] = [];
  const port = await receiver(t, (request, response) => {
    paths.push(request.url);
    response.writeHead(302, { location: '/elsewhere' }).end();
  });
  assert.deepEqual(await sendPost(post(`http://127.0.0.1:${port}/`), never), {
    kind: 'answered',
    status: 302,
  });
  assert.deepEqual(paths, ['/']);
});

it('waits for no answer longer than it may, and reads no endless one', async (t) => {
  const hangs = await receiver(t, () => undefined);
  assert.deepEqual(await sendPost(post(`http://127.0.0.1:${hangs}/`, { timeoutMs: 100 }), never), {
    kind: 'unreachable',
    reason: 'no answer within 100 ms',
  });
  const chatters = await receiver(t, (_request, response) => {
    response.writeHead(200);
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(16_384)));
    };
    response.on('drain', more);
    more();
  });
  assert.deepEqual(await sendPost(post(`http://127.0.0.1:${chatters}/`), never), {
    kind: 'answered',
    status: 200,
  });
});

it('says why nobody answered', async () => {
  const answer = await sendPost(post('http://127.0.0.1:1/'), never);
  assert.ok(answer.kind === 'unreachable' && /ECONNREFUSED/.test(answer.reason));
  const nameless = await sendPost(post('https://a.invalid/'), never, async () => []);
  assert.deepEqual(nameless, { kind: 'unreachable', reason: 'a.invalid has no address' });
});
