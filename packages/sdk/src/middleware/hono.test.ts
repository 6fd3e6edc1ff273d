import assert from 'node:assert/strict';
import { AsyncResource } from 'node:async_hooks';
import type { Server } from 'node:http';
import { Readable } from 'node:stream';
import { describe, it } from 'node:test';
import { createAdaptorServer } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { currentContext } from '../context/context.ts';
import { describeMiddleware } from './contract/middleware-contract-fixture.ts';
import { evidentHono } from './hono.ts';

describeMiddleware<Context>('the middleware for Hono', {
  async build(options, { json, stream }) {
    const app = new Hono();
    app.use(evidentHono(options));
    app.get('/stream', () => new Response(Readable.toWeb(stream()) as ReadableStream));
    for (const [path, respond] of Object.entries(json)) {
      app.on(['GET', 'POST'], path, async (c) =>
        c.json((await respond(c.req.method === 'POST' ? await c.req.json() : null)) as never),
      );
    }
    app.onError((error, c) => c.json({ error: String(error) }, 500));
    return createAdaptorServer(app) as Server;
  },
  headerOf: (c, name) => c.req.header(name),
});

describe('the middleware for Hono without a response of Node', () => {
  const build = (respond: (c: Context) => Response) => {
    let late = () => currentContext();
    const app = new Hono();
    app.use(evidentHono({ actor: () => ({ id: 'usr_1', type: 'user' }) }));
    app.get('/', (c) => {
      late = AsyncResource.bind(() => currentContext());
      return respond(c);
    });
    return { app, late: () => late() };
  };

  it('ends the context when the body has been read', async () => {
    const { app, late } = build((c) => c.text('hello', 200, { 'x-own': 'kept' }));
    const response = await app.request('/');
    assert.equal(late()?.actor?.id, 'usr_1');
    assert.equal(response.headers.get('x-own'), 'kept');
    assert.equal(response.headers.get('x-request-id'), late()?.context?.request_id);
    assert.equal(await response.text(), 'hello');
    assert.throws(late, { code: 'context-ended' });
  });

  it('ends the context when reading is given up', async () => {
    const { app, late } = build(
      () => new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(1)) })),
    );
    const response = await app.request('/');
    const reader = response.body?.getReader();
    await reader?.read();
    assert.equal(late()?.actor?.id, 'usr_1');
    assert.equal(response.headers.get('x-request-id'), late()?.context?.request_id);
    await reader?.cancel();
    assert.throws(late, { code: 'context-ended' });
  });

  it('ends the context at once when there is no body, or nobody reads it', async () => {
    const { app, late } = build((c) => c.body(null, 204));
    await app.request('/');
    assert.throws(late, { code: 'context-ended' });
    const head = build((c) => c.text('hello'));
    await head.app.request('/', { method: 'HEAD' });
    assert.throws(head.late, { code: 'context-ended' });
  });
});
