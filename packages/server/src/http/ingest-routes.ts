/** `POST /v1/logs/{log}/records`: batches of envelopes into a log. The bytes go to ingest as they came. */

import { EvidentError } from '@evident/core/errors.ts';
import { checkWritableLog } from '@evident/core/record.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { type Principal, tenantOf } from '../access/authorise.ts';
import { type ItemResult, ingest, refuseEmpty, summarise } from '../ingest/ingest.ts';
import { Hold } from './admission.ts';
import { findLog, type HttpContext, overloaded } from './context.ts';
import { noteDenied, suspectOf } from './denied-access.ts';
import { answerOnSocket } from './faults.ts';
import { NEEDS_KEY } from './open-api.ts';
import { problemOf, STATUS_OF } from './problem.ts';
import {
  answer,
  Instant,
  jsonAnswer,
  LogParams,
  Position,
  problems,
  reference,
  TenantQuery,
} from './schemas.ts';

const Query = Type.Object({ tenant: Type.Optional(TenantQuery) }, { additionalProperties: false });
const Uuid = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });

const EnvelopeSchema = Type.Object(
  {
    id: Type.String({ description: 'Any UUID; sent again with the same body it is answered as a repeat' }),
    type: Type.String({ maxLength: 128 }),
    key: Type.String({ description: 'Records of one key keep their order; at most 512 bytes' }),
    schema: Type.Integer({ minimum: 0, maximum: 1, description: '1 for audit.event, 0 for any other type' }),
    meta: Type.Optional(
      Type.Union([Type.Record(Type.String(), Type.Union([Type.String(), Type.Integer()])), Type.Null()]),
    ),
    body: Type.Unknown({ description: 'Any JSON; kept byte for byte' }),
  },
  { additionalProperties: false },
);

export const ResultsSchema = Type.Object(
  {
    log: Type.String(),
    results: Type.Array(
      Type.Union([
        Type.Object(
          {
            status: Type.Literal('appended'),
            id: Uuid,
            partition: Type.Integer(),
            position: Position,
            appended_at: Instant,
          },
          { additionalProperties: false },
        ),
        Type.Object(
          { status: Type.Literal('repeat'), id: Uuid, partition: Type.Integer(), position: Position },
          { additionalProperties: false },
        ),
        Type.Object(
          {
            status: Type.Literal('refused'),
            index: Type.Integer(),
            id: Type.Optional(Type.String()),
            problem: reference('Problem'),
          },
          { additionalProperties: false },
        ),
      ]),
      { description: 'One an item, in the order of the request' },
    ),
    appended: Type.Integer(),
    repeats: Type.Integer(),
    refused: Type.Integer(),
  },
  { $id: 'IngestResults', additionalProperties: false },
);

const REFUSALS = problems(
  'credential',
  'field-invalid',
  'field-reserved',
  'field-unknown',
  'json-invalid',
  'json-duplicate-member',
  'json-too-deep',
  'body-too-large',
  'batch-too-large',
  'media-type-unsupported',
  'tenant-forbidden',
  'log-unknown',
  'overloaded',
  'outcome-unknown',
  'partition-stopped',
  'disk-full',
);

/** A refusal of the whole request, or of each of its items: the answer says which by its media type. */
function refusedOr(status: number): object {
  const results = { 'application/json': { schema: reference('IngestResults') } };
  const known = REFUSALS[status];
  const description = `every item was refused${known === undefined ? '' : `, or the request: ${known.description}`}`;
  return { description, content: { ...results, ...known?.content } };
}

const SCHEMA = {
  operationId: 'appendRecords',
  summary: 'Append a batch of records',
  description: '201: durable. Each item has a result of its own; send the same batch again after any doubt.',
  security: NEEDS_KEY,
  params: LogParams,
  querystring: Query,
  body: {
    content: {
      'application/json': {
        schema: Type.Union([
          Type.Array(EnvelopeSchema),
          Type.Object({ records: Type.Array(EnvelopeSchema) }, { additionalProperties: false }),
        ]),
      },
      'application/x-ndjson': { schema: Type.String({ description: 'One envelope a line' }) },
    },
  },
  response: {
    ...REFUSALS,
    200: jsonAnswer('Every record was in the log already', reference('IngestResults')),
    201: jsonAnswer('At least one record is durable now, and none was refused', reference('IngestResults')),
    207: jsonAnswer('Some items were refused', reference('IngestResults')),
    400: refusedOr(400),
    403: refusedOr(403),
    409: refusedOr(409),
    413: refusedOr(413),
    422: answer(
      'Every item was refused, not all for one reason',
      'application/json',
      reference('IngestResults'),
    ),
  },
};

/** What a request holds from its headers on. */
interface Admitted {
  readonly hold: Hold;
  readonly deadline: NodeJS.Timeout;
}

export function ingestRoutes(app: FastifyInstance, context: HttpContext): void {
  const { limits } = context;
  const admitted = new WeakMap<FastifyRequest, Admitted>();
  const types = ['application/json', 'application/x-ndjson'];
  app.addContentTypeParser(
    types,
    { parseAs: 'buffer', bodyLimit: limits.requestBytesMax },
    (_request, body, done) => done(null, body),
  );
  app.post<{ Params: Static<typeof LogParams>; Querystring: Static<typeof Query> }>(
    '/v1/logs/:log/records',
    {
      schema: SCHEMA,
      bodyLimit: limits.requestBytesMax,
      config: { access: MAY.append, isCapture: true },
      onRequest: async (request, reply) => {
        refuseEarly(context, request);
        admitted.set(request, admit(context, request, reply));
      },
    },
    async (request, reply) => {
      const { hold, deadline } = admitted.get(request) as Admitted;
      clearTimeout(deadline);
      hold.begin();
      try {
        return await append(context, request, reply);
      } finally {
        // The answer is small beside the request.
        hold.ticket.release();
      }
    },
  );
}

/** What the headers alone show to be wrong, before a byte of the body is taken. */
function refuseEarly(context: HttpContext, request: FastifyRequest): void {
  const { log } = request.params as { log: string };
  checkWritableLog(log);
  findLog(context, log);
  tenantOf(request.principal as Principal, (request.query as { tenant?: string }).tenant);
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    throw new EvidentError(
      'media-type-unsupported',
      `The Content-Encoding is ${encoding}; this route reads application/json and application/x-ndjson, not packed.`,
    );
  }
  const { requestBytesMax } = context.limits;
  const length = Number(request.headers['content-length'] ?? 0);
  if (length > requestBytesMax) {
    throw new EvidentError(
      'body-too-large',
      `The request has ${length} bytes; the limit is ${requestBytesMax}.`,
    );
  }
}

/** Reserves what the body may take. It is given back when the append has ended, or the request has without one. */
function admit(
  { admission, limits, deps }: HttpContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Admitted {
  const length = request.headers['content-length'];
  const bytes = length === undefined ? limits.requestBytesMax : Number(length);
  const ticket = admission.admit(bytes);
  if (ticket === null) {
    throw overloaded(
      `The server holds ${admission.bytes + deps.waitingBytes()} bytes that wait for the log; the limit is ${limits.inFlightBytesMax}. Nothing of this request was taken.`,
    );
  }
  const deadline = setTimeout(() => {
    const problem = problemOf(
      'request-timeout',
      `The body did not arrive within ${limits.bodyMsMax} ms; nothing of it was taken.`,
    );
    answerOnSocket(request.raw.socket, problem, request.id);
  }, limits.bodyMsMax);
  return { deadline, hold: new Hold(ticket, reply.raw, () => clearTimeout(deadline)) };
}

async function append(context: HttpContext, request: FastifyRequest, reply: FastifyReply): Promise<string> {
  const { log: name } = request.params as { log: string };
  const { tenant: named } = request.query as { tenant?: string };
  const principal = request.principal as Principal;
  const isNdjson = request.headers['content-type']?.toLowerCase().startsWith('application/x-ndjson');
  const results = await ingest(
    { log: findLog(context, name), objects: context.deps.objects },
    {
      format: isNdjson ? 'ndjson' : 'json',
      bytes: request.body as Uint8Array,
      tenant: tenantOf(principal, named),
      source: principal.keyId,
    },
  );
  if (results.some((result) => result.status === 'refused' && result.code === 'tenant-forbidden'))
    noteDenied(context, request, 'tenant-forbidden', suspectOf(principal));
  refuseEmpty(results);
  const counts = summarise(results);
  reply.code(statusOf(results, counts)).header('content-type', 'application/json; charset=utf-8');
  return formatResults(name, results, counts);
}

type Counts = ReturnType<typeof summarise>;

function statusOf(results: readonly ItemResult[], { appended, repeats, refused }: Counts): number {
  if (refused === 0) return appended > 0 ? 201 : 200;
  if (appended + repeats > 0) return 207;
  const codes = new Set(results.map((result) => (result.status === 'refused' ? result.code : null)));
  const [only] = codes;
  return codes.size === 1 && only !== null && only !== undefined ? STATUS_OF[only] : 422;
}

/** By hand: ids, positions and instants need no escaping, and a batch of 5,000 is written without an object each. */
function formatResults(log: string, results: readonly ItemResult[], counts: Counts): string {
  const { appended, repeats, refused } = counts;
  const items = results.map(formatResult).join(',');
  return `{"log":"${log}","results":[${items}],"appended":${appended},"repeats":${repeats},"refused":${refused}}`;
}

function formatResult(result: ItemResult, index: number): string {
  switch (result.status) {
    case 'appended':
      return `{"status":"appended","id":"${result.id}","partition":${result.partition},"position":"${result.position}","appended_at":"${result.appended_at}"}`;
    case 'repeat':
      return `{"status":"repeat","id":"${result.id}","partition":${result.partition},"position":"${result.position}"}`;
    case 'refused': {
      const id = result.id === null ? '' : `"id":${JSON.stringify(result.id)},`;
      const problem = problemOf(result.code, result.detail, result.field);
      return `{"status":"refused","index":${index},${id}"problem":${JSON.stringify(problem)}}`;
    }
  }
}
