import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { EvidentError } from '@evident/core/errors.ts';
import type { QueryDeps } from '../query/ports.ts';
import {
  auditEvent,
  envelope,
  openTestServer,
  type TestServer,
  type TestServerOptions,
} from './http-fixture.ts';

interface Shown {
  id: string;
  tenant: string;
  actor_id: string | null;
  event_time: string;
  corrected_by: string[];
}

const minute = (n: number) => `2026-11-20T10:${String(n).padStart(2, '0')}:00Z`;

/** Sixty events of acme, one a minute, of two actors by turns, and ten of another tenant; projected. */
async function openFilled(test: TestContext, options: TestServerOptions = {}): Promise<TestServer> {
  const server = await openTestServer(test, options);
  const event = (n: number, tenant: string) => {
    const actor = `usr_${n % 2}`;
    const action = n % 3 === 0 ? 'document.delete' : 'document.update';
    return auditEvent(
      { key: `${tenant}/${actor}` },
      {
        event_time: minute(n),
        tenant,
        action,
        actor: { id: actor, type: 'user' },
        details: { note: `n${n} Größe` },
      },
    );
  };
  await server.append(Array.from({ length: 60 }, (_, n) => event(n, 'acme')));
  await server.append(
    Array.from({ length: 10 }, (_, n) => event(n, 'other')),
    'writer:other',
  );
  await server.project();
  return server;
}

async function pageOf(server: TestServer, as: string, query: string) {
  const response = await server.send(as, { url: `/v1/events?${query}` });
  assert.equal(response.statusCode, 200, response.body);
  return response.json() as {
    events: Shown[];
    cursor: string | null;
    complete: { behind: string; lacking: number };
  };
}

describe('GET /v1/events', () => {
  it('gives what matches, newest first, page by page to the end, each event once', async (test) => {
    const server = await openFilled(test);
    const seen: Shown[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const next: string = cursor === '' ? '' : `&cursor=${cursor}`;
      const page = await pageOf(server, 'investigator:acme', `actor=usr_1&limit=7${next}`);
      seen.push(...page.events);
      cursor = page.cursor;
    }
    assert.deepEqual(
      seen.map(({ event_time }) => event_time.slice(0, 16)),
      Array.from({ length: 30 }, (_, n) => minute(59 - 2 * n).slice(0, 16)),
    );
    assert.deepEqual(
      [...new Set(seen.map(({ actor_id, tenant }) => `${tenant} ${actor_id}`))],
      ['acme usr_1'],
    );
  });

  it('says what the answer covers: how far the view has read, and what it could not take', async (test) => {
    const server = await openFilled(test);
    const before = await pageOf(server, 'auditor:acme', 'limit=1');
    assert.deepEqual([before.complete.behind, before.complete.lacking], ['0', 0]);
    await server.append([auditEvent(), auditEvent()]);
    assert.equal((await pageOf(server, 'auditor:acme', 'limit=1')).complete.behind, '2');
  });

  it('is recorded with who, why, filter and number before it is answered, and not answered when that fails', async (test) => {
    const server = await openFilled(test);
    await pageOf(server, 'investigator:acme', 'action_prefix=document.d&limit=5&why=ticket%2042');
    const { reader, ...note } = server.reads.notes.at(-1)!;
    assert.match(reader.actor.id, /^key:/);
    assert.deepEqual(
      [reader.actor.role, reader.tenant, reader.why, note.action, note.tenant, note.details.events],
      ['investigator', 'acme', 'ticket 42', 'audit.read', 'acme', 5],
    );
    server.reads.isRefusing = true;
    for (const url of [
      '/v1/events',
      '/v1/events/count?by=actor',
      '/v1/events/histogram?interval=day',
      '/v1/export?format=csv',
      '/v1/logs/audit/partitions/0/records',
      '/v1/logs/audit/tail',
    ]) {
      const refused = await server.send('auditor', { url });
      assert.deepEqual([refused.statusCode, refused.json().code], [503, 'read-unrecorded'], url);
      assert.doesNotMatch(refused.body, /usr_/);
    }
    assert.equal((await server.append([auditEvent()])).statusCode, 201, 'capture goes on');
  });

  it('shows a reader of one tenant that tenant alone, and one of all the tenant that is named', async (test) => {
    const server = await openFilled(test);
    const tenantsOf = async (as: string, query: string) => [
      ...new Set((await pageOf(server, as, query)).events.map(({ tenant }) => tenant)),
    ];
    assert.deepEqual(await tenantsOf('investigator:acme', 'limit=1000'), ['acme']);
    assert.deepEqual((await tenantsOf('investigator', 'limit=1000')).sort(), ['acme', 'other']);
    assert.deepEqual(await tenantsOf('investigator', 'tenant=other'), ['other']);
    const foreign = (await pageOf(server, 'investigator', 'tenant=other')).events[0].id;
    const hidden = await server.send('investigator:acme', { url: `/v1/events/${foreign}` });
    const unknown = await server.send('investigator:acme', {
      url: `/v1/events/${foreign.replace(/.$/, 'z').replace('z', '0')}`,
    });
    assert.deepEqual([hidden.statusCode, hidden.json().code], [404, 'not-found']);
    assert.equal(unknown.json().code, 'not-found');
  });

  it('does not take a cursor of another search, or of a reader of another tenant', async (test) => {
    const server = await openFilled(test);
    const { cursor } = await pageOf(server, 'investigator:acme', 'actor=usr_1&limit=2');
    for (const [as, query] of [
      ['investigator:acme', 'actor=usr_0'],
      ['investigator', 'actor=usr_1'],
    ]) {
      const refused = await server.send(as, { url: `/v1/events?${query}&cursor=${cursor}` });
      assert.deepEqual([refused.statusCode, refused.json().code], [400, 'cursor-invalid']);
    }
  });

  it('finds text in bodies within a span, and says how much it read', async (test) => {
    const server = await openFilled(test);
    const response = await server.send('auditor', {
      url: `/v1/events?text=${encodeURIComponent('N7 Größe')}&from=${minute(0)}&to=${minute(30)}&tenant=acme`,
    });
    const { events, scan } = response.json();
    assert.deepEqual(
      events.map(({ event_time }: Shown) => event_time.slice(0, 16)),
      [minute(7).slice(0, 16)],
    );
    assert.ok(scan.records === 30 && scan.bytes > 0 && scan.not_searched === 0, JSON.stringify(scan));
  });
});

describe('GET /v1/events/count and /histogram', () => {
  it('count what the filter finds, by value and by time', async (test) => {
    const server = await openFilled(test);
    const counts = await server.send('auditor:acme', { url: '/v1/events/count?by=action&actor=usr_0' });
    assert.deepEqual(counts.json().counts, [
      { value: 'document.update', count: 20 },
      { value: 'document.delete', count: 10 },
    ]);
    const buckets = await server.send('auditor:acme', { url: '/v1/events/histogram?interval=hour' });
    assert.deepEqual(buckets.json().buckets, [{ start: '2026-11-20T10:00:00.000000Z', count: 60 }]);
  });
});

describe('GET /v1/events/{id} and by place', () => {
  it('give the row, the leaf byte for byte, and what corrects it', async (test) => {
    const server = await openFilled(test);
    const original = auditEvent();
    await server.append([original]);
    const correction = auditEvent({}, { action: 'audit.correction', details: { corrects: original.id } });
    await server.append([correction]);
    await server.project();
    const shown = (await server.send('auditor:acme', { url: `/v1/events/${original.id}` })).json();
    assert.equal(JSON.parse(shown.leaf).id, original.id);
    assert.deepEqual(shown.event.corrected_by, [correction.id]);
    assert.deepEqual(
      shown.corrections.map(({ id }: Shown) => id),
      [correction.id],
    );
    const { partition, position } = shown.event;
    const url = `/v1/logs/audit/partitions/${partition}/records/${position}`;
    assert.deepEqual((await server.send('auditor:acme', { url })).json(), shown);
    assert.equal((await server.send('auditor:acme', { url: `${url}999` })).statusCode, 404);
  });

  it('show a record that the view has not read, without a row', async (test) => {
    const server = await openFilled(test);
    const fresh = auditEvent();
    await server.append([fresh]);
    const shown = (await server.send('auditor:acme', { url: `/v1/events/${fresh.id}` })).json();
    assert.equal(shown.event, null);
    assert.equal(JSON.parse(shown.leaf).id, fresh.id);
  });
});

describe('saved searches', () => {
  const put = (server: TestServer, as: string, filter: object, name = 'deletions') =>
    server.send(as, {
      method: 'PUT',
      url: `/v1/saved-searches/${name}`,
      headers: { 'content-type': 'application/json' },
      payload: JSON.stringify({ filter }),
    });

  it('are kept, listed, run with members put in place of theirs, and dropped', async (test) => {
    const server = await openFilled(test);
    assert.equal(
      (await put(server, 'compliance:acme', { action: 'document.delete', actor: 'usr_0' })).statusCode,
      204,
    );
    const { searches } = (await server.send('investigator:acme', { url: '/v1/saved-searches' })).json();
    assert.deepEqual(searches[0].filter, { actor: 'usr_0', action: 'document.delete' });
    const one = await server.send('investigator:acme', { url: '/v1/saved-searches/deletions' });
    assert.deepEqual(one.json(), searches[0]);
    assert.equal((await pageOf(server, 'investigator:acme', 'saved=deletions')).events.length, 10);
    assert.equal(
      (await pageOf(server, 'investigator:acme', 'saved=deletions&actor=usr_1')).events.length,
      10,
    );
    const empty = await server.send('investigator:acme', {
      url: `/v1/events?saved=deletions&to=${minute(1)}`,
    });
    assert.equal(empty.json().events.length, 1);
    const drop = () =>
      server.send('compliance:acme', { method: 'DELETE', url: '/v1/saved-searches/deletions' });
    assert.deepEqual([(await drop()).statusCode, (await drop()).statusCode], [204, 404]);
  });

  it('are each tenant’s own', async (test) => {
    const server = await openFilled(test);
    await put(server, 'compliance:acme', {});
    assert.deepEqual((await server.send('investigator', { url: '/v1/saved-searches' })).json().searches, []);
    assert.equal(
      (await server.send('investigator', { url: '/v1/saved-searches?tenant=acme' })).json().searches.length,
      1,
    );
    assert.equal(
      (await server.send('investigator', { url: '/v1/saved-searches/deletions' })).statusCode,
      404,
    );
  });
});

describe('reads of logs', () => {
  it('are recorded when records are in the answer, but for the logs that are public', async (test) => {
    const server = await openTestServer(test);
    await server.append([envelope({ key: 'k' })]);
    const pages = [0, 1, 2].map((partition) => `/v1/logs/audit/partitions/${partition}/records`);
    for (const url of [
      ...pages,
      '/v1/logs/heads/partitions/0/records',
      '/v1/logs',
      '/v1/logs/audit/partitions/0/head',
    ])
      await server.send('auditor:acme', { url: url });
    assert.deepEqual(
      server.reads.notes.map(({ action, resource, details }) => [action, resource.id, details.records]),
      [['audit.read', 'audit', 1]],
    );
  });
});

describe('a tenant whose queries fill its share', () => {
  it('is told so, and when to come again; nothing of it is logged as a fault', async (test) => {
    const refuse = async () => {
      throw new EvidentError(
        'tenant-busy',
        'counting events by actor: 3 queries of this tenant run, and 32 wait',
      );
    };
    const every = new Proxy({}, { get: () => refuse });
    const query: QueryDeps = {
      view: every as QueryDeps['view'],
      savedSearches: every as QueryDeps['savedSearches'],
      recorder: { record: async () => undefined },
      bodies: { get: async () => null },
      installation: 'evident.invalid/x',
    };
    const server = await openTestServer(test, { query });
    const before = server.logged.length;
    for (const url of [
      '/v1/events',
      '/v1/events/count?by=actor',
      '/v1/events/histogram?interval=day&from=2026-11-20&to=2026-11-21',
      '/v1/events/0198c5a0-0000-7000-8000-000000000001',
      '/v1/export?format=csv',
      '/v1/saved-searches',
      '/v1/saved-searches/nights',
    ]) {
      const answer = await server.send('investigator:acme', { url });
      assert.deepEqual([answer.statusCode, answer.json().code], [503, 'tenant-busy'], url);
      assert.equal(answer.json().retryable, true);
      assert.match(answer.json().detail, /3 queries of this tenant run/);
      assert.ok(Number(answer.headers['retry-after']) > 0, url);
    }
    assert.equal(server.logged.length, before);
  });
});
