import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { envelope, openTestServer } from './http-fixture.ts';

const JUNK = 'evident_aaaaaaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

describe('rates', () => {
  it('bound what one credential reads, with a problem that says when to come back', async (test) => {
    const server = await openTestServer(test, { limits: { readsPerCredentialMax: 3 } });
    const look = (as: string) => server.send(as, { url: '/v1/logs' });
    for (let i = 0; i < 3; i++) assert.equal((await look('auditor')).statusCode, 200);
    const refused = await look('auditor');
    assert.deepEqual([refused.statusCode, refused.json().code], [429, 'rate-limited']);
    assert.match(String(refused.headers['content-type']), /^application\/problem\+json$/);
    const seconds = Number(refused.headers['retry-after']);
    assert.ok(seconds >= 1 && seconds <= 60, `${seconds}`);
    assert.equal(refused.headers['x-ratelimit-limit'], undefined, 'no header beside those of the document');
    assert.equal((await look('auditor:acme')).statusCode, 200, 'another credential is not concerned');
    assert.equal((await server.append([envelope()])).statusCode, 201);
  });

  it('count capture apart from reads, and let it go on', async (test) => {
    const limits = { readsPerCredentialMax: 1, capturesPerCredentialMax: 20 };
    const server = await openTestServer(test, { limits });
    const statuses = [];
    for (let i = 0; i < 2; i++)
      statuses.push((await server.send('writer:acme', { url: '/v1/logs' })).statusCode);
    for (let i = 0; i < 21; i++) statuses.push((await server.append([envelope()])).statusCode);
    assert.deepEqual(statuses, [200, 429, ...Array(20).fill(201), 429]);
  });

  it('take nothing of a request that is refused', async (test) => {
    const server = await openTestServer(test, { limits: { capturesPerCredentialMax: 1 } });
    await server.append([envelope()]);
    const content = server.content();
    assert.equal((await server.append([envelope()])).statusCode, 429);
    assert.equal(server.content(), content);
  });

  it('bound credentials that are not good by address, and leave those that were good a moment ago', async (test) => {
    const server = await openTestServer(test, { limits: { failuresPerAddressMax: 5 } });
    assert.equal((await server.send('auditor', { url: '/v1/logs' })).statusCode, 200);
    const statuses = [];
    for (let i = 0; i < 7; i++) statuses.push((await server.send(JUNK, { url: '/v1/logs' })).statusCode);
    assert.deepEqual(statuses, [401, 401, 401, 401, 401, 429, 429]);
    assert.equal((await server.send('auditor', { url: '/v1/logs' })).statusCode, 200);
    assert.equal((await server.send('admin', { url: '/v1/logs' })).statusCode, 429, 'not seen before');
    const elsewhere = { url: '/v1/logs', remoteAddress: '192.0.2.7' };
    assert.equal((await server.send('admin', elsewhere)).statusCode, 200);
  });

  it('count a client, and not the proxy that is trusted; whoever else says so is not believed', async (test) => {
    const limits = { failuresPerAddressMax: 1 };
    const open = async (trustedProxies?: string[]) =>
      openTestServer(test, { limits, ...(trustedProxies === undefined ? {} : { trustedProxies }) });
    const statuses = async (server: Awaited<ReturnType<typeof open>>) => {
      const found = [];
      for (const client of ['192.0.2.1', '192.0.2.2', '192.0.2.3']) {
        const headers = { 'x-forwarded-for': client };
        found.push((await server.send(JUNK, { url: '/v1/logs', headers })).statusCode);
      }
      return found;
    };
    assert.deepEqual(await statuses(await open(['127.0.0.0/8'])), [401, 401, 401]);
    assert.deepEqual(await statuses(await open()), [401, 429, 429]);
  });

  it('bound what is public, by address', async (test) => {
    const server = await openTestServer(test, { limits: { publicPerAddressMax: 2 } });
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push((await server.send(null, { url: '/healthz' })).statusCode);
    assert.deepEqual(statuses, [200, 200, 429]);
    assert.equal((await server.send('auditor', { url: '/v1/logs' })).statusCode, 200);
    assert.match(
      (await server.send('auditor', { url: '/metrics' })).body,
      /evident_http_rate_limited_total\{limit="public"\} 1/,
    );
  });

  it('are no limit at 0', async (test) => {
    const server = await openTestServer(test, {
      limits: { readsPerCredentialMax: 0, failuresPerAddressMax: 0 },
    });
    for (let i = 0; i < 5; i++) {
      assert.equal((await server.send('auditor', { url: '/v1/logs' })).statusCode, 200);
      assert.equal((await server.send(JUNK, { url: '/v1/logs' })).statusCode, 401);
    }
  });
});

describe('refused access', () => {
  it('is recorded with route and code, for whom a credential proves, and never with what was sent', async (test) => {
    const server = await openTestServer(test);
    const wrong = `${server.keys['writer:acme'].slice(0, -43)}${'B'.repeat(43)}`;
    await server.send('writer:acme', { url: '/v1/api-keys?after=aaaa' });
    await server.send(wrong, { url: '/v1/logs' });
    await server.send(JUNK, { url: '/v1/logs' });
    await server.append([envelope()], 'auditor:acme');
    await server.send('writer:acme', {
      method: 'POST',
      url: '/v1/logs/audit/records?tenant=other',
      headers: { 'content-type': 'application/json' },
      payload: '[]',
    });
    // Refused by the route itself, behind the role.
    assert.equal((await server.send('auditor:acme', { url: '/v1/sources' })).statusCode, 403);
    await server.app.close();
    const id = server.keys['writer:acme'].split('_')[1];
    const auditor = server.keys['auditor:acme'].split('_')[1];
    assert.deepEqual(
      server.recorded.map(({ actor, resource, tenant, details }) => [
        actor.id,
        resource.id,
        tenant,
        details?.code,
      ]),
      [
        [`key:${id}`, 'GET /v1/api-keys', 'acme', 'forbidden'],
        [`key:${id}`, 'GET /v1/logs', null, 'unauthenticated'],
        ['address:127.0.0.1', 'GET /v1/logs', null, 'unauthenticated'],
        [`key:${auditor}`, 'POST /v1/logs/:log/records', 'acme', 'forbidden'],
        [`key:${id}`, 'POST /v1/logs/:log/records', 'acme', 'tenant-forbidden'],
        [`key:${auditor}`, 'GET /v1/sources', 'acme', 'forbidden'],
      ],
    );
    const all = JSON.stringify(server.recorded);
    assert.ok(!all.includes('BBBB') && !all.includes('AAAA') && !all.includes('after=aaaa'));
  });

  it('is recorded with an address, and not with whatever a client wrote for one', async (test) => {
    const server = await openTestServer(test, { trustedProxies: ['127.0.0.0/8'] });
    for (const forwarded of [
      '192.0.2.1',
      'x'.repeat(500),
      'spoofed, 192.0.2.2',
      `fe80::1%${'z'.repeat(2_000)}`,
    ])
      await server.send(JUNK, { url: '/v1/logs', headers: { 'x-forwarded-for': forwarded } });
    await server.app.close();
    const actors = server.recorded.map(({ actor }) => [actor.id, actor.ip]);
    assert.deepEqual(actors, [
      ['address:192.0.2.1', '192.0.2.1'],
      ['address:127.0.0.1', '127.0.0.1'],
      ['address:192.0.2.2', '192.0.2.2'],
      ['address:127.0.0.1', '127.0.0.1'],
    ]);
  });

  it('is answered the same while the log does not take records', async (test) => {
    const server = await openTestServer(test, { recordOwn: () => Promise.reject(new Error('away')) });
    for (let i = 0; i < 3; i++) assert.equal((await server.send(JUNK, { url: '/v1/logs' })).statusCode, 401);
    assert.ok(server.logged.some(({ message }) => /not recorded/.test(message)));
  });
});
