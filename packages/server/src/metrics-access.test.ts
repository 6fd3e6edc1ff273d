import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { isMetricsToken, readMetricsToken } from './access/metrics-token.ts';
import { openTestServer } from './http/http-fixture.ts';
import { openMetricsAccess } from './metrics-access.ts';

const TOKEN = 'a-token.of_the~operator+that/is-long-enough==';

function folder(test: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'evident-metrics-'));
  test.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

const refused = (error: unknown) => isEvidentError(error) && error.code === 'usage-invalid';

describe('openMetricsAccess', () => {
  it('makes a token that its owner alone reads, at the first start, and keeps it', (test) => {
    const dataDir = folder(test);
    const config = { dataDir, metrics: 'credential', metricsTokenFile: null } as const;
    const access = openMetricsAccess(config, randomBytes);
    const file = join(dataDir, 'metrics.token');
    const token = readFileSync(file, 'utf8').trim();
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(Buffer.from(token, 'base64url').length, 32);
    assert.ok(isMetricsToken(access, `Bearer ${token}`));
    assert.ok(isMetricsToken(openMetricsAccess(config, randomBytes), `Bearer ${token}`));
    rmSync(file);
    assert.ok(!isMetricsToken(openMetricsAccess(config, randomBytes), `Bearer ${token}`), 'removed: another');
  });

  it('reads the file that the settings name, and refuses one that is missing, empty or holds no token', (test) => {
    const file = join(folder(test), 'token');
    const open = () =>
      openMetricsAccess({ dataDir: 'unused', metrics: 'credential', metricsTokenFile: file }, randomBytes);
    assert.throws(open, refused);
    for (const text of ['', '\n', 'short', `${TOKEN} ${TOKEN}`, `${TOKEN}\n${TOKEN}`, `Bearer ${TOKEN}`]) {
      writeFileSync(file, text);
      assert.throws(open, refused, JSON.stringify(text));
    }
    writeFileSync(file, `${TOKEN}\r\n`);
    assert.ok(isMetricsToken(open(), `Bearer ${TOKEN}`));
  });

  it('asks for none where everybody may read, and makes no file', (test) => {
    const dataDir = folder(test);
    assert.equal(
      openMetricsAccess({ dataDir, metrics: 'open', metricsTokenFile: null }, randomBytes),
      'open',
    );
    assert.throws(() => statSync(join(dataDir, 'metrics.token')), { code: 'ENOENT' });
  });
});

describe('/metrics', () => {
  const metricsAccess = readMetricsToken(TOKEN, 'a test');

  it('is read with the metrics token, which opens nothing else', async (test) => {
    const server = await openTestServer(test, { metricsAccess });
    const answer = await server.send(TOKEN, { url: '/metrics' });
    assert.deepEqual([answer.statusCode, answer.headers['cache-control']], [200, 'no-store']);
    assert.match(answer.body, /evident_http_requests_total/);
    for (const url of ['/v1/logs', '/v1/sources', '/v1/events'])
      assert.equal((await server.send(TOKEN, { url })).statusCode, 401, url);
  });

  it('is refused to anything else, with an answer that does not tell how near it was', async (test) => {
    const server = await openTestServer(test, { metricsAccess });
    for (const as of [null, TOKEN.slice(0, -1), `${TOKEN}x`, TOKEN.toUpperCase(), 'x'.repeat(45)]) {
      const answer = await server.send(as, { url: '/metrics' });
      assert.deepEqual([answer.statusCode, answer.json().code], [401, 'unauthenticated']);
      assert.doesNotMatch(answer.body, /evident_http/);
    }
    for (const as of ['admin:acme', 'auditor:acme', 'investigator', 'writer:acme'])
      assert.equal((await server.send(as, { url: '/metrics' })).json().code, 'forbidden', as);
    assert.ok(!JSON.stringify([server.logged, server.recorded]).includes(TOKEN.slice(0, 20)));
    const denied = server.recorded.filter(({ action }) => action === 'access.denied');
    assert.ok(denied.some(({ resource }) => resource.id === 'GET /metrics'));
  });

  it('counts tokens that are not good against their address, and good ones as reads', async (test) => {
    const limits = { failuresPerAddressMax: 2, readsPerCredentialMax: 2 };
    const server = await openTestServer(test, { metricsAccess, limits });
    const statuses = async (as: string) => {
      const found = [];
      for (let i = 0; i < 3; i++) found.push((await server.send(as, { url: '/metrics' })).statusCode);
      return found;
    };
    assert.deepEqual(await statuses(TOKEN), [200, 200, 429]);
    assert.deepEqual(await statuses('x'.repeat(40)), [401, 401, 429]);
  });

  it('is everybody’s where the settings say so, and nobody’s without a token', async (test) => {
    const open = await openTestServer(test, { metricsAccess: 'open' });
    assert.equal((await open.send(null, { url: '/metrics' })).statusCode, 200);
    assert.equal((await open.send('nonsense', { url: '/metrics' })).statusCode, 200);
    const closed = await openTestServer(test);
    assert.equal((await closed.send(TOKEN, { url: '/metrics' })).statusCode, 401);
    assert.equal((await closed.send('auditor', { url: '/metrics' })).statusCode, 200);
  });
});
