import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { pipeline } from 'node:stream';
import express from 'express';
import { describeMiddleware } from './contract/middleware-contract-fixture.ts';
import { evidentExpress } from './express.ts';

describeMiddleware<express.Request>('the middleware for Express', {
  async build(options, { json, stream }) {
    const app = express();
    app.use(evidentExpress(options));
    app.use(express.json());
    app.get('/stream', (_request, response) => {
      pipeline(stream(), response, () => {});
    });
    app.all(Object.keys(json), async (request, response) => {
      response.json(await json[request.path]?.(request.body ?? null));
    });
    app.use((error: unknown, _request: express.Request, response: express.Response, next: () => void) => {
      assert.equal(typeof next, 'function');
      response.status(500).json({ error: String(error) });
    });
    return createServer(app);
  },
  headerOf: (request, name) => request.get(name),
});
