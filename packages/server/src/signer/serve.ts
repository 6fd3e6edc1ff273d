/**
 * Serves a signer over a socket: one request at a time on each connection, everything bounded. Nothing that comes in
 * ends the process; a line that is no request is answered and ends its connection.
 */

import { once } from 'node:events';
import { chmodSync, lstatSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { formatSignerAddress, readTlsFiles, type SignerAddress, type TlsFiles } from './address.ts';
import { LineBuffer, LineTooLong } from './lines.ts';
import type { Signer } from './ports.ts';
import {
  formatBegun,
  formatDescription,
  formatFailure,
  formatLast,
  formatRotation,
  formatRotationAnswer,
  formatSignatures,
  LINE_BYTES_MAX,
  parseRequest,
  type Request,
} from './protocol.ts';

/** One data node has one or two; its commands some more. */
const CONNECTIONS_MAX = 32;
/** A connection on which nothing moves ends; the sealer opens another. */
const IDLE_MS = 120_000;
/** From the first byte of a line to its last. */
const LINE_MS = 15_000;
const HANDSHAKE_MS = 10_000;

export interface ServeDeps {
  readonly signer: Signer;
  /** Told of what an operator may want to see; never of every request. */
  readonly onEvent: (event: {
    readonly what: string;
    readonly from: string;
    readonly error?: unknown;
  }) => void;
  /** From the first byte of a line to its last; shorter in tests. */
  readonly lineMs?: number;
  /** Told before and after an answer is written, so that a test can end the process there. */
  readonly passed?: (step: 'answering' | 'answered') => void;
}

export interface ServedSigner {
  /** With the port that was picked, where 0 was asked for. */
  readonly address: SignerAddress;
  close(): Promise<void>;
}

/**
 * Listens until `close`. A Unix socket has mode 0600 and its folder 0700; over TLS a client needs a certificate.
 * @throws usage-invalid when the address can't be listened on, or the folder is open to others
 */
export async function serveSigner(
  deps: ServeDeps,
  address: SignerAddress,
  tls: TlsFiles | null,
): Promise<ServedSigner> {
  const sockets = new Set<Socket>();
  const onConnection = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    void serveConnection(deps, socket);
  };
  const server = makeServer(deps, address, tls, onConnection);
  server.maxConnections = CONNECTIONS_MAX;
  if (address.kind === 'unix') await prepareSocket(address.path);
  await listen(server, address);
  if (address.kind === 'unix') chmodSync(address.path, 0o600);
  server.on('error', (error) => deps.onEvent({ what: 'the socket failed', from: '', error }));
  return {
    address: address.kind === 'unix' ? address : { ...address, port: (server.address() as AddressInfo).port },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function makeServer(
  deps: ServeDeps,
  address: SignerAddress,
  tls: TlsFiles | null,
  onConnection: (socket: Socket) => void,
): Server {
  if (address.kind === 'unix') return createServer(onConnection);
  if (tls === null)
    throw new EvidentError(
      'usage-invalid',
      '--cert, --key and --ca: all three are needed to listen with TLS',
    );
  let server: ReturnType<typeof createTlsServer>;
  try {
    server = createTlsServer({
      ...readTlsFiles(tls),
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_MS,
    });
  } catch (cause) {
    if (isEvidentError(cause)) throw cause;
    throw new EvidentError('usage-invalid', `--cert, --key, --ca: ${(cause as Error).message}`, { cause });
  }
  server.on('secureConnection', onConnection);
  server.on('tlsClientError', (error, socket) =>
    deps.onEvent({ what: 'a client was refused', from: socket.remoteAddress ?? '', error }),
  );
  return server;
}

async function listen(server: Server, address: SignerAddress): Promise<void> {
  const listening = once(server, 'listening');
  server.listen(
    address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port },
  );
  try {
    await listening;
  } catch (cause) {
    throw new EvidentError(
      'usage-invalid',
      `--listen: ${formatSignerAddress(address)}: ${(cause as Error).message}`,
      { cause, context: { field: 'listen' } },
    );
  }
}

/** The folder guards the socket: its own mode does not count on every system. A socket that a killed signer left goes. */
async function prepareSocket(path: string): Promise<void> {
  const refuse = (reason: string): never => {
    throw new EvidentError('usage-invalid', `--listen: ${reason}`, { context: { field: 'listen' } });
  };
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { mode, uid } = statSync(folder);
  if ((mode & 0o077) !== 0)
    refuse(`${folder} is open to other accounts: chmod 700 it, or name another folder`);
  if (uid !== process.getuid?.()) refuse(`${folder} belongs to another account`);
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) return;
  if (!there.isSocket()) refuse(`${path} is there, and is no socket`);
  if (await answers(path)) refuse(`another process listens on ${path}`);
  rmSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', done(true));
    socket.on('error', done(false));
  });
}

async function serveConnection(deps: ServeDeps, socket: Socket): Promise<void> {
  const from = socket.remoteAddress ?? 'the socket';
  const lines = new LineBuffer(LINE_BYTES_MAX);
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  // Reading on fails too, and there it is told.
  socket.on('error', () => undefined);
  let late: NodeJS.Timeout | undefined;
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      for (const line of lines.push(chunk)) {
        const { text, isLast } = await answerLine(deps, line);
        deps.passed?.('answering');
        await write(socket, `${text}\n`);
        deps.passed?.('answered');
        if (isLast) return;
      }
      if (!lines.isWithin) {
        clearTimeout(late);
        late = undefined;
      } else late ??= setTimeout(() => socket.destroy(), deps.lineMs ?? LINE_MS);
    }
  } catch (error) {
    if (error instanceof LineTooLong)
      await write(socket, `${formatFailure({ failed: 'malformed', reason: error.message })}\n`).catch(
        () => undefined,
      );
    deps.onEvent({ what: 'a connection failed', from, error });
  } finally {
    clearTimeout(late);
    socket.end();
    socket.destroySoon();
  }
}

/** Waits until the other side takes it, or the connection has ended: whoever reads nothing is cut off by the idle bound. */
async function write(socket: Socket, text: string): Promise<void> {
  if (socket.write(text)) return;
  const ended = new AbortController();
  try {
    await Promise.race([
      once(socket, 'drain', { signal: ended.signal }),
      once(socket, 'close', { signal: ended.signal }),
    ]);
  } finally {
    ended.abort();
  }
}

async function answerLine(deps: ServeDeps, line: Uint8Array): Promise<{ text: string; isLast: boolean }> {
  const request = parseRequest(line);
  if (!request.ok)
    return { text: formatFailure({ failed: 'malformed', reason: request.reason }), isLast: true };
  try {
    return { text: await answer(deps.signer, request.value), isLast: false };
  } catch (error) {
    deps.onEvent({ what: 'a request failed', from: '', error });
    const failed = isEvidentError(error) ? error.code : 'internal';
    const reason = isEvidentError(error) ? error.message : 'the signer failed; its log holds the cause';
    return { text: formatFailure({ failed, reason }), isLast: false };
  }
}

async function answer(signer: Signer, request: Request): Promise<string> {
  switch (request.do) {
    case 'describe':
      return formatDescription(await signer.describe());
    case 'begin':
      return formatBegun(await signer.begin(request.inception));
    case 'last':
      return formatLast(await signer.last(request.origin));
    case 'sign':
      return formatSignatures(await signer.sign(request.heads));
    case 'rotation':
      return formatRotation(await signer.rotation(request.number));
    case 'rotate':
      return formatRotationAnswer(await signer.rotate(request.number));
    case 'close':
      return formatRotationAnswer(await signer.closeRotation(request.proof));
  }
}
