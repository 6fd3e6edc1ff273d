/**
 * What AsyncLocalStorage carries, and when it may be believed.
 *
 *   frame ── enteredIn: the callback in which somebody entered the context on purpose
 *     └─ entry ── actor, tenant: cells, so that setActor after authentication is seen by all of the request
 *          └─ request: whether it has ended; null for a context that no request bounds
 *
 * AsyncLocalStorage hands a context from whoever *creates* a promise, timer or handle to the callbacks of that
 * resource. For a promise or a timer the creator is the one who acts. For a handle that lives on, such as the
 * socket of a connection pool that the first request opened, the creator and the one who acts differ.
 */

import { AsyncLocalStorage, executionAsyncId, executionAsyncResource } from 'node:async_hooks';
import { EvidentError } from '@evident/core/errors.ts';
import type { Actor } from './check-context.ts';

/** Whether a request has ended. It is asked, not told: nothing has to run at the moment of the end. */
export interface RequestState {
  ended: boolean;
  /** Once this holds the request has ended, and is not asked again. */
  isOver: (() => boolean) | null;
}

export interface Entry {
  readonly actor: { value: Actor | undefined };
  readonly tenant: { value: string | undefined };
  readonly context: Readonly<Record<string, string>>;
  /** What the middleware saw of the client; goes into the actor when that is known. */
  readonly client: Pick<Actor, 'ip_address' | 'user_agent'>;
  /** The request that bounds this context. Shared by all contexts that are nested in it. */
  readonly request: RequestState | null;
}

interface Frame {
  readonly entry: Entry;
  readonly enteredIn: number;
}

const storage = new AsyncLocalStorage<Frame | null>();

/**
 * Kinds of handles that call back many times, on behalf of whoever uses them then. Names of Node's own classes,
 * because Node gives no other mark: should one be renamed, this guard is silent for it, and the test of the guard
 * fails. A handle that belongs to one operation (a file read, a DNS query, a request of http.Agent) is not here.
 */
const SHARED_HANDLES: ReadonlySet<string> = new Set([
  'FSEvent',
  'Http2Session',
  'JSStream',
  'MessagePort',
  'Pipe',
  'Signal',
  'StatWatcher',
  'TCP',
  'TLSWrap',
  'TTY',
  'UDP',
  'Worker',
]);

/** The kind of the long-lived handle that called us, or null when a promise, a one-shot timer or a read did. */
function sharedHandle(): string | null {
  const resource: object | undefined = executionAsyncResource();
  const name = resource?.constructor?.name;
  if (name === undefined) return null;
  if (name === 'Timeout')
    return typeof (resource as { _repeat?: unknown })._repeat === 'number' ? name : null;
  return SHARED_HANDLES.has(name) ? name : null;
}

/** Runs `fn` with an entry as its context, or with none. */
export function enter<T>(entry: Entry | null, fn: () => T): T {
  return storage.run(entry === null ? null : { entry, enteredIn: executionAsyncId() }, fn);
}

/** The entry around the caller, believed or not; null when there is none. */
export function entryAround(): Entry | null {
  return storage.getStore()?.entry ?? null;
}

export function hasEnded(request: RequestState | null): boolean {
  if (request === null) return false;
  if (!request.ended && request.isOver?.()) {
    request.ended = true;
    request.isOver = null;
  }
  return request.ended;
}

/** Why the context around the caller may not be used, or null when it may (or when there is none). */
export function refusal(): EvidentError | null {
  const frame = storage.getStore();
  if (frame === undefined || frame === null) return null;
  if (hasEnded(frame.entry.request)) {
    const requestId = frame.entry.context.request_id;
    return new EvidentError(
      'context-ended',
      `the request${requestId === undefined ? '' : ` ${requestId}`} in whose context this runs has ended`,
      { context: requestId === undefined ? {} : { request_id: requestId } },
    );
  }
  // Entered within this very callback: then it is no inheritance from whoever opened the handle.
  if (frame.enteredIn === executionAsyncId()) return null;
  const handle = sharedHandle();
  if (handle === null) return null;
  const what = handle === 'Timeout' ? 'an interval' : `a handle that lives on (${handle})`;
  return new EvidentError(
    'context-missing',
    `this is called by ${what}; its context is that of whoever opened it, not of the one for whom it is called. ` +
      'Bind the callback with bindContext where it is handed over',
    { context: { handle } },
  );
}

/** The entry around the caller, if it may be used. @throws context-ended, context-missing */
export function usableEntry(): Entry | null {
  const reason = refusal();
  if (reason !== null) throw reason;
  return entryAround();
}
