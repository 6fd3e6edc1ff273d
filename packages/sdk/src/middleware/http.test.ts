import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { pipeline } from 'node:stream';
import { text } from 'node:stream/consumers';
import { it } from 'node:test';
import { currentContext } from '../context/context.ts';
import { describeMiddleware } from './contract/middleware-contract-fixture.ts';
import { evidentHttp } from './http.ts';

describeMiddleware<IncomingMessage>('the wrapper for node:http', {
  async build(options, { json, stream }) {
    const onError = (
      _error: unknown,
      _request: unknown,
      response: { statusCode: number; end(): unknown },
    ) => {
      response.statusCode = 500;
      response.end();
    };
    return createServer(
      evidentHttp({ ...options, onError }, async (request, response) => {
        if (request.url === '/stream') {
          pipeline(stream(), response, () => {});
          return;
        }
        const body = await text(request);
        const result = await json[request.url ?? '']?.(body === '' ? null : JSON.parse(body));
        response.setHeader('content-type', 'application/json').end(JSON.stringify(result));
      }),
    );
  },
  headerOf: (request, name) => request.headers[name] as string | undefined,
});

async function serve(listener: (request: IncomingMessage, response: never) => unknown) {
  const server = createServer(listener as never).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

it('answers 500 and warns, without an unhandled rejection, when nobody handles the error', async () => {
  const actor = () => Promise.reject(new Error('the token is forged'));
  const { server, port } = await serve(evidentHttp({ actor }, () => assert.fail('the handler ran')));
  const warned = once(process, 'warning');
  try {
    const [response] = await once(get({ host: '127.0.0.1', port }), 'response');
    assert.equal(response.statusCode, 500);
    response.resume();
    assert.match((await warned)[0].message, /the token is forged/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

it('keeps one request one, wrapped twice: the inner options add to the outer', async () => {
  const inner = evidentHttp<IncomingMessage, never>({ tenant: () => 'acme' }, (_request, response: never) => {
    (response as { end(text: string): void }).end(JSON.stringify(currentContext()));
  });
  const { server, port } = await serve(evidentHttp({ actor: () => ({ id: 'usr_1', type: 'user' }) }, inner));
  try {
    const [response] = await once(get({ host: '127.0.0.1', port }), 'response');
    const seen = JSON.parse(await text(response));
    assert.equal(seen.actor.id, 'usr_1');
    assert.equal(seen.tenant, 'acme');
    assert.equal(seen.context.request_id, response.headers['x-request-id']);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

it('shows the context to listeners of the request and of the response', async () => {
  const seen: unknown[] = [];
  const look = (event: string) => () => {
    let id: unknown;
    try {
      id = currentContext()?.actor?.id;
    } catch (error) {
      id = (error as { code: string }).code;
    }
    seen.push([event, id]);
  };
  const closed = Promise.withResolvers<void>();
  const listener = evidentHttp<IncomingMessage, ServerResponse>(
    { actor: () => ({ id: 'usr_1', type: 'user' }) },
    (request, response) => {
      request.once('data', look('data'));
      request.on('end', look('end')).on('end', () => response.end());
      response.on('finish', look('finish')).on('close', look('close')).on('close', closed.resolve);
    },
  );
  const { server, port } = await serve(listener);
  try {
    const client = send({ host: '127.0.0.1', port, method: 'POST' });
    client.end('body');
    const [response] = await once(client, 'response');
    response.resume();
    await closed.promise;
    assert.deepEqual(seen, [
      ['data', 'usr_1'],
      ['end', 'usr_1'],
      ['finish', 'usr_1'],
      ['close', 'context-ended'],
    ]);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

it('shows the context to those who listen for a client that hangs up', async () => {
  const arrived = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<string | undefined>();
  const listener = evidentHttp<IncomingMessage, ServerResponse>(
    { actor: () => ({ id: 'usr_1', type: 'user' }) },
    (_request, response) => {
      response.on('close', () => closed.resolve(currentContext()?.actor?.id));
      arrived.resolve();
    },
  );
  const { server, port } = await serve(listener);
  const client = connect(port, '127.0.0.1');
  client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await arrived.promise;
  client.destroy();
  assert.equal(await closed.promise, 'usr_1');
  server.close();
});
