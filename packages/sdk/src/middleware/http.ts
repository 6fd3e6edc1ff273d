import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestScope } from '../context/request-scope.ts';
import { type ContextOptions, identifyRequest, openRequest, REQUEST_ID_HEADER, scopeOf } from './arrival.ts';
import { endWithResponse, type ResponseEnd } from './response-end.ts';

export interface HttpOptions<Request> extends ContextOptions<Request> {
  /**
   * Answers a request for which a function of these options failed. Default: status 500 without a body, and a process
   * warning; never an unhandled rejection, which a stranger could then cause at will.
   */
  readonly onError?: (error: unknown, request: Request, response: ServerResponse) => void;
}

function answerFailed(error: unknown, _request: IncomingMessage, response: ServerResponse): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.emitWarning(`a request was answered with 500 because who makes it could not be told: ${text}`);
  if (!response.headersSent) response.statusCode = 500;
  response.end();
}

/**
 * Wraps the request listener of a `node:http` server, so that each request is served in a context of its own:
 * `http.createServer(evidentHttp(options, listener))`. The listener returns and throws what it did before.
 */
export function evidentHttp<Request extends IncomingMessage, Response extends ServerResponse>(
  options: HttpOptions<Request>,
  listener: (request: Request, response: Response) => unknown,
): (request: Request, response: Response) => unknown {
  const onError = options.onError ?? answerFailed;
  return (request, response) => {
    const fail = (error: unknown): void => onError(error, request, response);
    let begun: Begun;
    let identified: Promise<void> | undefined;
    try {
      begun = begin(options, request, response);
      identified = identifyRequest(options, begun.scope, request);
    } catch (error) {
      const scope = scopeOf(request);
      return scope === undefined ? fail(error) : scope.run(() => fail(error));
    }
    const { scope, end } = begun;
    const serve = (): unknown =>
      scope.run(() => {
        const served = listener(request, response);
        return served instanceof Promise ? served.finally(() => end?.handlerSettled()) : served;
      });
    if (identified === undefined) return serve();
    // Only what `identified` throws goes to onError; what the listener throws stays its own.
    return identified.then(serve, (error) => scope.run(() => fail(error)));
  };
}

interface Begun {
  readonly scope: RequestScope;
  readonly end: ResponseEnd | null;
}

function begin<Request extends IncomingMessage>(
  options: HttpOptions<Request>,
  request: Request,
  response: ServerResponse,
): Begun {
  const begun = scopeOf(request);
  if (begun !== undefined) return { scope: begun, end: null };
  const scope = openRequest(options, request, {
    key: request,
    header: (name) => request.headers[name],
    address: request.socket.remoteAddress,
  });
  const end = endWithResponse(scope, response, options.abortedGraceMs);
  scope.carry(request);
  scope.carry(response);
  response.setHeader(REQUEST_ID_HEADER, scope.requestId as string);
  return { scope, end };
}
