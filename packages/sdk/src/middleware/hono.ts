import type { IncomingMessage } from 'node:http';
import type { Context, MiddlewareHandler } from 'hono';
import type { Emitter, RequestScope } from '../context/request-scope.ts';
import { type ContextOptions, identifyRequest, openRequest, REQUEST_ID_HEADER, scopeOf } from './arrival.ts';
import { endWithResponse, type NodeResponse, type ResponseEnd } from './response-end.ts';

export type HonoOptions = ContextOptions<Context>;

/** What @hono/node-server puts into `c.env`; other runtimes don't, and then the body of the response is watched. */
interface NodeBindings {
  readonly incoming?: Emitter & Pick<IncomingMessage, 'socket'>;
  readonly outgoing?: Emitter & NodeResponse;
}

/**
 * Middleware for Hono: `app.use(evidentHono(options))`, before everything that captures. What `actor` or `tenant`
 * throws goes to `app.onError`. Hono has no notion of a trusted proxy: with `client: true` the address is that of
 * the socket, unless `address` says otherwise. Used again inside, it adds to the request that has begun.
 */
export function evidentHono(options: HonoOptions = {}): MiddlewareHandler {
  return async (c, next) => {
    const { incoming, outgoing } = (c.env ?? {}) as NodeBindings;
    const key = incoming ?? c.req.raw;
    const begun = scopeOf(key);
    if (begun !== undefined) {
      await identifyRequest(options, begun, c);
      return begun.run(next);
    }
    const scope = openRequest(options, c, {
      key,
      header: (name) => c.req.header(name),
      address: incoming?.socket?.remoteAddress,
    });
    let end: ResponseEnd | null = null;
    if (outgoing !== undefined) {
      end = endWithResponse(scope, outgoing, options.abortedGraceMs);
      scope.carry(outgoing);
      if (incoming !== undefined) scope.carry(incoming);
    }
    // Set here for the answer to an error, and again below: a handler may return a response of its own making.
    c.header(REQUEST_ID_HEADER, scope.requestId);
    try {
      await identifyRequest(options, scope, c);
      await scope.run(next);
    } finally {
      end?.handlerSettled();
      if (end === null) endAfterBody(c, scope);
    }
    if (c.res.headers.get(REQUEST_ID_HEADER) === null) c.header(REQUEST_ID_HEADER, scope.requestId);
  };
}

function endAfterBody(c: Context, scope: RequestScope): void {
  const response = c.finalized ? c.res : null;
  // The body of an answer to HEAD is dropped by Hono, unread.
  if (response?.body === null || response === null || c.req.raw.method === 'HEAD') {
    scope.end();
    return;
  }
  // Setting c.res would merge the headers of both: the old response is let go first.
  c.res = undefined;
  c.res = new Response(watched(response.body, scope), response);
}

/** The same bytes; the context ends when they have all been read, or reading was given up, or failed. */
function watched(body: ReadableStream<Uint8Array>, scope: RequestScope): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await scope.run(() => reader.read());
          if (!done) {
            controller.enqueue(value);
            return;
          }
          scope.end();
          controller.close();
        } catch (error) {
          scope.end();
          controller.error(error);
        }
      },
      cancel(reason) {
        scope.end();
        return reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
