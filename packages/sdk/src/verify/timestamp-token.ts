/**
 * The parts of RFC 3161 that a check rests on, read strictly: TimeStampReq (§2.4.1), TimeStampResp and TSTInfo (§2.4.2).
 *
 * ```
 *   TimeStampResp { status { status, … }, timeStampToken = ContentInfo { signedData, SignedData { …, eContent: TSTInfo } } }
 *   TSTInfo { version 1, policy, messageImprint { algorithm, hash }, serialNumber, genTime,
 *             accuracy?, ordering?, nonce?, [0] tsa?, [1] extensions? }
 * ```
 */

import { equalBytes } from '@evident/core/bytes.ts';
import { accept, type Parsed, refuse } from '@evident/core/parsed.ts';
import { type DerElement, oidOf, parseDer, wholeNumberOf } from './der.ts';

export type HashName = 'SHA-256' | 'SHA-384' | 'SHA-512';

/** Hashes that an imprint, a signature or a certificate may rest on. SHA-1 and below: broken. */
export const HASHES: Readonly<Record<string, { readonly name: HashName; readonly bytes: number }>> = {
  '2.16.840.1.101.3.4.2.1': { name: 'SHA-256', bytes: 32 },
  '2.16.840.1.101.3.4.2.2': { name: 'SHA-384', bytes: 48 },
  '2.16.840.1.101.3.4.2.3': { name: 'SHA-512', bytes: 64 },
};

export interface Imprint {
  readonly hash: HashName;
  readonly digest: Uint8Array;
}

export interface TimestampRequest {
  readonly imprint: Imprint;
  readonly policy: string | null;
  readonly nonce: bigint | null;
}

/** What a token says. */
export interface TimestampInfo {
  readonly imprint: Imprint;
  readonly policy: string;
  /** Microseconds since the Unix epoch; what is finer is cut off. */
  readonly genTime: bigint;
  readonly nonce: bigint | null;
}

const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const NULL = 0x05;
const GENERALIZED_TIME = 0x18;
const BOOLEAN = 0x01;
const SEQUENCE = 0x30;

/** The ContentInfo of a reply whose status is granted, or granted with modifications. */
export function parseTimestampReply(reply: Uint8Array): Parsed<Uint8Array> {
  const parsed = parseDer(reply);
  if (!parsed.ok) return refuse(`the reply is no DER: ${parsed.reason}`);
  const [status, token, ...rest] = parsed.value.children;
  const code = status?.children[0] === undefined ? null : wholeNumberOf(status.children[0]);
  if (parsed.value.tag !== SEQUENCE || status?.tag !== SEQUENCE || code === null || rest.length > 0)
    return refuse('the reply is no TimeStampResp');
  if (code > 1n) return refuse(`the authority did not grant the request: status ${code}${textOf(status)}`);
  if (token?.tag !== SEQUENCE) return refuse('the reply holds no token');
  return accept(token.bytes);
}

/** What an authority says beside its status; printable ASCII of it. */
function textOf(status: DerElement): string {
  const text = status.children.find(({ tag }) => tag === SEQUENCE)?.children[0]?.content;
  if (text === undefined) return '';
  return ` (${new TextDecoder().decode(text.subarray(0, 200)).replaceAll(/[^ -~]/g, '?')})`;
}

export function parseTimestampRequest(bytes: Uint8Array): Parsed<TimestampRequest> {
  const parsed = parseDer(bytes);
  if (!parsed.ok) return refuse(`the request is no DER: ${parsed.reason}`);
  const [version, imprintPart, ...rest] = parsed.value.children;
  const imprint = imprintPart === undefined ? null : imprintOf(imprintPart);
  if (version === undefined || wholeNumberOf(version) !== 1n || imprint === null)
    return refuse('the request is no TimeStampReq');
  const policy = rest[0]?.tag === 0x06 ? oidOf(rest.shift()!) : null;
  const nonce = rest[0]?.tag === INTEGER ? wholeNumberOf(rest.shift()!) : null;
  return accept({ imprint, policy, nonce });
}

export function parseTimestampInfo(bytes: Uint8Array): Parsed<TimestampInfo> {
  const parsed = parseDer(bytes);
  if (!parsed.ok) return refuse(`what is signed is no DER: ${parsed.reason}`);
  const [version, policyPart, imprintPart, serial, time, ...rest] = parsed.value.children;
  if (parsed.value.tag !== SEQUENCE || time === undefined || wholeNumberOf(version!) !== 1n)
    return refuse('what is signed is no TSTInfo of version 1');
  const policy = oidOf(policyPart!);
  const imprint = imprintOf(imprintPart!);
  const genTime = generalizedTimeOf(time);
  if (policy === null || serial?.tag !== INTEGER) return refuse('what is signed is no TSTInfo');
  if (imprint === null)
    return refuse('the imprint is not that of SHA-256, SHA-384 or SHA-512 in its full length');
  if (genTime === null) return refuse('the time is not that of a TSTInfo in DER');
  const optional = optionalsOf(rest);
  if (!optional.ok) return optional;
  return accept({ policy, imprint, genTime, nonce: optional.value });
}

/** Accuracy, ordering, nonce, name, extensions: each at most once and in this order. @returns the nonce */
function optionalsOf(rest: readonly DerElement[]): Parsed<bigint | null> {
  const order = [SEQUENCE, BOOLEAN, INTEGER, 0xa0, 0xa1];
  let nonce: bigint | null = null;
  let from = 0;
  for (const element of rest) {
    const at = order.indexOf(element.tag, from);
    if (at < 0) return refuse('what is signed holds what no TSTInfo holds');
    from = at + 1;
    if (element.tag === INTEGER) {
      nonce = wholeNumberOf(element);
      if (nonce === null) return refuse('the nonce is no number of at most 64 bytes');
    }
    // An extension that must be understood, and is not.
    const isCritical = (extension: DerElement) => extension.children[1]?.tag === BOOLEAN;
    if (element.tag === 0xa1 && element.children.some(isCritical))
      return refuse('the token has a critical extension');
  }
  return accept(nonce);
}

function imprintOf({ tag, children: [algorithm, digest, ...rest] }: DerElement): Imprint | null {
  if (tag !== SEQUENCE || algorithm?.tag !== SEQUENCE || digest?.tag !== OCTET_STRING || rest.length > 0)
    return null;
  const [oid, parameters, ...more] = algorithm.children;
  const hash = oid === undefined ? undefined : HASHES[oidOf(oid) ?? ''];
  if (hash === undefined || (parameters !== undefined && parameters.tag !== NULL) || more.length > 0)
    return null;
  return digest.content.length === hash.bytes ? { hash: hash.name, digest: digest.content } : null;
}

/** `YYYYMMDDHHMMSS[.f…]Z`, the fraction without zeros at its end (RFC 3161 §2.4.2). */
function generalizedTimeOf({ tag, content }: DerElement): bigint | null {
  if (tag !== GENERALIZED_TIME || content.length > 40) return null;
  const text = String.fromCharCode(...content);
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d*[1-9]))?Z$/.exec(text);
  if (match === null) return null;
  const [, year, month, day, hour, minute, second, fraction = ''] = match;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const milliseconds = Date.parse(iso);
  // What no calendar has, such as the 31st of June, would be taken for a day after it.
  if (Number.isNaN(milliseconds) || new Date(milliseconds).toISOString() !== iso || milliseconds < 0)
    return null;
  return BigInt(milliseconds) * 1_000n + BigInt(fraction.slice(0, 6).padEnd(6, '0'));
}

/** Why a token does not answer a request, or null. */
export function requestMismatch(info: TimestampInfo, request: TimestampRequest): string | null {
  if (info.imprint.hash !== request.imprint.hash || !equalBytes(info.imprint.digest, request.imprint.digest))
    return 'the token is over other data than the request';
  if (request.nonce !== null && info.nonce !== request.nonce)
    return 'the nonce of the token is not that of the request';
  if (request.policy !== null && info.policy !== request.policy)
    return `the token has the policy ${info.policy}, and ${request.policy} was asked for`;
  return null;
}
