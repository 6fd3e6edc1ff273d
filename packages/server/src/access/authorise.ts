/** Decides whether a credential may do what a route needs. */

import { timingSafeEqual } from 'node:crypto';
import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant } from '@evident/core/record.ts';
import { type AccessDeps, hashSecret, parseKeyText, type Role } from './api-keys.ts';
import { isTokenForm, type TokenVerifier } from './tokens.ts';

/** Who calls. */
export interface Principal {
  /** `key:<id>` of an API key, `oidc:<subject>` of a token: the actor of what is recorded. */
  readonly subject: string;
  /** What records name as their source: the id of the key, or the subject. */
  readonly keyId: string;
  readonly role: Role;
  /** Whom the caller speaks for; null means all tenants. */
  readonly tenant: string | null;
}

/** Who was refused, as far as that is known. */
export interface Suspect {
  /** `key:<id>` where there is a key of that id, `oidc:<subject>` where the token proves it; else null. */
  readonly subject: string | null;
  /** The secret was right, or the token signed: it is the subject indeed. */
  readonly isProven: boolean;
  readonly role: Role | null;
  readonly tenant: string | null;
}

export type Authorisation =
  | { readonly kind: 'granted'; readonly principal: Principal }
  | {
      readonly kind: 'refused';
      readonly code: 'unauthenticated' | 'credential-expired' | 'forbidden' | 'identity-unavailable';
      readonly detail: string;
      readonly suspect: Suspect;
    };

/** What is compared with when there is no such key, so that this takes the same path. No secret hashes to zeros. */
const NO_HASH = new Uint8Array(32);
const BEARER = /^bearer +([^ ]+)$/i;
const NOBODY: Suspect = { subject: null, isProven: false, role: null, tenant: null };

/**
 * @param credential the Authorization header, or undefined
 * @param roles which roles will do
 * @throws log-unavailable when keys can't be looked up
 */
export async function authorise(
  deps: Pick<AccessDeps, 'store' | 'verified' | 'clock' | 'tokens'>,
  credential: string | undefined,
  roles: readonly Role[],
): Promise<Authorisation> {
  if (credential === undefined)
    return refused('unauthenticated', 'The request has no Authorization header.', NOBODY);
  const text = BEARER.exec(credential)?.[1] ?? '';
  const parts = parseKeyText(text);
  if (parts !== null) return authoriseKey(deps, parts, roles);
  if (deps.tokens !== null && isTokenForm(text)) return authoriseToken(deps.tokens, text, roles);
  const forms = deps.tokens === null ? '' : ', or Bearer and a token of the identity provider';
  const detail = `The Authorization header is not of the form: Bearer evident_<id>_<secret>${forms}.`;
  return refused('unauthenticated', detail, NOBODY);
}

async function authoriseKey(
  deps: Pick<AccessDeps, 'store' | 'verified' | 'clock'>,
  parts: { keyId: string; secret: string },
  roles: readonly Role[],
): Promise<Authorisation> {
  const key = await deps.verified.find(parts.keyId, (keyId) => deps.store.find(keyId));
  const isSame = timingSafeEqual(hashSecret(parts.secret), key?.hash ?? NO_HASH);
  const suspect: Suspect =
    key === null
      ? NOBODY
      : { subject: `key:${key.keyId}`, isProven: isSame, role: key.role, tenant: key.tenant };
  // One answer for an unknown id, a wrong secret and a revoked key: the caller learns nothing about which keys exist.
  if (!isSame || key === null || key.revokedAt !== null)
    return refused('unauthenticated', 'The API key is not known, or was revoked.', suspect);
  if (key.expiresAt !== null && key.expiresAt <= deps.clock())
    return refused('credential-expired', 'The API key has expired.', suspect);
  if (!roles.includes(key.role)) return wrongRole('key', key.role, roles, suspect);
  const { keyId, role, tenant } = key;
  return { kind: 'granted', principal: { subject: `key:${keyId}`, keyId, role, tenant } };
}

async function authoriseToken(
  tokens: TokenVerifier,
  token: string,
  roles: readonly Role[],
): Promise<Authorisation> {
  const answer = await tokens.verify(token);
  if (answer.kind === 'refused') {
    const { subject } = answer;
    return refused(answer.code, answer.detail, { ...NOBODY, subject, isProven: subject !== null });
  }
  const { subject, role, tenant } = answer;
  if (!roles.includes(role))
    return wrongRole('token', role, roles, { subject, isProven: true, role, tenant });
  return { kind: 'granted', principal: { subject, keyId: subject, role, tenant } };
}

function wrongRole(what: string, role: Role, roles: readonly Role[], suspect: Suspect): Authorisation {
  return refused('forbidden', `The ${what} has the role ${role}; this needs ${roles.join(' or ')}.`, suspect);
}

function refused(
  code: Extract<Authorisation, { kind: 'refused' }>['code'],
  detail: string,
  suspect: Suspect,
): Authorisation {
  return { kind: 'refused', code, detail, suspect };
}

/**
 * The one tenant for which a caller writes: that of its credential, or the one that it names if that is for all.
 * @throws tenant-forbidden for another tenant than the credential's, field-invalid when none is named, field-reserved
 */
export function tenantOf(principal: Principal, named: string | undefined): string {
  if (named === undefined) {
    if (principal.tenant !== null) return principal.tenant;
    throw new EvidentError(
      'field-invalid',
      'tenant: this credential is for all tenants, so the request names one: ?tenant=',
      {
        context: { field: 'tenant' },
      },
    );
  }
  const tenant = checkTenant(named);
  if (principal.tenant === null || principal.tenant === tenant) return tenant;
  throw new EvidentError(
    'tenant-forbidden',
    `tenant: the credential speaks for ${principal.tenant}, and not for ${tenant}`,
    {
      context: { field: 'tenant' },
    },
  );
}
