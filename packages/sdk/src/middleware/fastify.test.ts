import assert from 'node:assert/strict';
import { it } from 'node:test';
import Fastify, { type FastifyRequest } from 'fastify';
import { type AuditContext, currentContext, withoutContext } from '../context/context.ts';
import { describeMiddleware } from './contract/middleware-contract-fixture.ts';
import { evidentFastify } from './fastify.ts';

describeMiddleware<FastifyRequest>('the plugin for Fastify', {
  async build(options, { json, stream }) {
    const app = Fastify();
    await app.register(evidentFastify, options);
    await app.register(async (inner) => {
      inner.get('/stream', (_request, reply) => reply.send(stream()));
      for (const [url, respond] of Object.entries(json)) {
        inner.route({
          method: ['GET', 'POST'],
          url,
          handler: async (request, reply) =>
            reply.type('application/json').send(JSON.stringify(await respond(request.body ?? null))),
        });
      }
    });
    await app.listen({ port: 0, host: '127.0.0.1' });
    return app.server;
  },
  headerOf: (request, name) => request.headers[name] as string | undefined,
});

const actor = () => ({ id: 'usr_1', type: 'user' as const });

it('holds for the routes of whoever registers it, and not for a sibling', async () => {
  const app = Fastify();
  await app.register(async (inner) => {
    await inner.register(evidentFastify, { actor });
    inner.get('/inside', () => currentContext());
  });
  app.get('/beside', () => ({ seen: currentContext() }));
  assert.equal((await app.inject('/inside')).json().actor.id, 'usr_1');
  assert.deepEqual((await app.inject('/beside')).json(), { seen: null });
  await app.close();
});

it('shows the context to error handlers and to listeners of onResponse', async () => {
  const app = Fastify();
  const seen: (AuditContext | null)[] = [];
  await app.register(evidentFastify, { actor });
  app.addHook('onResponse', async () => void seen.push(currentContext()));
  app.setErrorHandler(async (_error, _request, reply) => {
    seen.push(currentContext());
    return reply.code(403).send();
  });
  app.get('/', () => {
    throw new Error('denied');
  });
  assert.equal((await app.inject('/')).statusCode, 403);
  assert.deepEqual(
    seen.map((context) => context?.actor?.id),
    ['usr_1', 'usr_1'],
  );
  await app.close();
});

it('takes the address that Fastify trusts, under its own setting', async () => {
  const headers = { 'x-forwarded-for': '203.0.113.9' };
  for (const [trustProxy, expected] of [
    [false, '127.0.0.1'],
    ['127.0.0.1', '203.0.113.9'],
  ] as const) {
    const app = Fastify({ trustProxy });
    await app.register(evidentFastify, { actor, client: true });
    app.get('/', () => currentContext());
    assert.equal((await app.inject({ url: '/', headers })).json().actor.ip_address, expected);
    await app.close();
  }
});

it('finds its way back when a hook before the body loses the context', async () => {
  const app = Fastify();
  await app.register(evidentFastify, { actor });
  const seen: unknown[] = [];
  app.addHook('preParsing', (_request, _reply, payload, done) => {
    withoutContext(() => setImmediate(() => done(null, payload)));
  });
  app.addContentTypeParser('text/lost', (_request, payload, done) => {
    seen.push(currentContext());
    payload.resume();
    done(null, null);
  });
  app.post('/', () => ({ id: currentContext()?.actor?.id }));
  const headers = { 'content-type': 'text/lost' };
  assert.deepEqual((await app.inject({ method: 'POST', url: '/', headers, body: 'x' })).json(), {
    id: 'usr_1',
  });
  assert.deepEqual(seen, [null]);
  await app.close();
});
