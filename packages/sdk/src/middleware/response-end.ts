import type { RequestScope } from '../context/request-scope.ts';
import { ABORTED_GRACE_MS } from './arrival.ts';

/** What is needed of a response of node:http or node:http2, or of a framework's imitation of one. */
export interface NodeResponse {
  once(event: 'close' | 'finish', listener: () => void): unknown;
  readonly writableEnded: boolean;
  readonly destroyed?: boolean;
}

export interface ResponseEnd {
  /** The handler has settled and will do nothing more: an abandoned request ends now. */
  handlerSettled(): void;
}

/**
 * Ends a context with its response, once.
 *
 * - Finished, or closed after the handler ended the response: the context ends. A body that is still being written
 *   keeps it alive, and listeners of `finish` still have it.
 * - Closed before that (the client hung up): the handler runs on and may commit, so what it does is recorded under
 *   its own actor. The context ends when the handler ends the response after all, or has settled, or after
 *   `graceMs`. Ending it at once would let a client suppress the record of what he tried.
 */
export function endWithResponse(
  scope: RequestScope,
  response: NodeResponse,
  graceMs: number = ABORTED_GRACE_MS,
): ResponseEnd {
  let isSettled = false;
  let isClosed = false;
  const closed = (): void => {
    if (isClosed) return;
    isClosed = true;
    if (response.writableEnded) {
      scope.end();
      return;
    }
    const endsAt = performance.now() + graceMs;
    scope.endWhen(() => isSettled || response.writableEnded || performance.now() >= endsAt);
  };
  response.once('close', closed);
  // A server of Node closes every response right after it finished. An imitation for tests may not: then the end is
  // one turn of the event loop later, so that the other listeners of `finish` come first.
  response.once('finish', () => setImmediate(closed));
  // Something before us took so long that the client is gone: `close` will not come again.
  if (response.destroyed === true) closed();
  return {
    handlerSettled() {
      isSettled = true;
    },
  };
}
