import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { configFromEnvironment, makeConfig, readConfigFile } from './config.ts';
import { connectionOf } from './outbox-connections.ts';
import { formatSignerAddress, parseSignerAddress } from './signer/address.ts';

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

describe('metrics', () => {
  it('need a credential unless the settings open them', () => {
    const { metrics, metricsTokenFile } = makeConfig({});
    assert.deepEqual([metrics, metricsTokenFile], ['credential', null]);
    const environment = configFromEnvironment({
      EVIDENT_METRICS: 'open',
      EVIDENT_METRICS_TOKEN_FILE: '/run/secrets/metrics',
    });
    assert.equal(makeConfig(environment).metrics, 'open');
    assert.equal(makeConfig(environment).metricsTokenFile, '/run/secrets/metrics');
    for (const bad of ['', 'true', 'Open', 'closed'])
      assert.throws(() => makeConfig({ metrics: bad }), refusedFor('metrics'), bad);
    assert.throws(() => makeConfig({ metricsTokenFile: '' }), refusedFor('metricsTokenFile'));
  });
});

describe('a configuration file', () => {
  const INHERITED = ['constructor', '__proto__', 'toString', 'hasOwnProperty'];

  /** Reads a file of that text as the command line does. */
  function read(test: TestContext, text: string) {
    const folder = mkdtempSync(join(tmpdir(), 'evident-config-'));
    test.after(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'config.json');
    writeFileSync(file, text);
    return { file, config: () => makeConfig(readConfigFile(file)) };
  }

  it('has no settings that are called like what every object inherits, at any depth', (test) => {
    const oidc = '"issuer":"https://id.example","audience":"evident"';
    for (const name of INHERITED) {
      const top = read(test, `{"${name}":"x"}`);
      assert.throws(top.config, refusedFor(`${top.file}: ${name}`));
      assert.throws(read(test, `{"rateLimits":{"${name}":1}}`).config, refusedFor(`rateLimits.${name}`));
      assert.throws(read(test, `{"oidc":{${oidc},"${name}":1}}`).config, refusedFor(`oidc.${name}`));
      const values = read(test, `{"oidc":{${oidc},"roles":{"${name}":"auditor"}}}`).config().oidc?.roles;
      assert.deepEqual([...(values ?? [])], [[name, 'auditor']]);
      for (const other of INHERITED) assert.equal(values?.has(other), other === name);
    }
  });

  it('may name a log and a source “constructor”, and one that it does not name has no connection', (test) => {
    const { config } = read(test, '{"logs":{"constructor":2},"outboxes":{"constructor":"postgres://x"}}');
    assert.deepEqual(Object.entries(config().logs), [['constructor', 2]]);
    assert.deepEqual(connectionOf(config(), {}, 'constructor'), { connectionString: 'postgres://x' });
    assert.equal(connectionOf(makeConfig({ data: tmpdir() }), {}, 'constructor'), null);
  });
});

describe('the signer of a log', () => {
  const tls = { address: 'tls:signer.example:7443', ca: '/etc/ca', cert: '/etc/cert', key: '/etc/key' };

  it('is in the data directory unless it is named', () => {
    assert.equal(makeConfig({}).signer, null);
    const unix = { address: { kind: 'unix', path: '/run/signer.sock' }, tls: null };
    assert.deepEqual(makeConfig({ signer: 'unix:/run/signer.sock' }).signer, unix);
    assert.deepEqual(makeConfig({ signer: { address: 'unix:/run/signer.sock' } }).signer, unix);
    const { address, ...files } = tls;
    assert.deepEqual(makeConfig({ signer: tls }).signer, {
      address: { kind: 'tls', host: 'signer.example', port: 7443 },
      tls: files,
    });
    const six = makeConfig({ signer: { ...tls, address: 'tls:[::1]:7443' } }).signer?.address;
    assert.deepEqual(six, { kind: 'tls', host: '::1', port: 7443 });
    assert.equal(address, formatSignerAddress(parseSignerAddress(address, 'signer')));
  });

  it('has an address, with TLS all files, and nothing else', () => {
    const wrong = [
      'signer.sock',
      'unix:signer.sock',
      'tls:signer.example:7443',
      'tls:signer.example:70000',
      {},
      { ...tls, key: undefined },
      { ...tls, password: 'x' },
      { ...tls, address: 'unix:/run/signer.sock' },
      JSON.parse(`{"address":"tls:a:1","ca":"a","cert":"b","key":"c","__proto__":"x"}`),
    ];
    for (const signer of wrong)
      assert.throws(() => makeConfig({ signer }), /^EvidentError: signer|signer/, JSON.stringify(signer));
  });
});
