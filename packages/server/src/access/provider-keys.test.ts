import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import { errors } from 'jose';
import { makeSigningKey } from '../../test/oidc-provider.ts';
import { FETCH_PAUSE_MS, ProviderKeys } from './provider-keys.ts';

const ISSUER = 'https://id.example';
const { d: _secret, ...publicKey } = await makeSigningKey('k');
const HEADER = { alg: 'ES256', kid: 'k' };

/** Keys over answers that the test gives; asked: what was fetched. */
function open(answers: (url: string) => Response | Promise<Response>, jwksUri: string | null = null) {
  const time = { ms: 0 };
  const asked: string[] = [];
  const faults: Error[] = [];
  const keys = new ProviderKeys(
    { issuer: ISSUER, jwksUri },
    {
      fetch: async (url) => {
        asked.push(url);
        return answers(url);
      },
      now: () => time.ms,
      onFault: (error) => faults.push(error as Error),
    },
  );
  return { time, asked, faults, keys };
}

const discovery = (over: object = {}) =>
  Response.json({ issuer: ISSUER, jwks_uri: `${ISSUER}/keys`, ...over });
const isUnavailable = (error: unknown) => isEvidentError(error) && error.code === 'identity-unavailable';

describe('ProviderKeys', () => {
  it('finds the keys by the discovery document, or where the settings say', async () => {
    const answers = (url: string) =>
      url.includes('well-known') ? discovery() : Response.json({ keys: [publicKey] });
    const found = open(answers);
    assert.equal((await found.keys.keyOf(HEADER)).type, 'public');
    assert.deepEqual(found.asked, [`${ISSUER}/.well-known/openid-configuration`, `${ISSUER}/keys`]);
    const told = open(answers, 'https://keys.example/x');
    await told.keys.keyOf(HEADER);
    assert.deepEqual(told.asked, ['https://keys.example/x']);
  });

  it('trusts no discovery document of another issuer, and no keys that come over plain HTTP', async () => {
    for (const over of [
      { issuer: 'https://other.example' },
      { jwks_uri: 'http://id.example/keys' },
      { jwks_uri: 7 },
    ]) {
      const { keys, asked, faults } = open(() => discovery(over));
      await assert.rejects(keys.keyOf(HEADER), isUnavailable);
      assert.deepEqual([asked.length, faults.length], [1, 1], JSON.stringify(over));
    }
  });

  it('takes no document that is too long, no list that is too long, and nothing that is no list of keys', async () => {
    const many = Array.from({ length: 101 }, (_, kid) => ({ ...publicKey, kid: `${kid}` }));
    for (const answer of [
      () => new Response('['.repeat(300_000)),
      () => Response.json({ keys: many }),
      () => Response.json({ keys: 'x' }),
      () => Response.json([]),
      () => new Response('no JSON'),
      () => new Response('', { status: 500 }),
    ]) {
      const { keys, faults } = open(answer, `${ISSUER}/keys`);
      await assert.rejects(keys.keyOf(HEADER), isUnavailable);
      assert.equal(faults.length, 1);
    }
  });

  it('uses no shared secret as a key', async () => {
    const secret = { kty: 'oct', k: 'AAAA', kid: 'k', alg: 'ES256' };
    const { keys } = open(() => Response.json({ keys: [secret] }), `${ISSUER}/keys`);
    await assert.rejects(keys.keyOf(HEADER), errors.JWKSNoMatchingKey);
    await assert.rejects(keys.keyOf({ alg: 'HS256', kid: 'k' }));
  });

  it('asks once for many tokens at a time, and not again at once after a failure', async () => {
    let isUp = false;
    const { keys, asked, time } = open(
      () => (isUp ? Response.json({ keys: [publicKey] }) : new Response('', { status: 503 })),
      `${ISSUER}/keys`,
    );
    const many = () => Promise.allSettled(Array.from({ length: 50 }, () => keys.keyOf(HEADER)));
    await many();
    isUp = true;
    assert.ok((await many()).every(({ status }) => status === 'rejected'));
    assert.equal(asked.length, 1);
    time.ms = FETCH_PAUSE_MS;
    assert.ok((await many()).every(({ status }) => status === 'fulfilled'));
    assert.equal(asked.length, 2);
  });
});
