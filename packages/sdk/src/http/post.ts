/** One request: a batch of envelopes to the log, and what its answer means. Never throws. */

import { EvidentError } from '@evident/core/errors.ts';
import { type BatchAnswer, type RawAnswer, readAnswer } from './answer.ts';
import type { EncodedEvent } from './envelope.ts';

/** The part of `fetch` that is used. */
export type Fetch = (
  url: string,
  init: {
    method: string;
    headers: Record<string, string>;
    body: Uint8Array<ArrayBuffer>;
    signal: AbortSignal;
    redirect: 'manual';
  },
) => Promise<FetchAnswer>;

export interface FetchAnswer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
}

export interface PostOptions {
  readonly url: string;
  /** Asked before each request, so that a rotated key is taken up. */
  readonly key: () => string;
  readonly requestTimeoutMs: number;
  readonly fetch: Fetch;
  /** Milliseconds since the Unix epoch. */
  readonly clock: () => number;
  /** Aborted when the client is closed: nobody waits for the answer any more. */
  readonly closing: AbortSignal;
}

/** Largest answer that is read, bytes: results of 5,000 items are 1 MB, refusals a few times that. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Failures of a connection that was never made: nothing was sent. */
const NEVER_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export async function postBatch(options: PostOptions, items: readonly EncodedEvent[]): Promise<BatchAnswer> {
  const { url, key, requestTimeoutMs, fetch, clock, closing } = options;
  const request = new AbortController();
  const timer = setTimeout(
    () => request.abort(new Error(`no answer within ${requestTimeoutMs} ms`)),
    requestTimeoutMs,
  );
  const close = () => request.abort(new Error('the client was closed'));
  if (closing.aborted) close();
  else closing.addEventListener('abort', close, { once: true });
  try {
    const sent = fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${key()}`,
        'content-type': 'application/json',
        accept: 'application/json',
      },
      body: requestBody(items),
      signal: request.signal,
      // A redirect would be followed as a GET, and would carry the key to another address.
      redirect: 'manual',
    });
    const raw = await Promise.race([sent.then(readRaw), aborted(request.signal)]);
    return readAnswer(
      raw,
      items.map(({ id }) => id),
      clock,
    );
  } catch (cause) {
    return failed(url, cause, request.signal);
  } finally {
    clearTimeout(timer);
    closing.removeEventListener('abort', close);
  }
}

function failed(url: string, cause: unknown, signal: AbortSignal): BatchAnswer {
  if (cause instanceof EvidentError) return { kind: 'setting', error: cause };
  const reason = signal.aborted ? signal.reason : cause;
  const neverSent = NEVER_SENT.has(errnoOf(cause));
  const error = new EvidentError(
    neverSent ? 'log-unavailable' : 'outcome-unknown',
    `${url}: ${neverSent ? 'the log cannot be reached' : 'the request broke off'}: ${messageOf(reason)}`,
    { cause },
  );
  return { kind: 'again', error, mayBeTaken: !neverSent, retryAfterMs: null };
}

/** The envelopes as one JSON array. Not NDJSON: a body may hold line breaks between its tokens. */
function requestBody(items: readonly EncodedEvent[]): Uint8Array<ArrayBuffer> {
  const length = items.reduce((sum, { bytes }) => sum + bytes.length + 1, 1);
  const body = new Uint8Array(length);
  let at = 0;
  for (const { bytes } of items) {
    body[at] = at === 0 ? 0x5b : 0x2c;
    body.set(bytes, at + 1);
    at += bytes.length + 1;
  }
  body[at] = 0x5d;
  return body;
}

/** A `fetch` that doesn't heed its signal must not hold the client for ever. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

async function readRaw({ status, headers, body }: FetchAnswer): Promise<RawAnswer> {
  return {
    status,
    mediaType: headers.get('content-type') ?? '',
    retryAfter: headers.get('retry-after'),
    text: await readText(body),
  };
}

async function readText(body: AsyncIterable<Uint8Array> | null): Promise<string> {
  const utf8 = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer is larger than ${ANSWER_BYTES_MAX} bytes`);
    text += utf8.decode(chunk, { stream: true });
  }
  return text + utf8.decode();
}

/** `fetch` wraps what the socket said, and a host of several addresses gives one failure for each. */
function errnoOf(error: unknown): string {
  const { code, cause, errors } = (error ?? {}) as { code?: unknown; cause?: unknown; errors?: unknown[] };
  if (typeof code === 'string') return code;
  if (cause !== undefined) return errnoOf(cause);
  const all = new Set((errors ?? []).map(errnoOf));
  return all.size === 1 ? [...all][0] : '';
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && cause.message !== ''
    ? `${error.message} (${cause.message})`
    : error.message;
}
