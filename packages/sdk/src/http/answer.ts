/**
 * What an answer to a batch means for each of its items. The one table that maps codes to what the client does:
 *
 *   answered   each item has a result of its own
 *   again      nothing is settled: the same items go again, later. `mayBeTaken`: they may be in the log already
 *   content    something in the request is refused as a whole: smaller requests show which item it is
 *   stopped    a partition takes nothing until somebody has looked at it; other partitions do
 *   setting    address, credential or log are wrong: no event can pass until that is corrected
 */

import { ERRORS, type ErrorCode, EvidentError } from '@evident/core/errors.ts';

/** What became of one item of a request that was answered. */
export type ItemAnswer =
  | {
      readonly kind: 'durable';
      readonly partition: number;
      readonly position: bigint;
      /** It was in the log before. */
      readonly repeat: boolean;
    }
  | { readonly kind: 'refused'; readonly error: EvidentError }
  | { readonly kind: 'again'; readonly error: EvidentError };

export type BatchAnswer =
  | { readonly kind: 'answered'; readonly items: readonly ItemAnswer[] }
  | {
      readonly kind: 'again';
      readonly error: EvidentError;
      readonly mayBeTaken: boolean;
      readonly retryAfterMs: number | null;
    }
  | { readonly kind: 'content' | 'stopped' | 'setting'; readonly error: EvidentError };

/** The server decides these before it takes anything. */
const AGAIN_UNTAKEN: ReadonlySet<ErrorCode> = new Set([
  'overloaded',
  'shutting-down',
  'request-timeout',
  'log-unavailable',
  'disk-full',
  'rate-limited',
  'identity-unavailable',
]);
const CONTENT: ReadonlySet<ErrorCode> = new Set([
  'json-invalid',
  'json-duplicate-member',
  'json-too-deep',
  'body-too-large',
  'batch-too-large',
]);
/** A header that asks for longer is not obeyed: it may be broken, and events wait. */
const RETRY_AFTER_MS_MAX = 60_000;
const DETAIL_LENGTH_MAX = 500;

export interface RawAnswer {
  readonly status: number;
  readonly mediaType: string;
  readonly retryAfter: string | null;
  readonly text: string;
}

/**
 * @param ids of the items that were sent, in order
 * @param clock milliseconds since the Unix epoch, for a Retry-After that is a date
 */
export function readAnswer(answer: RawAnswer, ids: readonly string[], clock: () => number): BatchAnswer {
  const parsed = parse(answer);
  const items = itemsOf(parsed, ids);
  if (items !== null) return { kind: 'answered', items };
  const { status } = answer;
  if (status >= 200 && status < 300) {
    // A page of a proxy, or half an answer: what the log did is not known.
    return again(
      answer,
      true,
      error('outcome-unknown', answer, 'it does not say what became of the events'),
      clock,
    );
  }
  const code = codeOf(parsed);
  if (code === 'partition-stopped') return { kind: 'stopped', error: error(code, answer, detailOf(parsed)) };
  if (code !== null && AGAIN_UNTAKEN.has(code)) {
    return again(answer, false, error(code, answer, detailOf(parsed)), clock);
  }
  if (status === 429 || status === 408) return again(answer, false, error('overloaded', answer, ''), clock);
  if (status >= 500)
    return again(answer, true, error(code ?? 'outcome-unknown', answer, detailOf(parsed)), clock);
  if ((code !== null && CONTENT.has(code)) || (code === null && status === 413)) {
    return { kind: 'content', error: error(code ?? 'body-too-large', answer, detailOf(parsed)) };
  }
  return { kind: 'setting', error: error(code ?? settingCode(status), answer, detailOf(parsed)) };
}

function settingCode(status: number): ErrorCode {
  if (status === 401) return 'unauthenticated';
  if (status === 403) return 'forbidden';
  return status === 404 ? 'not-found' : 'request-malformed';
}

function again(
  answer: RawAnswer,
  mayBeTaken: boolean,
  reason: EvidentError,
  clock: () => number,
): BatchAnswer {
  return { kind: 'again', mayBeTaken, error: reason, retryAfterMs: retryAfterOf(answer.retryAfter, clock) };
}

function retryAfterOf(header: string | null, clock: () => number): number | null {
  if (header === null) return null;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - clock();
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX);
}

function parse({ mediaType, text }: RawAnswer): Record<string, unknown> | null {
  if (!/[/+]json\b/.test(mediaType)) return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** One answer an item, or null when this is no list of results of these items. */
function itemsOf(parsed: Record<string, unknown> | null, ids: readonly string[]): ItemAnswer[] | null {
  const results = parsed?.results;
  if (!Array.isArray(results) || results.length !== ids.length) return null;
  const items: ItemAnswer[] = [];
  for (const [index, result] of results.entries()) {
    const item = itemOf(result as Record<string, unknown>, ids[index]);
    if (item === null) return null;
    items.push(item);
  }
  return items;
}

function itemOf(result: Record<string, unknown>, id: string): ItemAnswer | null {
  const { status, partition, position } = result;
  if (status === 'appended' || status === 'repeat') {
    const isPlace = Number.isSafeInteger(partition) && /^\d{1,19}$/.test(String(position));
    if (!isPlace || result.id !== id) return null;
    return {
      kind: 'durable',
      partition: partition as number,
      position: BigInt(position as string),
      repeat: status === 'repeat',
    };
  }
  if (status === 'refused') {
    const problem = (result.problem ?? {}) as Record<string, unknown>;
    const code = codeOf(problem);
    const detail = `the log refused event ${id}: ${detailOf(problem)}`;
    const context = { id, field: problem.field as string | undefined, code: problem.code };
    const refusal = new EvidentError(code ?? 'internal', detail, { context });
    return { kind: problem.retryable === true ? 'again' : 'refused', error: refusal };
  }
  // `unknown`, and what later servers may say: sent again by identity it is settled sooner or later.
  if (typeof status !== 'string') return null;
  return {
    kind: 'again',
    error: new EvidentError('outcome-unknown', `the log says ${status} of event ${id}`, { context: { id } }),
  };
}

function codeOf(problem: Record<string, unknown> | null): ErrorCode | null {
  const code = problem?.code;
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : null;
}

function detailOf(problem: Record<string, unknown> | null): string {
  const { detail, code } = problem ?? {};
  const text = typeof detail === 'string' ? detail : typeof code === 'string' ? code : 'it gives no reason';
  return text.slice(0, DETAIL_LENGTH_MAX);
}

function error(code: ErrorCode, { status }: RawAnswer, detail: string): EvidentError {
  return new EvidentError(code, `the log answered ${status}${detail === '' ? '' : `: ${detail}`}`, {
    context: { status },
  });
}
