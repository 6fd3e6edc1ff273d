import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import type { RequestScope } from '../context/request-scope.ts';
import { type ContextOptions, identifyRequest, openRequest, REQUEST_ID_HEADER, scopeOf } from './arrival.ts';
import { endWithResponse } from './response-end.ts';

export type FastifyOptions = ContextOptions<FastifyRequest>;

function begin(options: FastifyOptions, request: FastifyRequest, reply: FastifyReply): RequestScope {
  const scope = openRequest(options, request, {
    key: request.raw,
    header: (name) => request.headers[name],
    // Fastify's own notion: the socket, or the forwarded address under its `trustProxy`.
    address: request.ip,
  });
  endWithResponse(scope, reply.raw, options.abortedGraceMs);
  scope.carry(request.raw);
  scope.carry(reply.raw);
  reply.header(REQUEST_ID_HEADER, scope.requestId);
  return scope;
}

/**
 * Plugin for Fastify 5: `await app.register(evidentFastify, options)`, before the plugins that capture. It is not
 * encapsulated: it holds for the routes of whoever registers it, and for those below. What `actor` or `tenant`
 * throws goes to the error handler, which still runs in the context, as do listeners of `onResponse` until they
 * first wait for something. Registered again below, it adds to the request that has begun.
 */
export const evidentFastify: FastifyPluginCallback<FastifyOptions> = (app, options, done) => {
  app.addHook('onRequest', (request, reply, next) => {
    let identified: Promise<void> | undefined;
    let scope: RequestScope;
    try {
      scope = scopeOf(request.raw) ?? begin(options, request, reply);
      identified = identifyRequest(options, scope, request);
    } catch (error) {
      (scopeOf(request.raw)?.run ?? plainly)(() => next(error as Error));
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
  });
  // The body is parsed in between, by whatever parser the application chose, from the events of a socket.
  app.addHook('preValidation', (request, _reply, next) => {
    (scopeOf(request.raw)?.run ?? plainly)(() => next());
  });
  done();
};

function plainly<T>(fn: () => T): T {
  return fn();
}

// What fastify-plugin sets: the hooks belong to the instance that registers, not to a child of it.
Object.assign(evidentFastify, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: '@evident/sdk',
  [Symbol.for('plugin-meta')]: { name: '@evident/sdk', fastify: '5.x' },
});
