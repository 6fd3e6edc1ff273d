/** What this server has to know of an identity provider. Read at start; nothing of it touches what is stored. */

import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant } from '@evident/core/record.ts';
import { ROLES, type Role } from './api-keys.ts';

/** Signatures that are taken at most. A shared secret (HS*) or none would let whoever reads the settings sign. */
export const TOKEN_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'] as const;
export type TokenAlgorithm = (typeof TOKEN_ALGORITHMS)[number];

/**
 * What a token may say that it is (`typ` of its header). `at+jwt` is an access token and nothing else (RFC 9068 §2.1).
 * `JWT` says nothing, as does a token without `typ`, which is taken with it: then an ID token may pass for an access token.
 */
const TOKEN_TYPES = ['at+jwt', 'JWT'] as const;
type TokenType = (typeof TOKEN_TYPES)[number];

/** In a map of tenants: the token speaks for all of them. */
const ALL_TENANTS = '*';
const TOLERANCE_SECONDS_DEFAULT = 30;
const TOLERANCE_SECONDS_MAX = 300;
const ENTRIES_MAX = 10_000;
const TEXT_LENGTH_MAX = 1_024;

export interface OidcSettings {
  /** As the provider writes it in tokens, to the character. https, or a loopback address. */
  readonly issuer: string;
  /** Tokens for any of these are taken. */
  readonly audience: readonly string[];
  /** Where the provider's keys are; null: as its discovery document says. */
  readonly jwksUri: string | null;
  /** Claim of the roles: its name, or a path such as `realm_access.roles`. A string, or a list of strings. */
  readonly roleClaim: string;
  /** What each value of that claim means here; null: values are the names of roles. Others mean nothing. */
  readonly roles: ReadonlyMap<string, Role> | null;
  /** Claim of the tenant: its name or path. One string. */
  readonly tenantClaim: string;
  /** What each value of that claim means here (`*`: all tenants); null: values are names of tenants. Others are refused. */
  readonly tenants: ReadonlyMap<string, string> | null;
  /** For whom a token without that claim speaks; null: it is refused. */
  readonly tenantDefault: string | null;
  readonly algorithms: readonly TokenAlgorithm[];
  /** `at+jwt` alone, unless the provider issues no such tokens. */
  readonly tokenTypes: readonly TokenType[];
  /** How far the clocks of provider and server may be apart, seconds. */
  readonly toleranceSeconds: number;
}

/** As a configuration file or the environment says it. */
export type OidcInput = Readonly<Record<string, unknown>>;

const MEMBERS = [
  'issuer',
  'audience',
  'jwksUri',
  'roleClaim',
  'roles',
  'tenantClaim',
  'tenants',
  'tenantDefault',
  'algorithms',
  'tokenTypes',
  'clockToleranceSeconds',
];

function refuse(member: string, reason: string): never {
  const field = `oidc.${member}`;
  throw new EvidentError('usage-invalid', `${field}: ${reason}`, { context: { field } });
}

/** @throws usage-invalid naming the member */
export function parseOidcSettings(input: OidcInput): OidcSettings {
  for (const name of Object.keys(input))
    if (!MEMBERS.includes(name)) refuse(name, 'there is no such setting');
  const { jwksUri, roles, tenants, tenantDefault } = input;
  return {
    issuer: addressOf('issuer', input.issuer),
    audience: textsOf('audience', input.audience),
    jwksUri: jwksUri === undefined ? null : addressOf('jwksUri', jwksUri),
    roleClaim: textOf('roleClaim', input.roleClaim ?? 'roles'),
    roles: roles === undefined ? null : mapOf('roles', roles, roleOf),
    tenantClaim: textOf('tenantClaim', input.tenantClaim ?? 'tenant'),
    tenants: tenants === undefined ? null : mapOf('tenants', tenants, tenantOrAll),
    tenantDefault: tenantDefault === undefined ? null : tenantOrAll('tenantDefault', tenantDefault),
    algorithms: oneOfEach('algorithms', TOKEN_ALGORITHMS, input.algorithms ?? [...TOKEN_ALGORITHMS]),
    tokenTypes: oneOfEach('tokenTypes', TOKEN_TYPES, input.tokenTypes ?? ['at+jwt']),
    toleranceSeconds: secondsOf(input.clockToleranceSeconds ?? TOLERANCE_SECONDS_DEFAULT),
  };
}

/**
 * The settings of the environment: `EVIDENT_OIDC_ISSUER`, `…_AUDIENCE`, `…_JWKS_URI`, `…_ROLE_CLAIM`, `…_TENANT_CLAIM`,
 * `…_TENANT_DEFAULT`; lists as `a,b`: `…_AUDIENCE`, `…_ALGORITHMS`, `…_TOKEN_TYPES`; maps as `a=x,b=y`: `…_ROLES`, `…_TENANTS`.
 * @returns undefined where there is none
 */
export function oidcFromEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): OidcInput | undefined {
  const read = (name: string) => environment[`EVIDENT_OIDC_${name}`];
  const list = (text: string | undefined) => text?.split(',').map((part) => part.trim());
  const map = (text: string | undefined) =>
    text === undefined
      ? undefined
      : Object.fromEntries(
          text.split(',').map((pair) => {
            const cut = pair.lastIndexOf('=');
            return [pair.slice(0, Math.max(cut, 0)).trim(), pair.slice(cut + 1).trim()];
          }),
        );
  const input = {
    issuer: read('ISSUER'),
    audience: list(read('AUDIENCE')),
    jwksUri: read('JWKS_URI'),
    roleClaim: read('ROLE_CLAIM'),
    roles: map(read('ROLES')),
    tenantClaim: read('TENANT_CLAIM'),
    tenants: map(read('TENANTS')),
    tenantDefault: read('TENANT_DEFAULT'),
    algorithms: list(read('ALGORITHMS')),
    tokenTypes: list(read('TOKEN_TYPES')),
    clockToleranceSeconds: read('CLOCK_TOLERANCE_SECONDS'),
  };
  const given = Object.entries(input).filter(([, value]) => value !== undefined);
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** Whether an address may be asked for keys: what goes over plain HTTP, somebody on the way can replace. */
export function isSafeAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== '' || password !== '') return false;
  if (protocol === 'https:') return true;
  return (
    protocol === 'http:' &&
    (hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname))
  );
}

function addressOf(member: string, value: unknown): string {
  const text = textOf(member, value);
  if (!isSafeAddress(text))
    refuse(member, 'an https address is expected (http for a loopback address), without user and password');
  return text;
}

function textOf(member: string, value: unknown): string {
  if (typeof value === 'string' && value !== '' && value.length <= TEXT_LENGTH_MAX) return value;
  return refuse(member, `a string of 1 to ${TEXT_LENGTH_MAX} characters is expected`);
}

function textsOf(member: string, value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0 || list.length > ENTRIES_MAX) refuse(member, 'at least one is expected');
  return list.map((one) => textOf(member, one));
}

function mapOf<T>(
  member: string,
  value: unknown,
  entry: (member: string, value: unknown) => T,
): Map<string, T> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    refuse(member, 'an object is expected: what a value of the claim means here');
  const entries = Object.entries(value);
  if (entries.length > ENTRIES_MAX) refuse(member, `at most ${ENTRIES_MAX} entries are taken`);
  return new Map(entries.map(([name, one]) => [textOf(member, name), entry(`${member}.${name}`, one)]));
}

function roleOf(member: string, value: unknown): Role {
  const role = ROLES.find((one) => one === value);
  return role ?? refuse(member, `one of ${ROLES.join(', ')} is expected`);
}

function tenantOrAll(member: string, value: unknown): string {
  if (value === ALL_TENANTS) return ALL_TENANTS;
  try {
    return checkTenant(value, member);
  } catch (error) {
    return refuse(member, `${(error as Error).message}; or ${ALL_TENANTS} for all`);
  }
}

function oneOfEach<T extends string>(member: string, known: readonly T[], value: unknown): T[] {
  return textsOf(member, value).map(
    (text) => known.find((one) => one === text) ?? refuse(member, `${text} is none of ${known.join(', ')}`),
  );
}

function secondsOf(value: unknown): number {
  const seconds = typeof value === 'string' && /^\d{1,3}$/.test(value) ? Number(value) : value;
  if (
    typeof seconds === 'number' &&
    Number.isInteger(seconds) &&
    seconds >= 0 &&
    seconds <= TOLERANCE_SECONDS_MAX
  )
    return seconds;
  return refuse('clockToleranceSeconds', `a whole number from 0 to ${TOLERANCE_SECONDS_MAX} is expected`);
}
