import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import type { IdentityReader } from './deps.ts';
import {
  envelope,
  openTestServer,
  placeOf,
  type TestServer,
  type TestServerOptions,
} from './http-fixture.ts';
import { eventually, RawClient } from './raw-client.ts';

/** A server whose looks are counted, and whose commits are told of by `announce` alone. */
async function open(test: TestContext, options: TestServerOptions = {}) {
  const listeners = new Set<() => void>();
  const looks: number[] = [];
  let states: TestServer['states'] = new Map();
  const identities: IdentityReader = {
    find: async (sought) => {
      looks.push(sought.length);
      return sought.map((one) => placeOf(states, one));
    },
    onAppended: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const server = await openTestServer(test, { identities, ...options });
  ({ states } = server);
  const find = (id: unknown, query = '', as = 'writer:acme') =>
    server.send(as, { url: `/v1/logs/audit/events/${id}${query}` });
  const announce = () => {
    for (const listener of listeners) listener();
  };
  return { ...server, find, looks, listeners, announce };
}

/** Longer than a test may take: with it only a word of a commit ends a wait. */
const NEVER_POLLS = { limits: { waitPollMs: 60_000 } };

describe('GET /v1/logs/{log}/events/{id}', { timeout: 120_000 }, () => {
  it('says where the log holds an event, and 404 for one that it does not hold', async (test) => {
    const { append, find } = await open(test);
    const item = envelope();
    const [{ partition, position }] = (await append([item])).json().results;
    const found = await find(String(item.id).toUpperCase());
    assert.equal(found.statusCode, 200);
    assert.deepEqual(found.json(), { log: 'audit', id: item.id, tenant: 'acme', partition, position });
    const missing = await find(randomUUID());
    assert.deepEqual([missing.statusCode, missing.json().code], [404, 'not-found']);
  });

  it('shows a tenant its own events alone', async (test) => {
    const { append, find } = await open(test);
    const item = envelope();
    await append([item], 'writer:other');
    assert.equal((await find(item.id, '', 'writer:other')).statusCode, 200);
    assert.equal((await find(item.id, '', 'writer:acme')).statusCode, 404);
    const asked = await find(item.id, '?tenant=other', 'writer:acme');
    assert.deepEqual([asked.statusCode, asked.json().code], [403, 'tenant-forbidden']);
  });

  it('needs a tenant from a key that is for all', async (test) => {
    const { append, find } = await open(test);
    const item = envelope();
    await append([item]);
    for (const who of ['auditor', 'admin']) {
      const unnamed = await find(item.id, '', who);
      assert.deepEqual([unnamed.statusCode, unnamed.json().field], [400, 'tenant']);
      assert.equal((await find(item.id, '?tenant=acme', who)).statusCode, 200);
      assert.equal((await find(item.id, '?tenant=other', who)).statusCode, 404);
    }
  });

  it('refuses what is no id, no log and no time to wait', async (test) => {
    const { find, send } = await open(test);
    const id = randomUUID();
    const ROWS: [string, number, string][] = [
      [`/v1/logs/audit/events/nonsense`, 400, 'field-invalid'],
      [`/v1/logs/nothing/events/${id}`, 404, 'log-unknown'],
      [`/v1/logs/audit/events/${id}?wait_ms=-1`, 400, 'field-invalid'],
      [`/v1/logs/audit/events/${id}?wait_ms=30001`, 400, 'field-invalid'],
      [`/v1/logs/audit/events/${id}?wait_ms=soon`, 400, 'field-invalid'],
      [`/v1/logs/audit/events/${id}?waitms=1`, 400, 'field-unknown'],
    ];
    for (const [url, status, code] of ROWS) {
      const answer = await send('writer:acme', { url });
      assert.deepEqual([answer.statusCode, answer.json().code], [status, code], url);
    }
    assert.equal((await find(id, '?wait_ms=1')).statusCode, 404);
  });

  it('answers a wait at the commit that brings the event, and not before', async (test) => {
    const { append, announce, find, looks } = await open(test, NEVER_POLLS);
    const item = envelope();
    let answered = false;
    const waiting = find(item.id, '?wait_ms=30000').finally(() => (answered = true));
    await eventually(() => looks.length === 1);
    await append([envelope()]);
    announce();
    await eventually(() => looks.length === 2);
    assert.equal(answered, false);
    await append([item]);
    announce();
    assert.equal((await waiting).statusCode, 200);
  });

  it('finds by itself what somebody else has committed without a word', async (test) => {
    const { append, find, looks } = await open(test, { limits: { waitPollMs: 10 } });
    const item = envelope();
    const waiting = find(item.id, '?wait_ms=30000');
    await eventually(() => looks.length > 0);
    await append([item]);
    assert.equal((await waiting).statusCode, 200);
  });

  it('answers 404 when the time is over, though nothing was committed', async (test) => {
    const { find, listeners } = await open(test, NEVER_POLLS);
    assert.equal((await find(randomUUID(), '?wait_ms=30')).statusCode, 404);
    await eventually(() => listeners.size === 0);
  });

  it('looks for all who wait at once', async (test) => {
    const { append, announce, find, looks } = await open(test, NEVER_POLLS);
    const items = Array.from({ length: 40 }, () => envelope());
    const waiting = items.map(({ id }) => find(id, '?wait_ms=30000'));
    await eventually(() => looks.at(-1) === 40);
    const before = looks.length;
    await append(items);
    announce();
    for (const answer of await Promise.all(waiting)) assert.equal(answer.statusCode, 200);
    assert.equal(looks.length, before + 1);
  });

  it('lets no more wait than its bound, and forgets one that goes away', async (test) => {
    const { find, keys, listen, looks, listeners } = await open(test, {
      limits: { waitsMax: 1, waitPollMs: 10 },
    });
    const { port } = await listen();
    const client = new RawClient(port);
    test.after(() => client.abort());
    await client.send(
      `GET /v1/logs/audit/events/${randomUUID()}?wait_ms=30000 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${keys['writer:acme']}\r\n\r\n`,
    );
    await eventually(() => looks.length > 0);
    const refused = await find(randomUUID());
    assert.deepEqual([refused.statusCode, refused.json().code], [503, 'overloaded']);
    client.abort();
    await eventually(() => listeners.size === 0);
    assert.equal((await find(randomUUID())).statusCode, 404);
  });

  it('ends waits with shutting-down when the server stops', async (test) => {
    const stopping = new AbortController();
    const { find, looks } = await open(test, { ...NEVER_POLLS, stopping: stopping.signal });
    const waiting = find(randomUUID(), '?wait_ms=30000');
    await eventually(() => looks.length > 0);
    stopping.abort();
    const answer = await waiting;
    assert.deepEqual([answer.statusCode, answer.json().code], [503, 'shutting-down']);
  });

  it('answers a fault of the log as such, and looks again for the next', async (test) => {
    let fails = true;
    const { find } = await open(test, {
      identities: {
        find: async (sought) => {
          if (fails) throw new Error('the connection broke');
          return sought.map(() => ({ partition: 0, position: 7n }));
        },
        onAppended: () => () => undefined,
      },
    });
    assert.equal((await find(randomUUID(), '?wait_ms=30000')).statusCode, 500);
    fails = false;
    assert.equal((await find(randomUUID(), '?wait_ms=30000')).json().position, '7');
  });
});
