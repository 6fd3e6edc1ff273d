/** The HTTP server: wiring of hooks, faults and route groups. README.md says what it promises. */

import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { MAY } from '../access/api-keys.ts';
import { authorise } from '../access/authorise.ts';
import { DeniedRecorder } from '../access/denied.ts';
import { isMetricsToken } from '../access/metrics-token.ts';
import { Admission } from './admission.ts';
import { alertRoutes } from './alert-routes.ts';
import { alertRuleRoutes } from './alert-rule-routes.ts';
import { apiKeyRoutes } from './api-key-routes.ts';
import { type HttpContext, shuttingDown } from './context.ts';
import { deadLetterRoutes } from './dead-letter-routes.ts';
import { noteDenied, suspectOf } from './denied-access.ts';
import type { HttpDeps } from './deps.ts';
import { eventRoutes } from './event-routes.ts';
import { eventSearchRoutes } from './event-search-routes.ts';
import { eventShowRoutes } from './event-show-routes.ts';
import { exportRoutes } from './export-routes.ts';
import {
  answerOnSocket,
  problemOfError,
  problemOfParserError,
  problemOfUnknownRoute,
  RouteTable,
  sendProblem,
} from './faults.ts';
import { importRoutes } from './import-routes.ts';
import { ingestRoutes, ResultsSchema } from './ingest-routes.ts';
import { keyRoutes } from './key-routes.ts';
import { HTTP_LIMITS, PARAMETER_LENGTH_MAX, SMALL_BODY_BYTES_MAX } from './limits.ts';
import { logRoutes } from './log-routes.ts';
import { addHttpMetrics } from './metrics.ts';
import { OPEN_API } from './open-api.ts';
import { operateRoutes } from './operate-routes.ts';
import { problemOf } from './problem.ts';
import { proofRoutes } from './proof-routes.ts';
import { RateGate } from './rate-gate.ts';
import { savedSearchRoutes } from './saved-search-routes.ts';
import { ProblemSchema } from './schemas.ts';
import { sourceRoutes } from './source-routes.ts';
import { statusRoutes } from './status-routes.ts';
import { tailRoutes } from './tail-routes.ts';
import { tlogRoutes } from './tlog-routes.ts';
import { compileValidator } from './validation.ts';
import { viewRoutes } from './view-routes.ts';
import { webhookRoutes } from './webhook-routes.ts';

/** Builds the server; it listens when the caller says so, and `close()` ends it cleanly. */
export function buildServer(deps: HttpDeps): FastifyInstance {
  const closing = new AbortController();
  const context = makeContext(deps, closing.signal);
  const app = makeApp(context);
  const routes = new RouteTable();
  app.decorateRequest('principal', null);
  app.addHook('onRoute', ({ url, method, config }) => {
    if (config?.access === undefined)
      throw new Error(`the route ${method} ${url} does not say whom it serves`);
    routes.add(url, method);
  });
  const gate = new RateGate(app, context);
  app.addHook('onRequest', (request, reply) => identify(context, gate, request, reply));
  addHttpMetrics(app, context);
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOfError(context, request, error);
    if (problem.status === 403 && request.principal !== null)
      noteDenied(context, request, problem.code, suspectOf(request.principal));
    return sendProblem(context, request, reply, problem);
  });
  app.setNotFoundHandler((request, reply) =>
    sendProblem(context, request, reply, problemOfUnknownRoute(routes, request, reply)),
  );
  app.addHook('preClose', async () => {
    // Tails and imports would otherwise keep their connections, and close() waiting.
    closing.abort();
    // So would a client that stalls in the middle of its request.
    const cut = setTimeout(() => app.server.closeAllConnections(), context.limits.closeMsMax).unref();
    app.server.once('close', () => clearTimeout(cut));
  });
  app.addHook('onClose', () => context.denied.close());
  // Here and not in the groups: a scope that adds schemas of its own gets the framework's validator instead of ours.
  app.addSchema(ProblemSchema);
  app.addSchema(ResultsSchema);
  app.register(swagger, OPEN_API);
  const groups = [
    ingestRoutes,
    importRoutes,
    logRoutes,
    eventRoutes,
    eventSearchRoutes,
    eventShowRoutes,
    exportRoutes,
    proofRoutes,
    tlogRoutes,
    savedSearchRoutes,
    alertRoutes,
    alertRuleRoutes,
    webhookRoutes,
    deadLetterRoutes,
    viewRoutes,
    sourceRoutes,
    statusRoutes,
    tailRoutes,
    apiKeyRoutes,
    keyRoutes,
    operateRoutes,
  ];
  for (const group of groups) {
    app.register(async (scope) => group(scope, context));
  }
  return app;
}

function makeContext(deps: HttpDeps, closing: AbortSignal): HttpContext {
  const limits = { ...HTTP_LIMITS, ...deps.limits };
  return {
    deps,
    limits,
    admission: new Admission(limits.inFlightBytesMax, deps.waitingBytes),
    pages: new Admission(limits.pagesBytesMax),
    imports: new Admission(limits.importsMax),
    tails: new Admission(limits.tailsMax),
    exports: new Admission(limits.exportsMax),
    waits: new Admission(limits.waitsMax),
    denied: new DeniedRecorder({
      record: deps.recordOwn,
      now: deps.now,
      onFault: (error, events) =>
        deps.logger.warn({ err: error, events }, 'refused access was not recorded; it is counted'),
    }),
    stopping: deps.stopping === undefined ? closing : AbortSignal.any([deps.stopping, closing]),
  };
}

function makeApp(context: HttpContext): FastifyInstance {
  const { limits, deps } = context;
  const app = Fastify({
    // The framework's own log lines are off: one per request is too many, and faults are logged once, by us.
    logger: false,
    genReqId: () => deps.randomId(),
    bodyLimit: SMALL_BODY_BYTES_MAX,
    trustProxy: deps.trustedProxies === undefined ? false : [...deps.trustedProxies],
    routerOptions: { maxParamLength: PARAMETER_LENGTH_MAX },
    connectionTimeout: limits.idleMsMax,
    keepAliveTimeout: limits.idleMsMax,
    // While it closes, routes answer for themselves: shutting-down, or that the process still lives.
    return503OnClosing: false,
    http: { headersTimeout: limits.headersMsMax },
    frameworkErrors: (_error, request, reply) => {
      reply.header('x-request-id', request.id);
      sendProblem(
        context,
        request,
        reply,
        problemOf('request-malformed', 'The address of the request is not valid.'),
      );
    },
    clientErrorHandler: (error, socket) => answerParserError(context, error, socket as Socket),
  });
  app.removeAllContentTypeParsers();
  app.setValidatorCompiler(compileValidator);
  // Response schemas are for the document; what a handler answers is not cut to them, so that tests see a difference.
  app.setSerializerCompiler(() => JSON.stringify);
  return app;
}

function answerParserError({ deps }: HttpContext, error: Error & { code?: string }, socket: Socket): void {
  const problem = problemOfParserError(error);
  if (problem === null) socket.destroy();
  else answerOnSocket(socket, problem, deps.randomId());
}

/** First of all hooks: gives the request its id, and finds out who calls before anything else is looked at. */
async function identify(
  context: HttpContext,
  gate: RateGate,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  reply.header('x-request-id', request.id);
  const { access } = request.routeOptions.config;
  const { apiKeys, metricsAccess } = context.deps;
  const isOpen = access === 'public' || (access === 'scraper' && metricsAccess === 'open');
  if (request.is404 || access === undefined || isOpen) {
    await gate.passPublic(request, reply);
    return;
  }
  reply.header('cache-control', 'no-store');
  if (context.stopping.aborted) throw shuttingDown();
  if (!(await gate.passAddress(request, reply))) return;
  const { authorization } = request.headers;
  if (access === 'scraper' && isMetricsToken(metricsAccess, authorization)) {
    await gate.passCredential(request, reply);
    return;
  }
  const found = await authorise(apiKeys, authorization, access === 'scraper' ? MAY.observe : access);
  if (found.kind === 'granted') {
    request.principal = found.principal;
    await gate.passCredential(request, reply);
    return;
  }
  if (found.code !== 'identity-unavailable') noteDenied(context, request, found.code, found.suspect);
  if (found.code !== 'forbidden') await gate.noteFailure(request);
  await sendProblem(context, request, reply, problemOf(found.code, found.detail));
}
