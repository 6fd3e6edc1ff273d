/**
 * API keys: who may call, in which role, for which tenant.
 *
 *   evident_<key id: 16 of a-z 0-9>_<secret: 32 random bytes in base64url>
 *
 * The text is shown once, when the key is made. What is stored is the SHA-256 of the secret part: the secret has
 * 256 random bits, so nobody can guess it from a fast hash, and a slow one would only cost every request.
 */

import { hash } from 'node:crypto';
import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant, checkText } from '@evident/core/record.ts';
import type { VerifiedKeys } from './verified-keys.ts';

export const ROLES = ['writer', 'auditor', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/** A key as it is stored. */
export interface ApiKey {
  readonly keyId: string;
  /** SHA-256 of the secret part of the text. */
  readonly hash: Uint8Array;
  readonly role: Role;
  /** Whom the key speaks for; null means all tenants, which a writer never has. */
  readonly tenant: string | null;
  readonly note: string | null;
  /** Microseconds since the Unix epoch. */
  readonly madeAt: bigint;
  readonly revokedAt: bigint | null;
}

export interface ApiKeyPage {
  /** Only keys of this tenant, or null for every key. */
  readonly tenant: string | null;
  /** Only keys whose id is greater, or null to begin. */
  readonly after: string | null;
  readonly limit: number;
}

/** Where keys are kept. Implemented in memory and on PostgreSQL; one contract suite holds both. */
export interface ApiKeyStore {
  /** Resolves when the key is durable. Fails when the id is taken. */
  insert(key: ApiKey): Promise<void>;
  find(keyId: string): Promise<ApiKey | null>;
  /** Ascending by id, revoked ones among them. */
  list(page: ApiKeyPage): Promise<ApiKey[]>;
  /** Resolves when it is durable; the first time stays. @returns false when there is no such key */
  revoke(keyId: string, at: bigint): Promise<boolean>;
}

export interface AccessDeps {
  readonly store: ApiKeyStore;
  /** One per process: every revocation of the process goes through it. */
  readonly verified: VerifiedKeys;
  /** Cryptographically strong random bytes. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
}

export interface NewApiKey {
  readonly role: Role;
  readonly tenant: string | null;
  readonly note: string | null;
}

const KEY_ID_LENGTH = 16;
const KEY_ID_DIGITS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const SECRET_BYTES = 32;
const NOTE_BYTES_MAX = 256;
const KEY_TEXT = /^evident_([a-z0-9]{16})_([A-Za-z0-9_-]{43})$/;

function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}

/** The two parts of a key's text, or null when it is not of the form. */
export function parseKeyText(text: string): { keyId: string; secret: string } | null {
  const match = KEY_TEXT.exec(text);
  return match === null ? null : { keyId: match[1], secret: match[2] };
}

export function hashSecret(secret: string): Uint8Array {
  return hash('sha256', secret, 'buffer');
}

/**
 * Makes a key. The returned text is nowhere stored and never shown again.
 * @throws field-invalid or field-reserved for role, tenant or note; log-unavailable
 */
export async function createApiKey(
  deps: AccessDeps,
  asked: NewApiKey,
): Promise<{ text: string; key: ApiKey }> {
  const { role } = asked;
  if (!isRole(role)) {
    throw new EvidentError('field-invalid', `role: one of ${ROLES.join(', ')} is expected`, {
      context: { field: 'role' },
    });
  }
  const tenant = asked.tenant === null ? null : checkTenant(asked.tenant);
  if (role === 'writer' && tenant === null) {
    throw new EvidentError('field-invalid', 'tenant: a writer speaks for one tenant', {
      context: { field: 'tenant' },
    });
  }
  const note = asked.note === null ? null : checkText(asked.note, 'note', NOTE_BYTES_MAX);
  const keyId = makeKeyId(deps.randomBytes);
  const secret = Buffer.from(deps.randomBytes(SECRET_BYTES)).toString('base64url');
  const key: ApiKey = {
    keyId,
    hash: hashSecret(secret),
    role,
    tenant,
    note,
    madeAt: deps.clock(),
    revokedAt: null,
  };
  await deps.store.insert(key);
  return { text: `evident_${keyId}_${secret}`, key };
}

/**
 * Revokes a key. This process refuses it from now on; another one at most `VERIFIED_MS_MAX` later.
 * @param tenant whose keys the caller may revoke, or null for any
 * @returns false when there is no such key among those
 */
export async function revokeApiKey(deps: AccessDeps, keyId: string, tenant: string | null): Promise<boolean> {
  const key = await deps.store.find(keyId);
  if (key === null || (tenant !== null && key.tenant !== tenant)) return false;
  // Dropped before and after: a request that looks the key up meanwhile must not keep what it saw.
  deps.verified.drop(keyId);
  const revoked = await deps.store.revoke(keyId, deps.clock());
  deps.verified.drop(keyId);
  return revoked;
}

/** 16 digits of 36: bytes past the last multiple of 36 are thrown away, or some digits would come more often. */
function makeKeyId(randomBytes: (count: number) => Uint8Array): string {
  const usableBelow = 256 - (256 % KEY_ID_DIGITS.length);
  let keyId = '';
  while (keyId.length < KEY_ID_LENGTH) {
    for (const byte of randomBytes(KEY_ID_LENGTH)) {
      if (byte < usableBelow && keyId.length < KEY_ID_LENGTH)
        keyId += KEY_ID_DIGITS[byte % KEY_ID_DIGITS.length];
    }
  }
  return keyId;
}
