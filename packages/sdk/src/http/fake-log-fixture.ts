/** A log for the tests of this folder: answers as the real one does, or fails as a test says. */

import { randomUUID } from 'node:crypto';
import type { HttpClientOptions, HttpProblem } from './client.ts';
import type { Fetch, FetchAnswer } from './post.ts';

/** What one request meets. */
export type Behaviour =
  | 'answer'
  /** The events are taken, and the connection breaks before the answer. */
  | 'take and break'
  | 'break'
  | 'refuse connection'
  /** No answer until the request is given up. */
  | 'hang'
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: unknown };

interface SentEnvelope {
  readonly id: string;
  readonly key: string;
  readonly body: unknown;
}

export class FakeLog {
  /** Ids in the order in which the log took them; each once. */
  readonly order: string[] = [];
  readonly bodies = new Map<string, string>();
  /** Ids of each request, in order. */
  readonly requests: string[][] = [];
  readonly headers: Record<string, string>[] = [];
  readonly urls: string[] = [];
  /** What the next requests meet; after them every one is answered. */
  readonly script: Behaviour[] = [];
  /** When set, every request meets it. */
  always: Behaviour | null = null;
  /** Codes by id of events that the log refuses. */
  readonly refuses = new Map<string, { status: number; code: string; retryable?: boolean }>();
  /** A request with one of these is refused as a whole. */
  readonly poisons = new Map<string, { status: number; code: string }>();

  readonly fetch: Fetch = async (url, { headers, body, signal }) => {
    const envelopes = JSON.parse(Buffer.from(body).toString()) as SentEnvelope[];
    this.urls.push(url);
    this.headers.push(headers);
    this.requests.push(envelopes.map(({ id }) => id));
    // As a network does: the answer comes in a later turn.
    await new Promise((resolve) => setImmediate(resolve));
    const behaviour = this.always ?? this.script.shift() ?? 'answer';
    switch (behaviour) {
      case 'answer':
        return this.#answer(envelopes);
      case 'take and break':
        this.#answer(envelopes);
        throw new TypeError('fetch failed', {
          cause: Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }),
        });
      case 'break':
        throw new TypeError('fetch failed', {
          cause: Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }),
        });
      case 'refuse connection':
        throw new TypeError('fetch failed', {
          cause: Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }),
        });
      case 'hang':
        return new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason)),
        );
      default:
        return answerOf(behaviour.status, behaviour.body ?? {}, behaviour.headers);
    }
  };

  #answer(envelopes: readonly SentEnvelope[]): FetchAnswer {
    for (const { id } of envelopes) {
      const poison = this.poisons.get(id);
      if (poison !== undefined) return problem(poison.status, poison.code);
    }
    const results = envelopes.map((envelope, index) => this.#take(envelope, index));
    return answerOf(207, { log: 'audit', results });
  }

  #take({ id, body }: SentEnvelope, index: number): object {
    const refusal = this.refuses.get(id);
    if (refusal !== undefined) return refusedItem(id, index, refusal);
    const text = JSON.stringify(body);
    const known = this.bodies.get(id);
    if (known !== undefined && known !== text)
      return refusedItem(id, index, { status: 409, code: 'id-reused' });
    if (known === undefined) {
      this.bodies.set(id, text);
      this.order.push(id);
    }
    const position = String(this.order.indexOf(id));
    return { status: known === undefined ? 'appended' : 'repeat', id, partition: 0, position };
  }
}

function refusedItem(
  id: string,
  index: number,
  refusal: { status: number; code: string; retryable?: boolean },
): object {
  const { code, status, retryable = false } = refusal;
  return { status: 'refused', index, id, problem: { code, status, detail: `because of ${code}`, retryable } };
}

/** A problem document as the server writes it. */
export function problem(status: number, code: string, headers: Record<string, string> = {}): FetchAnswer {
  return answerOf(
    status,
    { code, detail: `because of ${code}` },
    { 'content-type': 'application/problem+json', ...headers },
  );
}

function answerOf(status: number, body: unknown, headers: Record<string, string> = {}): FetchAnswer {
  return new Response(typeof body === 'string' ? body : JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

/** A foreign event with an id of its own. */
export function makeEvent(n = 0, over: Partial<Record<'id' | 'key', string>> = {}) {
  return { id: randomUUID() as string, type: 'note', key: 'acme/usr_1', schema: 0, body: { n }, ...over };
}

export interface TestOptions {
  readonly options: Omit<HttpClientOptions, 'buffer'>;
  readonly problems: HttpProblem[];
}

/** Options of a client of this log: no pause is longer than a millisecond. */
export function optionsFor(log: FakeLog): TestOptions {
  const problems: HttpProblem[] = [];
  const options = {
    url: 'http://log.example.invalid',
    key: 'evident_key',
    fetch: log.fetch,
    retry: { firstMs: 1, maxMs: 1 },
    onProblem: (one: HttpProblem) => void problems.push(one),
  };
  return { options, problems };
}

const WAIT_MS_MAX = 10_000;

/** Waits for a condition, with a bound. */
export async function eventually(claim: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${WAIT_MS_MAX} ms: ${claim}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
