/** The port `AskTsa`: one request of RFC 3161 §3.4 over HTTP. */

import { QUERY_TYPE, REPLY_TYPE, type TsaAnswer } from '../../anchor/timestamp-request.ts';

/** Bytes of a reply that are read: a token with a chain has up to 10 KiB. */
export const REPLY_BYTES_MAX = 64 * 1024;
/** Milliseconds from the first byte sent to the last one read. */
export const ASK_MS_MAX = 15_000;

/** Never throws. What the signal gives up is `unreachable`, like all that did not come to an end. */
export async function askTsa(
  url: string,
  query: Uint8Array,
  signal: AbortSignal,
  mostMs: number = ASK_MS_MAX,
): Promise<TsaAnswer> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(mostMs)]);
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': QUERY_TYPE, accept: REPLY_TYPE },
      body: query as BodyInit,
      // Whoever answers is the one that was configured, and no other whom it names.
      redirect: 'manual',
      signal: bounded,
    });
    const reason = faultOf(answer);
    if (reason !== null) {
      await answer.body?.cancel();
      return { kind: 'refused', reason, retryAfterMs: retryAfterMs(answer.headers.get('retry-after')) };
    }
    const reply = await readBounded(answer);
    if (reply === null)
      return {
        kind: 'refused',
        reason: `the reply has more than ${REPLY_BYTES_MAX} bytes`,
        retryAfterMs: null,
      };
    return { kind: 'replied', reply };
  } catch (error) {
    if (bounded.aborted && !signal.aborted)
      return { kind: 'unreachable', reason: `no answer within ${mostMs} ms` };
    const { message, cause } = error as Error;
    return {
      kind: 'unreachable',
      reason: cause instanceof Error ? `${message}: ${cause.message || cause.name}` : message,
    };
  }
}

function faultOf(answer: Response): string | null {
  if (answer.status !== 200) return `it answered with status ${answer.status}`;
  const type = answer.headers.get('content-type') ?? '';
  const [media = ''] = type.split(';');
  if (media.trim().toLowerCase() === REPLY_TYPE) return null;
  return `it answered with ${type === '' ? 'no media type' : type.slice(0, 100)}, and not with ${REPLY_TYPE}`;
}

/** Seconds, as RFC 9110 §10.2.3 has them; a date is not read. */
function retryAfterMs(value: string | null): number | null {
  return value !== null && /^\d{1,9}$/.test(value) ? Number(value) * 1_000 : null;
}

/** @returns null when there is more than may be */
async function readBounded(answer: Response): Promise<Uint8Array | null> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length;
    // Leaving the loop closes the connection.
    if (bytes > REPLY_BYTES_MAX) return null;
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}
