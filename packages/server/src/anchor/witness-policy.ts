/** Which witnesses are asked, and how many of them must have cosigned a head: the setting `witnesses`. */

import { type CosignerKey, parseCosignerVkey } from '@evident/core/cosignature.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { ANCHOR_NAME_MAX } from './ports.ts';

/** A witness as the operator declares it. */
export interface DeclaredWitness {
  /** Its submission prefix, without the slash at the end. */
  readonly url: string;
  readonly key: CosignerKey;
  /** Somebody runs it who would not take part in a forgery by the operator. It is the operator's word: nothing proves it. */
  readonly runByOthers: boolean;
}

export interface WitnessPolicy {
  /** Seconds from one cosignature to the next, while there is news. Safe to change. */
  readonly everySeconds: number;
  /** Tier T4 takes so many of those that others run, each over the same head. Safe to change. */
  readonly quorum: number;
  /** Safe to change; what a witness cosigned before stays. */
  readonly list: readonly DeclaredWitness[];
}

/** The setting `witnesses` of a configuration file. */
export interface WitnessPolicyInput {
  everySeconds?: number;
  quorum?: number;
  list?: readonly { url?: string; vkey?: string; runByOthers?: boolean }[];
}

export const WITNESSES_MAX = 16;
const EVERY_SECONDS_DEFAULT = 60;
const EVERY_SECONDS_MIN = 1;
const EVERY_SECONDS_MAX = 86_400;
const URL_LENGTH_MAX = 1_000;

function refuse(field: string, reason: string): never {
  throw new EvidentError('usage-invalid', `${field}: ${reason}`, { context: { field } });
}

/** Reads the setting `witnesses`. @throws usage-invalid naming the member */
export function parseWitnessPolicy(input: WitnessPolicyInput): WitnessPolicy {
  const { everySeconds = EVERY_SECONDS_DEFAULT, quorum = 1, list, ...rest } = objectOf('witnesses', input);
  const [strange] = Object.keys(rest);
  if (strange !== undefined) refuse(`witnesses.${strange}`, 'there is no such setting');
  if (!Array.isArray(list) || list.length < 1 || list.length > WITNESSES_MAX)
    refuse('witnesses.list', `1 to ${WITNESSES_MAX} witnesses are expected`);
  const witnesses = list.map((item: unknown, index) => parseWitness(item, `witnesses.list[${index}]`));
  if (new Set(witnesses.map(({ key }) => key.name)).size < list.length)
    refuse('witnesses.list', 'two witnesses have one name');
  // Two names of one key are one witness, and would be counted twice.
  if (new Set(witnesses.map(({ key }) => key.publicKey.toHex())).size < list.length)
    refuse('witnesses.list', 'two witnesses have one key');
  return {
    everySeconds: wholeNumber('witnesses.everySeconds', everySeconds, EVERY_SECONDS_MIN, EVERY_SECONDS_MAX),
    quorum: wholeNumber('witnesses.quorum', quorum, 1, list.length),
    list: witnesses,
  };
}

function objectOf(field: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    refuse(field, 'an object is expected');
  return value as Record<string, unknown>;
}

function wholeNumber(field: string, value: unknown, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
    refuse(field, `a whole number from ${least} to ${most} is expected`);
  return value;
}

function parseWitness(item: unknown, field: string): DeclaredWitness {
  const { url, vkey, runByOthers = false, ...rest } = objectOf(field, item);
  const [strange] = Object.keys(rest);
  if (strange !== undefined) refuse(`${field}.${strange}`, 'there is no such setting');
  if (typeof runByOthers !== 'boolean') refuse(`${field}.runByOthers`, 'true or false is expected');
  const key = typeof vkey === 'string' ? parseCosignerVkey(vkey) : null;
  if (key === null) refuse(`${field}.vkey`, 'the vkey of the witness is expected');
  if (!key.ok) refuse(`${field}.vkey`, key.reason);
  if (key.value.name.length > ANCHOR_NAME_MAX)
    refuse(`${field}.vkey`, `the name of a witness has at most ${ANCHOR_NAME_MAX} characters`);
  return { url: parseUrl(url, `${field}.url`), key: key.value, runByOthers };
}

function parseUrl(text: unknown, field: string): string {
  const isShort = typeof text === 'string' && text.length <= URL_LENGTH_MAX;
  const url = isShort ? URL.parse(text) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    refuse(field, 'an http or https URL is expected');
  // Heads are public and cosignatures are signed: plain http shows nothing, and forges nothing.
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    refuse(field, 'a submission prefix has no credentials, no query and no fragment');
  return url.href.replace(/\/+$/, '');
}
