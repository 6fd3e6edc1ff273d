import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { openTestServer, type TestServer } from './http-fixture.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

const reset = (server: TestServer, payload: object, as = 'admin', view = 'hot') =>
  server.send(as, {
    method: 'POST',
    url: `/v1/views/${view}/reset-breaker`,
    headers: JSON_TYPE,
    payload: JSON.stringify(payload),
  });

async function openBroken(test: TestContext): Promise<TestServer> {
  const server = await openTestServer(test);
  server.breaker.reason = '1000 dead letters in a row';
  return server;
}

describe('the breaker of a view over HTTP', () => {
  it('is shown with the view', async (test) => {
    const server = await openBroken(test);
    const shown = async () => (await server.send('auditor', { url: '/v1/views' })).json().views[0].breaker;
    assert.equal(await shown(), '1000 dead letters in a row');
    server.breaker.reason = null;
    assert.equal(await shown(), null);
  });

  it('is reset by an admin, with a reason, which is recorded first', async (test) => {
    const server = await openBroken(test);
    const response = await reset(server, { allow: 20_000, reason: 'the import of May is known to be bad' });
    assert.deepEqual([response.statusCode, response.json()], [200, { was_open: true }]);
    assert.deepEqual(server.breaker.resets, [20_000]);
    const [event] = server.recorded.filter(({ action }) => action === 'view.reset_breaker');
    assert.equal(event.reason, 'the import of May is known to be bad');
    assert.deepEqual(event.details, { allow: 20_000, stood_still: '1000 dead letters in a row' });
  });

  it('is not reset, and nothing is recorded, when it is closed, unknown, or without a reason', async (test) => {
    const server = await openBroken(test);
    assert.equal((await reset(server, { allow: 1 })).statusCode, 400);
    assert.equal((await reset(server, { allow: -1, reason: 'x' })).statusCode, 400);
    assert.equal((await reset(server, { reason: 'x' }, 'admin', 'cold')).statusCode, 404);
    assert.equal((await reset(server, { reason: 'x' }, 'compliance')).statusCode, 403);
    server.breaker.reason = null;
    assert.deepEqual((await reset(server, { reason: 'x' })).json(), { was_open: false });
    assert.deepEqual(server.breaker.resets, []);
    assert.deepEqual(
      server.recorded.filter(({ action }) => action === 'view.reset_breaker'),
      [],
    );
  });
});
