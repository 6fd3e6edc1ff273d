/** The port `AskWitness`: one POST over a connection that is kept. */

import http from 'node:http';
import https from 'node:https';
import { COSIGNATURES_BYTES_MAX } from '@evident/core/tlog-witness.ts';
import type { WitnessReply } from '../../anchor/witness-anchorer.ts';

/** From the request to the last byte of the answer: a witness has to write its memory to disk. */
const ANSWER_MS = 10_000;
/** A connection that is idle for longer is not used again: the next cosignature is a minute away. */
const IDLE_MS = 120_000;
/** Connections to one witness. */
const CONNECTIONS_MAX = 2;

export interface WitnessHttpOptions {
  /** Milliseconds for one answer. */
  readonly answerMs?: number;
}

export class WitnessHttp {
  readonly #agents = {
    'http:': new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX, timeout: IDLE_MS }),
    'https:': new https.Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX, timeout: IDLE_MS }),
  };
  readonly #answerMs: number;

  constructor({ answerMs = ANSWER_MS }: WitnessHttpOptions = {}) {
    this.#answerMs = answerMs;
  }

  /** As `AskWitness` has it. */
  async ask(url: string, request: Uint8Array, signal: AbortSignal): Promise<WitnessReply> {
    const timeout = AbortSignal.timeout(this.#answerMs);
    const bounded = AbortSignal.any([signal, timeout]);
    try {
      return await this.#post(url, request, bounded);
    } catch (error) {
      if (timeout.aborted && !signal.aborted)
        throw new Error(`no answer within ${this.#answerMs} ms`, { cause: error });
      // The other side has ended a connection that was kept. To ask twice does no harm: it changes nothing.
      if (error instanceof StaleConnection) return this.#post(url, request, bounded);
      throw error;
    }
  }

  /** Ends the connections that are kept. */
  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #post(prefix: string, body: Uint8Array, signal: AbortSignal): Promise<WitnessReply> {
    const url = new URL(`${prefix}/add-checkpoint`);
    const isSecure = url.protocol === 'https:';
    const { promise, resolve, reject } = Promise.withResolvers<WitnessReply>();
    const sent = (isSecure ? https : http).request(
      url,
      {
        method: 'POST',
        agent: this.#agents[isSecure ? 'https:' : 'http:'],
        headers: { 'content-type': 'text/plain; charset=utf-8', 'content-length': body.length },
        signal,
      },
      (answer) => readAnswer(answer).then(resolve, reject),
    );
    sent.on('error', (error: NodeJS.ErrnoException) => {
      const isStale = sent.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code ?? '');
      reject(isStale ? new StaleConnection('the connection had ended', { cause: error }) : error);
    });
    sent.end(body);
    return promise;
  }
}

class StaleConnection extends Error {}

async function readAnswer(answer: http.IncomingMessage): Promise<WitnessReply> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // Leaving the loop ends the connection.
    if (bytes > COSIGNATURES_BYTES_MAX)
      throw new Error(`the answer has over ${COSIGNATURES_BYTES_MAX} bytes (status ${answer.statusCode})`);
    chunks.push(chunk);
  }
  const { 'content-type': type, 'retry-after': after } = answer.headers;
  return {
    status: answer.statusCode ?? 0,
    mediaType: type === undefined ? null : (type.split(';')[0] as string).trim().toLowerCase(),
    body: new Uint8Array(Buffer.concat(chunks)),
    retryAfterMs: after !== undefined && /^\d{1,6}$/.test(after) ? Number(after) * 1_000 : null,
  };
}
