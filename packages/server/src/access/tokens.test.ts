import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { exportJWK, generateKeyPair, importJWK, type JWTPayload } from 'jose';
import { AUDIENCE, makeSigningKey, signToken } from '../../test/oidc-provider.ts';
import { type OidcInput, parseOidcSettings } from './oidc-settings.ts';
import { isTokenForm, makeTokenVerifier } from './tokens.ts';

const ISSUER = 'https://id.example';
const NOW_SECONDS = 1_800_000_000;
const key = await makeSigningKey('k');
const { d: _secret, ...publicKey } = key;
const imported = (await importJWK(publicKey, 'ES256')) as CryptoKey;

function open(settings: OidcInput = {}) {
  const verifier = makeTokenVerifier(
    parseOidcSettings({ issuer: ISSUER, audience: AUDIENCE, ...settings }),
    { keyOf: async () => imported },
    () => BigInt(NOW_SECONDS) * 1_000_000n,
  );
  return async (claims: JWTPayload) => {
    const whole = { iss: ISSUER, aud: AUDIENCE, sub: 'u', exp: NOW_SECONDS + 60, ...claims };
    return verifier.verify(await signToken(key, whole));
  };
}

/** Role and tenant, or the code of the refusal. */
async function meaning(verify: ReturnType<typeof open>, claims: JWTPayload) {
  const answer = await verify(claims);
  return answer.kind === 'accepted' ? [answer.role, answer.tenant] : answer.code;
}

describe('makeTokenVerifier', () => {
  it('takes the strongest role that the claims map to', async () => {
    const verify = open();
    const of = (roles: unknown) => meaning(verify, { roles, tenant: 'acme' });
    assert.deepEqual(await of(['investigator', 'compliance', 'auditor', 'x']), ['compliance', 'acme']);
    assert.deepEqual(await of(['writer', 'investigator']), ['investigator', 'acme']);
    assert.deepEqual(await of('openid writer'), ['writer', 'acme']);
    assert.equal(await of({ admin: true }), 'forbidden');
    assert.equal(await of(['Admin', 'admin ', null, ['admin']]), 'forbidden');
  });

  it('maps values of the provider, and nothing else is a role then', async () => {
    const verify = open({
      roles: { 'evident/read': 'auditor', toString: 'writer' },
      roleClaim: 'realm_access.roles',
    });
    const of = (roles: unknown) => meaning(verify, { realm_access: { roles }, tenant: 'acme' });
    assert.deepEqual(await of(['evident/read']), ['auditor', 'acme']);
    assert.equal(await of(['auditor', 'constructor', '__proto__']), 'forbidden');
    assert.equal(await meaning(verify, { tenant: 'acme' }), 'forbidden');
    assert.equal(await meaning(verify, { realm_access: null, tenant: 'acme' }), 'forbidden');
  });

  it('finds a claim whose name holds dots before it takes the name for a path', async () => {
    const verify = open({ roleClaim: 'https://evident.example/roles' });
    assert.deepEqual(await meaning(verify, { 'https://evident.example/roles': 'admin', tenant: 'acme' }), [
      'admin',
      'acme',
    ]);
  });

  it('takes the tenant of the claim, and all tenants only where a map or the default says so', async () => {
    const roles = ['auditor'];
    const plain = open();
    assert.deepEqual(await meaning(plain, { roles, tenant: 'acme' }), ['auditor', 'acme']);
    for (const tenant of ['*', '_system', '', 'a b', undefined, null, 7])
      assert.equal(await meaning(plain, { roles, tenant }), 'forbidden', String(tenant));
    const mapped = open({ tenants: { 'Acme GmbH': 'acme', platform: '*' } });
    assert.deepEqual(await meaning(mapped, { roles, tenant: 'Acme GmbH' }), ['auditor', 'acme']);
    assert.deepEqual(await meaning(mapped, { roles, tenant: 'platform' }), ['auditor', null]);
    assert.equal(await meaning(mapped, { roles, tenant: 'acme' }), 'forbidden');
    const single = open({ tenantDefault: 'acme' });
    assert.deepEqual(await meaning(single, { roles }), ['auditor', 'acme']);
    assert.deepEqual(await meaning(single, { roles, tenant: 'other' }), ['auditor', 'other']);
    assert.deepEqual(await meaning(open({ tenantDefault: '*' }), { roles }), ['auditor', null]);
  });

  it('gives no writer all tenants', async () => {
    assert.equal(await meaning(open({ tenantDefault: '*' }), { roles: 'writer' }), 'forbidden');
  });

  it('names the subject so that it is no path, and bounded', async () => {
    const verify = open({ tenantDefault: '*' });
    const of = async (sub: string) => (await verify({ sub, roles: 'auditor' })).subject;
    assert.equal(await of('auth0|5f7c'), 'oidc:auth0|5f7c');
    assert.equal(await of('ada@acme.example'), 'oidc:ada@acme.example');
    assert.equal(await of('../../etc'), 'oidc:%2E.%2F..%2Fetc');
    assert.equal(await of('a\nb "ü"'), 'oidc:a%0Ab%20%22%C3%BC%22');
    const long = (await of('x'.repeat(300))) as string;
    assert.match(long, /^oidc:sha256:[0-9a-f]{64}$/);
    assert.notEqual(await of(long.slice('oidc:'.length)), long);
  });

  it('allows for clocks that are apart, within the tolerance', async () => {
    const verify = open({ tenantDefault: '*', clockToleranceSeconds: 10 });
    const of = (claims: JWTPayload) => meaning(verify, { roles: 'auditor', ...claims });
    assert.deepEqual(await of({ exp: NOW_SECONDS - 9 }), ['auditor', null]);
    assert.equal(await of({ exp: NOW_SECONDS - 10 }), 'credential-expired');
    assert.deepEqual(await of({ nbf: NOW_SECONDS + 10 }), ['auditor', null]);
    assert.equal(await of({ nbf: NOW_SECONDS + 11 }), 'unauthenticated');
  });

  it('says whose token it was only when the signature proves it', async () => {
    const verify = open();
    const expired = await verify({ exp: NOW_SECONDS - 99, roles: 'auditor', tenant: 'acme' });
    assert.equal(expired.subject, 'oidc:u');
    const { privateKey } = await generateKeyPair('ES256', { extractable: true });
    const stranger = { ...(await exportJWK(privateKey)), kid: 'k', alg: 'ES256' as const };
    const verifier = makeTokenVerifier(
      parseOidcSettings({ issuer: ISSUER, audience: AUDIENCE }),
      { keyOf: async () => imported },
      () => 0n,
    );
    const forged = await verifier.verify(
      await signToken(stranger, { iss: ISSUER, aud: AUDIENCE, sub: 'u', exp: 1 }),
    );
    assert.deepEqual([forged.kind, forged.subject], ['refused', null]);
  });
});

describe('the type of a token', () => {
  const granted = { roles: 'auditor', tenant: 'acme' };
  const taken = async (settings: OidcInput, typ: unknown, claims: JWTPayload = {}) => {
    const verifier = makeTokenVerifier(
      parseOidcSettings({ issuer: ISSUER, audience: AUDIENCE, ...settings }),
      { keyOf: async () => imported },
      () => BigInt(NOW_SECONDS) * 1_000_000n,
    );
    const whole = { iss: ISSUER, aud: AUDIENCE, sub: 'u', exp: NOW_SECONDS + 60, ...granted, ...claims };
    const { kind, subject } = await verifier.verify(await signToken(key, whole, { typ }));
    assert.equal(subject, 'oidc:u', 'the signature proves whose it is, also of one that is refused');
    return kind === 'accepted';
  };

  it('is at+jwt, in any spelling of that media type, and nothing else by default', async () => {
    for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/at+JWT'])
      assert.equal(await taken({}, typ), true, typ);
    for (const typ of [
      undefined,
      'JWT',
      'jwt',
      'application/jwt',
      '',
      'at',
      'at+jwt ',
      'logout+jwt',
      'dpop+jwt',
    ])
      assert.equal(await taken({}, typ), false, String(typ));
  });

  it('may be left open by the settings, and even then is none that says it is something else', async () => {
    const open = { tokenTypes: ['at+jwt', 'JWT'] };
    for (const typ of ['at+jwt', 'JWT', 'jwt', 'application/jwt', undefined])
      assert.equal(await taken(open, typ), true, String(typ));
    for (const typ of ['logout+jwt', 'secevent+jwt', 'dpop+jwt', 'id_token', ''])
      assert.equal(await taken(open, typ), false, typ);
    for (const claims of [{ at_hash: 'x' }, { c_hash: 'x' }, { typ: 'ID' }, { typ: 'Refresh' }])
      assert.equal(await taken(open, 'JWT', claims), false, JSON.stringify(claims));
    assert.equal(await taken(open, 'JWT', { typ: 'Bearer' }), true);
    assert.equal(await taken({ tokenTypes: ['JWT'] }, 'at+jwt'), false);
  });
});

describe('isTokenForm', () => {
  it('is three parts of base64url, and no longer than a header', () => {
    assert.ok(isTokenForm('a.b.c') && isTokenForm('a.b.'));
    for (const text of ['', 'a', 'a.b', 'a.b.c.d', '.b.c', 'a.b.c=', `a.b.${'c'.repeat(9_000)}`])
      assert.equal(isTokenForm(text), false, text.slice(0, 20));
  });
});
