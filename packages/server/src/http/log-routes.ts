/** Logs, their records and their signed heads. */

import { EvidentError } from '@evident/core/errors.ts';
import { UNRECORDED_LOGS } from '@evident/core/record.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { Log } from '../log/log.ts';
import type { ReadNote } from '../query/ports.ts';
import { Hold } from './admission.ts';
import { findLog, findPartition, type HttpContext, overloaded } from './context.ts';
import { readerOf, WHY } from './event-filter.ts';
import { HTTP_LIMITS } from './limits.ts';
import { NEEDS_KEY } from './open-api.ts';
import { pageFrom, type RecordPage } from './record-page.ts';
import { AskedPosition, answer, jsonAnswer, PartitionParams, Position, problems } from './schemas.ts';

const RecordsQuery = Type.Object(
  {
    from: Type.Optional(AskedPosition),
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: HTTP_LIMITS.pageRecordsMax,
        description: 'Most records of the answer; it may hold fewer',
      }),
    ),
    why: WHY,
  },
  { additionalProperties: false },
);

const LogsSchema = Type.Object(
  {
    logs: Type.Array(
      Type.Object(
        {
          log: Type.String(),
          partitions: Type.Array(
            Type.Object(
              {
                partition: Type.Integer(),
                first: Position,
                next: Position,
                sealed: Position,
                stopped: Type.Union([Type.String(), Type.Null()], {
                  description: 'Why it takes no records, or null',
                }),
              },
              { additionalProperties: false },
            ),
          ),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

export function logRoutes(app: FastifyInstance, context: HttpContext): void {
  listLogs(app, context);
  showRecords(app, context);
  showHead(app, context);
}

function listLogs(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listLogs',
    summary: 'Logs, and how far each partition is filled and sealed',
    security: NEEDS_KEY,
    response: { ...problems('credential'), 200: jsonAnswer('Every log', LogsSchema) },
  };
  app.get('/v1/logs', { schema, config: { access: MAY.look } }, async () => ({
    logs: await Promise.all(
      [...deps.logs.values()].map((log) => statusOf(log, deps.status.sealedSizes(log.name))),
    ),
  }));
}

async function statusOf(
  log: Log,
  sizes: Promise<readonly bigint[]>,
): Promise<Static<typeof LogsSchema>['logs'][number]> {
  // Sealed sizes first: read the other way round, a partition could look sealed beyond its end.
  const sealed = await sizes;
  const heads = await log.heads();
  const partitions = heads.map(({ partition, first, next, stopped }) => ({
    partition,
    first: first.toString(),
    next: next.toString(),
    sealed: (sealed[partition] ?? 0n).toString(),
    stopped,
  }));
  return { log: log.name, partitions };
}

const RECORDS_SCHEMA = {
  operationId: 'readRecords',
  summary: 'Records of a partition as leaf lines',
  description:
    'A key of one tenant sees the records of that tenant. An answer without lines may still move on: follow Evident-Next-Position. A page with records is recorded before it is sent, but for the log heads.',
  security: NEEDS_KEY,
  params: PartitionParams,
  querystring: RecordsQuery,
  response: {
    ...problems(
      'credential',
      'field-invalid',
      'field-unknown',
      'log-unknown',
      'not-found',
      'position-trimmed',
      'overloaded',
      'read-unrecorded',
    ),
    200: {
      ...answer('Leaf lines: the bytes that the tree hashes', 'application/x-ndjson', Type.String()),
      headers: { 'evident-next-position': { description: 'Where the next page begins', schema: Position } },
    },
  },
};

function showRecords(app: FastifyInstance, context: HttpContext): void {
  const { limits, pages } = context;
  app.get<{ Params: Static<typeof PartitionParams>; Querystring: Static<typeof RecordsQuery> }>(
    '/v1/logs/:log/partitions/:partition/records',
    { schema: RECORDS_SCHEMA, config: { access: MAY.examine } },
    async (request, reply) => {
      const log = findLog(context, request.params.log);
      const partition = findPartition(log, request.params.partition);
      // Twice: what is being read, and the page it becomes.
      const { tenant } = request.principal as Principal;
      const ticket = pages.admit(2 * limits.pageBytesMax, tenant);
      if (ticket === null)
        throw overloaded(
          `The server makes pages of ${pages.bytes} bytes; the limit is ${limits.pagesBytesMax}.`,
        );
      // Until the client has it all: one that reads slowly holds its page that long.
      const hold = new Hold(ticket, reply.raw);
      hold.begin();
      try {
        const { from, limit = limits.pageRecordsMax, why } = request.query;
        const page = await pageFrom(log, { partition, limit, tenant }, from, limits);
        ticket.shrink(page.bytes.length);
        if (page.records > 0 && !UNRECORDED_LOGS.includes(log.name))
          await context.deps.query.recorder.record(
            readerOf(request, why),
            noteOfPage(log.name, partition, tenant, page),
          );
        reply
          .header('evident-next-position', page.next.toString())
          .header('content-type', 'application/x-ndjson');
        return page.bytes;
      } finally {
        hold.end();
      }
    },
  );
}

/** What is recorded of a page before it leaves; one without records is not: nothing was read. */
function noteOfPage(log: string, partition: number, tenant: string | null, page: RecordPage): ReadNote {
  const { next, records } = page;
  return {
    action: 'audit.read',
    resource: { type: 'log', id: log },
    tenant,
    details: { question: 'records', partition, records, next: next.toString() },
  };
}

function showHead(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'readHead',
    summary: 'The newest signed head of a partition',
    description: 'A signed note (C2SP tlog-checkpoint), byte for byte as it was signed.',
    security: NEEDS_KEY,
    params: PartitionParams,
    response: {
      ...problems('credential', 'field-invalid', 'log-unknown', 'not-found'),
      200: answer('The note', 'text/plain; charset=utf-8', Type.String()),
    },
  };
  app.get<{ Params: Static<typeof PartitionParams> }>(
    '/v1/logs/:log/partitions/:partition/head',
    { schema, config: { access: MAY.look } },
    async (request, reply) => {
      const log = findLog(context, request.params.log);
      const partition = findPartition(log, request.params.partition);
      const note = await context.deps.heads.newest(log.name, partition);
      if (note === null)
        throw new EvidentError('not-found', `${log.name}/${partition} has no signed head yet`);
      reply.header('content-type', 'text/plain; charset=utf-8');
      return note;
    },
  );
}
