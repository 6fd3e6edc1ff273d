import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import type { InjectOptions } from 'fastify';
import { envelope, openTestServer, type TestServer } from './http-fixture.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const ADMINS = ['admin:acme', 'admin'];
/** Evidence: auditors, and those who may more. */
const EXAMINERS = ['auditor:acme', 'auditor', 'compliance:acme', 'compliance', ...ADMINS];
/** Who may change what others of the tenant rely on. */
const RESOLVERS = ['compliance:acme', 'compliance', ...ADMINS];
const READERS = ['investigator:acme', 'investigator', ...EXAMINERS];
const EVERYBODY = ['writer:acme', ...READERS];
const WRITERS = ['writer:acme', ...ADMINS];

/** Every route that needs a credential, and who may use it. */
const MATRIX: [route: string, request: () => InjectOptions, allowed: string[]][] = [
  [
    'POST /v1/logs/:log/records',
    () => ({
      url: '/v1/logs/audit/records?tenant=acme',
      headers: JSON_TYPE,
      payload: JSON.stringify([envelope()]),
    }),
    WRITERS,
  ],
  [
    'POST /v1/imports/:format',
    () => ({
      url: '/v1/imports/ndjson?tenant=acme',
      headers: { 'content-type': 'application/octet-stream' },
      payload: '{}\n',
    }),
    WRITERS,
  ],
  ['GET /v1/logs', () => ({ url: '/v1/logs' }), EVERYBODY],
  ['GET /v1/status', () => ({ url: '/v1/status' }), EVERYBODY],
  [
    'GET /v1/logs/:log/partitions/:partition/records',
    () => ({ url: '/v1/logs/audit/partitions/0/records' }),
    EXAMINERS,
  ],
  [
    'GET /v1/logs/:log/partitions/:partition/head',
    () => ({ url: '/v1/logs/audit/partitions/0/head' }),
    EVERYBODY,
  ],
  [
    'GET /v1/logs/:log/events/:id',
    () => ({ url: `/v1/logs/audit/events/${randomUUID()}?tenant=acme` }),
    EVERYBODY,
  ],
  [
    'GET /v1/logs/:log/partitions/:partition/records/:position',
    () => ({ url: '/v1/logs/audit/partitions/0/records/7' }),
    READERS,
  ],
  ['GET /v1/events', () => ({ url: '/v1/events' }), READERS],
  ['GET /v1/events/count', () => ({ url: '/v1/events/count?by=actor' }), READERS],
  ['GET /v1/events/histogram', () => ({ url: '/v1/events/histogram?interval=day' }), READERS],
  ['GET /v1/events/:id', () => ({ url: `/v1/events/${randomUUID()}` }), READERS],
  ['GET /v1/events/:id/proof', () => ({ url: `/v1/events/${randomUUID()}/proof` }), READERS],
  [
    'GET /v1/logs/:log/partitions/:partition/records/:position/proof',
    () => ({ url: '/v1/logs/audit/partitions/0/records/7/proof' }),
    READERS,
  ],
  [
    'GET /v1/logs/:log/partitions/:partition/consistency',
    () => ({ url: '/v1/logs/audit/partitions/0/consistency?from=1' }),
    EVERYBODY,
  ],
  ['GET /tlog/:log/:partition/checkpoint', () => ({ url: '/tlog/audit/0/checkpoint' }), EVERYBODY],
  ['GET /tlog/:log/:partition/tile/:level/:tile', () => ({ url: '/tlog/audit/0/tile/0/000' }), EVERYBODY],
  [
    'GET /tlog/:log/:partition/tile/entries/:tile',
    () => ({ url: '/tlog/audit/0/tile/entries/000' }),
    // They are of all tenants.
    EXAMINERS.filter((who) => !who.includes(':')),
  ],
  ['GET /v1/export', () => ({ url: '/v1/export?format=csv' }), READERS],
  ['GET /v1/saved-searches', () => ({ url: '/v1/saved-searches' }), READERS],
  ['GET /v1/saved-searches/:name', () => ({ url: '/v1/saved-searches/nights' }), READERS],
  [
    'PUT /v1/saved-searches/:name',
    () => ({ url: '/v1/saved-searches/nights', headers: JSON_TYPE, payload: '{"filter":{}}' }),
    RESOLVERS,
  ],
  ['DELETE /v1/saved-searches/:name', () => ({ url: '/v1/saved-searches/nights' }), RESOLVERS],
  ['GET /v1/dead-letters', () => ({ url: '/v1/dead-letters' }), READERS],
  [
    'GET /v1/dead-letters/:view/:log/:partition/:position',
    () => ({ url: '/v1/dead-letters/hot/audit/0/7' }),
    READERS,
  ],
  [
    'POST /v1/dead-letters/:view/:log/:partition/:position/replay',
    () => ({ url: '/v1/dead-letters/hot/audit/0/7/replay' }),
    RESOLVERS,
  ],
  [
    'POST /v1/dead-letters/replay',
    () => ({ url: '/v1/dead-letters/replay', headers: JSON_TYPE, payload: '{}' }),
    RESOLVERS,
  ],
  ...['discard', 'resolve'].map((action): [string, () => InjectOptions, string[]] => [
    `POST /v1/dead-letters/:view/:log/:partition/:position/${action}`,
    () => ({
      url: `/v1/dead-letters/hot/audit/0/7/${action}`,
      headers: JSON_TYPE,
      payload: '{"reason":"a test"}',
    }),
    RESOLVERS,
  ]),
  ['GET /v1/views', () => ({ url: '/v1/views' }), READERS],
  [
    'POST /v1/views/:view/reset-breaker',
    () => ({ url: '/v1/views/hot/reset-breaker', headers: JSON_TYPE, payload: '{"reason":"a test"}' }),
    ADMINS.filter((who) => !who.includes(':')),
  ],
  ['GET /v1/sources', () => ({ url: '/v1/sources' }), EXAMINERS.filter((who) => !who.includes(':'))],
  ['GET /metrics', () => ({ url: '/metrics' }), EXAMINERS.filter((who) => !who.includes(':'))],
  ['GET /v1/logs/:log/tail', () => ({ url: '/v1/logs/audit/tail' }), READERS],
  [
    'POST /v1/keys/rotate',
    () => ({ url: '/v1/keys/rotate', headers: JSON_TYPE, payload: '{"reason":"a test"}' }),
    ADMINS.filter((who) => !who.includes(':')),
  ],
  [
    'POST /v1/api-keys',
    () => ({ url: '/v1/api-keys', headers: JSON_TYPE, payload: '{"role":"writer","tenant":"acme"}' }),
    ADMINS,
  ],
  ['GET /v1/api-keys', () => ({ url: '/v1/api-keys' }), ADMINS],
  [
    'POST /v1/api-keys/:id/rotate',
    () => ({ url: '/v1/api-keys/0000000000000000/rotate', headers: JSON_TYPE, payload: '{}' }),
    ADMINS,
  ],
  ['GET /v1/alerts', () => ({ url: '/v1/alerts' }), READERS],
  [
    'POST /v1/alerts/:id/acknowledge',
    () => ({ url: `/v1/alerts/${randomUUID()}/acknowledge`, headers: JSON_TYPE, payload: '{}' }),
    RESOLVERS,
  ],
  ['GET /v1/alert-rules', () => ({ url: '/v1/alert-rules' }), READERS],
  ['POST /v1/alert-rules', () => ({ url: '/v1/alert-rules', headers: JSON_TYPE, payload: '{}' }), RESOLVERS],
  [
    'PATCH /v1/alert-rules/:id',
    () => ({ url: `/v1/alert-rules/${randomUUID()}`, headers: JSON_TYPE, payload: '{}' }),
    RESOLVERS,
  ],
  ['DELETE /v1/alert-rules/:id', () => ({ url: `/v1/alert-rules/${randomUUID()}` }), RESOLVERS],
  ['GET /v1/webhooks', () => ({ url: '/v1/webhooks' }), ADMINS],
  [
    'POST /v1/webhooks',
    () => ({ url: '/v1/webhooks', headers: JSON_TYPE, payload: '{"name":"n","url":"x"}' }),
    ADMINS,
  ],
  ['POST /v1/webhooks/:id/retry', () => ({ url: `/v1/webhooks/${randomUUID()}/retry` }), ADMINS],
  ['DELETE /v1/webhooks/:id', () => ({ url: `/v1/webhooks/${randomUUID()}` }), ADMINS],
  ['DELETE /v1/api-keys/:id', () => ({ url: '/v1/api-keys/0000000000000000' }), ADMINS],
];
const PUBLIC = ['/healthz', '/readyz', '/v1/keys', '/v1/errors', '/errors/internal', '/openapi.json'];

/** `inject` waits for the end of an answer, which a tail does not have: with a broken resume id it ends at once. */
function ending(request: InjectOptions): InjectOptions {
  return String(request.url).endsWith('/tail') ? { ...request, headers: { 'last-event-id': 'x' } } : request;
}

describe('roles', () => {
  it('each use the routes that are theirs, and are refused with forbidden elsewhere', async (test) => {
    const server = await openTestServer(test);
    for (const [route, request, allowed] of MATRIX) {
      const method = route.split(' ', 1)[0] as 'GET';
      for (const who of EVERYBODY) {
        const response = await server.send(who, ending({ method, ...request() }));
        const isAllowed = ![401, 403].includes(response.statusCode);
        assert.equal(isAllowed, allowed.includes(who), `${who} ${route}: ${response.statusCode}`);
        if (!isAllowed) assert.equal(response.json().code, 'forbidden');
        assert.equal(response.headers['cache-control'], 'no-store', route);
      }
    }
  });

  it('are asked for before anything else is looked at: without a key every route answers 401, and takes nothing', async (test) => {
    const server = await openTestServer(test);
    const content = server.content();
    for (const [route, request] of MATRIX) {
      const method = route.split(' ', 1)[0] as 'GET';
      for (const as of [
        null,
        'evident_aaaaaaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
        'nonsense',
      ]) {
        const response = await server.send(as, { method, ...request() });
        assert.deepEqual([response.statusCode, response.json().code], [401, 'unauthenticated'], route);
        assert.match(String(response.headers['www-authenticate']), /^Bearer/);
      }
    }
    assert.equal(server.content(), content);
  });

  it('are in the matrix of this test for every route of the document, or the route is public', async (test) => {
    const server = await openTestServer(test);
    for (const url of PUBLIC) assert.equal((await server.send(null, { url })).statusCode, 200, url);
    const routes = Object.entries(
      (server.app.swagger() as unknown as { paths: Record<string, Record<string, { security?: object[] }>> })
        .paths,
    );
    const secured = routes.flatMap(([url, methods]) =>
      Object.entries(methods).flatMap(([method, { security }]) =>
        security === undefined ? [] : [`${method.toUpperCase()} ${url.replaceAll(/\{(\w+)\}/g, ':$1')}`],
      ),
    );
    assert.deepEqual(secured.sort(), MATRIX.map(([route]) => route).sort());
    const open = routes
      .filter(([, methods]) => Object.values(methods).some(({ security }) => security === undefined))
      .map(([url]) => url.replace('{code}', 'internal'));
    assert.deepEqual(open.sort(), [...PUBLIC].sort());
  });
});

describe('tenants', () => {
  const linesOf = async (server: TestServer, as: string) => {
    const lines: { tenant: string; position: string; partition: number }[] = [];
    for (let partition = 0; partition < 3; partition++) {
      const response = await server.send(as, { url: `/v1/logs/audit/partitions/${partition}/records` });
      for (const line of response.body.split('\n')) if (line !== '') lines.push(JSON.parse(line));
    }
    return lines;
  };

  it('see their own records alone, at their true positions, and auditors of all tenants see every one', async (test) => {
    const server = await openTestServer(test);
    for (let i = 0; i < 10; i++) {
      await server.append([envelope({ key: `k${i}` })], 'writer:acme');
      await server.append([envelope({ key: `k${i}` })], 'writer:other');
    }
    const all = await linesOf(server, 'auditor');
    assert.equal(all.length, 20);
    for (const who of ['auditor:acme', 'admin:acme']) {
      const own = await linesOf(server, who);
      assert.deepEqual(
        own,
        all.filter(({ tenant }) => tenant === 'acme'),
      );
      assert.equal(own.length, 10);
    }
  });

  it('may each use an id that the other has used: identities are apart', async (test) => {
    const server = await openTestServer(test);
    const item = envelope();
    assert.equal((await server.append([item], 'writer:acme')).statusCode, 201);
    assert.equal((await server.append([{ ...item, body: 'other' }], 'writer:other')).statusCode, 201);
  });
});

describe('API keys over HTTP', () => {
  it('are shown once, work at once, and are refused at once after they were revoked', async (test) => {
    const server = await openTestServer(test);
    const made = await server.send('admin', {
      method: 'POST',
      url: '/v1/api-keys',
      headers: JSON_TYPE,
      payload: '{"role":"writer","tenant":"acme","note":"billing"}',
    });
    assert.equal(made.statusCode, 201, made.body);
    const { id, key, ...rest } = made.json();
    assert.deepEqual(rest, {
      role: 'writer',
      tenant: 'acme',
      note: 'billing',
      made_at: '2027-01-15T08:00:00.000000Z',
      revoked_at: null,
      expires_at: null,
      rotated_to: null,
    });
    assert.equal((await server.append([envelope()], key)).statusCode, 201);
    const listed = await server.send('admin', { url: '/v1/api-keys' });
    assert.ok(listed.json().keys.some((one: { id: string }) => one.id === id));
    assert.ok(!listed.body.includes(key.slice(-43)));
    for (let i = 0; i < 2; i++) {
      assert.equal(
        (await server.send('admin', { method: 'DELETE', url: `/v1/api-keys/${id}` })).statusCode,
        204,
      );
      assert.equal((await server.append([envelope()], key)).statusCode, 401);
    }
    assert.ok(!JSON.stringify(server.logged).includes(key.slice(-43)), 'no secret is logged');
  });

  it('of one tenant are all that an admin of that tenant sees, makes and revokes', async (test) => {
    const server = await openTestServer(test);
    const make = (payload: string) =>
      server.send('admin:acme', { method: 'POST', url: '/v1/api-keys', headers: JSON_TYPE, payload });
    assert.equal((await make('{"role":"admin","tenant":"other"}')).json().code, 'tenant-forbidden');
    assert.equal((await make('{"role":"admin","tenant":null}')).json().code, 'tenant-forbidden');
    assert.equal((await make('{"role":"auditor"}')).json().tenant, 'acme');
    const { keys } = (await server.send('admin:acme', { url: '/v1/api-keys' })).json();
    assert.deepEqual([...new Set(keys.map(({ tenant }: { tenant: string }) => tenant))], ['acme']);
    const foreign = server.keys['writer:other'].split('_')[1];
    assert.equal(
      (await server.send('admin:acme', { method: 'DELETE', url: `/v1/api-keys/${foreign}` })).statusCode,
      404,
    );
    assert.equal((await server.append([envelope()], 'writer:other')).statusCode, 201);
  });

  it('are made to end, and rotated once, within the tenant of the admin, and it is recorded who did', async (test) => {
    const server = await openTestServer(test);
    const post = (as: string, path: string, payload: string) =>
      server.send(as, { method: 'POST', url: `/v1/api-keys${path}`, headers: JSON_TYPE, payload });
    const made = await post('admin:acme', '', '{"role":"investigator","lifetime_seconds":60}');
    assert.deepEqual([made.statusCode, made.json().expires_at], [201, '2027-01-15T08:01:00.000000Z']);
    const { id } = made.json();
    const foreign = server.keys['writer:other'].split('_')[1];
    assert.equal((await post('admin:acme', `/${foreign}/rotate`, '{}')).statusCode, 404);
    assert.equal((await post('admin:acme', `/${id}/rotate`, '{"grace_seconds":-1}')).statusCode, 400);
    const next = await post('admin:acme', `/${id}/rotate`, '{"grace_seconds":5}');
    const { role, tenant, expires_at } = next.json();
    assert.deepEqual(
      [next.statusCode, role, tenant, expires_at],
      [201, 'investigator', 'acme', '2027-01-15T08:01:00.000000Z'],
    );
    assert.equal((await server.send(next.json().key, { url: '/v1/logs' })).statusCode, 200);
    const again = await post('admin:acme', `/${id}/rotate`, '{}');
    assert.deepEqual([again.statusCode, again.json().code], [409, 'api-key-ended']);
    const { keys } = (await server.send('admin:acme', { url: '/v1/api-keys' })).json();
    const old = keys.find((one: { id: string }) => one.id === id);
    assert.deepEqual([old.rotated_to, old.expires_at], [next.json().id, '2027-01-15T08:00:05.000000Z']);
    await post('admin:acme', `/${server.keys['writer:acme'].split('_')[1]}/rotate`, '{"grace_seconds":0}');
    const ended = await server.append([envelope()]);
    assert.deepEqual([ended.statusCode, ended.json().code], [401, 'credential-expired']);
    assert.match(String(ended.headers['www-authenticate']), /^Bearer .*error="invalid_token"/);
    const admin = server.keys['admin:acme'].split('_')[1];
    const changes = server.recorded.filter(({ action }) => action.startsWith('api_key.'));
    assert.deepEqual(
      changes.map(({ actor, action, tenant: of }) => [actor.id, action, of]),
      ['create', 'rotate', 'rotate'].map((what) => [`key:${admin}`, `api_key.${what}`, 'acme']),
    );
  });

  it('are listed page by page', async (test) => {
    const server = await openTestServer(test);
    const ids: string[] = [];
    for (let next: string | null = ''; next !== null; ) {
      const page: { keys: { id: string }[]; next: string | null } = (
        await server.send('admin', { url: `/v1/api-keys?limit=2${next === '' ? '' : `&after=${next}`}` })
      ).json();
      assert.ok(page.keys.length <= 2);
      ids.push(...page.keys.map(({ id }) => id));
      next = page.next;
    }
    assert.equal(ids.length, Object.keys(server.keys).length);
    assert.deepEqual(ids, [...new Set(ids)].sort());
  });
});
