import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { auditEvent, openTestServer, type TestServer, type TestServerOptions } from './http-fixture.ts';
import { eventually, RawClient } from './raw-client.ts';

async function openFilled(
  test: TestContext,
  events: number,
  options: TestServerOptions = {},
): Promise<TestServer> {
  const server = await openTestServer(test, options);
  for (let done = 0; done < events; done += 500)
    await server.append(
      Array.from({ length: Math.min(500, events - done) }, () =>
        auditEvent({}, { details: { note: '=1+1, "quoted"', filler: 'x'.repeat(2_000) } }),
      ),
    );
  await server.project();
  return server;
}

const steps = (server: TestServer) =>
  server.reads.notes.map(({ action, result, details }) => [action, result, details.events]);

describe('GET /v1/export', { timeout: 120_000 }, () => {
  it('streams every event in each format, with begin and end on record', async (test) => {
    const server = await openFilled(test, 1_201);
    for (const [format, type, check] of [
      ['csv', 'text/csv', (line: string) => assert.equal(line.split(',').length > 15, true)],
      ['ndjson', 'application/x-ndjson', (line: string) => assert.ok(JSON.parse(line).leaf.id)],
      ['ocsf', 'application/x-ndjson', (line: string) => assert.ok(JSON.parse(line).class_uid)],
      [
        'cloudevents',
        'application/x-ndjson',
        (line: string) => assert.equal(JSON.parse(line).specversion, '1.0'),
      ],
    ] as const) {
      server.reads.notes.length = 0;
      const answer = await server.send('auditor:acme', { url: `/v1/export?format=${format}` });
      assert.equal(answer.statusCode, 200, answer.body.slice(0, 300));
      assert.ok(String(answer.headers['content-type']).startsWith(type));
      const lines = answer.body.trimEnd().split(/\r?\n/);
      assert.equal(lines.length, 1_201 + (format === 'csv' ? 1 : 0), format);
      for (const line of lines) check(line);
      assert.deepEqual(steps(server), [
        ['audit.export.begin', undefined, undefined],
        ['audit.export.end', undefined, 1_201],
      ]);
    }
  });

  it('ends with an outcome when the client goes away in the middle, and gives its place back', async (test) => {
    const server = await openFilled(test, 6_000, { limits: { exportsMax: 1 } });
    const { port } = await server.listen();
    const client = new RawClient(port);
    await client.send(
      `GET /v1/export?format=ndjson HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.keys.auditor}\r\n\r\n`,
    );
    await client.until(/application\/x-ndjson/);
    client.socket.pause();
    const refused = await server.send('auditor', { url: '/v1/export?format=csv' });
    assert.deepEqual([refused.statusCode, refused.json().code], [503, 'overloaded']);
    assert.equal(steps(server).length, 1, 'a client that does not read is waited for');
    client.abort();
    await eventually(() => server.reads.notes.some(({ action }) => action === 'audit.export.end'));
    const end = server.reads.notes.at(-1)!;
    assert.deepEqual([end.result, end.error], ['failure', 'the reader has gone']);
    assert.ok(Number(end.details.events) < 6_000, String(end.details.events));
    const again = await server.send('auditor', { url: '/v1/export?format=csv' });
    assert.equal(again.statusCode, 200);
  });

  it('breaks the connection, and does not end it, when the log fails in the middle or the server stops', async (test) => {
    const server = await openFilled(test, 6_000);
    const { port } = await server.listen();
    const open = async () => {
      const client = new RawClient(port);
      test.after(() => client.abort());
      await client.send(
        `GET /v1/export?format=ndjson HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.keys.auditor}\r\n\r\n`,
      );
      await client.until(/application\/x-ndjson/);
      client.socket.pause();
      return client;
    };
    const stopped = await open();
    const closed = server.app.close();
    stopped.socket.resume();
    assert.doesNotMatch(await stopped.untilClosed(), /\r\n0\r\n\r\n$/);
    await closed;
    await eventually(() => server.reads.notes.some(({ action }) => action === 'audit.export.end'));
    assert.equal(server.reads.notes.at(-1)?.result, 'failure');
  });
});
