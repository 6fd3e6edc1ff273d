import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestScope } from '../context/request-scope.ts';
import { type ContextOptions, identifyRequest, openRequest, REQUEST_ID_HEADER, scopeOf } from './arrival.ts';
import { endWithResponse } from './response-end.ts';

/** What is needed of a request of Express; `ip` follows the setting `trust proxy` of the application. */
export interface ExpressRequest extends IncomingMessage {
  readonly ip?: string | undefined;
}

/**
 * Middleware for Express 5 (and 4): `app.use(evidentExpress(options))`, before everything that captures. What
 * `actor` or `tenant` throws goes to the error handlers of the application, which still run in the context.
 * Used again on an inner router it adds to the request that has begun: actor and tenant of the inner options win.
 */
export function evidentExpress<Request extends ExpressRequest = ExpressRequest>(
  options: ContextOptions<Request> = {},
): (request: Request, response: ServerResponse, next: (error?: unknown) => void) => void {
  return (request, response, next) => {
    const scope = scopeOf(request) ?? begin(options, request, response);
    let identified: Promise<void> | undefined;
    try {
      identified = identifyRequest(options, scope, request);
    } catch (error) {
      scope.run(() => next(error));
      return;
    }
    if (identified === undefined) {
      scope.run(() => next());
      return;
    }
    identified.then(
      () => scope.run(() => next()),
      (error) => scope.run(() => next(error)),
    );
  };
}

function begin<Request extends ExpressRequest>(
  options: ContextOptions<Request>,
  request: Request,
  response: ServerResponse,
): RequestScope {
  const scope = openRequest(options, request, {
    key: request,
    header: (name) => request.headers[name],
    address: request.ip ?? request.socket.remoteAddress,
  });
  endWithResponse(scope, response, options.abortedGraceMs);
  scope.carry(request);
  scope.carry(response);
  response.setHeader(REQUEST_ID_HEADER, scope.requestId as string);
  return scope;
}
