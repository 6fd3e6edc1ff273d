/** Asks the server until the log holds an event: what `sync` and `receipt.inLog` wait for. */

import { setTimeout as sleep } from 'node:timers/promises';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';

export interface ServerOptions {
  /** Base address, such as https://evident.example.invalid. */
  readonly url: string;
  /** API key that may read the log; sent as a bearer token. */
  readonly key: string;
  /** Default `audit`. */
  readonly log?: string;
}

/** Where the log holds an event. */
export interface InLog {
  readonly partition: number;
  readonly position: bigint;
}

/** Identity of an event within its log. */
export interface EventIdentity {
  readonly id: string;
  readonly tenant: string;
}

/** Longest that one request is held open: less than what proxies allow. */
const REQUEST_WAIT_MS_MAX = 10_000;
/** A server that answers at once, or not at all, is not asked again before this. */
const PAUSE_MS = 200;

/**
 * @throws sync-timeout when the log did not hold it in time, with the last trouble as its cause;
 *   unauthenticated, forbidden or log-unknown at once: waiting does not help
 */
export async function waitInLog(
  server: ServerOptions,
  event: EventIdentity,
  timeoutMs: number,
): Promise<InLog> {
  const deadline = performance.now() + timeoutMs;
  let trouble: unknown;
  for (let asked = 0; ; asked++) {
    const leftMs = Math.max(0, deadline - performance.now());
    if (asked > 0 && leftMs === 0) break;
    const startedAt = performance.now();
    const waitMs = Math.floor(Math.min(leftMs, REQUEST_WAIT_MS_MAX));
    try {
      const found = await askOnce(server, event, waitMs);
      if (found !== null) return found;
      trouble = undefined;
    } catch (error) {
      if (isEvidentError(error)) throw error;
      trouble = error;
    }
    const restMs = Math.min(PAUSE_MS - (performance.now() - startedAt), deadline - performance.now());
    if (restMs > 0) await sleep(restMs);
  }
  throw new EvidentError(
    'sync-timeout',
    `event ${event.id} is committed, but was not in the log within ${timeoutMs} ms`,
    {
      cause: trouble,
      context: { id: event.id, tenant: event.tenant, timeoutMs },
    },
  );
}

/** Null when the log does not hold it yet. */
async function askOnce(
  { url, key, log = 'audit' }: ServerOptions,
  { id, tenant }: EventIdentity,
  waitMs: number,
): Promise<InLog | null> {
  // A key that is not limited to one tenant has to say whose event it means.
  const query = new URLSearchParams({ wait_ms: String(waitMs), tenant });
  const address = `${url.replace(/\/+$/, '')}/v1/logs/${encodeURIComponent(log)}/events/${id}?${query}`;
  const response = await fetch(address, {
    headers: { authorization: `Bearer ${key}`, accept: 'application/json' },
    // A server that accepts and never answers must not hold the caller for longer than they asked.
    signal: AbortSignal.timeout(waitMs + 1_000),
  });
  const text = await response.text();
  if (response.status === 200) {
    const { partition, position } = JSON.parse(text) as { partition: number; position: string | number };
    return { partition, position: BigInt(position) };
  }
  const refusal = refusalOf(response.status, text);
  if (refusal !== null)
    throw new EvidentError(refusal, `${address}: ${text.slice(0, 500)}`, { context: { id } });
  if (response.status === 404) return null;
  throw new Error(`${address} answered ${response.status}: ${text.slice(0, 500)}`);
}

/** Answers that no waiting changes. */
function refusalOf(status: number, text: string): 'unauthenticated' | 'forbidden' | 'log-unknown' | null {
  if (status === 401) return 'unauthenticated';
  if (status === 403) return 'forbidden';
  return status === 404 && /"code"\s*:\s*"log-unknown"/.test(text) ? 'log-unknown' : null;
}
