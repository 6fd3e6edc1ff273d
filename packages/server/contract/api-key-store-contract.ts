/** The promises of the port `ApiKeyStore`, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import type { ApiKey, ApiKeyStore } from '../src/access/api-keys.ts';

export function makeKey(keyId: string, over: Partial<ApiKey> = {}): ApiKey {
  const hash = new Uint8Array(32).fill(7);
  return {
    keyId,
    hash,
    role: 'writer',
    tenant: 'acme',
    note: null,
    madeAt: 1_800_000_000_123_457n,
    revokedAt: null,
    ...over,
  };
}

export function describeApiKeyStore(name: string, open: () => Promise<ApiKeyStore>): void {
  describe(`ApiKeyStore: ${name}`, () => {
    it('finds a key exactly as it was inserted', async () => {
      const store = await open();
      const key = makeKey('aaaaaaaaaaaaaaaa', { note: "it's the billing service \u{1f511}" });
      await store.insert(key);
      assert.deepEqual(await store.find(key.keyId), key);
      const all = makeKey('bbbbbbbbbbbbbbbb', { role: 'auditor', tenant: null });
      await store.insert(all);
      assert.deepEqual(await store.find(all.keyId), all);
    });

    it('finds nothing under another id', async () => {
      const store = await open();
      await store.insert(makeKey('aaaaaaaaaaaaaaaa'));
      assert.equal(await store.find('aaaaaaaaaaaaaaab'), null);
    });

    it('refuses a second key under one id, and keeps the first', async () => {
      const store = await open();
      await store.insert(makeKey('aaaaaaaaaaaaaaaa'));
      await assert.rejects(store.insert(makeKey('aaaaaaaaaaaaaaaa', { role: 'admin' })), isEvidentError);
      assert.equal((await store.find('aaaaaaaaaaaaaaaa'))?.role, 'writer');
    });

    it('keeps the first time at which a key was revoked, and the key', async () => {
      const store = await open();
      await store.insert(makeKey('aaaaaaaaaaaaaaaa'));
      assert.equal(await store.revoke('aaaaaaaaaaaaaaaa', 1_900_000_000_000_001n), true);
      assert.equal(await store.revoke('aaaaaaaaaaaaaaaa', 1_900_000_000_000_002n), true);
      assert.equal((await store.find('aaaaaaaaaaaaaaaa'))?.revokedAt, 1_900_000_000_000_001n);
      assert.equal(await store.revoke('cccccccccccccccc', 1_900_000_000_000_001n), false);
    });

    it('lists by id, page by page, of one tenant or of all', async () => {
      const store = await open();
      const of = ['acme', 'other', null, 'acme', 'acme'];
      for (const [index, tenant] of of.entries()) {
        await store.insert(
          makeKey(`key${4 - index}`, { tenant, role: tenant === null ? 'admin' : 'writer' }),
        );
      }
      const ids = async (tenant: string | null, after: string | null, limit: number) =>
        (await store.list({ tenant, after, limit })).map(({ keyId }) => keyId);
      assert.deepEqual(await ids(null, null, 10), ['key0', 'key1', 'key2', 'key3', 'key4']);
      assert.deepEqual(await ids(null, 'key1', 2), ['key2', 'key3']);
      assert.deepEqual(await ids('acme', null, 10), ['key0', 'key1', 'key4']);
      assert.deepEqual(await ids('acme', 'key1', 1), ['key4']);
      assert.deepEqual(await ids('nobody', null, 10), []);
    });
  });
}
