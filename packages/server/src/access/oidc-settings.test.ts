import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { type OidcInput, oidcFromEnvironment, parseOidcSettings } from './oidc-settings.ts';

const GIVEN = { issuer: 'https://id.example/realms/x', audience: 'evident' };
const refusedFor = (member: string) => (error: unknown) =>
  isEvidentError(error) && error.code === 'usage-invalid' && error.context.field === `oidc.${member}`;

describe('parseOidcSettings', () => {
  it('needs issuer and audience, and has a default for everything else', () => {
    assert.deepEqual(parseOidcSettings(GIVEN), {
      issuer: GIVEN.issuer,
      audience: ['evident'],
      jwksUri: null,
      roleClaim: 'roles',
      roles: null,
      tenantClaim: 'tenant',
      tenants: null,
      tenantDefault: null,
      algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
      tokenTypes: ['at+jwt'],
      toleranceSeconds: 30,
    });
  });

  it('refuses what would weaken it, naming the member', () => {
    const bad: [string, OidcInput][] = [
      ['issuer', { audience: 'evident' }],
      ['issuer', { ...GIVEN, issuer: 'http://id.example' }],
      ['issuer', { ...GIVEN, issuer: 'http://127.0.0.1.id.example' }],
      ['issuer', { ...GIVEN, issuer: 'https://u:p@id.example' }],
      ['issuer', { ...GIVEN, issuer: 'id.example' }],
      ['jwksUri', { ...GIVEN, jwksUri: 'ftp://id.example/keys' }],
      ['audience', { issuer: GIVEN.issuer }],
      ['audience', { ...GIVEN, audience: [] }],
      ['audience', { ...GIVEN, audience: [''] }],
      ['algorithms', { ...GIVEN, algorithms: ['none'] }],
      ['algorithms', { ...GIVEN, algorithms: ['RS256', 'HS256'] }],
      ['algorithms', { ...GIVEN, algorithms: [] }],
      ['tokenTypes', { ...GIVEN, tokenTypes: [] }],
      ['tokenTypes', { ...GIVEN, tokenTypes: ['at+jwt', 'id_token'] }],
      ['tokenTypes', { ...GIVEN, tokenTypes: ['*'] }],
      ['roles.x', { ...GIVEN, roles: { x: 'root' } }],
      ['roles', { ...GIVEN, roles: ['admin'] }],
      ['tenants.x', { ...GIVEN, tenants: { x: '_system' } }],
      ['tenantDefault', { ...GIVEN, tenantDefault: '_system' }],
      ['clockToleranceSeconds', { ...GIVEN, clockToleranceSeconds: 301 }],
      ['clockToleranceSeconds', { ...GIVEN, clockToleranceSeconds: -1 }],
      ['secret', { ...GIVEN, secret: 'x' }],
    ];
    for (const [member, input] of bad)
      assert.throws(() => parseOidcSettings(input), refusedFor(member), JSON.stringify(input));
  });

  it('takes plain HTTP for a loopback address alone', () => {
    for (const issuer of ['http://127.0.0.1:8080', 'http://localhost', 'http://[::1]:9'])
      assert.equal(parseOidcSettings({ ...GIVEN, issuer }).issuer, issuer);
  });
});

describe('oidcFromEnvironment', () => {
  it('says nothing when nothing is set', () => {
    assert.equal(oidcFromEnvironment({ EVIDENT_POSTGRES: 'x' }), undefined);
  });

  it('reads lists with commas, and maps with equals signs', () => {
    const input = oidcFromEnvironment({
      EVIDENT_OIDC_ISSUER: GIVEN.issuer,
      EVIDENT_OIDC_AUDIENCE: 'evident, other',
      EVIDENT_OIDC_ROLES: 'evt=audit=auditor,evt-admin=admin',
      EVIDENT_OIDC_TENANT_DEFAULT: '*',
      EVIDENT_OIDC_CLOCK_TOLERANCE_SECONDS: '5',
      EVIDENT_OIDC_ALGORITHMS: 'ES256',
      EVIDENT_OIDC_TOKEN_TYPES: 'at+jwt, JWT',
    });
    const settings = parseOidcSettings(input as OidcInput);
    assert.deepEqual(settings.audience, ['evident', 'other']);
    assert.deepEqual(
      [...(settings.roles ?? [])],
      [
        ['evt=audit', 'auditor'],
        ['evt-admin', 'admin'],
      ],
    );
    assert.equal(settings.tenantDefault, '*');
    assert.equal(settings.toleranceSeconds, 5);
    assert.deepEqual(settings.tokenTypes, ['at+jwt', 'JWT']);
    assert.deepEqual(settings.algorithms, ['ES256']);
  });

  it('does not take a map that maps nothing', () => {
    const input = oidcFromEnvironment({ EVIDENT_OIDC_ISSUER: GIVEN.issuer, EVIDENT_OIDC_ROLES: 'admin' });
    assert.throws(() => parseOidcSettings({ ...GIVEN, ...input }), refusedFor('roles'));
  });
});
