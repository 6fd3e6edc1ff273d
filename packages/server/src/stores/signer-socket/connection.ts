/** One connection to a signer: a line out, a line back, within a time. Any fault ends it. */

import { connect as connectPath, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { EvidentError } from '@evident/core/errors.ts';
import { formatSignerAddress, readTlsFiles, type SignerTarget } from '../../signer/address.ts';
import { LineBuffer } from '../../signer/lines.ts';
import { LINE_BYTES_MAX } from '../../signer/protocol.ts';

const CONNECT_MS = 5_000;
/** A signature waits for an fsync; a stop of the server, which takes 20 s at most, waits for this. */
const ANSWER_MS = 10_000;

export function unreachable(target: SignerTarget, reason: string, cause?: unknown): EvidentError {
  const where = formatSignerAddress(target.address);
  return new EvidentError('signer-unreachable', `the signer at ${where}: ${reason}`, { cause });
}

interface Waiting {
  readonly resolve: (line: Uint8Array) => void;
  readonly reject: (error: EvidentError) => void;
  readonly late: NodeJS.Timeout;
}

export class SignerConnection {
  readonly #target: SignerTarget;
  readonly #socket: Socket;
  readonly #lines = new LineBuffer(LINE_BYTES_MAX);
  #waiting: Waiting | null = null;
  #fault: EvidentError | null = null;

  private constructor(target: SignerTarget, socket: Socket) {
    this.#target = target;
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(error.message, error));
    socket.on('close', () => this.#fail('the connection ended'));
    // Nothing is asked on it between two rounds: the process may end then.
    socket.unref();
  }

  /** @throws signer-unreachable; usage-invalid when a file of the settings can't be read */
  static open(target: SignerTarget): Promise<SignerConnection> {
    const socket = dial(target);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => fail(new Error(`no answer within ${CONNECT_MS} ms`)), CONNECT_MS);
      const fail = (error: Error): void => {
        clearTimeout(late);
        socket.destroy();
        reject(unreachable(target, error.message, error));
      };
      // Kept: a failure later in the connection's life has its own listener as well.
      socket.on('error', fail);
      socket.on('close', () => fail(new Error('the connection ended')));
      socket.once(target.address.kind === 'tls' ? 'secureConnect' : 'connect', () => {
        clearTimeout(late);
        resolve(new SignerConnection(target, socket));
      });
    });
  }

  get isOpen(): boolean {
    return this.#fault === null;
  }

  /** Sends a line, and waits for its answer. One at a time. @throws signer-unreachable; the signer may have acted */
  ask(text: string): Promise<Uint8Array> {
    if (this.#fault !== null) return Promise.reject(this.#fault);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => this.#fail(`no answer within ${ANSWER_MS} ms`), ANSWER_MS);
      this.#waiting = { resolve, reject, late };
      this.#socket.ref();
      this.#socket.write(`${text}\n`);
    });
  }

  close(reason = 'the connection was closed'): void {
    this.#fail(reason);
  }

  #take(chunk: Uint8Array): void {
    let lines: Uint8Array[];
    try {
      lines = this.#lines.push(chunk);
    } catch (error) {
      this.#fail((error as Error).message, error);
      return;
    }
    if (lines.length === 0) return;
    const waiting = this.#waiting;
    if (waiting === null || lines.length > 1 || this.#lines.isWithin) {
      this.#fail('it sent what it was not asked for');
      return;
    }
    this.#waiting = null;
    clearTimeout(waiting.late);
    this.#socket.unref();
    waiting.resolve(lines[0]);
  }

  #fail(reason: string, cause?: unknown): void {
    this.#fault ??= unreachable(this.#target, reason, cause);
    this.#socket.destroy();
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) return;
    clearTimeout(waiting.late);
    waiting.reject(this.#fault);
  }
}

function dial({ address, tls }: SignerTarget): Socket {
  if (address.kind === 'unix') return connectPath({ path: address.path });
  if (tls === null) throw new EvidentError('usage-invalid', 'signer: cert, key and ca are needed with tls:');
  const { host, port } = address;
  const name = isIP(host) === 0 ? { servername: host } : {};
  try {
    return connectTls({ host, port, ...name, ...readTlsFiles(tls), minVersion: 'TLSv1.3' });
  } catch (cause) {
    throw new EvidentError('usage-invalid', `signer: ${(cause as Error).message}`, { cause });
  }
}
