/** What the four middlewares have in common: from the arrival of a request to the scope in which it is served. */

import { randomUUID } from 'node:crypto';
import type { Actor } from '../context/check-context.ts';
import { beginRequest, type RequestScope } from '../context/request-scope.ts';
import {
  type HeaderValue,
  identifierOf,
  ipAddressOf,
  requestIdOf,
  traceparentOf,
  userAgentOf,
} from './header-values.ts';

export const REQUEST_ID_HEADER = 'x-request-id';
/** How long a request that its client has abandoned keeps its context, if the handler's end cannot be seen. */
export const ABORTED_GRACE_MS = 60_000;

type Answer<T> = T | null | undefined;

export interface ContextOptions<Request> {
  /**
   * Who makes this request; null when nobody is known. Run when the request arrives, before its body is read: where
   * authentication comes later, leave this out and call `setActor` there. What it throws goes to the error handling
   * of the framework, and the handler is not run.
   */
  readonly actor?: (request: Request) => Answer<Actor> | Promise<Answer<Actor>>;
  /** Of which tenant it is. Run after `actor`, in the context, with the same rule for errors. */
  readonly tenant?: (request: Request) => Answer<string> | Promise<Answer<string>>;
  /** session_id. Give a name or a hash of the session, not the secret that opens it: events are read by many. */
  readonly session?: (request: Request) => Answer<string>;
  /** correlation_id. A value that is no identifier (over 256 characters, control characters) is dropped. */
  readonly correlation?: (request: Request) => Answer<string>;
  /**
   * Whether x-request-id of the request becomes request_id, if it is 1 to 256 visible ASCII characters. Default
   * false: whoever may choose it can make requests look like one. Set it behind a proxy that writes the header.
   */
  readonly trustRequestId?: boolean;
  /** Whether network address and user agent go into the actor: both say something about a person. Default false. */
  readonly client?: boolean;
  /**
   * Network address of the client, when the middleware cannot know it. Default: what the framework holds for it
   * (`request.ip` under its own trust-proxy setting), else the address of the socket. No header is read for it.
   */
  readonly address?: (request: Request) => Answer<string>;
  /**
   * Milliseconds for which an abandoned request keeps its context while its handler runs on: the connection closed
   * before the response was complete, and the handler has neither ended the response nor, where that can be
   * seen, settled. Otherwise who hangs up early would decide that his attempt is not recorded. Default 60,000.
   */
  readonly abortedGraceMs?: number;
}

export interface Arrival {
  /** What is one per request, whatever middleware sees it: the IncomingMessage where there is one. */
  readonly key: object;
  readonly header: (name: string) => HeaderValue;
  readonly address: unknown;
}

function present(members: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Record<
    string,
    string
  >;
}

const scopes = new WeakMap<object, RequestScope>();

/** The scope of a request that a middleware of ours has begun, here or further out. */
export function scopeOf(key: object): RequestScope | undefined {
  return scopes.get(key);
}

/** Begins the context of a request that has arrived; who makes it is asked by `identifyRequest`. */
export function openRequest<Request>(
  options: ContextOptions<Request>,
  request: Request,
  { key, header, address }: Arrival,
): RequestScope {
  const trusted = options.trustRequestId === true ? requestIdOf(header(REQUEST_ID_HEADER)) : undefined;
  const context = present({
    request_id: trusted ?? randomUUID(),
    traceparent: traceparentOf(header('traceparent')),
    session_id: identifierOf(options.session?.(request)),
    correlation_id: identifierOf(options.correlation?.(request)),
  });
  const client = present({
    ip_address: ipAddressOf(options.address === undefined ? address : options.address(request)),
    user_agent: userAgentOf(header('user-agent')),
  });
  const scope = beginRequest({ context }, options.client === true ? client : {});
  scopes.set(key, scope);
  return scope;
}

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}

/**
 * Asks the application who makes the request, within its context. Answers undefined when all of it was known at
 * once, so that a synchronous application stays so.
 * @throws what the application throws; field-invalid, field-unknown, field-reserved when its answer is none
 */
export function identifyRequest<Request>(
  options: ContextOptions<Request>,
  scope: RequestScope,
  request: Request,
): Promise<void> | undefined {
  const askTenant = (): Promise<void> | undefined => {
    const tenant = options.tenant?.(request);
    if (isPromise(tenant)) return tenant.then((known) => scope.identify(null, known));
    scope.identify(null, tenant);
    return undefined;
  };
  return scope.run(() => {
    const actor = options.actor?.(request);
    if (isPromise(actor)) {
      return actor.then((known) => {
        scope.identify(known);
        return askTenant();
      });
    }
    scope.identify(actor);
    return askTenant();
  });
}
