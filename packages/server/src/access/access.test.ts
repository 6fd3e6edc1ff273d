import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { MemoryApiKeyStore } from '../stores/memory/api-keys.ts';
import { type AccessDeps, type ApiKey, createApiKey, ROLES, revokeApiKey } from './api-keys.ts';
import { authorise, tenantOf } from './authorise.ts';
import { VERIFIED_MS_MAX, VerifiedKeys } from './verified-keys.ts';

/** Counts lookups, and can hold one back. */
class SlowStore extends MemoryApiKeyStore {
  finds = 0;
  before: Promise<void> = Promise.resolve();

  override async find(keyId: string): Promise<ApiKey | null> {
    this.finds++;
    const key = await super.find(keyId);
    await this.before;
    return key;
  }
}

function open(keysMax?: number) {
  const time = { ms: 0 };
  const store = new SlowStore();
  const verified = new VerifiedKeys(() => time.ms, keysMax);
  const deps: AccessDeps = { store, verified, randomBytes, clock: () => 1_800_000_000_000_000n };
  return { time, store, deps };
}

const refusedAs = (code: string, field?: string) => (error: unknown) =>
  isEvidentError(error) && error.code === code && error.context.field === field;
const WRITER = { role: 'writer', tenant: 'acme', note: null } as const;

describe('createApiKey', () => {
  it('shows a text of the documented form once, and stores only the SHA-256 of its secret', async () => {
    const { deps, store } = open();
    const { text, key } = await createApiKey(deps, WRITER);
    const [, keyId, secret] = /^evident_([a-z0-9]{16})_([A-Za-z0-9_-]{43})$/.exec(text) as string[];
    assert.equal(keyId, key.keyId);
    assert.equal(Buffer.from(secret, 'base64url').length, 32);
    const stored = await store.find(keyId);
    assert.deepEqual(Buffer.from(stored!.hash), createHash('sha256').update(secret).digest());
    assert.ok(
      !JSON.stringify(stored, (_name, value) => (typeof value === 'bigint' ? `${value}` : value)).includes(
        secret,
      ),
    );
  });

  it('draws ids from all 36 digits evenly: bytes of the last, short round are thrown away', async () => {
    const { deps } = open();
    const bytes = [255, 252, 253, 0, 35, 36, 251, ...Array(13).fill(1)];
    const { key } = await createApiKey(
      {
        ...deps,
        randomBytes: (count) =>
          Uint8Array.from(bytes.splice(0, count).concat(Array(count).fill(2)).slice(0, count)),
      },
      WRITER,
    );
    assert.match(key.keyId, /^a9a9b+/);
  });

  it('refuses a writer without tenant, reserved tenants, unknown roles and notes that no log line could hold', async () => {
    const { deps, store } = open();
    await assert.rejects(
      createApiKey(deps, { ...WRITER, tenant: null }),
      refusedAs('field-invalid', 'tenant'),
    );
    await assert.rejects(
      createApiKey(deps, { ...WRITER, tenant: '_system' }),
      refusedAs('field-reserved', 'tenant'),
    );
    await assert.rejects(
      createApiKey(deps, { ...WRITER, role: 'root' as 'admin' }),
      refusedAs('field-invalid', 'role'),
    );
    await assert.rejects(createApiKey(deps, { ...WRITER, note: 'a\nb' }), refusedAs('field-invalid', 'note'));
    assert.deepEqual(await store.list({ tenant: null, after: null, limit: 10 }), []);
  });
});

describe('authorise', () => {
  it('grants a key its role and tenant, for the roles that will do', async () => {
    const { deps } = open();
    for (const role of ROLES) {
      const { text, key } = await createApiKey(deps, { ...WRITER, role });
      assert.deepEqual(await authorise(deps, `Bearer ${text}`, [role]), {
        kind: 'granted',
        principal: { keyId: key.keyId, role, tenant: 'acme' },
      });
      const others = ROLES.filter((other) => other !== role);
      assert.equal(((await authorise(deps, `bearer ${text}`, others)) as { code: string }).code, 'forbidden');
    }
  });

  it('gives one answer for an unknown id, a wrong secret and a revoked key', async () => {
    const { deps } = open();
    const { text, key } = await createApiKey(deps, WRITER);
    const wrong = `${text.slice(0, -43)}${'A'.repeat(43)}`;
    const unknown = text.replace(key.keyId, 'a'.repeat(16));
    const answers = [
      await authorise(deps, `Bearer ${wrong}`, ROLES),
      await authorise(deps, `Bearer ${unknown}`, ROLES),
    ];
    await revokeApiKey(deps, key.keyId, null);
    answers.push(await authorise(deps, `Bearer ${text}`, ROLES));
    for (const one of answers) assert.deepEqual(one, answers[0]);
    assert.equal((answers[0] as { code: string }).code, 'unauthenticated');
  });

  it('never asks the store for what is not of the form of a key', async () => {
    const { deps, store } = open();
    const { text } = await createApiKey(deps, WRITER);
    for (const credential of [
      undefined,
      '',
      'Bearer',
      `Basic ${text}`,
      text,
      `Bearer ${text} `,
      `Bearer ${text}x`,
      `Bearer ${text.toUpperCase()}`,
      'Bearer evident_a_b',
    ]) {
      assert.equal((await authorise(deps, credential, ROLES)).kind, 'refused', String(credential));
    }
    assert.equal(store.finds, 0);
  });
});

describe('VerifiedKeys', () => {
  it('looks a key up once in five seconds, and checks its secret every time', async () => {
    const { deps, store, time } = open();
    const { text } = await createApiKey(deps, WRITER);
    const kind = async (credential: string) => (await authorise(deps, `Bearer ${credential}`, ROLES)).kind;
    assert.equal(await kind(text), 'granted');
    time.ms = VERIFIED_MS_MAX;
    assert.equal(await kind(text), 'granted');
    assert.equal(await kind(`${text.slice(0, -43)}${'A'.repeat(43)}`), 'refused');
    assert.equal(store.finds, 1);
    time.ms++;
    assert.equal(await kind(text), 'granted');
    assert.equal(store.finds, 2);
  });

  it('refuses a key at once after it was revoked in this process', async () => {
    const { deps } = open();
    const { text, key } = await createApiKey(deps, WRITER);
    await authorise(deps, `Bearer ${text}`, ROLES);
    assert.equal(await revokeApiKey(deps, key.keyId, 'acme'), true);
    assert.equal((await authorise(deps, `Bearer ${text}`, ROLES)).kind, 'refused');
  });

  it('does not keep what a lookup saw that a revocation overtook', async () => {
    const { deps, store } = open();
    const { text, key } = await createApiKey(deps, WRITER);
    const gate = Promise.withResolvers<void>();
    store.before = gate.promise;
    const slow = authorise(deps, `Bearer ${text}`, ROLES);
    store.before = Promise.resolve();
    await revokeApiKey(deps, key.keyId, null);
    gate.resolve();
    assert.equal((await slow).kind, 'granted', 'it was looked up before');
    assert.equal((await authorise(deps, `Bearer ${text}`, ROLES)).kind, 'refused');
  });

  it('holds no more keys than its bound, and no id that does not exist', async () => {
    const { deps } = open(2);
    for (let i = 0; i < 4; i++) {
      const { text, key } = await createApiKey(deps, WRITER);
      await authorise(deps, `Bearer ${text}`, ROLES);
      await authorise(deps, `Bearer ${text.replace(key.keyId, 'b'.repeat(16))}`, ROLES);
    }
    assert.equal(deps.verified.size, 2);
  });

  it('leaves keys of other tenants to others', async () => {
    const { deps } = open();
    const { text, key } = await createApiKey(deps, WRITER);
    assert.equal(await revokeApiKey(deps, key.keyId, 'other'), false);
    assert.equal((await authorise(deps, `Bearer ${text}`, ROLES)).kind, 'granted');
  });
});

describe('tenantOf', () => {
  it('is the tenant of the key, or the one that is named where the key is for all', () => {
    const limited = { keyId: 'k', role: 'writer', tenant: 'acme' } as const;
    const all = { keyId: 'k', role: 'admin', tenant: null } as const;
    assert.equal(tenantOf(limited, undefined), 'acme');
    assert.equal(tenantOf(limited, 'acme'), 'acme');
    assert.equal(tenantOf(all, 'other'), 'other');
    assert.throws(() => tenantOf(limited, 'other'), refusedAs('tenant-forbidden', 'tenant'));
    assert.throws(() => tenantOf(all, undefined), refusedAs('field-invalid', 'tenant'));
    assert.throws(() => tenantOf(all, '_system'), refusedAs('field-reserved', 'tenant'));
  });
});
