import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolder, startEngine } from './engine-fixture.ts';
import { checkExternal, requireVersion } from './external.ts';

test('accepts a PostgreSQL that is new enough, and tells its version', async (t) => {
  const { engine } = await startEngine(t, join(makeFolder(t), 'data'), { transport: 'tcp' });
  const { host, port, user, password, database } = engine.connection();
  const found = await checkExternal(`postgres://${user}:${password}@${host}:${port}/${database}`);
  assert.equal(Math.floor(found.versionNum / 10_000), 18);
  await assert.rejects(checkExternal(`postgres://${user}:wrong-one@${host}:${port}/${database}`), (error) => {
    assert.equal((error as { code?: string }).code, 'log-unavailable');
    assert.doesNotMatch(String(error), /wrong-one/);
    return true;
  });
});

test('says that an address does not answer', async () => {
  // Port 1 of the loopback interface: nobody listens there without being root and odd.
  await assert.rejects(checkExternal('postgres://u:p@127.0.0.1:1/d'), { code: 'log-unavailable' });
  await assert.rejects(checkExternal('postgres://u:p@[bad'), { code: 'log-unavailable' });
});

test('refuses PostgreSQL before 16', () => {
  assert.throws(() => requireVersion(150_014, 'db:5432'), { code: 'postgres-version', message: /is 15/ });
  requireVersion(160_000, 'db:5432');
});
