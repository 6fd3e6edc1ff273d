/** What both kinds of client are built from. */

import type { EvidentError } from '@evident/core/errors.ts';
import type { FlushOptions, HttpProblem } from './client.ts';
import type { Post } from './deliver.ts';
import { type RetryTimes, retryDelayMs } from './retry-pause.ts';

export interface Bounds {
  readonly events: number;
  readonly bytes: number;
}

export interface ClientDeps {
  readonly post: Post;
  /** Most of one request; a single event may be larger. */
  readonly batch: Bounds;
  readonly retry: RetryTimes;
  /** 0 up to 1. */
  readonly random: () => number;
  readonly report: (problem: HttpProblem) => void;
  readonly counts: Counts;
  /** Aborted by the client when nobody waits for answers any more. */
  readonly closing: AbortController;
}

export interface Counts {
  taken: number;
  delivered: number;
  repeats: number;
  refused: number;
  abandoned: number;
  full: number;
  requests: number;
  failures: number;
}

export function makeCounts(): Counts {
  return { taken: 0, delivered: 0, repeats: 0, refused: 0, abandoned: 0, full: 0, requests: 0, failures: 0 };
}

/** An attempt that left something open. @returns how long to wait before the next, milliseconds */
export function reportFailure(
  { counts, random, report, retry }: ClientDeps,
  kind: 'retry' | 'held',
  failure: { error: EvidentError; failures: number; retryAfterMs: number | null },
): number {
  const { error, failures, retryAfterMs } = failure;
  counts.failures++;
  const delayMs = Math.ceil(retryDelayMs(retry, failures, retryAfterMs, random()));
  const what =
    kind === 'held'
      ? `the log takes no events until this is put right: ${error.message}`
      : `events wait for the log: ${error.message}`;
  report({ kind, what: `${what}; tried again in ${delayMs} ms`, error, failures });
  return delayMs;
}

const FLUSH_MS_DEFAULT = 10_000;

/** @returns whether `work` was done in time */
export async function withinTime(
  work: Promise<unknown>,
  options: FlushOptions | undefined,
): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, options?.timeoutMs ?? FLUSH_MS_DEFAULT, false);
  });
  try {
    return await Promise.race([work.then(() => true), over]);
  } finally {
    clearTimeout(timer);
  }
}
