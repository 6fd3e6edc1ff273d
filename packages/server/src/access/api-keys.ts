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
import { formatInstant } from '@evident/core/leaf.ts';
import { checkTenant, checkText } from '@evident/core/record.ts';
import type { OwnActor, OwnEvent } from '../audit/own-event.ts';
import type { TokenVerifier } from './tokens.ts';
import type { VerifiedKeys } from './verified-keys.ts';

/** From the weakest to the strongest: where somebody has several roles, the last one here counts. README.md says what each may do. */
export const ROLES = ['writer', 'investigator', 'auditor', 'compliance', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/** What routes ask for (`config.access`): who may do it. */
export const MAY = {
  /** See which logs there are, published heads, and whether an event of one's own tenant has arrived. */
  look: ROLES,
  /** Write records. */
  append: ['writer', 'admin'],
  /** Search, show, count, follow and export events, within the tenant of the credential. */
  investigate: ['investigator', 'auditor', 'compliance', 'admin'],
  /** Evidence: leaf records, proofs, entry bundles, results of verification, state of sources. */
  examine: ['auditor', 'compliance', 'admin'],
  /** Metrics of the server, with a credential for all tenants: they count over all of them. */
  observe: ['auditor', 'compliance', 'admin'],
  /** Resolve dead letters; keep saved searches and alert rules for others of the tenant. */
  resolve: ['compliance', 'admin'],
  /** API keys, logs, views. */
  administer: ['admin'],
} as const satisfies Readonly<Record<string, readonly Role[]>>;

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
  /** From then on the key is refused; null: it has no end of its own. */
  readonly expiresAt: bigint | null;
  /** Id of the key that takes its place, once it was rotated. */
  readonly rotatedTo: string | null;
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
  /**
   * Inserts `successor`, and ends the key of `keyId` at `endsAt` unless it ends sooner: both or neither.
   * @returns false, and changes nothing, when there is no such key, or it was revoked, has been rotated, or is over at `at`
   */
  rotate(keyId: string, successor: ApiKey, endsAt: bigint, at: bigint): Promise<boolean>;
}

export interface AccessDeps {
  readonly store: ApiKeyStore;
  /** One per process: every revocation of the process goes through it. */
  readonly verified: VerifiedKeys;
  /** Cryptographically strong random bytes. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  /** Resolves when the event is durable in the log. */
  readonly record: (event: OwnEvent) => Promise<void>;
  /** Bearer tokens of an identity provider; null: none is trusted, API keys alone are taken. */
  readonly tokens: TokenVerifier | null;
}

export interface NewApiKey {
  readonly role: Role;
  readonly tenant: string | null;
  readonly note: string | null;
  /** Microseconds since the Unix epoch; absent or null: until it is revoked. */
  readonly expiresAt?: bigint | null;
}

/** Who changes a key, for the event that is recorded of it. */
export interface KeyChange {
  readonly actor: OwnActor;
  readonly requestId?: string;
}

const KEY_ID_LENGTH = 16;
const KEY_ID_DIGITS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const SECRET_BYTES = 32;
const NOTE_BYTES_MAX = 256;
/** Longest that a key may go on beside the one that took its place, seconds: 30 days. */
export const GRACE_SECONDS_MAX = 2_592_000;
export const GRACE_SECONDS_DEFAULT = 86_400;
/** Furthest end of a key, microseconds from now: ten years. */
const LIFETIME_US_MAX = 315_360_000_000_000n;
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

function refuse(field: string, reason: string): never {
  throw new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}

function checkExpiry(expiresAt: bigint | null, now: bigint): bigint | null {
  if (expiresAt !== null && (expiresAt <= now || expiresAt > now + LIFETIME_US_MAX))
    refuse('expires_at', 'a time that lies ahead, within ten years, is expected');
  return expiresAt;
}

/** A key of a new id and secret. */
function drawKey(deps: AccessDeps, over: Pick<ApiKey, 'role' | 'tenant' | 'note' | 'expiresAt' | 'madeAt'>) {
  const keyId = makeKeyId(deps.randomBytes);
  const secret = Buffer.from(deps.randomBytes(SECRET_BYTES)).toString('base64url');
  const key: ApiKey = { ...over, keyId, hash: hashSecret(secret), revokedAt: null, rotatedTo: null };
  return { text: `evident_${keyId}_${secret}`, key };
}

/** The event of a change. It concerns the tenant of the key, and Evident itself where the key is for all. */
function keyEvent(
  change: KeyChange,
  action: string,
  key: ApiKey,
  details: Record<string, unknown>,
): OwnEvent {
  return {
    actor: change.actor,
    action: `api_key.${action}`,
    resource: { type: 'api_key', id: key.keyId },
    result: 'success',
    tenant: key.tenant,
    details: { role: key.role, ...details },
    ...(change.requestId === undefined ? {} : { requestId: change.requestId }),
  };
}

/**
 * Records that keys came to be. If that fails, the caller never gets the text of the new one; it is revoked, so that
 * no key is in use of which the log knows nothing.
 */
async function recordMade(deps: AccessDeps, event: OwnEvent, key: ApiKey): Promise<void> {
  try {
    await deps.record(event);
  } catch (error) {
    await deps.store.revoke(key.keyId, deps.clock()).catch(() => undefined);
    throw error;
  }
}

const instantOf = (micros: bigint | null): string | null => (micros === null ? null : formatInstant(micros));

/**
 * Makes a key. The returned text is nowhere stored and never shown again.
 * @param change who makes it; null: the server itself at its start, for the owner of its directory: not recorded
 * @throws field-invalid or field-reserved for role, tenant, note or expires_at; log-unavailable; outcome-unknown
 */
export async function createApiKey(
  deps: AccessDeps,
  asked: NewApiKey,
  change: KeyChange | null,
): Promise<{ text: string; key: ApiKey }> {
  const { role } = asked;
  if (!isRole(role)) refuse('role', `one of ${ROLES.join(', ')} is expected`);
  const tenant = asked.tenant === null ? null : checkTenant(asked.tenant);
  if (role === 'writer' && tenant === null) refuse('tenant', 'a writer speaks for one tenant');
  const note = asked.note === null ? null : checkText(asked.note, 'note', NOTE_BYTES_MAX);
  const madeAt = deps.clock();
  const expiresAt = checkExpiry(asked.expiresAt ?? null, madeAt);
  const made = drawKey(deps, { role, tenant, note, expiresAt, madeAt });
  await deps.store.insert(made.key);
  if (change !== null)
    await recordMade(
      deps,
      keyEvent(change, 'create', made.key, { expires_at: instantOf(expiresAt) }),
      made.key,
    );
  return made;
}

/**
 * Makes the successor of a key: same role, tenant and note, its end as far ahead as that of the key was when it was made.
 * The key itself goes on for `graceSeconds`, unless it ends sooner.
 * @param tenant whose keys the caller may rotate, or null for any
 * @returns null when there is no such key among those
 * @throws api-key-ended when it was revoked, has expired or was rotated before; field-invalid; log-unavailable
 */
export async function rotateApiKey(
  deps: AccessDeps,
  keyId: string,
  graceSeconds: number,
  tenant: string | null,
  change: KeyChange,
): Promise<{ text: string; key: ApiKey; endsAt: bigint } | null> {
  if (!Number.isInteger(graceSeconds) || graceSeconds < 0 || graceSeconds > GRACE_SECONDS_MAX)
    refuse('grace_seconds', `a whole number from 0 to ${GRACE_SECONDS_MAX} is expected`);
  const key = await deps.store.find(keyId);
  if (key === null || (tenant !== null && key.tenant !== tenant)) return null;
  const now = deps.clock();
  const asked = now + BigInt(graceSeconds) * 1_000_000n;
  const endsAt = key.expiresAt !== null && key.expiresAt < asked ? key.expiresAt : asked;
  const expiresAt = key.expiresAt === null ? null : now + (key.expiresAt - key.madeAt);
  const { role, note } = key;
  const made = drawKey(deps, { role, tenant: key.tenant, note, expiresAt, madeAt: now });
  // Dropped before and after: a request that looks the key up meanwhile must not keep what it saw.
  deps.verified.drop(keyId);
  const isRotated = await deps.store.rotate(keyId, made.key, endsAt, now);
  deps.verified.drop(keyId);
  if (!isRotated)
    throw new EvidentError(
      'api-key-ended',
      `id: the API key ${keyId} was revoked, has expired or was rotated before`,
      {
        context: { field: 'id' },
      },
    );
  const details = { rotated_to: made.key.keyId, ends_at: instantOf(endsAt) };
  await recordMade(deps, keyEvent(change, 'rotate', key, details), made.key);
  return { ...made, endsAt };
}

/**
 * Revokes a key. This process refuses it from now on; another one at most `VERIFIED_MS_MAX` later.
 * @param tenant whose keys the caller may revoke, or null for any
 * @returns false when there is no such key among those
 * @throws log-unavailable, outcome-unknown: it may be revoked and not recorded; revoke it again
 */
export async function revokeApiKey(
  deps: AccessDeps,
  keyId: string,
  tenant: string | null,
  change: KeyChange,
): Promise<boolean> {
  const key = await deps.store.find(keyId);
  if (key === null || (tenant !== null && key.tenant !== tenant)) return false;
  // Dropped before and after: a request that looks the key up meanwhile must not keep what it saw.
  deps.verified.drop(keyId);
  const revoked = await deps.store.revoke(keyId, deps.clock());
  deps.verified.drop(keyId);
  // After it: a key that somebody wants gone must not go on because the log is full.
  if (revoked) await deps.record(keyEvent(change, 'revoke', key, {}));
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
