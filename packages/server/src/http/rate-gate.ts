/**
 * How often a credential may ask, and how often an address may be wrong. What is refused here was not looked at: no body
 * is read, no key is looked up. Admission (admission.ts) bounds bytes, this bounds requests; each holds without the other.
 */

import { hash } from 'node:crypto';
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Counter } from 'prom-client';
import type { HttpContext } from './context.ts';
import { sendProblem } from './faults.ts';
import { problemOf } from './problem.ts';

const MINUTE_MS = 60_000;
/** Addresses and credentials that are counted at once; the one unseen for longest goes first. */
const COUNTED_MAX = 10_000;
/** Credentials that were good lately. */
const KNOWN_MAX = 10_000;

type Bucket = 'public' | 'failures' | 'reads' | 'capture';
type Limiter = ReturnType<FastifyInstance['createRateLimit']>;

/** A class because it has a life: counts of a minute. One per server. */
export class RateGate {
  readonly #context: HttpContext;
  readonly #limiters = new Map<Bucket, Limiter>();
  readonly #refused: Counter;
  /** SHA-256 of Authorization headers that were granted, the newest last. */
  readonly #known = new Set<string>();

  constructor(app: FastifyInstance, context: HttpContext) {
    this.#context = context;
    const { limits, deps } = context;
    const perMinute: Record<Bucket, number> = {
      public: limits.publicPerAddressMax,
      failures: limits.failuresPerAddressMax,
      reads: limits.readsPerCredentialMax,
      capture: limits.capturesPerCredentialMax,
    };
    app.register(rateLimit, { global: false });
    app.after(() => {
      const bySubject = { keyGenerator: (request: FastifyRequest) => request.principal?.subject ?? '' };
      for (const bucket of Object.keys(perMinute) as Bucket[]) {
        if (perMinute[bucket] === 0) continue;
        const isOfCredential = bucket === 'reads' || bucket === 'capture';
        this.#limiters.set(
          bucket,
          app.createRateLimit({
            max: perMinute[bucket],
            timeWindow: MINUTE_MS,
            cache: COUNTED_MAX,
            ...(isOfCredential ? bySubject : {}),
          } as Parameters<FastifyInstance['createRateLimit']>[0]),
        );
      }
    });
    this.#refused = new Counter({
      name: 'evident_http_rate_limited_total',
      help: 'Requests beyond what an address or a credential may send in a minute',
      labelNames: ['limit'],
      registers: [deps.metrics],
    });
  }

  /** Counts a request of nobody in particular. @returns whether it was answered here */
  passPublic(request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    return this.#pass('public', true, request, reply);
  }

  /**
   * Before the credential is looked at. A credential that was good a moment ago passes even where its address has sent
   * too many that were not: it may be the address of a proxy.
   */
  async passAddress(request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    if (this.#known.has(fingerprint(request))) return true;
    return this.#pass('failures', false, request, reply);
  }

  /** Counts a credential that was not good. */
  async noteFailure(request: FastifyRequest): Promise<void> {
    this.#known.delete(fingerprint(request));
    await this.#limiters.get('failures')?.(request);
  }

  /** After authentication. Capture is counted by itself: business must not wait because somebody reads much. */
  passCredential(request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    const print = fingerprint(request);
    this.#known.delete(print);
    if (this.#known.size >= KNOWN_MAX) this.#known.delete(this.#known.values().next().value as string);
    this.#known.add(print);
    return this.#pass(
      request.routeOptions.config.isCapture === true ? 'capture' : 'reads',
      true,
      request,
      reply,
    );
  }

  /** @returns false when it answered: there were too many */
  async #pass(
    bucket: Bucket,
    increment: boolean,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<boolean> {
    const limit = await this.#limiters.get(bucket)?.(request, { increment });
    if (limit === undefined || limit.isAllowed) return true;
    // Read without counting, a bucket that is full is not exceeded yet; the next one would be.
    if (increment ? !limit.isExceeded : limit.remaining > 0) return true;
    this.#refused.inc({ limit: bucket });
    reply.header('retry-after', Math.max(limit.ttlInSeconds, 1));
    const detail = `${OF_BUCKET[bucket]}: at most ${limit.max} a minute are taken.`;
    await sendProblem(this.#context, request, reply, problemOf('rate-limited', detail));
    return false;
  }
}

const OF_BUCKET: Readonly<Record<Bucket, string>> = {
  public: 'Requests without a credential from this address',
  failures: 'Credentials that are not good, from this address',
  reads: 'Requests of this credential',
  capture: 'Requests of this credential that write',
};

/** Of what stands in the header: neither key nor token is kept. */
function fingerprint({ headers }: FastifyRequest): string {
  return hash('sha256', headers.authorization ?? '', 'base64');
}
