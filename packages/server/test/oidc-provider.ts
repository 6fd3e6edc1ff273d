/** A real identity provider in this process, whose keys can be exchanged and which can be cut off. */

import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';
import Provider from 'oidc-provider';
import type { OidcInput } from '../src/access/oidc-settings.ts';

export const AUDIENCE = 'https://evident.example';
/** Signing in where the user is asked on a device of hers, without a browser (OpenID Connect CIBA). */
const CIBA = 'urn:openid:params:grant-type:ciba';

export interface TestProvider {
  readonly issuer: string;
  /** Settings under which its tokens are taken. */
  readonly settings: OidcInput;
  /** A token that the provider issues to a client, with these claims besides. */
  issue(claims: Record<string, unknown>): Promise<string>;
  /** The ID token that the provider issues to the client `billing` when a user signs in there, with these claims besides. */
  issueIdToken(claims: Record<string, unknown>): Promise<string>;
  /** A token that is signed with a key of the provider, as nobody would issue it. */
  sign(claims: JWTPayload, header?: Record<string, unknown>): Promise<string>;
  /** From now on the provider has another key, and that alone. */
  rotate(): Promise<void>;
  /** While true, it breaks every connection. */
  isDown: boolean;
  /** Requests for its discovery document or its keys. */
  asked: number;
}

export type SigningKey = JWK & { kid: string; alg: 'ES256' };

export async function makeSigningKey(kid: string): Promise<SigningKey> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, alg: 'ES256', use: 'sig' };
}

/** Signs whatever one wants signed; as an access token, unless the header says otherwise. */
export function signToken(key: SigningKey, claims: JWTPayload, header: object = {}): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', kid: key.kid, typ: 'at+jwt', ...header })
    .sign(key);
}

export async function openProvider(test: TestContext): Promise<TestProvider> {
  const claims = new Map<string, Record<string, unknown>>();
  let key = await makeSigningKey('key-1');
  let handle: RequestListener = (_request, response) => void response.end();
  const server = createServer((request, response) => {
    if (/well-known|jwks/.test(request.url ?? '')) provider.asked++;
    if (provider.isDown) request.socket.destroy();
    else handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.after(() => new Promise((resolve) => server.close(resolve).closeAllConnections()));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const begin = () => {
    handle = makeProvider(issuer, key, claims).callback();
  };
  begin();
  const ask = async (path: string, members: Record<string, string>): Promise<Record<string, string>> => {
    const body = new URLSearchParams(members);
    const authorization = `Basic ${Buffer.from('billing:secret').toString('base64')}`;
    const answer = await fetch(`${issuer}${path}`, { method: 'POST', headers: { authorization }, body });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`the provider answered ${answer.status}: ${text}`);
    return JSON.parse(text) as Record<string, string>;
  };
  const provider: TestProvider = {
    issuer,
    settings: { issuer, audience: AUDIENCE },
    isDown: false,
    asked: 0,
    issue: async (extra) => {
      claims.set('current', extra);
      return (await ask('/token', { grant_type: 'client_credentials', resource: AUDIENCE })).access_token;
    },
    issueIdToken: async (extra) => {
      claims.set('current', extra);
      const { auth_req_id } = await ask('/backchannel', { scope: 'openid', login_hint: 'usr_1' });
      return (await ask('/token', { grant_type: CIBA, auth_req_id })).id_token;
    },
    sign: (payload, header) => signToken(key, payload, header),
    rotate: async () => {
      key = await makeSigningKey(`key-${Math.random()}`);
      begin();
    },
  };
  return provider;
}

function makeProvider(issuer: string, key: JWK, claims: Map<string, Record<string, unknown>>): Provider {
  const client = {
    client_id: 'billing',
    client_secret: 'secret',
    grant_types: ['client_credentials', CIBA],
    backchannel_token_delivery_mode: 'poll',
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'ES256',
  };
  const provider = new Provider(issuer, {
    clients: [client as never],
    jwks: { keys: [key as never] },
    extraTokenClaims: async () => claims.get('current'),
    findAccount: async (_context, accountId) => ({
      accountId,
      claims: async () => ({ sub: accountId, ...claims.get('current') }),
    }),
    claims: { openid: ['sub', 'roles', 'tenant'] },
    conformIdTokenClaims: false,
    ttl: { ClientCredentials: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      ciba: {
        enabled: true,
        deliveryModes: ['poll'],
        processLoginHint: async (_context, hint) => hint,
        verifyUserCode: async () => undefined,
        validateBindingMessage: async () => undefined,
        validateRequestContext: async () => undefined,
        // Whoever is asked says yes at once.
        triggerAuthenticationDevice: async (_context, request) => {
          const grant = new provider.Grant({ accountId: request.accountId, clientId: 'billing' });
          grant.addOIDCScope('openid');
          await grant.save();
          await provider.backchannelResult(request, grant);
        },
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: async () => ({
          scope: '',
          audience: AUDIENCE,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
  return provider;
}
