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
    expiresAt: null,
    rotatedTo: null,
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

    it('keeps the end of a key, to the microsecond', async () => {
      const store = await open();
      await store.insert(makeKey('aaaaaaaaaaaaaaaa', { expiresAt: 1_900_000_000_000_001n }));
      assert.equal((await store.find('aaaaaaaaaaaaaaaa'))?.expiresAt, 1_900_000_000_000_001n);
    });

    it('rotates a key once: the successor is there, and the key ends', async () => {
      const store = await open();
      const key = makeKey('aaaaaaaaaaaaaaaa', { role: 'investigator' });
      const [first, second] = [makeKey('bbbbbbbbbbbbbbbb', { note: 'n' }), makeKey('cccccccccccccccc')];
      await store.insert(key);
      const at = 1_850_000_000_000_000n;
      assert.equal(await store.rotate(key.keyId, first, at + 1n, at), true);
      const ended = { ...key, expiresAt: at + 1n, rotatedTo: first.keyId };
      assert.deepEqual(await store.find(key.keyId), ended);
      assert.deepEqual(await store.find(first.keyId), first);
      assert.equal(await store.rotate(key.keyId, second, at + 9n, at), false);
      assert.deepEqual(await store.find(key.keyId), ended);
      assert.equal(await store.find(second.keyId), null);
    });

    it('rotates no key that is unknown, revoked or over, and never lets one live longer', async () => {
      const store = await open();
      const at = 1_850_000_000_000_000n;
      await store.insert(makeKey('over000000000000', { expiresAt: at }));
      await store.insert(makeKey('revoked000000000'));
      await store.revoke('revoked000000000', at);
      await store.insert(makeKey('ends000000000000', { expiresAt: at + 5n }));
      const next = (digit: string) => makeKey(digit.repeat(16));
      assert.equal(await store.rotate('over000000000000', next('1'), at + 9n, at), false);
      assert.equal(await store.rotate('revoked000000000', next('2'), at + 9n, at), false);
      assert.equal(await store.rotate('nobody0000000000', next('3'), at + 9n, at), false);
      assert.equal(await store.rotate('ends000000000000', next('4'), at + 9n, at), true);
      assert.equal((await store.find('ends000000000000'))?.expiresAt, at + 5n);
      assert.equal((await store.list({ tenant: null, after: null, limit: 10 })).length, 4);
    });

    it('of two rotations at once lets one through', async () => {
      const store = await open();
      await store.insert(makeKey('aaaaaaaaaaaaaaaa'));
      const at = 1_850_000_000_000_000n;
      const done = await Promise.all(
        ['1', '2', '3'].map((digit) => store.rotate('aaaaaaaaaaaaaaaa', makeKey(digit.repeat(16)), at, at)),
      );
      assert.deepEqual(done.filter((one) => one).length, 1);
      assert.equal((await store.list({ tenant: null, after: null, limit: 10 })).length, 2);
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
