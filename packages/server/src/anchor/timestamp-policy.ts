/** Which time stamp authorities are asked, and how often: the setting `timestamps`. */

import { EvidentError } from '@evident/core/errors.ts';

/** An authority as the operator declares it. */
export interface DeclaredAuthority {
  /** Names the token in bundles, alerts and metrics. A changed name is another authority. */
  readonly name: string;
  /** Where requests are posted (RFC 3161 §3.4). Plain http shows nobody anything: tokens are signed. */
  readonly url: string;
  /** File of its root certificate, in PEM; intermediates may stand beside it. Read at start. */
  readonly roots: string;
}

export interface TimestampPolicy {
  /** Seconds from one token of an authority to the next, while there is news: 10 to 604,800. Safe to change. */
  readonly everySeconds: number;
  /** Safe to change; tokens of one that is taken out stay. */
  readonly authorities: readonly DeclaredAuthority[];
}

/** The setting `timestamps` of a configuration file. */
export interface TimestampPolicyInput {
  everySeconds?: number;
  authorities?: readonly { name?: string; url?: string; roots?: string }[];
}

export const AUTHORITIES_MAX = 16;
const EVERY_SECONDS_DEFAULT = 3_600;
const EVERY_SECONDS_MIN = 10;
const EVERY_SECONDS_MAX = 604_800;
const URL_LENGTH_MAX = 1_000;

function refuse(field: string, reason: string): never {
  throw new EvidentError('usage-invalid', `${field}: ${reason}`, { context: { field } });
}

/** Reads the setting `timestamps`. @throws usage-invalid naming the member */
export function parseTimestampPolicy(input: TimestampPolicyInput): TimestampPolicy {
  const { everySeconds = EVERY_SECONDS_DEFAULT, authorities, ...rest } = objectOf('timestamps', input);
  refuseStrange('timestamps', rest);
  const isInterval = typeof everySeconds === 'number' && Number.isInteger(everySeconds);
  if (!isInterval || everySeconds < EVERY_SECONDS_MIN || everySeconds > EVERY_SECONDS_MAX)
    refuse(
      'timestamps.everySeconds',
      `a whole number from ${EVERY_SECONDS_MIN} to ${EVERY_SECONDS_MAX} is expected`,
    );
  if (!Array.isArray(authorities) || authorities.length < 1 || authorities.length > AUTHORITIES_MAX)
    refuse('timestamps.authorities', `1 to ${AUTHORITIES_MAX} authorities are expected`);
  const list = authorities.map((item: unknown, index) =>
    parseAuthority(item, `timestamps.authorities[${index}]`),
  );
  if (new Set(list.map(({ name }) => name)).size < list.length)
    refuse('timestamps.authorities', 'two authorities have one name');
  return { everySeconds, authorities: list };
}

function objectOf(field: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    refuse(field, 'an object is expected');
  return value as Record<string, unknown>;
}

function refuseStrange(field: string, rest: Record<string, unknown>): void {
  const [strange] = Object.keys(rest);
  if (strange !== undefined) refuse(`${field}.${strange}`, 'there is no such setting');
}

function parseAuthority(item: unknown, field: string): DeclaredAuthority {
  const { name, url, roots, ...rest } = objectOf(field, item);
  refuseStrange(field, rest);
  if (typeof name !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    refuse(
      `${field}.name`,
      '1 to 64 letters, digits, dots, hyphens and underscores are expected, a letter or digit first',
    );
  if (typeof roots !== 'string' || roots === '')
    refuse(`${field}.roots`, 'the file of its root certificate (PEM) is expected');
  const parsed = typeof url === 'string' && url.length <= URL_LENGTH_MAX ? URL.parse(url) : null;
  if (parsed === null || !['http:', 'https:'].includes(parsed.protocol))
    refuse(`${field}.url`, 'an http or https URL is expected');
  if (parsed.username !== '' || parsed.password !== '')
    refuse(`${field}.url`, 'a URL without name and password is expected');
  return { name, url: parsed.href, roots };
}
