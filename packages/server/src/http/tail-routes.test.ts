import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { auditEvent, envelope, openTestServer, type TestServerOptions } from './http-fixture.ts';
import { eventually, RawClient } from './raw-client.ts';

async function open(test: TestContext, options: TestServerOptions = {}) {
  const server = await openTestServer(test, { ...options, limits: { tailPollMs: 10, ...options.limits } });
  const { port } = await server.listen();
  const tail = async (as: string, lastEventId?: string, query = '') => {
    const client = new RawClient(port);
    test.after(() => client.abort());
    const resume = lastEventId === undefined ? '' : `last-event-id: ${lastEventId}\r\n`;
    await client.send(
      `GET /v1/logs/audit/tail${query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.keys[as]}\r\n${resume}\r\n`,
    );
    await client.until(/\n\n|"code"/);
    return client;
  };
  return { ...server, tail };
}

interface Event {
  id: string;
  data: { id: string; tenant: string; partition: number; position: string };
}

function eventsOf(received: string): Event[] {
  return [...received.matchAll(/^id: ([0-9,]+)\ndata: (.*)$/gm)].map(([, id, data]) => ({
    id,
    data: JSON.parse(data),
  }));
}

describe('GET /v1/logs/{log}/tail', { timeout: 120_000 }, () => {
  it('gives each record once, from now on, and goes on where Last-Event-ID says', async (test) => {
    const { tail, append } = await open(test);
    await append([envelope()]);
    const client = await tail('auditor');
    assert.match(client.received, /content-type: text\/event-stream/);
    const items = Array.from({ length: 30 }, (_, i) => envelope({ key: `k${i}` }));
    for (const item of items) await append([item]);
    await eventually(() => eventsOf(client.received).length >= 30);
    const events = eventsOf(client.received);
    assert.deepEqual(events.map(({ data }) => data.id).sort(), items.map(({ id }) => id as string).sort());
    const again = await tail('auditor', events[9].id);
    await eventually(() => eventsOf(again.received).length >= 20);
    const rest = events.slice(10).map(({ data }) => data.id);
    assert.deepEqual(
      eventsOf(again.received)
        .map(({ data }) => data.id)
        .sort(),
      rest.sort(),
    );
  });

  it('keeps the order of each partition, and reads on at once while there is more than a step', async (test) => {
    const { tail, append } = await open(test, { limits: { readRecordsMax: 6, tailPollMs: 100 } });
    const client = await tail('auditor', '0,0,0');
    await append(Array.from({ length: 300 }, (_, i) => envelope({ key: `k${i}` })));
    await eventually(() => eventsOf(client.received).length >= 300);
    for (const partition of [0, 1, 2]) {
      const positions = eventsOf(client.received)
        .filter(({ data }) => data.partition === partition)
        .map(({ data }) => Number(data.position));
      assert.deepEqual(
        positions,
        positions.map((_, index) => index),
      );
    }
  });

  it('gives a reader of one tenant the records of that tenant alone', async (test) => {
    const { tail, append } = await open(test);
    const client = await tail('auditor:acme');
    for (let i = 0; i < 5; i++) {
      await append([envelope({ key: `k${i}` })], 'writer:other');
      await append([envelope({ key: `k${i}` })], 'writer:acme');
    }
    await eventually(() => eventsOf(client.received).length >= 5);
    assert.deepEqual([...new Set(eventsOf(client.received).map(({ data }) => data.tenant))], ['acme']);
    assert.doesNotMatch(client.received, /"other"/);
  });

  it('gives, with a filter, what a search for it would find, as it is appended', async (test) => {
    const { tail, append } = await open(test);
    const client = await tail('auditor', undefined, '?actor=usr_2&result=denied&text=GEHEIM');
    const event = (actor: string, result: string, note: string) =>
      auditEvent(
        { key: `acme/${actor}` },
        {
          actor: { id: actor, type: 'user' },
          result,
          details: { note },
          ...(result === 'denied' ? { reason: 'no' } : {}),
        },
      );
    const wanted = event('usr_2', 'denied', 'geheim');
    await append([event('usr_1', 'denied', 'geheim'), event('usr_2', 'success', 'geheim')]);
    await append([event('usr_2', 'denied', 'other'), envelope({ body: 'geheim' }), wanted]);
    await append([event('usr_2', 'denied', 'geheim, and last')]);
    await eventually(() => eventsOf(client.received).length >= 2);
    assert.equal(eventsOf(client.received)[0].data.id, wanted.id);
    assert.equal(eventsOf(client.received).length, 2);
  });

  it('is recorded before its first byte, and with its end when the client goes away', async (test) => {
    const { tail, append, reads } = await open(test);
    const client = await tail('auditor:acme', undefined, '?action=document.update&why=ticket');
    assert.deepEqual(
      reads.notes.map(({ action, reader, resource }) => [action, reader.why, resource.id]),
      [['audit.tail.begin', 'ticket', 'audit']],
    );
    assert.deepEqual(reads.notes[0].details, { filter: { action: 'document.update' } });
    await append([auditEvent(), auditEvent(), envelope()]);
    await eventually(() => eventsOf(client.received).length >= 2);
    client.abort();
    await eventually(() => reads.notes.length === 2);
    const [, end] = reads.notes;
    assert.deepEqual([end.action, end.result, end.details.events], ['audit.tail.end', undefined, 2]);
  });

  it('says that it lives when nothing is new, with the id to go on from', async (test) => {
    const { tail } = await open(test, { limits: { tailHeartbeatMs: 20 } });
    const client = await tail('auditor');
    await client.until(/: still here\nid: 0,0,0\n\n[\s\S]*still here/);
  });

  it('ends cleanly when the server closes', async (test) => {
    const { tail, app } = await open(test);
    const clients = await Promise.all([tail('auditor'), tail('auditor')]);
    await app.close();
    for (const client of clients) assert.match(await client.untilClosed(), /\r\n0\r\n\r\n$/);
  });

  it('reads no further than its buffers for a client that does not, and forgets one that goes away', async (test) => {
    let reads = 0;
    const before = (operation: string) => {
      if (operation === 'readMany') reads++;
    };
    const { tail, append, send } = await open(test, {
      hooks: { before },
      limits: { readRecordsMax: 8, tailsMax: 1 },
    });
    for (let i = 0; i < 4; i++)
      await append(
        Array.from({ length: 100 }, (_, j) => envelope({ key: `k${i}/${j}`, body: 'x'.repeat(50_000) })),
      );
    const client = await tail('auditor', '0,0,0');
    client.socket.pause();
    let settled = -1;
    while (settled !== reads) {
      settled = reads;
      await new Promise((done) => setTimeout(done, 100));
    }
    assert.ok(reads < 400 / 8, `${reads} reads`);
    const refused = await send('auditor', { url: '/v1/logs/audit/tail' });
    assert.deepEqual([refused.statusCode, refused.json().code], [503, 'overloaded']);
    client.abort();
    const answered = async () => (await tail('auditor')).received;
    while (!(await answered()).startsWith('HTTP/1.1 200')) await new Promise((done) => setTimeout(done, 10));
  });

  it('ends when the log fails, so that the client comes back, and logs why', async (test) => {
    let fails = false;
    const before = () => {
      if (fails) throw new Error('the log is gone');
    };
    const { tail, logged } = await open(test, { hooks: { before } });
    const client = await tail('auditor');
    fails = true;
    await client.until(/\r\n0\r\n\r\n$/);
    assert.match(String(logged.at(-1)?.fields.err), /the log is gone/);
  });
});
