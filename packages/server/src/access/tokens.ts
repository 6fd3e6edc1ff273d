/** Bearer tokens of an identity provider (OpenID Connect): who calls, in which role, for which tenant. */

import { hash } from 'node:crypto';
import { isEvidentError } from '@evident/core/errors.ts';
import { isTenant } from '@evident/core/record.ts';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import { ROLES, type Role } from './api-keys.ts';
import type { OidcSettings } from './oidc-settings.ts';
import type { ProviderKeys } from './provider-keys.ts';

export type TokenAnswer =
  | {
      readonly kind: 'accepted';
      /** `oidc:` and the subject of the token. */
      readonly subject: string;
      readonly role: Role;
      /** Null: all tenants. */
      readonly tenant: string | null;
    }
  | {
      readonly kind: 'refused';
      readonly code: 'unauthenticated' | 'credential-expired' | 'forbidden' | 'identity-unavailable';
      readonly detail: string;
      /** Whose token it is, where its signature proves that; else null. */
      readonly subject: string | null;
    };

export interface TokenVerifier {
  /** Never fails. @param token as it stands after `Bearer` */
  verify(token: string): Promise<TokenAnswer>;
}

/** Longer ones are no tokens that anybody reads in a header. */
const TOKEN_LENGTH_MAX = 8_192;
const ROLE_VALUES_MAX = 1_000;
const SUBJECT_LENGTH_MAX = 255;
const TOKEN_FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;

/** Whether a text has the form of a signed token: three parts. */
export function isTokenForm(text: string): boolean {
  return text.length <= TOKEN_LENGTH_MAX && TOKEN_FORM.test(text);
}

/** @param clock microseconds since the Unix epoch */
export function makeTokenVerifier(
  settings: OidcSettings,
  keys: Pick<ProviderKeys, 'keyOf'>,
  clock: () => bigint,
): TokenVerifier {
  return {
    verify: async (token) => {
      let payload: JWTPayload;
      let type: unknown;
      try {
        const verified = await jwtVerify(token, (header) => keys.keyOf(header), {
          issuer: settings.issuer,
          audience: [...settings.audience],
          algorithms: [...settings.algorithms],
          clockTolerance: settings.toleranceSeconds,
          requiredClaims: ['sub', 'exp'],
          currentDate: new Date(Number(clock() / 1_000n)),
        });
        payload = verified.payload;
        type = verified.protectedHeader.typ;
      } catch (error) {
        return refusalOf(error);
      }
      const fault = typeFault(settings, type, payload);
      if (fault !== null)
        return refused('unauthenticated', `The token is not taken: ${fault}.`, subjectOf(payload.sub));
      return identityOf(settings, payload);
    },
  };
}

/** What is wrong with a token's claims is told: its signature proves that it is from the provider. */
function refusalOf(error: unknown): TokenAnswer {
  if (isEvidentError(error) && error.code === 'identity-unavailable')
    return refused('identity-unavailable', error.message, null);
  if (error instanceof errors.JWTExpired)
    return refused('credential-expired', 'The token has expired.', subjectOf(error.payload.sub));
  if (error instanceof errors.JWTClaimValidationFailed) {
    const why = CLAIM_FAULTS[error.claim] ?? `its claim ${error.claim} is not as it has to be`;
    return refused('unauthenticated', `The token is not taken: ${why}.`, subjectOf(error.payload.sub));
  }
  if (error instanceof errors.JOSEAlgNotAllowed)
    return refused('unauthenticated', 'The token is signed in a way that this server does not take.', null);
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return refused(
      'unauthenticated',
      'The token is signed by a key that the identity provider does not list.',
      null,
    );
  return refused('unauthenticated', 'The token is not one that the identity provider signed.', null);
}

const CLAIM_FAULTS: Readonly<Record<string, string>> = {
  aud: 'it is meant for another audience',
  iss: 'it is from another issuer',
  nbf: 'its time has not come yet',
  exp: 'it does not say when it ends',
  sub: 'it does not say whose it is',
};

function refused(
  code: Extract<TokenAnswer, { kind: 'refused' }>['code'],
  detail: string,
  subject: string | null,
): TokenAnswer {
  return { kind: 'refused', code, detail, subject };
}

/** What the claim `typ` of some providers says of tokens that are for somebody else than a resource server. */
const OTHER_TOKENS: ReadonlySet<unknown> = new Set(['ID', 'Refresh', 'Offline', 'Logout']);

/**
 * Why a token is no access token, or null. An ID token is signed by the same key for the same subject, and tells a client
 * who somebody is: whoever that client is must not act here with it (RFC 9068 §4, RFC 8725 §3.11).
 */
function typeFault({ tokenTypes }: OidcSettings, typ: unknown, payload: JWTPayload): string | null {
  // A media type: letters of either case are alike, and application/ may be left out (RFC 7515 §4.1.9).
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ;
  if (type === 'at+jwt') return tokenTypes.includes('at+jwt') ? null : 'its type is not one of tokenTypes';
  if ((type !== 'jwt' && type !== undefined) || !tokenTypes.includes('JWT'))
    return 'it does not say that it is an access token (typ at+jwt)';
  const isForClient = payload.at_hash !== undefined || payload.c_hash !== undefined;
  return isForClient || OTHER_TOKENS.has(payload.typ)
    ? 'it is an ID token, or another that is no access token'
    : null;
}

function identityOf(settings: OidcSettings, payload: JWTPayload): TokenAnswer {
  const subject = subjectOf(payload.sub);
  if (subject === null)
    return refused('unauthenticated', 'The token is not taken: it does not say whose it is.', null);
  const role = roleOf(settings, payload);
  if (role === null)
    return refused(
      'forbidden',
      `The claim ${settings.roleClaim} of the token names no role of this server.`,
      subject,
    );
  const tenant = tenantOf(settings, payload);
  if (tenant === undefined)
    return refused(
      'forbidden',
      `The claim ${settings.tenantClaim} of the token names no tenant of this server.`,
      subject,
    );
  if (role === 'writer' && tenant === null)
    return refused('forbidden', 'A writer speaks for one tenant, and the token for all.', subject);
  return { kind: 'accepted', subject, role, tenant };
}

/**
 * The subject as the log names it: as it is where it is plain, each other byte as %XX, so that it is no path and no
 * control character in whatever shows it; one that would be longer than the log likes as its hash.
 */
function subjectOf(sub: unknown): string | null {
  if (typeof sub !== 'string' || sub === '' || !sub.isWellFormed()) return null;
  const plain = encodeURIComponent(sub).replaceAll('%40', '@').replaceAll('%3A', ':').replaceAll('%7C', '|');
  // The colon of one that looks like a hash stays escaped: nobody is named like somebody else's long subject.
  const text = plain.startsWith('.') ? `%2E${plain.slice(1)}` : plain.replace(/^sha256:/, 'sha256%3A');
  return text.length <= SUBJECT_LENGTH_MAX - 'oidc:'.length
    ? `oidc:${text}`
    : `oidc:sha256:${hash('sha256', sub, 'hex')}`;
}

/** The strongest of the roles that the token's values stand for, or null. */
function roleOf({ roleClaim, roles }: OidcSettings, payload: JWTPayload): Role | null {
  const value = claimOf(payload, roleClaim);
  // `scope` is one string of several words.
  const values: unknown[] = typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : [];
  let strongest = -1;
  for (const one of values.slice(0, ROLE_VALUES_MAX)) {
    if (typeof one !== 'string') continue;
    const role = roles === null ? one : roles.get(one);
    strongest = Math.max(strongest, ROLES.indexOf(role as Role));
  }
  return strongest < 0 ? null : ROLES[strongest];
}

/** The tenant of a token; null: all of them; undefined: none, and the token is refused. */
function tenantOf(settings: OidcSettings, payload: JWTPayload): string | null | undefined {
  const value = claimOf(payload, settings.tenantClaim);
  let named: string | null | undefined;
  if (value === undefined || value === null) named = settings.tenantDefault;
  else if (typeof value !== 'string') return undefined;
  // All tenants by a map alone: what a user may have typed into a profile is a name, never more.
  else if (settings.tenants === null) return isTenant(value) ? value : undefined;
  else named = settings.tenants.get(value);
  if (named === null || named === undefined) return undefined;
  return named === '*' ? null : named;
}

/** A claim by its name, or by a path where no claim has that name: names hold dots, too, such as those that are addresses. */
function claimOf(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  let value: unknown = payload;
  for (const step of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}
