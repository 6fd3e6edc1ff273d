/**
 * Brings alerts to webhooks: at least once, in no promised order, each webhook by itself.
 *
 * An attempt is counted before it is made. If we die between the send and the mark, the lease ends and it is sent again
 * under the same id.
 */

import type { AlertBoard, Delivery, DeliveryMark, DeliveryQueue, PostAnswer, Send } from './ports.ts';
import { type PayloadDeps, payloadOf, signature } from './webhook.ts';

/** Deliveries under way at once, and of those to one webhook: a slow one does not hold the others. */
export const DELIVERIES_MAX = 8;
export const DELIVERIES_PER_WEBHOOK_MAX = 2;
/** Attempts of one delivery before it is given up: with the delays below after about ten hours. */
export const ATTEMPTS_MAX = 24;
const DELAY_MS_FIRST = 2_000;
const DELAY_MS_MAX = 3_600_000;
const SEND_MS_MAX = 10_000;
/** Longer than an attempt may take, reading its payload included; after a death the alert waits so long. */
const LEASE_US = 20_000_000n;
const IDLE_MS = 500;
const RETRY_MS = 2_000;

export interface DeliverDeps extends PayloadDeps {
  readonly queue: DeliveryQueue;
  readonly board: Pick<AlertBoard, 'raise' | 'settle'>;
  readonly send: Send;
  /** Webhooks of the operator may reach private networks; those of tenants never do. */
  readonly allowPrivate: boolean;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  readonly onOutcome?: (delivery: Delivery, mark: DeliveryMark) => void;
  readonly onError?: (error: unknown) => void;
  /** Shorter in tests. */
  readonly delayMsFirst?: number;
  readonly attemptsMax?: number;
  readonly sendMsMax?: number;
  readonly leaseUs?: bigint;
  readonly idleMs?: number;
}

/** Milliseconds until the next attempt: doubled each time, between half and all of that, so that receivers are not hit in step. */
export function delayMs(attempt: number, random: number, first = DELAY_MS_FIRST): number {
  const full = Math.min(DELAY_MS_MAX, first * 2 ** Math.min(attempt - 1, 30));
  return Math.round(full * (0.5 + random / 2));
}

/** Sent without a signature it would be refused, and with another one nobody could tell whose it is. */
const NO_SECRET =
  'its secret was sealed with another key than that of this data directory: put webhook.key back, or make the webhook anew';

/** A redirect is not followed: where it leads was never looked at. */
function faultOf(answer: PostAnswer): string | null {
  if (answer.kind === 'unreachable') return answer.reason;
  if (answer.status >= 200 && answer.status < 300) return null;
  return `it answered ${answer.status}`;
}

export class Deliverer {
  readonly #deps: DeliverDeps;
  readonly #stopping = new AbortController();
  /** Attempts under way by webhook. */
  readonly #underWay = new Map<string, number>();
  readonly #attempts = new Set<Promise<void>>();
  /** Webhooks of which no alert says that they can't be reached, as far as is known since the start. */
  readonly #sound = new Set<string>();
  #running: Promise<void> = Promise.resolve();

  constructor(deps: DeliverDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Waits for what is being sent; an attempt that is broken off is made again after the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await Promise.all(this.#attempts);
  }

  async #run(): Promise<void> {
    const { sleep, onError, idleMs = IDLE_MS } = this.#deps;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        if (!(await this.#next())) await sleep(idleMs, signal);
      } catch (error) {
        onError?.(error);
        await sleep(RETRY_MS, signal);
      }
    }
  }

  /** Begins one attempt. @returns false when there is none to begin now */
  async #next(): Promise<boolean> {
    if (this.#attempts.size >= DELIVERIES_MAX) {
      await Promise.race(this.#attempts);
      return true;
    }
    const busy = [...this.#underWay]
      .filter(([, count]) => count >= DELIVERIES_PER_WEBHOOK_MAX)
      .map(([id]) => id);
    const delivery = await this.#deps.queue.claim(busy, this.#deps.leaseUs ?? LEASE_US);
    if (delivery === null) return false;
    const { id } = delivery.webhook;
    this.#underWay.set(id, (this.#underWay.get(id) ?? 0) + 1);
    const attempt = this.#attempt(delivery)
      .catch((error: unknown) => this.#deps.onError?.(error))
      .finally(() => {
        const left = this.#underWay.get(id)! - 1;
        if (left === 0) this.#underWay.delete(id);
        else this.#underWay.set(id, left);
        this.#attempts.delete(attempt);
      });
    this.#attempts.add(attempt);
    return true;
  }

  async #attempt(delivery: Delivery): Promise<void> {
    const { queue, onOutcome, random, delayMsFirst, attemptsMax = ATTEMPTS_MAX } = this.#deps;
    const fault = await this.#send(delivery);
    if (fault !== null && this.#stopping.signal.aborted) return;
    let mark: DeliveryMark;
    if (fault === null) mark = { kind: 'delivered' };
    else if (delivery.attempt >= attemptsMax) mark = { kind: 'failed', error: fault };
    else {
      const afterUs = BigInt(delayMs(delivery.attempt, random(), delayMsFirst)) * 1_000n;
      mark = { kind: 'again', afterUs, error: fault };
    }
    await queue.mark(delivery, mark);
    onOutcome?.(delivery, mark);
    await this.#tell(delivery, mark);
  }

  async #send(delivery: Delivery): Promise<string | null> {
    const { send, clock, allowPrivate, sendMsMax = SEND_MS_MAX } = this.#deps;
    const { secret } = delivery;
    if (secret === null) return NO_SECRET;
    const { type, body } = await payloadOf(this.#deps, delivery);
    const seconds = clock() / 1_000_000n;
    const answer = await send(
      {
        url: delivery.webhook.url,
        headers: {
          'content-type': type,
          'user-agent': 'evident-webhook/1',
          'webhook-id': delivery.id,
          'webhook-timestamp': seconds.toString(),
          'webhook-signature': signature(secret, delivery.id, seconds, body),
        },
        body,
        allowPrivate: allowPrivate && delivery.webhook.tenant === null,
        timeoutMs: sendMsMax,
      },
      this.#stopping.signal,
    );
    return faultOf(answer);
  }

  /** A webhook that is given up is itself an alert, but none for that webhook. */
  async #tell({ webhook }: Delivery, mark: DeliveryMark): Promise<void> {
    const key = `webhook:${webhook.id}`;
    if (mark.kind === 'failed') {
      this.#sound.delete(webhook.id);
      await this.#deps.board.raise({
        key,
        tenant: webhook.tenant,
        name: 'webhook failed',
        severity: 'high',
        subject: webhook.name,
        detail: `an alert could not be delivered: ${mark.error}`,
        exceptWebhook: webhook.id,
      });
    } else if (mark.kind === 'delivered' && !this.#sound.has(webhook.id)) {
      this.#sound.add(webhook.id);
      await this.#deps.board.settle(key);
    }
  }
}
