/** Settings, typed and checked in one place. Nothing else reads the environment. */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { EvidentError } from '@evident/core/errors.ts';
import { isName } from '@evident/core/origin.ts';
import { checkWritableLog } from '@evident/core/record.ts';
import {
  type OidcInput,
  type OidcSettings,
  oidcFromEnvironment,
  parseOidcSettings,
} from './access/oidc-settings.ts';
import {
  parseTimestampPolicy,
  type TimestampPolicy,
  type TimestampPolicyInput,
} from './anchor/timestamp-policy.ts';
import { parseWitnessPolicy, type WitnessPolicy, type WitnessPolicyInput } from './anchor/witness-policy.ts';
import type { HttpLimits } from './http/limits.ts';
import { parseSignerAddress, type SignerTarget } from './signer/address.ts';

/** Partitions of a log for which none are given. Frozen when the log is made. */
export const PARTITIONS_DEFAULT = 8;
const PARTITIONS_MAX = 1_024;
export const PORT_DEFAULT = 7373;
/** A hundred million records in under six hours, and a few hundredths of a core. */
const SELF_AUDIT_RATE_DEFAULT = 5_000;
const SELF_AUDIT_RATE_MAX = 1_000_000;

export const ROLES = ['api', 'relay', 'seal', 'project'] as const;
export type Role = (typeof ROLES)[number];

export interface Config {
  /** Folder of keys, tiles, objects and, in embedded mode, PostgreSQL. */
  readonly dataDir: string;
  /** Loopback address unless set otherwise. Not safe to widen without a TLS terminator in front. */
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
  readonly roles: readonly Role[];
  /** Connection string of a PostgreSQL ≥ 16, or null for the embedded one. */
  readonly postgres: string | null;
  /** First part of every origin; null: derived from the first key. Frozen at inception. */
  readonly name: string | null;
  /** The signer that lies elsewhere, or null for the one in `<data>/signer`. Whose log it is is fixed at inception. */
  readonly signer: SignerTarget | null;
  /** Logs to make besides `heads` and `audit`, or `audit` with another number of partitions than 8. More can be added later; numbers are frozen. */
  readonly logs: Readonly<Record<string, number>>;
  /** Bytes that requests in flight and records that wait may hold together. Safe to change. */
  readonly inflightBytesMax: number;
  /** Connection strings of outboxes by source, before those that `evident outbox add` has kept. Read at start. */
  readonly outboxes: Readonly<Record<string, string>>;
  /** The identity provider whose bearer tokens are taken beside API keys, or null. Safe to change. */
  readonly oidc: OidcSettings | null;
  /** Requests a minute that differ from `HTTP_LIMITS`; 0: no limit. Safe to change. */
  readonly rateLimits: Partial<RateLimits>;
  /** Addresses and networks of proxies whose X-Forwarded-For is believed. Safe to change. */
  readonly trustedProxies: readonly string[];
  /** Webhooks of the operator, not those of tenants, may reach this machine and private networks. Safe to change. */
  readonly webhookPrivate: boolean;
  /** Authorities that time stamp heads of `heads/0` (RFC 3161), or null: none is asked. Read at start. */
  readonly timestamps: TimestampPolicy | null;
  /** Witnesses that cosign heads of `heads/0` (C2SP tlog-witness), or null: none is asked. Read at start. */
  readonly witnesses: WitnessPolicy | null;
  /** Records that the background self-audit reads in a second, 1 to 1,000,000; 0: there is none. Safe to change. */
  readonly selfAuditRate: number;
  /** Days after which acknowledged alerts are removed, 1 to 36,500; null: never. Safe to change. */
  readonly alertKeepDays: number | null;
  /** Who reads `/metrics`: credentials that may and whoever has the metrics token, or everybody. Safe to change. */
  readonly metrics: 'credential' | 'open';
  /** File of the metrics token; null: `metrics.token` of the data directory, made at the first start. Read at start. */
  readonly metricsTokenFile: string | null;
  /** pino level. Safe to change. */
  readonly logLevel: string;
}

type RateLimits = Pick<
  HttpLimits,
  'publicPerAddressMax' | 'failuresPerAddressMax' | 'readsPerCredentialMax' | 'capturesPerCredentialMax'
>;
const RATE_LIMITS: readonly (keyof RateLimits)[] = [
  'publicPerAddressMax',
  'failuresPerAddressMax',
  'readsPerCredentialMax',
  'capturesPerCredentialMax',
];

/**
 * `unix:/path`, or an object with files in PEM for `tls:host:port`. `elsewhere`: a socket or an address of this machine
 * leads to another one, as a tunnel does; it is the operator's word, and counts for tier T1.
 */
type SignerInput =
  | string
  | { address?: string; ca?: string; cert?: string; key?: string; elsewhere?: boolean };

/** What the command line, or a configuration file, may say. */
export interface ConfigInput {
  data?: string;
  host?: string;
  port?: number | string;
  roles?: string | readonly string[];
  postgres?: string;
  name?: string;
  signer?: SignerInput;
  logs?: Readonly<Record<string, number>> | readonly string[];
  inflightBytesMax?: number;
  outboxes?: Readonly<Record<string, string>>;
  oidc?: OidcInput;
  rateLimits?: Readonly<Record<string, number | string>>;
  trustedProxies?: string | readonly string[];
  webhookPrivate?: boolean | string;
  timestamps?: TimestampPolicyInput;
  witnesses?: WitnessPolicyInput;
  selfAuditRate?: number | string;
  alertKeepDays?: number | string;
  metrics?: string;
  metricsTokenFile?: string;
  logLevel?: string;
}

const MEMBERS = new Set([
  'data',
  'host',
  'port',
  'roles',
  'postgres',
  'name',
  'signer',
  'logs',
  'inflightBytesMax',
  'outboxes',
  'oidc',
  'rateLimits',
  'trustedProxies',
  'webhookPrivate',
  'timestamps',
  'witnesses',
  'selfAuditRate',
  'alertKeepDays',
  'metrics',
  'metricsTokenFile',
  'logLevel',
]);

function refuse(field: string, reason: string): never {
  throw new EvidentError('usage-invalid', `${field}: ${reason}`, { context: { field } });
}

/** Reads a JSON configuration file. @throws usage-invalid naming file and member */
export function readConfigFile(path: string): ConfigInput {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new EvidentError('usage-invalid', `${path} can't be read as JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    refuse(path, 'an object is expected');
  for (const name of Object.keys(parsed))
    if (!MEMBERS.has(name)) refuse(`${path}: ${name}`, 'there is no such setting');
  return parsed as ConfigInput;
}

/** @param inputs later ones win: file, environment, command line */
export function makeConfig(...inputs: ConfigInput[]): Config {
  const given: ConfigInput = {};
  for (const input of inputs) {
    for (const [name, value] of Object.entries(input))
      if (value !== undefined) Object.assign(given, { [name]: value });
  }
  const name = given.name ?? null;
  if (name !== null && !isName(name))
    refuse('name', 'printable ASCII without space and +, at most 128 characters, is expected');
  return {
    dataDir: given.data ?? './evident-data',
    host: given.host ?? '127.0.0.1',
    port: wholeNumber('port', given.port ?? PORT_DEFAULT, 0, 65_535),
    roles: parseRoles(given.roles ?? ROLES),
    postgres: given.postgres ?? null,
    name,
    signer: given.signer === undefined ? null : parseSigner(given.signer),
    logs: parseLogs(given.logs ?? {}),
    inflightBytesMax: wholeNumber(
      'inflightBytesMax',
      given.inflightBytesMax ?? 64 * 1024 * 1024,
      1024 * 1024,
      2 ** 40,
    ),
    outboxes: parseOutboxes(given.outboxes ?? {}),
    oidc: given.oidc === undefined ? null : parseOidcSettings(given.oidc),
    rateLimits: parseRateLimits(given.rateLimits ?? {}),
    trustedProxies: parseProxies(given.trustedProxies ?? []),
    webhookPrivate: flag('webhookPrivate', given.webhookPrivate ?? false),
    timestamps: given.timestamps === undefined ? null : parseTimestampPolicy(given.timestamps),
    witnesses: given.witnesses === undefined ? null : parseWitnessPolicy(given.witnesses),
    selfAuditRate: wholeNumber(
      'selfAuditRate',
      given.selfAuditRate ?? SELF_AUDIT_RATE_DEFAULT,
      0,
      SELF_AUDIT_RATE_MAX,
    ),
    alertKeepDays:
      given.alertKeepDays === undefined ? null : wholeNumber('alertKeepDays', given.alertKeepDays, 1, 36_500),
    metrics: parseMetrics(given.metrics ?? 'credential'),
    metricsTokenFile: given.metricsTokenFile === undefined ? null : parseTokenFile(given.metricsTokenFile),
    logLevel: given.logLevel ?? 'info',
  };
}

/** Settings from the environment: only what should not stand on a command line. */
export function configFromEnvironment(environment: NodeJS.ProcessEnv): ConfigInput {
  const outboxes = Object.entries(environment).flatMap(([name, value]) => {
    const source = /^EVIDENT_OUTBOX_([A-Z0-9_]+)$/.exec(name)?.[1];
    return source === undefined || value === undefined || source === 'POSTGRES'
      ? []
      : [[source.toLowerCase().replaceAll('_', '-'), value] as const];
  });
  return {
    postgres: environment.EVIDENT_POSTGRES,
    signer: environment.EVIDENT_SIGNER,
    oidc: oidcFromEnvironment(environment),
    trustedProxies: environment.EVIDENT_TRUSTED_PROXIES,
    webhookPrivate: environment.EVIDENT_WEBHOOK_PRIVATE,
    selfAuditRate: environment.EVIDENT_SELF_AUDIT_RATE,
    alertKeepDays: environment.EVIDENT_ALERT_KEEP_DAYS,
    metrics: environment.EVIDENT_METRICS,
    metricsTokenFile: environment.EVIDENT_METRICS_TOKEN_FILE,
    logLevel: environment.EVIDENT_LOG_LEVEL,
    ...(outboxes.length === 0 ? {} : { outboxes: Object.fromEntries(outboxes) }),
  };
}

function parseSigner(signer: SignerInput): SignerTarget {
  const { address, ...files } = typeof signer === 'string' ? { address: signer } : signer;
  const parsed = parseSignerAddress(address, 'signer');
  const { ca, cert, key, elsewhere = false, ...rest } = files as Record<string, unknown>;
  if (typeof elsewhere !== 'boolean') refuse('signer.elsewhere', 'true or false is expected');
  const place = elsewhere ? { elsewhere } : {};
  const [strange] = Object.keys(rest);
  if (strange !== undefined) refuse(`signer.${strange}`, 'there is no such setting');
  if (parsed.kind === 'unix') {
    if (ca !== undefined || cert !== undefined || key !== undefined)
      refuse('signer', 'a socket in the file system takes no certificates');
    return { address: parsed, tls: null, ...place };
  }
  if (typeof ca !== 'string' || typeof cert !== 'string' || typeof key !== 'string')
    refuse('signer', 'with tls: the files ca, cert and key are needed: {"address","ca","cert","key"}');
  // Other processes take them from server.json, wherever they run.
  return { address: parsed, tls: { ca: resolve(ca), cert: resolve(cert), key: resolve(key) }, ...place };
}

/** A source's name: it stands in records and names a replication slot. */
export function checkSourceName(name: unknown, field = 'source'): string {
  if (typeof name !== 'string' || !/^[a-z0-9][a-z0-9-]{0,31}$/.test(name))
    refuse(
      field,
      'a source is named by 1 to 32 characters of a-z, 0-9 and -, and begins with a letter or digit',
    );
  return name;
}

function parseOutboxes(outboxes: Readonly<Record<string, string>>): Record<string, string> {
  for (const [name, connection] of Object.entries(outboxes)) {
    checkSourceName(name, `outboxes.${name}`);
    if (typeof connection !== 'string') refuse(`outboxes.${name}`, 'a connection string is expected');
  }
  return { ...outboxes };
}

function parseRateLimits(limits: Readonly<Record<string, number | string>>): Partial<RateLimits> {
  for (const name of Object.keys(limits))
    if (!(RATE_LIMITS as readonly string[]).includes(name))
      refuse(`rateLimits.${name}`, 'there is no such setting');
  return Object.fromEntries(
    Object.entries(limits).map(([name, value]) => [
      name,
      wholeNumber(`rateLimits.${name}`, value, 0, 10_000_000),
    ]),
  );
}

/** An address, or a network such as 10.0.0.0/8. */
function parseProxies(proxies: string | readonly string[]): string[] {
  const list = typeof proxies === 'string' ? proxies.split(',').map((part) => part.trim()) : [...proxies];
  for (const proxy of list) {
    const [address, bits, ...rest] = proxy.split('/');
    const most = isIP(address) === 6 ? 128 : 32;
    const isNetwork = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
    if (isIP(address) === 0 || !isNetwork || rest.length > 0)
      refuse('trustedProxies', `${proxy} is no address and no network such as 10.0.0.0/8`);
  }
  return list;
}

function parseMetrics(value: unknown): Config['metrics'] {
  if (value !== 'credential' && value !== 'open') refuse('metrics', 'credential or open is expected');
  return value;
}

function parseTokenFile(value: unknown): string {
  if (typeof value !== 'string' || value === '') refuse('metricsTokenFile', 'the path of a file is expected');
  return value;
}

function flag(field: string, value: boolean | string): boolean {
  if (value !== true && value !== false && value !== 'true' && value !== 'false')
    refuse(field, 'true or false is expected');
  return value === true || value === 'true';
}

function wholeNumber(field: string, value: number | string, least: number, most: number): number {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < least || number > most) {
    refuse(field, `a whole number from ${least} to ${most} is expected, not ${String(value)}`);
  }
  return number;
}

function parseRoles(roles: string | readonly string[]): Role[] {
  const list = typeof roles === 'string' ? roles.split(',') : roles;
  for (const role of list)
    if (!(ROLES as readonly string[]).includes(role))
      refuse('roles', `${role} is none of ${ROLES.join(', ')}`);
  if (list.length === 0) refuse('roles', 'at least one is expected');
  return [...new Set(list)] as Role[];
}

/** `{"clicks": 32}` or `["clicks:32"]`. */
function parseLogs(logs: Readonly<Record<string, number>> | readonly string[]): Record<string, number> {
  const pairs = Array.isArray(logs)
    ? (logs as readonly string[]).map((text): [string, string | number] => {
        const [log, partitions = PARTITIONS_DEFAULT] = text.split(':');
        return [log, partitions];
      })
    : Object.entries(logs as Record<string, number>);
  return Object.fromEntries(
    pairs.map(([log, partitions]) => [
      checkWritableLog(log),
      wholeNumber(`logs.${log}`, partitions, 1, PARTITIONS_MAX),
    ]),
  );
}
