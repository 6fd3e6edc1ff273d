/** `GET /v1/logs/{log}/tail`: records as they are appended, as server-sent events. */

import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { parseDecimal } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import type { Principal } from '../access/authorise.ts';
import type { Log, PartitionHead } from '../log/log.ts';
import { Hold } from './admission.ts';
import { findLog, type HttpContext, overloaded } from './context.ts';
import { NEEDS_KEY } from './open-api.ts';
import { refuseTrimmed } from './record-page.ts';
import { answer, LogParams, problems } from './schemas.ts';

const SCHEMA = {
  operationId: 'tailLog',
  summary: 'Records as they are appended, as server-sent events',
  description:
    'The data of an event is a leaf line; its id is a position for each partition, separated by commas: what comes next. Sent back as Last-Event-ID the stream goes on there; without one it begins now. A key of one tenant sees the records of that tenant.',
  security: NEEDS_KEY,
  params: LogParams,
  headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ maxLength: 20_480 })) }),
  response: {
    ...problems('credential', 'field-invalid', 'log-unknown', 'position-trimmed', 'overloaded'),
    200: answer('Server-sent events', 'text/event-stream', Type.String()),
  },
};

export function tailRoutes(app: FastifyInstance, context: HttpContext): void {
  const watch = new HeadWatch(context.deps.now, context.limits.tailPollMs);
  app.get<{ Params: Static<typeof LogParams> }>(
    '/v1/logs/:log/tail',
    // A HEAD of an endless answer would never end.
    { schema: SCHEMA, exposeHeadRoute: false, config: { access: ['auditor', 'admin'] } },
    async (request, reply) => {
      const log = findLog(context, request.params.log);
      const ticket = context.tails.admit(1);
      if (ticket === null) throw overloaded(`${context.limits.tailsMax} tails are open; that is the limit.`);
      new Hold(ticket, reply.raw);
      const from = vectorOf(log, request.headers['last-event-id'], await log.heads());
      const { tenant } = request.principal as Principal;
      const events = untilFault(context, request.id, tailEvents(context, watch, log, from, tenant));
      reply.header('content-type', 'text/event-stream');
      // Proxies that gather an answer before they pass it on would keep it for ever.
      reply.header('x-accel-buffering', 'no');
      // One chunk is made when the client has room for it: a slow one makes us read less, not hold more.
      return reply.send(Readable.from(events, { objectMode: true, highWaterMark: 1 }));
    },
  );
}

/** @throws field-invalid, position-trimmed */
function vectorOf(log: Log, lastEventId: unknown, heads: readonly PartitionHead[]): bigint[] {
  if (lastEventId === undefined || lastEventId === '') return heads.map(({ next }) => next);
  const parts = String(lastEventId).split(',').map(parseDecimal);
  const isVector =
    parts.length === heads.length &&
    parts.every((part, partition) => part !== null && part <= heads[partition].next);
  if (!isVector) {
    throw new EvidentError(
      'field-invalid',
      `Last-Event-ID: ${log.partitions} positions of ${log.name}, separated by commas, are expected`,
      {
        context: { field: 'Last-Event-ID' },
      },
    );
  }
  const vector = parts as bigint[];
  for (const { partition, first } of heads) refuseTrimmed(log.name, partition, vector[partition], first);
  return vector;
}

/** Looks at each log at most once in `ms`, however many tails wait for it. */
class HeadWatch {
  readonly #seen = new Map<Log, { at: number; heads: Promise<PartitionHead[]> }>();
  readonly #now: () => number;
  readonly #ms: number;

  constructor(now: () => number, ms: number) {
    this.#now = now;
    this.#ms = ms;
  }

  heads(log: Log): Promise<PartitionHead[]> {
    const seen = this.#seen.get(log);
    const now = this.#now();
    if (seen !== undefined && now - seen.at < this.#ms) return seen.heads;
    const heads = log.heads();
    this.#seen.set(log, { at: now, heads });
    return heads;
  }
}

/** A fault in the middle ends the stream: the client comes back with its last id, and is told of it then. */
async function* untilFault(
  { deps }: HttpContext,
  requestId: string,
  events: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer> {
  try {
    yield* events;
  } catch (err) {
    deps.logger.error({ requestId, err }, 'a tail broke off');
  }
}

async function* tailEvents(
  { deps, limits, stopping }: HttpContext,
  watch: HeadWatch,
  log: Log,
  from: bigint[],
  tenant: string | null,
): AsyncGenerator<Buffer> {
  const vector = [...from];
  let spokenAt = deps.now();
  // The first bytes carry an id, so that a client that loses the connection at once knows where it was.
  yield Buffer.from(`retry: 1000\nid: ${vector.join(',')}\n\n`);
  while (!stopping.aborted) {
    const heads = await watch.heads(log);
    const behind = heads.some(({ partition, next }) => next > vector[partition]);
    const records = behind ? await log.readMany(vector, limits.readRecordsMax) : [];
    let text = '';
    for (const record of records) {
      vector[record.partition] = record.position + 1n;
      // A leaf holds no line break: bodies with bytes below 0x20 stand in base64.
      if (tenant === null || record.tenant === tenant) {
        text += `id: ${vector.join(',')}\ndata: ${Buffer.from(leafOf(record)).toString()}\n\n`;
      }
    }
    if (text === '' && deps.now() - spokenAt >= limits.tailHeartbeatMs) {
      // An id without data moves the client on without an event.
      text = `: still here\nid: ${vector.join(',')}\n\n`;
    }
    if (text !== '') {
      spokenAt = deps.now();
      yield Buffer.from(text);
    }
    // A partition that had more than its share has more to read now; else nothing can be new before the next look.
    const isFull = records.length >= Math.ceil(limits.readRecordsMax / log.partitions);
    if (!isFull) await wait(limits.tailPollMs, undefined, { signal: stopping }).catch(() => undefined);
  }
}
