/** Tokens of a real identity provider at the doors of a server. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { UnsecuredJWT } from 'jose';
import { AUDIENCE, makeSigningKey, openProvider, signToken } from '../../test/oidc-provider.ts';
import { type OidcInput, parseOidcSettings } from '../access/oidc-settings.ts';
import { FETCH_PAUSE_MS, KEYS_FRESH_MS, KEYS_STALE_MS, ProviderKeys } from '../access/provider-keys.ts';
import { makeTokenVerifier } from '../access/tokens.ts';
import { envelope, openTestServer } from './http-fixture.ts';

async function open(test: TestContext, over: OidcInput = {}) {
  const provider = await openProvider(test);
  const settings = parseOidcSettings({ ...provider.settings, ...over });
  /** Both clocks of the server, moved against the provider's. */
  const time = { ms: 0 };
  const faults: unknown[] = [];
  const keys = new ProviderKeys(settings, {
    fetch: (url, options) => fetch(url, options),
    now: () => time.ms,
    onFault: (error) => faults.push(error),
  });
  const clock = () => BigInt(Date.now() + time.ms) * 1_000n;
  const server = await openTestServer(test, { tokens: makeTokenVerifier(settings, keys, clock) });
  /** Status and code of a look with a token. */
  const look = async (token: string, url = '/v1/logs') => {
    const answer = await server.send(token, { url });
    return answer.statusCode === 200 ? [200] : [answer.statusCode, answer.json().code];
  };
  const claims = (extra: Record<string, unknown> = {}) => ({
    iss: provider.issuer,
    aud: AUDIENCE,
    sub: 'usr_1',
    exp: Math.floor(Date.now() / 1_000) + 600,
    roles: ['auditor'],
    tenant: 'acme',
    ...extra,
  });
  return { provider, server, time, faults, look, claims };
}

describe('a token of the identity provider', () => {
  it('is taken with the role and the tenant that its claims say', async (test) => {
    const { provider, server, look } = await open(test);
    const auditor = await provider.issue({ roles: ['auditor'], tenant: 'acme' });
    assert.deepEqual(await look(auditor), [200]);
    assert.deepEqual(await look(auditor, '/v1/logs/audit/partitions/0/records'), [200]);
    assert.deepEqual(await look(auditor, '/v1/api-keys'), [403, 'forbidden']);
    const writer = await provider.issue({ roles: ['writer'], tenant: 'acme' });
    assert.equal((await server.append([envelope()], writer)).statusCode, 201);
    const stored = [...server.states.get('audit')!.partitions].flatMap(({ records }) => [...records]);
    assert.deepEqual(stored.map((record) => [record?.tenant, record?.source]).at(-1), [
      'acme',
      'oidc:billing',
    ]);
    const other = await server.send(writer, {
      method: 'POST',
      url: '/v1/logs/audit/records?tenant=other',
      headers: { 'content-type': 'application/json' },
      payload: '[]',
    });
    assert.deepEqual([other.statusCode, other.json().code], [403, 'tenant-forbidden']);
  });

  it('makes and revokes API keys as the admin of its tenant, under its subject', async (test) => {
    const { provider, server } = await open(test);
    const admin = await provider.issue({ roles: 'admin', tenant: 'acme' });
    const made = await server.send(admin, {
      method: 'POST',
      url: '/v1/api-keys',
      headers: { 'content-type': 'application/json' },
      payload: '{"role":"auditor"}',
    });
    assert.deepEqual([made.statusCode, made.json().tenant], [201, 'acme']);
    assert.deepEqual(
      server.recorded.map(({ actor, action }) => [actor.id, action]),
      [['oidc:billing', 'api_key.create']],
    );
  });

  it('is refused when it has expired, or its time has not come', async (test) => {
    const { provider, time, look, claims } = await open(test);
    const token = await provider.issue({ roles: ['auditor'], tenant: 'acme' });
    time.ms = 640_000;
    assert.deepEqual(await look(token), [401, 'credential-expired']);
    time.ms = 0;
    assert.deepEqual(await look(token), [200]);
    const early = await provider.sign(claims({ nbf: claims().exp - 300 }));
    assert.deepEqual(await look(early), [401, 'unauthenticated']);
    time.ms = 310_000;
    assert.deepEqual(await look(early), [200]);
    const endless = await provider.sign(claims({ exp: undefined }));
    assert.deepEqual(await look(endless), [401, 'unauthenticated']);
  });

  it('is refused for another audience, another issuer, and without a subject', async (test) => {
    const { provider, look, claims } = await open(test);
    assert.deepEqual(await look(await provider.sign(claims())), [200]);
    assert.deepEqual(await look(await provider.sign(claims({ aud: ['other', AUDIENCE] }))), [200]);
    for (const over of [
      { aud: 'https://other.example' },
      { aud: undefined },
      { iss: `${provider.issuer}/` },
      { iss: undefined },
      { sub: undefined },
      { sub: '' },
    ])
      assert.deepEqual(await look(await provider.sign(claims(over))), [401, 'unauthenticated']);
  });

  it('is refused without signature, by another algorithm, or an unknown key, and one that was changed', async (test) => {
    const { provider, look, claims } = await open(test);
    const good = await provider.sign(claims());
    const unsecured = new UnsecuredJWT(claims()).encode();
    assert.deepEqual(await look(unsecured), [401, 'unauthenticated']);
    const [header, body, signature] = good.split('.');
    const parts = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString());
    const join = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    for (const forged of [
      `${join({ ...parts(header), alg: 'none' })}.${body}.`,
      `${join({ ...parts(header), alg: 'HS256' })}.${body}.${signature}`,
      `${join({ ...parts(header), alg: 'ES384' })}.${body}.${signature}`,
      `${join({ ...parts(header), alg: 'RS256' })}.${body}.${signature}`,
      `${header}.${join({ ...parts(body), roles: ['admin'] })}.${signature}`,
      `${header}.${body}.`,
      `${header}.${body}.AAAA`,
    ])
      assert.deepEqual(await look(forged), [401, 'unauthenticated']);
    const stranger = await makeSigningKey('key-1');
    assert.deepEqual(await look(await signToken(stranger, claims())), [401, 'unauthenticated']);
    assert.deepEqual(await look(await signToken({ ...stranger, kid: 'no' }, claims())), [
      401,
      'unauthenticated',
    ]);
    assert.deepEqual(await look(good), [200]);
  });

  it('is refused where the settings do not list its algorithm', async (test) => {
    const { provider, look } = await open(test, { algorithms: ['RS256'] });
    const token = await provider.issue({ roles: ['auditor'], tenant: 'acme' });
    assert.deepEqual(await look(token), [401, 'unauthenticated']);
  });

  it('is refused as forbidden without a role or a tenant, and for a reserved one', async (test) => {
    const { provider, server, look } = await open(test);
    const auditor = { roles: ['auditor'], tenant: 'acme' };
    for (const over of [
      { roles: undefined },
      { roles: [] },
      { roles: ['root', 7] },
      { tenant: undefined },
      { tenant: '' },
      { tenant: '*' },
      { tenant: '_system' },
      { tenant: ['acme'] },
    ])
      assert.deepEqual(await look(await provider.issue({ ...auditor, ...over })), [403, 'forbidden']);
    const denied = server.recorded.filter(({ action }) => action === 'access.denied');
    assert.deepEqual(
      [...new Set(denied.map(({ actor, tenant }) => `${actor.id} ${tenant}`))],
      ['oidc:billing null'],
    );
  });

  it('of a key that the provider has since exchanged is refused, and the new one taken', async (test) => {
    const { provider, time, look } = await open(test);
    const old = await provider.issue({ roles: ['auditor'], tenant: 'acme' });
    assert.deepEqual(await look(old), [200]);
    await provider.rotate();
    const fresh = await provider.issue({ roles: ['auditor'], tenant: 'acme' });
    time.ms = FETCH_PAUSE_MS;
    assert.deepEqual(await look(fresh), [200]);
    assert.deepEqual(await look(old), [401, 'unauthenticated']);
  });
});

describe('a token that is no access token', () => {
  /** The audience of an ID token is the client: as if somebody had listed that here, too. */
  const audience = [AUDIENCE, 'billing'];
  const auditor = { roles: ['auditor'], tenant: 'acme' };
  const headerOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url').toString());

  it('such as the ID token of a user is refused, though issuer, key, audience and claims are right', async (test) => {
    const { provider, server, look } = await open(test, { audience });
    const access = await provider.issue(auditor);
    assert.equal(headerOf(access).typ, 'at+jwt');
    assert.deepEqual(await look(access), [200]);
    const token = await provider.issueIdToken(auditor);
    assert.notEqual(headerOf(token).typ, 'at+jwt');
    const answer = await server.send(token, { url: '/v1/logs' });
    assert.deepEqual([answer.statusCode, answer.json().code], [401, 'unauthenticated']);
    assert.match(answer.json().detail, /at\+jwt/);
    const denied = server.recorded.filter(({ action }) => action === 'access.denied');
    assert.deepEqual(
      denied.map(({ actor }) => actor.id),
      ['oidc:usr_1'],
    );
  });

  it('passes where the settings take tokens that do not say what they are: why they do not by default', async (test) => {
    const loose = await open(test, { audience, tokenTypes: ['at+jwt', 'JWT'] });
    assert.deepEqual(await loose.look(await loose.provider.issueIdToken(auditor)), [200]);
    assert.deepEqual(await loose.look(await loose.provider.issue(auditor)), [200]);
    // For the client alone, as it is issued, it is refused all the same.
    const usual = await open(test, { tokenTypes: ['JWT'] });
    const token = await usual.provider.issueIdToken(auditor);
    assert.deepEqual(await usual.look(token), [401, 'unauthenticated']);
    assert.deepEqual(await usual.look(await usual.provider.issue(auditor)), [401, 'unauthenticated']);
  });
});

describe('an identity provider', () => {
  it('that is down leaves keys that are known good, and API keys; others are told to wait', async (test) => {
    const { provider, server, time, faults, look, claims } = await open(test);
    provider.isDown = true;
    const token = await provider.sign(claims({ exp: claims().exp + 86_400 }));
    const answer = await server.send(token, { url: '/v1/logs' });
    assert.deepEqual([answer.statusCode, answer.json().code], [503, 'identity-unavailable']);
    assert.ok(Number(answer.headers['retry-after']) > 0);
    assert.deepEqual(await look('auditor:acme'), [200]);
    provider.isDown = false;
    time.ms += FETCH_PAUSE_MS;
    assert.deepEqual(await look(token), [200]);
    provider.isDown = true;
    time.ms += KEYS_FRESH_MS + FETCH_PAUSE_MS;
    assert.deepEqual(await look(token), [200]);
    assert.deepEqual(await look(await signToken(await makeSigningKey('x'), claims())), [
      503,
      'identity-unavailable',
    ]);
    time.ms += KEYS_STALE_MS;
    assert.deepEqual(await look(token), [503, 'identity-unavailable']);
    assert.ok(faults.length >= 2);
  });

  it('is asked once in ten seconds at most, whatever tokens come', async (test) => {
    const { provider, time, look, claims } = await open(test);
    const stranger = await makeSigningKey('x');
    const junk = () => signToken({ ...stranger, kid: `${Math.random()}` }, claims());
    const flood = async () => {
      const tokens = await Promise.all(Array.from({ length: 20 }, junk));
      for (const answer of await Promise.all(tokens.map((token) => look(token))))
        assert.deepEqual(answer, [401, 'unauthenticated']);
    };
    await flood();
    // The discovery document, and the keys.
    assert.equal(provider.asked, 2);
    await flood();
    assert.equal(provider.asked, 2);
    time.ms += FETCH_PAUSE_MS;
    await flood();
    assert.equal(provider.asked, 4);
  });
});
