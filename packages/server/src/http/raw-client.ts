/** A client for tests that sends bytes as they are, half requests too. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export class RawClient {
  readonly socket: Socket;
  received = '';
  #changed = Promise.withResolvers<void>();
  closed = false;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('error', () => undefined);
    this.socket.on('data', (chunk) => {
      this.received += chunk.toString();
      this.#wake();
    });
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async send(bytes: string | Buffer): Promise<void> {
    if (this.socket.connecting) await once(this.socket, 'connect');
    await new Promise((done) => this.socket.write(bytes, done));
  }

  /** Resolves when what came matches, or fails when the connection has closed without. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.received)) {
      if (this.closed) throw new Error(`closed after: ${this.received.slice(0, 500)}`);
      await this.#changed.promise;
    }
    return this.received;
  }

  async untilClosed(): Promise<string> {
    while (!this.closed) await this.#changed.promise;
    return this.received;
  }

  abort(): void {
    if (!this.socket.destroyed) this.socket.resetAndDestroy();
  }
}

/** Waits until a claim holds; the runner's own time limit ends it if it never does. */
export async function eventually(claim: () => boolean): Promise<void> {
  while (!claim()) await new Promise((done) => setTimeout(done, 5));
}
