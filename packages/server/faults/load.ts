/**
 * Writers over HTTP that remember what was acknowledged, and send again, with the same ids, what was not.
 *
 * A batch is settled when every item has its place. Until then its writer sends it again: after a refused connection,
 * a cut one, a 503. Anything else that is not an acknowledgement fails the load.
 */

import { createHash } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../simulation/random.ts';

const BATCH_ITEMS_MAX = 12;
const ACTORS = 40;
/** One body in this many lies beyond 60,000 bytes, and so in the object store. */
const LARGE_ONE_IN = 120;
const LARGE_BYTES_MIN = 60_001;
const LARGE_BYTES_MORE = 30_000;
/** Between two batches of a writer: enough load to be in the middle of something, not so much that checking takes long. */
const PAUSE_MS_MAX = 15;
const RETRY_MS = 25;
/** A batch that has no answer for so long fails the load. */
const SETTLE_MS_MAX = 60_000;
const REQUEST_MS_MAX = 30_000;
/** One batch in this many is sent once more after its acknowledgement. */
const RESEND_ONE_IN = 20;

/** What was sent. The body's hash stands for its bytes. */
export interface SentItem {
  readonly id: string;
  readonly tenant: string;
  readonly type: string;
  readonly key: string;
  readonly schema: number;
  readonly bodySha256: string;
  readonly bodyBytes: number;
}

export interface AcknowledgedItem extends SentItem {
  readonly partition: number;
  readonly position: bigint;
  /** Answered as a repeat at least once. */
  repeated: boolean;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** One POST over a kept connection. @throws when the connection ends before the answer does */
export function post(
  agent: Agent,
  url: string,
  headers: Record<string, string>,
  body: Buffer,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = {
      agent,
      method: 'POST',
      headers: { ...headers, 'content-length': body.length },
      timeout: REQUEST_MS_MAX,
    };
    const call = request(url, options, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('close', () => {
        if (!answer.complete) reject(new Error('the answer was cut'));
        else resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
      });
    });
    call.on('timeout', () => call.destroy(new Error(`no answer within ${REQUEST_MS_MAX} ms`)));
    call.on('error', reject);
    call.end(body);
  });
}

interface Batch {
  readonly items: readonly SentItem[];
  readonly body: Buffer;
}

interface ItemResult {
  readonly status: string;
  readonly id: string;
  readonly partition: number;
  readonly position: string;
}

interface IngestAnswer {
  readonly results: readonly ItemResult[];
}

export interface LoadOptions {
  /** Where the server is now; null while it is down. */
  readonly url: () => string | null;
  /** API keys of role writer, one a tenant; writers take turns. */
  readonly keys: ReadonlyMap<string, string>;
  readonly writers: number;
  readonly random: Random;
}

export class Load {
  readonly acknowledged = new Map<string, AcknowledgedItem>();
  /** Answers that were no acknowledgement, by code: what the kills did to the writers. */
  readonly unsettled = new Map<string, number>();
  readonly #options: LoadOptions;
  readonly #agent = new Agent({ keepAlive: true });
  #stopping = false;
  #writers: Promise<void>[] = [];
  #failure: Error | undefined;
  #newestAttempt = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** When the newest attempt was begun that has been acknowledged since, by performance.now(). @throws what failed the load */
  get newestAttempt(): number {
    this.#throwIfFailed();
    return this.#newestAttempt;
  }

  get repeats(): number {
    return [...this.acknowledged.values()].filter(({ repeated }) => repeated).length;
  }

  start(): void {
    this.#stopping = false;
    const tenants = [...this.#options.keys];
    this.#writers = Array.from({ length: this.#options.writers }, async (_, index) => {
      try {
        await this.#write(tenants[index % tenants.length]);
      } catch (error) {
        this.#failure ??= error as Error;
      }
    });
  }

  /** Resolves when every batch that was begun is settled. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#writers);
    this.#throwIfFailed();
  }

  /** Ends the connections that are kept. */
  close(): void {
    this.#stopping = true;
    this.#agent.destroy();
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #write([tenant, key]: readonly [string, string]): Promise<void> {
    const { random } = this.#options;
    while (!this.#stopping && this.#failure === undefined) {
      const batch = makeBatch(tenant, random);
      await this.#settle(batch, key);
      if (random.chance(1, RESEND_ONE_IN)) await this.#settle(batch, key);
      await sleep(random.below(PAUSE_MS_MAX));
    }
  }

  /** Sends a batch until it is acknowledged. */
  async #settle(batch: Batch, key: string): Promise<void> {
    const deadline = performance.now() + SETTLE_MS_MAX;
    let outcome = 'not sent';
    while (performance.now() < deadline && this.#failure === undefined) {
      const begun = performance.now();
      outcome = await this.#attempt(batch, key);
      if (outcome === 'acknowledged') {
        this.#newestAttempt = Math.max(this.#newestAttempt, begun);
        return;
      }
      this.unsettled.set(outcome, (this.unsettled.get(outcome) ?? 0) + 1);
      await sleep(RETRY_MS);
    }
    throw new Error(`a batch was not acknowledged within ${SETTLE_MS_MAX} ms; the last outcome: ${outcome}`);
  }

  /** @returns `acknowledged`, or what came instead @throws when the answer is one that no kill explains */
  async #attempt(batch: Batch, key: string): Promise<string> {
    const url = this.#options.url();
    if (url === null) return 'server down';
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    let answer: Answer;
    try {
      answer = await post(this.#agent, `${url}/v1/logs/audit/records`, headers, batch.body);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    }
    if (answer.status === 200 || answer.status === 201) {
      this.#acknowledge(batch, (JSON.parse(answer.text) as IngestAnswer).results);
      return 'acknowledged';
    }
    const problem = JSON.parse(answer.text) as { code?: string; retryable?: boolean };
    if (answer.status !== 503 || problem.retryable !== true)
      throw new Error(`the server answered ${answer.status}: ${answer.text.slice(0, 1_000)}`);
    return String(problem.code);
  }

  #acknowledge({ items }: Batch, results: readonly ItemResult[]): void {
    if (results.length !== items.length)
      throw new Error(`${items.length} items were sent, ${results.length} answered`);
    for (const [index, { status, id, partition, position }] of results.entries()) {
      const item = items[index];
      if (id !== item.id) throw new Error(`the answer for ${item.id} names ${id}`);
      const known = this.acknowledged.get(id);
      if (known === undefined) {
        const repeated = status === 'repeat';
        this.acknowledged.set(id, { ...item, partition, position: BigInt(position), repeated });
      } else {
        const isSame = known.partition === partition && known.position === BigInt(position);
        if (status !== 'repeat' || !isSame)
          throw new Error(
            `${id} was acknowledged at ${known.partition}/${known.position}, then ${status} at ${partition}/${position}`,
          );
        known.repeated = true;
      }
    }
  }
}

function makeBatch(tenant: string, random: Random): Batch {
  const items: SentItem[] = [];
  const parts: string[] = [];
  for (let left = random.between(1, BATCH_ITEMS_MAX); left > 0; left--) {
    const id = makeId(random);
    const actor = `usr_${random.below(ACTORS)}`;
    const isEvent = random.chance(1, 2);
    const [type, schema] = isEvent ? ['audit.event', 1] : ['note', 0];
    const text = random.chance(1, LARGE_ONE_IN)
      ? 'x'.repeat(LARGE_BYTES_MIN + random.below(LARGE_BYTES_MORE))
      : `écrit ${random.uint32()}`;
    const body = isEvent ? eventBody(id, tenant, actor, text) : noteBody(text, random);
    const key = `${tenant}/${actor}`;
    const bytes = Buffer.from(body);
    const bodySha256 = createHash('sha256').update(bytes).digest('hex');
    items.push({ id, tenant, type, key, schema, bodySha256, bodyBytes: bytes.length });
    parts.push(`{"id":"${id}","type":"${type}","key":"${key}","schema":${schema},"body":${body}}`);
  }
  return { items, body: Buffer.from(`[${parts.join(',')}]`) };
}

/** From the seed, as everything is. */
function makeId(random: Random): string {
  const hex = Buffer.from(random.bytes(16)).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}

/** With white space and escapes that nobody who writes JSON anew would keep. */
function noteBody(text: string, random: Random): string {
  return random.chance(1, 2) ? `{ "text" :"${text}",  "n": 1.50}` : `"\\u0065${text}"`;
}

function eventBody(id: string, tenant: string, actor: string, text: string): string {
  return JSON.stringify({
    event_id: id,
    event_time: '2026-11-20T10:00:00.123Z',
    tenant,
    actor: { id: actor, type: 'user' },
    action: 'document.update',
    resource: { type: 'document', id: 'doc_1' },
    result: 'success',
    details: { text },
    criticality: 'normal',
  });
}
