/** Every answer that is not what the caller hoped for: faults, unknown routes, and bytes that are no HTTP. */

import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, EvidentError, isEvidentError } from '@evident/core/errors.ts';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { HttpContext } from './context.ts';
import { PROBLEM_TYPE, type Problem, problemOf } from './problem.ts';

/** Faults of the framework that have a code of ours; any other that blames the request is request-malformed. */
const CODE_OF_FRAMEWORK: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body-too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'media-type-unsupported',
};

/** Counted, and not logged: a line per refused request would be load on top of load. */
const QUIET: ReadonlySet<ErrorCode> = new Set(['overloaded', 'tenant-busy', 'shutting-down']);

/** Faults of the parser below the framework. */
const CODE_OF_PARSER: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'headers-too-large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'headers-too-large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request-timeout',
};

/** Answers a problem document. */
export function sendProblem(
  context: HttpContext,
  request: FastifyRequest,
  reply: FastifyReply,
  problem: Problem,
): FastifyReply {
  if (problem.retryable && problem.status === 503)
    reply.header('retry-after', context.limits.retryAfterSeconds);
  if (problem.code === 'unauthenticated') reply.header('www-authenticate', 'Bearer realm="evident"');
  if (problem.code === 'credential-expired')
    reply.header('www-authenticate', 'Bearer realm="evident", error="invalid_token"');
  if (leavesMuchUnread(context, request)) reply.header('connection', 'close');
  // As bytes: to text the framework would add a charset, which this media type does not have.
  const bytes = Buffer.from(JSON.stringify(problem));
  return reply.code(problem.status).header('content-type', PROBLEM_TYPE).send(bytes);
}

/**
 * Node reads and drops what is left of a body before it takes the next request of a connection. That is fine for
 * what an ingest request may hold, and would go on for ever for an endless import.
 */
function leavesMuchUnread(context: HttpContext, { raw, headers }: FastifyRequest): boolean {
  if (raw.complete) return false;
  if (headers['content-length'] === undefined) return headers['transfer-encoding'] !== undefined;
  return Number(headers['content-length']) > context.limits.requestBytesMax;
}

/** The error as a problem; logged here, once, when it is not the caller's. */
export function problemOfError(context: HttpContext, request: FastifyRequest, error: unknown): Problem {
  const known = asEvidentError(error, request);
  const problem = problemOf(known.code, known.message, known.context.field);
  if (problem.status >= 500) {
    const quiet = QUIET.has(known.code);
    const fields = {
      requestId: request.id,
      method: request.method,
      url: request.url,
      code: known.code,
      err: error,
    };
    if (!quiet) context.deps.logger.error(fields, 'a request failed');
  }
  return problem;
}

function asEvidentError(error: unknown, request: FastifyRequest): EvidentError {
  if (isEvidentError(error)) return error;
  const { code, statusCode, message } = error as Partial<FastifyError>;
  const known = code === undefined ? undefined : CODE_OF_FRAMEWORK[code];
  if (known === 'media-type-unsupported') return unsupportedMediaType(request);
  if (known !== undefined) return new EvidentError(known, message ?? known, { cause: error });
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new EvidentError('request-malformed', message ?? 'The request is malformed.', { cause: error });
  }
  return new EvidentError('internal', 'an unexpected exception', { cause: error });
}

/** Names the media types of the route as its schema does. */
function unsupportedMediaType(request: FastifyRequest): EvidentError {
  const schema = request.routeOptions.schema?.body as { content?: object } | undefined;
  const types = Object.keys(schema?.content ?? {});
  const given = request.headers['content-type'];
  const what = given === undefined ? 'The request has no Content-Type' : `The Content-Type is ${given}`;
  const wanted = types.length === 0 ? 'this route reads no body' : `this route reads ${types.join(' and ')}`;
  return new EvidentError('media-type-unsupported', `${what}; ${wanted}.`);
}

/** Which methods each path takes; the framework can't tell a wrong method from an unknown path. */
export class RouteTable {
  readonly #paths = new Map<string, { pattern: RegExp; methods: Set<string> }>();

  add(url: string, method: string | string[]): void {
    const known = this.#paths.get(url) ?? { pattern: patternOf(url), methods: new Set() };
    for (const one of [method].flat()) known.methods.add(one);
    this.#paths.set(url, known);
  }

  /** The methods of a path that is not served with the one that was asked for; none for an unknown path. */
  methodsOf(path: string): string[] {
    const all = [...this.#paths.values()]
      .filter(({ pattern }) => pattern.test(path))
      .flatMap(({ methods }) => [...methods]);
    return [...new Set(all)].sort();
  }
}

function patternOf(url: string): RegExp {
  const parts = url
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')));
  return new RegExp(`^${parts.join('/')}$`);
}

export function problemOfUnknownRoute(
  routes: RouteTable,
  request: FastifyRequest,
  reply: FastifyReply,
): Problem {
  const path = request.url.split('?', 1)[0];
  const methods = routes.methodsOf(path);
  if (methods.length === 0) return problemOf('not-found', `There is nothing at ${path}.`);
  reply.header('allow', methods.join(', '));
  return problemOf('method-not-allowed', `${path} takes ${methods.join(', ')}, and not ${request.method}.`);
}

/**
 * Answers on a socket past the framework, when there is no request that it could answer, or none that will ever be
 * complete, and closes it.
 */
export function answerOnSocket(socket: Socket, problem: Problem, requestId: string): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = JSON.stringify(problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${requestId}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}

/** A fault of the HTTP parser as a problem, or null when the connection is gone and nobody hears an answer. */
export function problemOfParserError(error: { code?: string; message: string }): Problem | null {
  if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return null;
  const code = CODE_OF_PARSER[error.code ?? ''] ?? 'request-malformed';
  const detail =
    code === 'request-malformed'
      ? `The bytes are no HTTP request (${error.code ?? 'unknown fault'}).`
      : error.message;
  return problemOf(code, detail);
}
