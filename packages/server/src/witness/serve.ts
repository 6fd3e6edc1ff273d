/** The witness over HTTP: `add-checkpoint` of C2SP tlog-witness, and the heads that it has seen, for its owner. */

import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { toBase64 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { ADD_CHECKPOINT_BYTES_MAX, formatKnownSize, SIZE_MEDIA_TYPE } from '@evident/core/tlog-witness.ts';
import type { WitnessMemory } from './ports.ts';
import type { Refused, SignedRequest } from './rule.ts';
import type { Witness } from './witness.ts';

const CONNECTIONS_MAX = 256;
/** From the first byte of a request to its last. */
const REQUEST_MS = 10_000;
/** A log asks again within a minute: its connection stays. */
const IDLE_MS = 120_000;
const TEXT = 'text/plain; charset=utf-8';

export interface WitnessEvent {
  readonly what: 'fork' | 'failed';
  readonly origin?: string;
  /** The two notes of a fork, in base64: proof for everybody who holds the key of the log. */
  readonly notes?: readonly string[];
  readonly error?: unknown;
}

export interface ServeWitnessDeps {
  readonly witness: Pick<Witness, 'add'>;
  readonly memory: Pick<WitnessMemory, 'all' | 'last'>;
  /** Who has it may read which heads were seen. */
  readonly ownerKey: string;
  /** Told of what an owner has to see; never of every request. */
  readonly onEvent: (event: WitnessEvent) => void;
  /** Told before and after an answer is written, so that a test can end the process there. */
  readonly passed?: (step: 'answering' | 'answered') => void;
}

export interface WitnessAddress {
  readonly host: string;
  readonly port: number;
}

export interface ServedWitness {
  /** With the port that was picked, where 0 was asked for. */
  readonly url: string;
  close(): Promise<void>;
}

/** Reads `host:port`. @throws usage-invalid naming the field */
export function parseWitnessAddress(text: string, field: string): WitnessAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535)
    throw new EvidentError('usage-invalid', `${field}: host:port is expected`, { context: { field } });
  return { host: match[1] ?? match[2], port: Number(match[3]) };
}

/** Listens until `close`. @throws usage-invalid when the address can't be listened on */
export async function serveWitness(deps: ServeWitnessDeps, address: WitnessAddress): Promise<ServedWitness> {
  const server = createServer(
    { requestTimeout: REQUEST_MS, keepAliveTimeout: IDLE_MS },
    (request, response) => {
      answer(deps, request, response).catch((error) => fail(deps, response, error));
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, address);
  server.on('error', (error) => deps.onEvent({ what: 'failed', error }));
  const { address: host, port, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${host}]` : host}:${port}/`,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function listen(server: Server, { host, port }: WitnessAddress): Promise<void> {
  const listening = once(server, 'listening');
  server.listen({ host, port });
  try {
    await listening;
  } catch (cause) {
    const detail = `--listen: ${host}:${port}: ${(cause as Error).message}`;
    throw new EvidentError('usage-invalid', detail, { cause, context: { field: 'listen' } });
  }
}

async function answer(
  deps: ServeWitnessDeps,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = (request.url ?? '').split('?')[0];
  if (path === '/add-checkpoint') {
    if (request.method === 'POST') await add(deps, request, response);
    else say(response, 405, 'this is asked by POST\n', { allow: 'POST' });
  } else if (path === '/heads') {
    if (request.method === 'GET') showHeads(deps, request, response);
    else say(response, 405, 'this is asked by GET\n', { allow: 'GET' });
  } else say(response, 404, 'there is nothing here: a witness answers to add-checkpoint\n');
}

async function add(
  deps: ServeWitnessDeps,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readBody(request);
  if (body === null) {
    say(response, 413, `a request has at most ${ADD_CHECKPOINT_BYTES_MAX} bytes\n`, { connection: 'close' });
    return;
  }
  const result = await deps.witness.add(body);
  deps.passed?.('answering');
  if (result.kind === 'busy') say(response, 503, 'too many requests wait\n', { 'retry-after': '1' });
  else if (result.kind === 'cosigned') say(response, 200, result.lines);
  else {
    const { refused } = result;
    if (refused.isFork) tellFork(deps, result.request);
    sayRefused(response, refused);
  }
  deps.passed?.('answered');
}

function sayRefused(response: ServerResponse, { status, reason, knownSize }: Refused): void {
  if (knownSize === undefined) say(response, status, `${reason}\n`);
  else say(response, status, formatKnownSize(knownSize), { 'content-type': SIZE_MEDIA_TYPE });
}

function tellFork({ memory, onEvent }: ServeWitnessDeps, request: SignedRequest | null): void {
  if (request === null) return;
  const { origin } = request.head;
  const known = memory.last(origin);
  const notes = [...(known === null ? [] : [known.note]), request.treeHead];
  onEvent({ what: 'fork', origin, notes: notes.map(toBase64) });
}

/** @returns null for one that is too long: the rest is not read */
async function readBody(request: IncomingMessage): Promise<Uint8Array | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ADD_CHECKPOINT_BYTES_MAX) return null;
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function showHeads(deps: ServeWitnessDeps, request: IncomingMessage, response: ServerResponse): void {
  const given = /^Bearer (.{1,200})$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  if (!isSame(given, deps.ownerKey)) {
    say(response, 401, 'the owner of the witness reads this: Authorization: Bearer <owner.key>\n', {
      'www-authenticate': 'Bearer',
    });
    return;
  }
  const heads = [...deps.memory.all()].map(([origin, { size, root, at, note }]) => ({
    origin,
    size: size.toString(),
    root: toBase64(root),
    cosigned_at: at.toString(),
    note: Buffer.from(note).toString(),
  }));
  say(response, 200, `${JSON.stringify({ heads })}\n`, { 'content-type': 'application/json' });
}

/** In a time that tells nothing of the secret. */
function isSame(a: string, b: string): boolean {
  const [one, other] = [a, b].map((text) => createHash('sha256').update(text).digest());
  return timingSafeEqual(one, other);
}

function say(
  response: ServerResponse,
  status: number,
  body: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, {
    'content-type': TEXT,
    'content-length': String(Buffer.byteLength(body)),
    'cache-control': 'no-store',
    ...headers,
  });
  response.end(body);
}

function fail(deps: ServeWitnessDeps, response: ServerResponse, error: unknown): void {
  // Whoever went away in the middle of a request is told nothing, and is no news.
  if (response.destroyed || (error as NodeJS.ErrnoException).code === 'ECONNRESET') return;
  deps.onEvent({ what: 'failed', error });
  if (response.headersSent) response.destroy();
  else say(response, 500, 'the witness failed; its log says why\n', { connection: 'close' });
}
