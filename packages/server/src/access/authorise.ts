/** Decides whether a credential may do what a route needs. */

import { timingSafeEqual } from 'node:crypto';
import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant } from '@evident/core/record.ts';
import { type AccessDeps, hashSecret, parseKeyText, type Role } from './api-keys.ts';

/** Who calls. */
export interface Principal {
  readonly keyId: string;
  readonly role: Role;
  /** Whom the caller speaks for; null means all tenants. */
  readonly tenant: string | null;
}

export type Authorisation =
  | { readonly kind: 'granted'; readonly principal: Principal }
  | { readonly kind: 'refused'; readonly code: 'unauthenticated' | 'forbidden'; readonly detail: string };

/** What is compared with when there is no such key, so that this takes the same path. No secret hashes to zeros. */
const NO_HASH = new Uint8Array(32);
const BEARER = /^bearer +([^ ]+)$/i;

/**
 * @param credential the Authorization header, or undefined
 * @param roles which roles will do
 * @throws log-unavailable when keys can't be looked up
 */
export async function authorise(
  deps: Pick<AccessDeps, 'store' | 'verified'>,
  credential: string | undefined,
  roles: readonly Role[],
): Promise<Authorisation> {
  if (credential === undefined) return unauthenticated('The request has no Authorization header.');
  const parts = parseKeyText(BEARER.exec(credential)?.[1] ?? '');
  if (parts === null)
    return unauthenticated('The Authorization header is not of the form: Bearer evident_<id>_<secret>.');
  const key = await deps.verified.find(parts.keyId, (keyId) => deps.store.find(keyId));
  const same = timingSafeEqual(hashSecret(parts.secret), key?.hash ?? NO_HASH);
  // One answer for an unknown id, a wrong secret and a revoked key: the caller learns nothing about which keys exist.
  if (!same || key === null || key.revokedAt !== null)
    return unauthenticated('The API key is not known, or was revoked.');
  if (!roles.includes(key.role)) {
    return {
      kind: 'refused',
      code: 'forbidden',
      detail: `The key has the role ${key.role}; this needs ${roles.join(' or ')}.`,
    };
  }
  return { kind: 'granted', principal: { keyId: key.keyId, role: key.role, tenant: key.tenant } };
}

function unauthenticated(detail: string): Authorisation {
  return { kind: 'refused', code: 'unauthenticated', detail };
}

/**
 * The one tenant for which a caller writes: that of its key, or the one that it names if its key is for all.
 * @throws tenant-forbidden for another tenant than the key's, field-invalid when none is named, field-reserved
 */
export function tenantOf(principal: Principal, named: string | undefined): string {
  if (named === undefined) {
    if (principal.tenant !== null) return principal.tenant;
    throw new EvidentError(
      'field-invalid',
      'tenant: this key is for all tenants, so the request names one: ?tenant=',
      {
        context: { field: 'tenant' },
      },
    );
  }
  const tenant = checkTenant(named);
  if (principal.tenant === null || principal.tenant === tenant) return tenant;
  throw new EvidentError(
    'tenant-forbidden',
    `tenant: the key speaks for ${principal.tenant}, and not for ${tenant}`,
    {
      context: { field: 'tenant' },
    },
  );
}
