import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import type { OwnEvent } from '../audit/own-event.ts';
import { MemoryApiKeyStore } from '../stores/memory/api-keys.ts';
import { type AccessDeps, type ApiKey, createApiKey, ROLES, revokeApiKey, rotateApiKey } from './api-keys.ts';
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
  const recorded: OwnEvent[] = [];
  const deps: AccessDeps = {
    store,
    verified,
    randomBytes,
    clock: () => NOW + BigInt(time.ms) * 1_000n,
    record: async (event) => void recorded.push(event),
    tokens: null,
  };
  return { time, store, deps, recorded };
}

const refusedAs = (code: string, field?: string) => (error: unknown) =>
  isEvidentError(error) && error.code === code && error.context.field === field;
const NOW = 1_800_000_000_000_000n;
const BY = { actor: { id: 'key:admin', role: 'admin' }, requestId: 'r1' };
const WRITER = { role: 'writer', tenant: 'acme', note: null } as const;

describe('createApiKey', () => {
  it('shows a text of the documented form once, and stores only the SHA-256 of its secret', async () => {
    const { deps, store } = open();
    const { text, key } = await createApiKey(deps, WRITER, BY);
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
      BY,
    );
    assert.match(key.keyId, /^a9a9b+/);
  });

  it('refuses a writer without tenant, reserved tenants, unknown roles and notes that no log line could hold', async () => {
    const { deps, store } = open();
    await assert.rejects(
      createApiKey(deps, { ...WRITER, tenant: null }, BY),
      refusedAs('field-invalid', 'tenant'),
    );
    await assert.rejects(
      createApiKey(deps, { ...WRITER, tenant: '_system' }, BY),
      refusedAs('field-reserved', 'tenant'),
    );
    await assert.rejects(
      createApiKey(deps, { ...WRITER, role: 'root' as 'admin' }, BY),
      refusedAs('field-invalid', 'role'),
    );
    await assert.rejects(
      createApiKey(deps, { ...WRITER, note: 'a\nb' }, BY),
      refusedAs('field-invalid', 'note'),
    );
    assert.deepEqual(await store.list({ tenant: null, after: null, limit: 10 }), []);
  });
});

describe('authorise', () => {
  it('grants a key its role and tenant, for the roles that will do', async () => {
    const { deps } = open();
    for (const role of ROLES) {
      const { text, key } = await createApiKey(deps, { ...WRITER, role }, BY);
      assert.deepEqual(await authorise(deps, `Bearer ${text}`, [role]), {
        kind: 'granted',
        principal: { subject: `key:${key.keyId}`, keyId: key.keyId, role, tenant: 'acme' },
      });
      const others = ROLES.filter((other) => other !== role);
      assert.equal(((await authorise(deps, `bearer ${text}`, others)) as { code: string }).code, 'forbidden');
    }
  });

  it('gives one answer for an unknown id, a wrong secret and a revoked key', async () => {
    const { deps } = open();
    const { text, key } = await createApiKey(deps, WRITER, BY);
    const wrong = `${text.slice(0, -43)}${'A'.repeat(43)}`;
    const unknown = text.replace(key.keyId, 'a'.repeat(16));
    const answers = [
      await authorise(deps, `Bearer ${wrong}`, ROLES),
      await authorise(deps, `Bearer ${unknown}`, ROLES),
    ];
    await revokeApiKey(deps, key.keyId, null, BY);
    answers.push(await authorise(deps, `Bearer ${text}`, ROLES));
    for (const one of answers) {
      assert.ok(one.kind === 'refused');
      assert.deepEqual(
        [one.code, one.detail],
        ['unauthenticated', 'The API key is not known, or was revoked.'],
      );
    }
  });

  it('never asks the store for what is not of the form of a key', async () => {
    const { deps, store } = open();
    const { text } = await createApiKey(deps, WRITER, BY);
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

describe('keys that end', () => {
  const kindOf = async (deps: AccessDeps, text: string) => {
    const answer = await authorise(deps, `Bearer ${text}`, ROLES);
    return answer.kind === 'granted' ? 'granted' : answer.code;
  };

  it('are taken up to their end, and refused from then on, remembered or not', async () => {
    const { deps, time } = open();
    const { text } = await createApiKey(deps, { ...WRITER, expiresAt: NOW + 2_000n }, BY);
    assert.equal(await kindOf(deps, text), 'granted');
    time.ms = 1;
    assert.equal(await kindOf(deps, text), 'granted');
    time.ms = 2;
    assert.equal(await kindOf(deps, text), 'credential-expired');
    const wrong = `${text.slice(0, -43)}${'A'.repeat(43)}`;
    assert.equal(
      await kindOf(deps, wrong),
      'unauthenticated',
      'only who has the secret is told that it ended',
    );
  });

  it('have their end ahead, within ten years', async () => {
    const { deps, store } = open();
    for (const expiresAt of [NOW, NOW - 1n, NOW + 315_360_000_000_001n])
      await assert.rejects(
        createApiKey(deps, { ...WRITER, expiresAt }, BY),
        refusedAs('field-invalid', 'expires_at'),
      );
    assert.deepEqual(await store.list({ tenant: null, after: null, limit: 10 }), []);
  });

  it('are rotated into one of the same role, tenant, note and lifetime, and go on for the grace', async () => {
    const { deps, time } = open();
    const asked = { role: 'auditor', tenant: 'acme', note: 'reports', expiresAt: NOW + 10_000_000n } as const;
    const old = await createApiKey(deps, asked, BY);
    assert.equal(await kindOf(deps, old.text), 'granted');
    time.ms = 1_000;
    const made = await rotateApiKey(deps, old.key.keyId, 2, 'acme', BY);
    assert.ok(made !== null);
    const { role, tenant, note, expiresAt } = made.key;
    assert.deepEqual([role, tenant, note, expiresAt], ['auditor', 'acme', 'reports', NOW + 11_000_000n]);
    assert.equal(made.endsAt, NOW + 3_000_000n);
    time.ms = 2_999;
    assert.deepEqual([await kindOf(deps, old.text), await kindOf(deps, made.text)], ['granted', 'granted']);
    time.ms = 3_000;
    assert.deepEqual(
      [await kindOf(deps, old.text), await kindOf(deps, made.text)],
      ['credential-expired', 'granted'],
    );
  });

  it('end at once with no grace, though they were looked up a moment ago', async () => {
    const { deps } = open();
    const old = await createApiKey(deps, WRITER, BY);
    await kindOf(deps, old.text);
    await rotateApiKey(deps, old.key.keyId, 0, null, BY);
    assert.equal(await kindOf(deps, old.text), 'credential-expired');
  });

  it('are not rotated twice, nor when revoked, nor by another tenant, nor for longer than 30 days', async () => {
    const { deps, recorded } = open();
    const { key } = await createApiKey(deps, WRITER, BY);
    await assert.rejects(
      rotateApiKey(deps, key.keyId, 2_592_001, null, BY),
      refusedAs('field-invalid', 'grace_seconds'),
    );
    assert.equal(await rotateApiKey(deps, key.keyId, 1, 'other', BY), null);
    assert.equal(await rotateApiKey(deps, 'a'.repeat(16), 1, null, BY), null);
    await rotateApiKey(deps, key.keyId, 1, null, BY);
    await assert.rejects(rotateApiKey(deps, key.keyId, 1, null, BY), refusedAs('api-key-ended', 'id'));
    const { key: revoked } = await createApiKey(deps, WRITER, BY);
    await revokeApiKey(deps, revoked.keyId, null, BY);
    await assert.rejects(rotateApiKey(deps, revoked.keyId, 1, null, BY), refusedAs('api-key-ended', 'id'));
    assert.deepEqual(
      recorded.map(({ action }) => action),
      ['api_key.create', 'api_key.rotate', 'api_key.create', 'api_key.revoke'],
    );
  });
});

describe('changes of keys', () => {
  it('are recorded: who, which key, of which tenant, never a secret', async () => {
    const { deps, recorded } = open();
    const { text, key } = await createApiKey(deps, WRITER, BY);
    const made = await rotateApiKey(deps, key.keyId, 0, null, BY);
    assert.ok(made !== null);
    await revokeApiKey(deps, made.key.keyId, null, BY);
    assert.deepEqual(
      recorded.map(({ actor, action, resource, tenant }) => [actor.id, action, resource.id, tenant]),
      [
        ['key:admin', 'api_key.create', key.keyId, 'acme'],
        ['key:admin', 'api_key.rotate', key.keyId, 'acme'],
        ['key:admin', 'api_key.revoke', made.key.keyId, 'acme'],
      ],
    );
    assert.equal(recorded[1].details?.rotated_to, made.key.keyId);
    const all = JSON.stringify(recorded);
    assert.ok(!all.includes(text.slice(-43)) && !all.includes(made.text.slice(-43)));
  });

  it('leave no key in use of which nothing is recorded', async () => {
    const { deps, store } = open();
    const failing = { ...deps, record: () => Promise.reject(new Error('the log is away')) };
    await assert.rejects(createApiKey(failing, WRITER, BY), /the log is away/);
    const { key } = await createApiKey(deps, WRITER, BY);
    await assert.rejects(rotateApiKey(failing, key.keyId, 0, null, BY), /the log is away/);
    const keys = await store.list({ tenant: null, after: null, limit: 10 });
    assert.equal(keys.length, 3);
    for (const one of keys) assert.ok(one.revokedAt !== null || one.keyId === key.keyId);
  });
});

describe('VerifiedKeys', () => {
  it('looks a key up once in five seconds, and checks its secret every time', async () => {
    const { deps, store, time } = open();
    const { text } = await createApiKey(deps, WRITER, BY);
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
    const { text, key } = await createApiKey(deps, WRITER, BY);
    await authorise(deps, `Bearer ${text}`, ROLES);
    assert.equal(await revokeApiKey(deps, key.keyId, 'acme', BY), true);
    assert.equal((await authorise(deps, `Bearer ${text}`, ROLES)).kind, 'refused');
  });

  it('does not keep what a lookup saw that a revocation overtook', async () => {
    const { deps, store } = open();
    const { text, key } = await createApiKey(deps, WRITER, BY);
    const gate = Promise.withResolvers<void>();
    store.before = gate.promise;
    const slow = authorise(deps, `Bearer ${text}`, ROLES);
    store.before = Promise.resolve();
    await revokeApiKey(deps, key.keyId, null, BY);
    gate.resolve();
    assert.equal((await slow).kind, 'granted', 'it was looked up before');
    assert.equal((await authorise(deps, `Bearer ${text}`, ROLES)).kind, 'refused');
  });

  it('holds no more keys than its bound, and no id that does not exist', async () => {
    const { deps } = open(2);
    for (let i = 0; i < 4; i++) {
      const { text, key } = await createApiKey(deps, WRITER, BY);
      await authorise(deps, `Bearer ${text}`, ROLES);
      await authorise(deps, `Bearer ${text.replace(key.keyId, 'b'.repeat(16))}`, ROLES);
    }
    assert.equal(deps.verified.size, 2);
  });

  it('leaves keys of other tenants to others', async () => {
    const { deps } = open();
    const { text, key } = await createApiKey(deps, WRITER, BY);
    assert.equal(await revokeApiKey(deps, key.keyId, 'other', BY), false);
    assert.equal((await authorise(deps, `Bearer ${text}`, ROLES)).kind, 'granted');
  });
});

describe('tenantOf', () => {
  it('is the tenant of the key, or the one that is named where the key is for all', () => {
    const limited = { subject: 'key:k', keyId: 'k', role: 'writer', tenant: 'acme' } as const;
    const all = { subject: 'key:k', keyId: 'k', role: 'admin', tenant: null } as const;
    assert.equal(tenantOf(limited, undefined), 'acme');
    assert.equal(tenantOf(limited, 'acme'), 'acme');
    assert.equal(tenantOf(all, 'other'), 'other');
    assert.throws(() => tenantOf(limited, 'other'), refusedAs('tenant-forbidden', 'tenant'));
    assert.throws(() => tenantOf(all, undefined), refusedAs('field-invalid', 'tenant'));
    assert.throws(() => tenantOf(all, '_system'), refusedAs('field-reserved', 'tenant'));
  });
});
