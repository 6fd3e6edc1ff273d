/**
 * Events into the log over HTTP, for programs that have no PostgreSQL to write an outbox in.
 *
 *   const client = createHttpClient({ url, key, log: 'audit', buffer: { kind: 'memory' } });
 *   const receipt = await client.send(event);
 *
 * | buffer | `send` resolves when | what a crash of the program loses |
 * |---|---|---|
 * | memory | the log holds the event durably | what `send` has not resolved; its outcome is not known |
 * | disk | the event is synced to a file; the log gets it later, in order | nothing that `send` has resolved |
 *
 * Delivery: every event is sent until the log has answered for it, with the same id. What the log has already it
 * answers as a repeat, so an event stands in it once. One request at a time keeps events in the order of `send`.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { checkLogName, checkTenant } from '@evident/core/record.ts';
import { guarded } from '../outbox/problems.ts';
import { type Bounds, type ClientDeps, makeCounts } from './client-deps.ts';
import { DiskClient } from './disk-client.ts';
import type { HttpEvent } from './envelope.ts';
import type { ExitingProcess, ExitOptions } from './exit-flush.ts';
import { MemoryClient } from './memory-client.ts';
import { type Fetch, postBatch } from './post.ts';
import { RETRY_TIMES } from './retry-pause.ts';

export interface HttpClientOptions {
  /** Base address of the server, such as https://evident.example.invalid. */
  readonly url: string;
  /** API key of role writer, or what returns it: asked before each request, so that a rotated key is taken up. */
  readonly key: string | (() => string);
  /** Default `audit`. */
  readonly log?: string;
  /** Whose events these are; needed only with a key that is for all tenants. */
  readonly tenant?: string;
  readonly buffer: MemoryBufferOptions | DiskBufferOptions;
  /** Most events of one request; default 500, at most 5,000. */
  readonly batchMax?: number;
  /** Milliseconds after which a request without an answer is sent again; default 30,000. */
  readonly requestTimeoutMs?: number;
  /** Pauses between attempts that settled nothing: doubled from `firstMs` (100) up to `maxMs` (30,000), with jitter. */
  readonly retry?: { readonly firstMs?: number; readonly maxMs?: number };
  /** Hears of what goes wrong where nobody waits for it; default: a warning of the process. */
  readonly onProblem?: (problem: HttpProblem) => void;
  /** Default: the global `fetch`. */
  readonly fetch?: Fetch;
}

export interface MemoryBufferOptions {
  readonly kind: 'memory';
  /** Bytes of events that wait, with their envelopes; default 16 MiB. */
  readonly bytesMax?: number;
  /** Events that wait; default 10,000. */
  readonly eventsMax?: number;
}

export interface DiskBufferOptions {
  readonly kind: 'disk';
  /** A folder of its own for this buffer; made with mode 0700 if it is missing. One process at a time holds it. */
  readonly folder: string;
  /** Bytes of files in the folder, those of refused events among them; default 256 MiB. */
  readonly bytesMax?: number;
}

/** Says where the event is durable. */
export type Receipt =
  | {
      readonly id: string;
      readonly durable: 'log';
      readonly partition: number;
      readonly position: bigint;
      /** The log had it before. */
      readonly repeat: boolean;
    }
  | { readonly id: string; readonly durable: 'disk' };

/** An event that is not durable, and why. `outcome-unknown`: it may be in the log all the same. */
export interface NotDurable {
  readonly id: string;
  readonly durable: false;
  readonly error: EvidentError;
}

export interface SendOptions {
  /** Ends the wait for the log. With a disk buffer it matters only before the call. */
  readonly signal?: AbortSignal;
  /** Milliseconds to wait for the log; without it and without a signal as long as it takes. */
  readonly timeoutMs?: number;
}

export interface FlushOptions {
  /** Default 10,000 milliseconds. */
  readonly timeoutMs?: number;
}

export interface FlushResult {
  /** Whether the log has answered for everything that was taken before the call. */
  readonly flushed: boolean;
  /** Events that wait still. */
  readonly waiting: number;
}

/** What goes wrong where nobody waits for it. */
export interface HttpProblem {
  /**
   * `retry`: the log does not answer, or not now; `held`: it will not take events until a setting or a partition
   * is put right; `refused`: it refused an event that was durable on disk, which now stands in refused.ndjson;
   * `torn`: bytes of a write that had not ended were cut; `damaged`: a file of the buffer can't be read, and was
   * set aside; `storage`: the disk refused a write.
   */
  readonly kind: 'retry' | 'held' | 'refused' | 'torn' | 'damaged' | 'storage';
  readonly what: string;
  readonly error?: unknown;
  /** The event it concerns. */
  readonly id?: string;
  /** Attempts in a row that settled nothing, this one among them. */
  readonly failures?: number;
}

/** Counts since the client was made, and what waits now. */
export interface HttpClientMetrics {
  /** Events that `send` and `sendMany` took. */
  readonly taken: number;
  /** Events that the log has acknowledged. */
  readonly delivered: number;
  /** Of those, events that the log had before. */
  readonly repeats: number;
  /** Events that the log refused. */
  readonly refused: number;
  /** Events whose caller stopped waiting. */
  readonly abandoned: number;
  /** Calls that found the buffer full. */
  readonly full: number;
  readonly requests: number;
  /** Attempts that settled nothing. */
  readonly failures: number;
  readonly waitingEvents: number;
  readonly waitingBytes: number;
  /** Bytes of unfinished writes that were cut when the folder was opened. */
  readonly tornBytes: number;
  /** Files of the buffer that were set aside because they can't be read. */
  readonly damaged: number;
}

export interface HttpClient {
  /**
   * Resolves when the event is durable, and says where. Throws at once, having taken nothing, for a full buffer
   * (buffer-full), a closed client (shutting-down) and an event that the log would not take (field-invalid, …).
   * With a memory buffer it also throws what the log refused (id-reused, tenant-forbidden, unauthenticated, …),
   * outcome-unknown when the wait ended while the event may be in the log, and log-unavailable when it is surely
   * not. With a disk buffer: disk-full, or outcome-unknown when the disk left it open.
   */
  send(event: HttpEvent, options?: SendOptions): Promise<Receipt>;
  /** All events or none are taken; each has a result of its own, in order. Throws as `send` does for taking them. */
  sendMany(events: readonly HttpEvent[], options?: SendOptions): Promise<(Receipt | NotDurable)[]>;
  /** Waits until the log has answered for everything taken so far, or until the time is over. */
  flush(options?: FlushOptions): Promise<FlushResult>;
  /**
   * Takes no more, flushes, and lets go of files and connections. What waits then is kept on disk for the next
   * start, or, from memory, answered outcome-unknown or shutting-down.
   */
  close(options?: FlushOptions): Promise<FlushResult>;
  /**
   * Closes the client when the process is told to stop (SIGTERM, SIGINT), within a bound, and flushes when it has
   * nothing else to do. See `exit-flush.ts` for handlers of your own. @returns what takes it back
   */
  flushOnExit(process: ExitingProcess, options?: ExitOptions): () => void;
  metrics(): HttpClientMetrics;
}

const BATCH_DEFAULT = 500;
/** The log takes no more in one request. */
const BATCH_LIMIT = 5_000;
/** A request ends with the event that carries it over this; the log takes 17 MiB. */
const BATCH_BYTES_MAX = 1024 * 1024;
const REQUEST_MS_DEFAULT = 30_000;
const MIB = 1024 * 1024;

/**
 * Makes a client. With a disk buffer it opens the folder, and begins at once to deliver what lies in it.
 * @throws usage-invalid for options that can't be; with a disk buffer also data-locked when another process holds
 *   the folder, data-unwritable, disk-full
 */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { buffer, requestTimeoutMs = REQUEST_MS_DEFAULT } = options;
  const closing = new AbortController();
  const url = addressOf(options);
  const { key } = options;
  const post = {
    url,
    key: () => checkKeyText(typeof key === 'function' ? key() : key),
    requestTimeoutMs: atLeastOne('requestTimeoutMs', requestTimeoutMs),
    fetch: options.fetch ?? globalThis.fetch,
    clock: Date.now,
    closing: closing.signal,
  };
  if (typeof key === 'string') checkKeyText(key);
  const batch: Bounds = { events: batchMaxOf(options.batchMax), bytes: BATCH_BYTES_MAX };
  const deps: ClientDeps = {
    post: (items) => postBatch(post, items),
    batch,
    retry: {
      firstMs: atLeastOne('retry.firstMs', options.retry?.firstMs ?? RETRY_TIMES.firstMs),
      maxMs: atLeastOne('retry.maxMs', options.retry?.maxMs ?? RETRY_TIMES.maxMs),
    },
    random: Math.random,
    report: guarded(options.onProblem ?? warnOfHttpProblem),
    counts: makeCounts(),
    closing,
  };
  switch (buffer?.kind) {
    case 'memory': {
      const bytes = atLeastOne('buffer.bytesMax', buffer.bytesMax ?? 16 * MIB);
      return new MemoryClient(deps, {
        bytes,
        events: atLeastOne('buffer.eventsMax', buffer.eventsMax ?? 10_000),
      });
    }
    case 'disk':
      return new DiskClient(deps, {
        folder: buffer.folder,
        bytesMax: atLeastOne('buffer.bytesMax', buffer.bytesMax ?? 256 * MIB),
      });
    default:
      throw refuse('buffer', "say where events wait: { kind: 'memory' } or { kind: 'disk', folder }");
  }
}

function addressOf({ url, log = 'audit', tenant }: HttpClientOptions): string {
  let base: URL;
  try {
    base = new URL(url);
  } catch {
    throw refuse('url', 'an address such as https://evident.example.invalid is expected');
  }
  if (base.protocol !== 'http:' && base.protocol !== 'https:')
    throw refuse('url', 'http or https is expected');
  if (base.username !== '' || base.password !== '') throw refuse('url', 'credentials belong into key');
  const query = tenant === undefined ? '' : `?tenant=${encodeURIComponent(checkTenant(tenant))}`;
  return `${base.origin}${base.pathname.replace(/\/+$/, '')}/v1/logs/${checkLogName(log)}/records${query}`;
}

/** The text is a secret: no message shows it. */
function checkKeyText(key: unknown): string {
  if (typeof key === 'string' && /^[\x21-\x7e]{1,1024}$/.test(key)) return key;
  throw refuse('key', 'the text of an API key is expected');
}

function batchMaxOf(value: number | undefined): number {
  const events = atLeastOne('batchMax', value ?? BATCH_DEFAULT);
  if (events > BATCH_LIMIT)
    throw refuse('batchMax', `the log takes at most ${BATCH_LIMIT} events in a request`);
  return events;
}

function atLeastOne(field: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw refuse(field, 'a whole number of at least 1 is expected');
}

function refuse(field: string, reason: string): EvidentError {
  return new EvidentError('usage-invalid', `${field}: ${reason}`, { context: { field } });
}

/** A log that is away for a moment is no news; one that stays away is. */
const RETRIES_UNTOLD = 5;
const RETRIES_TOLD_EVERY = 100;

function warnOfHttpProblem({ kind, what, failures = 0 }: HttpProblem): void {
  const isNews = failures === RETRIES_UNTOLD || failures % RETRIES_TOLD_EVERY === 0;
  if (kind !== 'retry' || isNews) process.emitWarning(what, 'EvidentWarning');
}
