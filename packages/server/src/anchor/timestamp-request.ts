/**
 * Time stamps of RFC 3161 over heads of heads/0: what is asked, and that nothing is kept that does not answer it.
 *
 * ```
 *   TimeStampReq { version 1, messageImprint { SHA-256, hash of the note }, nonce, certReq TRUE }
 * ```
 *
 * The imprint is that of the signed note, byte for byte: `openssl ts -verify -data` works on the checkpoint file of a
 * bundle.
 */

import type { TimestampCheck } from '@evident/core/evidence/check-anchors.ts';
import { sha256 } from '@evident/core/sha256.ts';
import type { AnchorAnswer, Anchorer } from './ports.ts';

export const QUERY_TYPE = 'application/timestamp-query';
export const REPLY_TYPE = 'application/timestamp-reply';
/** Bytes of the nonce: the answer is to this request, and not to one that was heard before. */
export const NONCE_BYTES = 16;

/** What came back of a request, or why nothing did. */
export type TsaAnswer =
  | { readonly kind: 'replied'; readonly reply: Uint8Array }
  /** Another status or media type, a redirect, too many bytes. */
  | { readonly kind: 'refused'; readonly reason: string; readonly retryAfterMs: number | null }
  | { readonly kind: 'unreachable'; readonly reason: string };

/** Sends one request to an authority, within bounds of size and time. Implemented in `stores/tsa`. Never throws. */
export type AskTsa = (url: string, query: Uint8Array, signal: AbortSignal) => Promise<TsaAnswer>;

/** `TimestampCheck`, and that the token answers this request. */
export type ReplyCheck = (
  reply: Uint8Array,
  data: Uint8Array,
  request: Uint8Array,
) => ReturnType<TimestampCheck>;

export interface TimestampAuthority {
  readonly name: string;
  readonly url: string;
  readonly everySeconds: number;
  readonly check: ReplyCheck;
}

export interface TimestampDeps {
  readonly ask: AskTsa;
  /** So many random bytes. */
  readonly randomBytes: (count: number) => Uint8Array;
}

export function timestampAnchorer(
  { ask, randomBytes }: TimestampDeps,
  { name, url, everySeconds, check }: TimestampAuthority,
): Anchorer {
  return {
    kind: 'timestamp',
    name,
    everySeconds,
    anchor: async ({ note }, signal): Promise<AnchorAnswer> => {
      const request = formatTimestampRequest(sha256(note), randomBytes(NONCE_BYTES));
      const answer = await ask(url, request, signal);
      if (answer.kind === 'unreachable') return { ...answer, retryAfterMs: null };
      // A status of HTTP is how an authority says that it is busy; it has not lied to anybody.
      if (answer.kind === 'refused') return { ...answer, kind: 'unreachable' };
      const verdict = await check(answer.reply, note, request);
      if (verdict.ok) return { kind: 'anchored', bytes: answer.reply, at: verdict.at };
      return { kind: 'refused', reason: verdict.reason, retryAfterMs: null };
    },
  };
}

const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const SEQUENCE = 0x30;
/** AlgorithmIdentifier { 2.16.840.1.101.3.4.2.1, NULL } */
const SHA_256 = Uint8Array.fromHex('300d06096086480165030402010500');
const VERSION_1 = Uint8Array.of(INTEGER, 1, 1);
const TRUE = Uint8Array.of(0x01, 1, 0xff);

/**
 * DER of a request for a token with its certificates.
 * @param digest SHA-256, 32 bytes
 * @param nonce 1 to 32 bytes
 */
export function formatTimestampRequest(digest: Uint8Array, nonce: Uint8Array): Uint8Array {
  if (digest.length !== 32 || nonce.length === 0 || nonce.length > 32)
    throw new RangeError('a hash of 32 bytes and a nonce of 1 to 32 are expected');
  // A positive number whose first octet is neither 0 nor above 0x7f is in its shortest form.
  const positive = nonce.slice();
  positive[0] = (positive[0] & 0x3f) | 0x40;
  const imprint = element(SEQUENCE, [SHA_256, element(OCTET_STRING, [digest])]);
  return element(SEQUENCE, [VERSION_1, imprint, element(INTEGER, [positive]), TRUE]);
}

/** At most 127 bytes of content: the length is one octet. */
function element(tag: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(2 + length);
  bytes.set([tag, length]);
  let at = 2;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
