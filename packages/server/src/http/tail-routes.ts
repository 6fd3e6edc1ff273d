/** `GET /v1/logs/{log}/tail`: records as they are appended, as server-sent events. */

import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { parseDecimal } from '@evident/core/checkpoint.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { leafOf } from '@evident/core/leaf.ts';
import { type LogRecord, UNRECORDED_LOGS } from '@evident/core/record.ts';
import type { FastifyInstance, FastifyReply } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { Log, PartitionHead } from '../log/log.ts';
import type { EventFilter } from '../query/filter.ts';
import { recordTest } from '../query/follow.ts';
import type { Reader } from '../query/ports.ts';
import { noteFilter, openReadStream } from '../query/record-read.ts';
import { tenantOfRead } from '../query/scope.ts';
import { Hold } from './admission.ts';
import { findLog, type HttpContext, overloaded } from './context.ts';
import { FOLLOW_MEMBERS, plainFilterOf, readerOf, WHY } from './event-filter.ts';
import { NEEDS_KEY } from './open-api.ts';
import { refuseTrimmed } from './record-page.ts';
import { answer, LogParams, problems } from './schemas.ts';

const TailQuery = Type.Object({ ...FOLLOW_MEMBERS, why: WHY }, { additionalProperties: false });

const SCHEMA = {
  operationId: 'tailLog',
  summary: 'Records as they are appended, as server-sent events',
  description:
    'The data of an event is a leaf line; its id is a position for each partition, separated by commas: what comes next. Sent back as Last-Event-ID the stream goes on there; without one it begins now. A key of one tenant sees the records of that tenant. With filter members only the records that a search for them would find. Begin, every 10,000 records and end are recorded, but for the log heads.',
  security: NEEDS_KEY,
  params: LogParams,
  querystring: TailQuery,
  headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ maxLength: 20_480 })) }),
  response: {
    ...problems(
      'credential',
      'field-invalid',
      'field-unknown',
      'tenant-forbidden',
      'log-unknown',
      'position-trimmed',
      'overloaded',
      'read-unrecorded',
    ),
    200: answer('Server-sent events', 'text/event-stream', Type.String()),
  },
};

export function tailRoutes(app: FastifyInstance, context: HttpContext): void {
  const watch = new HeadWatch(context.deps.now, context.limits.tailPollMs);
  app.get<{ Params: Static<typeof LogParams>; Querystring: Static<typeof TailQuery> }>(
    '/v1/logs/:log/tail',
    // A HEAD of an endless answer would never end.
    { schema: SCHEMA, exposeHeadRoute: false, config: { access: MAY.investigate } },
    async (request, reply) => {
      const log = findLog(context, request.params.log);
      const ticket = context.tails.admit(1, (request.principal as Principal).tenant);
      if (ticket === null)
        throw overloaded(
          `At most ${context.limits.tailsMax} tails are open at once, three quarters of them of one tenant.`,
        );
      new Hold(ticket, reply.raw);
      const { why, ...members } = request.query;
      const reader = readerOf(request, why);
      const filter = plainFilterOf(members);
      const tenant = tenantOfRead(reader, filter.tenant);
      const resume = request.headers['last-event-id'];
      const given = vectorOf(log, resume, await log.heads());
      const read = await recordTail(context, reply, reader, { log, tenant, filter });
      // Without a place to go on from it begins behind its own record: nobody means to be told of that.
      const from = isGiven(resume) ? given : vectorOf(log, undefined, await log.heads());
      const { mappers, query } = context.deps;
      const isWanted = recordTest({ mappers, bodies: query.bodies }, filter);
      const events = tailEvents(context, watch, { log, from, tenant, isWanted, advance: read.advance });
      reply.header('content-type', 'text/event-stream');
      // Proxies that gather an answer before they pass it on would keep it for ever.
      reply.header('x-accel-buffering', 'no');
      // One chunk is made when the client has room for it: a slow one makes us read less, not hold more.
      const source = untilFault(context, request.id, events, read.fail);
      return reply.send(Readable.from(source, { objectMode: true, highWaterMark: 1 }));
    },
  );
}

interface TailRead {
  /** Before so many records are sent. */
  readonly advance: (records: number) => Promise<void>;
  /** The tail breaks off for this. */
  readonly fail: (error: unknown) => void;
}

/**
 * Records that somebody follows a log: that it begins, before the first byte, and, when the answer is over, how it
 * ended. A client that goes away is how tails end.
 */
async function recordTail(
  { deps }: HttpContext,
  reply: FastifyReply,
  reader: Reader,
  { log, tenant, filter }: { log: Log; tenant: string | null; filter: EventFilter },
): Promise<TailRead> {
  if (UNRECORDED_LOGS.includes(log.name)) return { advance: async () => undefined, fail: () => undefined };
  const stream = await openReadStream(deps.query.recorder, reader, {
    action: 'audit.tail',
    resource: { type: 'log', id: log.name },
    tenant,
    details: { filter: noteFilter(filter) },
  });
  let fault: unknown;
  const end = () =>
    void stream.end(fault).catch((err: unknown) => {
      deps.logger.error({ requestId: reader.requestId, err }, 'the end of a tail was not recorded');
    });
  reply.raw.once('finish', end).once('close', end);
  if (reply.raw.destroyed) end();
  return {
    advance: (records) => stream.advance(records),
    fail: (error) => {
      fault = error;
    },
  };
}

function isGiven(lastEventId: unknown): boolean {
  return lastEventId !== undefined && lastEventId !== '';
}

/** @throws field-invalid, position-trimmed */
function vectorOf(log: Log, lastEventId: unknown, heads: readonly PartitionHead[]): bigint[] {
  if (!isGiven(lastEventId)) return heads.map(({ next }) => next);
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
  onFault: (error: unknown) => void,
): AsyncGenerator<Buffer> {
  try {
    yield* events;
  } catch (err) {
    onFault(err);
    deps.logger.error({ requestId, err }, 'a tail broke off');
  }
}

interface TailRequest extends Pick<TailRead, 'advance'> {
  readonly log: Log;
  readonly from: readonly bigint[];
  /** Whose records are shown; null: all. */
  readonly tenant: string | null;
  readonly isWanted: (record: LogRecord) => Promise<boolean>;
}

async function* tailEvents(
  { deps, limits, stopping }: HttpContext,
  watch: HeadWatch,
  { log, from, tenant, isWanted, advance }: TailRequest,
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
    let shown = 0;
    for (const record of records) {
      vector[record.partition] = record.position + 1n;
      // A leaf holds no line break: bodies with bytes below 0x20 stand in base64.
      if ((tenant === null || record.tenant === tenant) && (await isWanted(record))) {
        text += `id: ${vector.join(',')}\ndata: ${Buffer.from(leafOf(record)).toString()}\n\n`;
        shown++;
      }
    }
    if (shown > 0) await advance(shown);
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
