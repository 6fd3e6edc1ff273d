import type { ReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { ERRORS, type ErrorCode, EvidentError } from '@evident/core/errors.ts';
import type { FoundServer } from './command-deps.ts';

export interface ServerRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly body?: Uint8Array | string | ReadStream;
  readonly type?: string;
  readonly accept?: string;
}

interface Problem {
  code?: string;
  detail?: string;
  title?: string;
}

/** Asks a server. @throws the catalogue's error that its problem document names, or log-unavailable */
export async function requestServer(
  server: FoundServer,
  path: string,
  request: ServerRequest = {},
): Promise<Response> {
  const headers: Record<string, string> = { authorization: `Bearer ${server.key}` };
  if (request.type !== undefined) headers['content-type'] = request.type;
  if (request.accept !== undefined) headers.accept = request.accept;
  const { body } = request;
  const streamed = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array);
  let answer: Response;
  try {
    answer = await fetch(`${server.url}${path}`, {
      method: request.method ?? 'GET',
      headers,
      ...(body === undefined
        ? {}
        : { body: streamed ? (Readable.toWeb(body) as ReadableStream) : (body as BodyInit) }),
      ...(streamed ? { duplex: 'half' } : {}),
    } as RequestInit);
  } catch (cause) {
    throw new EvidentError(
      'log-unavailable',
      `the server at ${server.url} does not answer: ${((cause as Error).cause as Error | undefined)?.message ?? (cause as Error).message}`,
      { cause },
    );
  }
  if (answer.ok || answer.status === 207) return answer;
  const problem = (await answer.json().catch(() => ({}))) as Problem;
  const code =
    problem.code !== undefined && Object.hasOwn(ERRORS, problem.code)
      ? (problem.code as ErrorCode)
      : 'log-unavailable';
  // What the server says of it speaks of headers.
  if (code === 'unauthenticated')
    throw new EvidentError(code, `the server at ${server.url} does not know the key that it was given`);
  throw new EvidentError(code, problem.detail ?? problem.title ?? `the server answered ${answer.status}`);
}
