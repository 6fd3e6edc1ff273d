import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { auditEvent, envelope, openTestServer } from './http-fixture.ts';
import {
  body,
  deep,
  event,
  ITEMS,
  item,
  json,
  ndjson,
  OTHER_ROUTES,
  RECORDS,
  SQL,
  WHOLE_REQUEST,
} from './malformed-requests.ts';

describe('malformed requests', () => {
  for (const [group, rows, isItem] of [
    ['whole requests', WHOLE_REQUEST, false],
    ['single items', ITEMS, true],
    ['other routes', OTHER_ROUTES, false],
  ] as const) {
    it(`of ${group} are each refused with a code and a field, take nothing, and leave the server up`, async (test) => {
      const server = await openTestServer(test);
      await server.append([auditEvent(), envelope()]);
      const content = server.content();
      for (const [what, { as = 'writer:acme', ...request }, status, code, field] of rows) {
        const response = await server.send(as, request);
        const answer = response.json();
        const problem = isItem ? answer.results[0].problem : answer;
        assert.deepEqual(
          [response.statusCode, problem.code, problem.field],
          [status, code, field],
          `${what}: ${response.body.slice(0, 400)}`,
        );
        if (!isItem) assert.equal(response.headers['content-type'], 'application/problem+json', what);
        assert.equal(problem.type, `/errors/${code}`, what);
        assert.ok(problem.detail.length <= 500 && !/\n\s+at /.test(problem.detail), what);
        assert.equal(server.content(), content, what);
        assert.equal((await server.send(null, { url: '/healthz' })).statusCode, 200, what);
      }
      assert.deepEqual(
        server.logged.filter(({ fields }) => fields.code === 'internal'),
        [],
      );
    });
  }

  it('are more than fifty', () => assert.ok(WHOLE_REQUEST.length + ITEMS.length + OTHER_ROUTES.length > 50));

  it('name the methods that a path takes', async (test) => {
    const server = await openTestServer(test);
    assert.equal((await server.send(null, { method: 'DELETE', url: '/v1/logs' })).headers.allow, 'GET, HEAD');
    assert.equal((await server.send(null, { method: 'GET', url: RECORDS })).headers.allow, 'POST');
  });

  it('do not take the good items of their batch along', async (test) => {
    const server = await openTestServer(test);
    const good = [envelope(), envelope()];
    const lines = [JSON.stringify(good[0]), 'broken', '{"id":7}', JSON.stringify(good[1])].join('\n');
    const response = await server.send('writer:acme', ndjson(lines));
    assert.equal(response.statusCode, 207);
    assert.deepEqual(
      response.json().results.map(({ status }: { status: string }) => status),
      ['appended', 'refused', 'refused', 'appended'],
    );
  });
});

describe('odd requests that are well-formed', () => {
  it('are records, as bytes: SQL, year 9999, duplicate members of foreign types, lone surrogates, deep bodies, control characters', async (test) => {
    const server = await openTestServer(test);
    for (const request of [
      item({ key: SQL, body: { [SQL]: SQL }, meta: { note: SQL } }),
      event({ event_time: '9999-12-31T23:59:59Z', details: { q: SQL } }),
      event({ event_time: '0001-01-01T00:00:00Z' }),
      json(body('{"a":1,"a":2}')),
      json(body('"\\ud800"')),
      json(body(deep(100))),
      json(body('{\n\t"a": 1\r\n}')),
      json(body('1e400')),
      json(body('"\u0001"'.replace('\u0001', '\\u0001'))),
    ]) {
      const response = await server.send('writer:acme', request);
      assert.equal(response.statusCode, 201, response.body);
    }
    const page = await server.send('auditor', { url: '/v1/logs/audit/partitions/0/records' });
    assert.equal(page.statusCode, 200);
    for (const line of page.body.trimEnd().split('\n')) assert.equal(JSON.parse(line).v, 1);
  });
});
