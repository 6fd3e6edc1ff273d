/** Secrets of webhooks in a real database: sealed with the key of the data directory, old plain ones at the next start. */

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { openSecretBox } from '../src/stores/folder/secret-box.ts';
import { PostgresAlertStore } from '../src/stores/postgres/alert-store.ts';
import { PostgresWebhookStore } from '../src/stores/postgres/webhook-store.ts';
import { openTestDatabase } from '../test/database.ts';

function makeDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'evident-secrets-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

it('seals secrets, those of before among them, and opens them for deliveries alone', async (t) => {
  const { pool, owner } = await openTestDatabase();
  const dir = makeDir(t);
  const store = new PostgresWebhookStore(pool, openSecretBox(dir));
  const webhook = (name: string) => ({
    id: randomUUID(),
    tenant: null,
    name,
    url: 'https://example.com/',
    payload: 'alert' as const,
    madeBy: 'key:a',
  });
  const [old, made] = [webhook('old'), webhook('made')];
  const secrets = new Map<string, Uint8Array>(
    [old, made].map(({ id }) => [id, new Uint8Array(randomBytes(32))] as const),
  );
  const stored = async () =>
    (
      await owner.query<{ webhook_id: string; secret: Buffer }>(
        'SELECT webhook_id, secret FROM evident.webhooks',
      )
    ).rows;
  const isPlain = ({ webhook_id: id, secret }: { webhook_id: string; secret: Buffer }) =>
    secret.includes(Buffer.from(secrets.get(id)!));

  // As a version before stored it.
  await owner.query('SELECT evident.webhook_add($1, $2, $3, $4, $5, $6, $7, 20)', [
    ...[old.id, '_system', old.name, old.url, old.payload, Buffer.from(secrets.get(old.id)!), old.madeBy],
  ]);
  await store.add(made, secrets.get(made.id)!);
  assert.deepEqual(
    (await stored()).filter(isPlain).map(({ webhook_id: id }) => id),
    [old.id],
  );

  // What a start does; of two at once, each secret is sealed by one.
  const [one, other] = await Promise.all([store.sealSecrets(), store.sealSecrets()]);
  assert.deepEqual([one.sealed + other.sealed, one.foreign + other.foreign], [1, 0]);
  assert.deepEqual((await stored()).filter(isPlain), []);
  assert.deepEqual(await store.sealSecrets(), { sealed: 0, foreign: 0 });

  const alerts = new PostgresAlertStore(pool);
  const condition = { tenant: null, name: 'n', severity: 'low' as const, subject: null, detail: '' };
  await alerts.raise({ ...condition, key: 'k' });
  const restarted = new PostgresWebhookStore(pool, openSecretBox(dir));
  for (let at = 0; at < 2; at++) {
    const delivery = await restarted.claim([], 60_000_000n);
    assert.deepEqual(delivery?.secret, secrets.get(delivery!.webhook.id));
  }

  // A database that was put back beside another data directory: known, and not sent with a wrong signature.
  const foreign = new PostgresWebhookStore(pool, openSecretBox(makeDir(t)));
  assert.deepEqual(await foreign.sealSecrets(), { sealed: 0, foreign: 2 });
  await alerts.raise({ ...condition, key: 'k2' });
  assert.equal((await foreign.claim([], 60_000_000n))?.secret, null);
});

it('lets the server put a secret in the place of the one that it read, and of no other', async () => {
  const { pool, owner } = await openTestDatabase();
  const id = randomUUID();
  await owner.query(
    "SELECT evident.webhook_add($1, 'acme', 'w', 'https://example.com/', 'alert', '\\x01', 'a', 20)",
    [id],
  );
  const put = async (before: number, after: number) =>
    (
      await pool.query('SELECT evident.webhook_reseal($1, $2, $3) AS done', [
        id,
        Buffer.from([before]),
        Buffer.from([after]),
      ])
    ).rows[0].done;
  assert.deepEqual([await put(9, 2), await put(1, 2), await put(1, 3)], [false, true, false]);
  await assert.rejects(pool.query("UPDATE evident.webhooks SET secret = '\\x00'"), { code: '42501' });
});
