import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { configFromEnvironment, makeConfig } from './config.ts';

const refusedFor = (field: string) => (error: unknown) =>
  isEvidentError(error) && error.code === 'usage-invalid' && error.context.field === field;

describe('makeConfig', () => {
  it('trusts no proxy and no identity provider unless told so, and limits rates as the server does', () => {
    const { oidc, trustedProxies, rateLimits } = makeConfig({});
    assert.deepEqual([oidc, trustedProxies, rateLimits], [null, [], {}]);
  });

  it('takes the identity provider of the environment, and that of a file before it', () => {
    const environment = configFromEnvironment({
      EVIDENT_OIDC_ISSUER: 'https://id.example',
      EVIDENT_OIDC_AUDIENCE: 'evident',
    });
    assert.equal(makeConfig(environment).oidc?.issuer, 'https://id.example');
    const oidc = { issuer: 'https://file.example', audience: 'evident' };
    assert.equal(makeConfig(environment, { oidc }).oidc?.issuer, 'https://file.example');
    assert.throws(() => makeConfig({ oidc: { issuer: 'http://id.example' } }), refusedFor('oidc.issuer'));
  });

  it('takes addresses and networks of proxies, and nothing that would be everybody by mistake', () => {
    const trustedProxies = ['10.0.0.0/8', '::1', 'fd00::/8'];
    assert.deepEqual(makeConfig({ trustedProxies }).trustedProxies, trustedProxies);
    const environment = configFromEnvironment({ EVIDENT_TRUSTED_PROXIES: '10.0.0.1, 10.0.0.2' });
    assert.deepEqual(makeConfig(environment).trustedProxies, ['10.0.0.1', '10.0.0.2']);
    for (const bad of ['true', 'proxy.example', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', ''])
      assert.throws(() => makeConfig({ trustedProxies: [bad] }), refusedFor('trustedProxies'), bad);
  });

  it('takes rates that exist, as whole numbers', () => {
    const rateLimits = { readsPerCredentialMax: 0, failuresPerAddressMax: '30' };
    assert.deepEqual(makeConfig({ rateLimits }).rateLimits, {
      readsPerCredentialMax: 0,
      failuresPerAddressMax: 30,
    });
    assert.throws(() => makeConfig({ rateLimits: { max: 1 } }), refusedFor('rateLimits.max'));
    for (const bad of [-1, 1.5, '1e3'])
      assert.throws(
        () => makeConfig({ rateLimits: { publicPerAddressMax: bad } }),
        refusedFor('rateLimits.publicPerAddressMax'),
      );
  });
});
