/** One event with its record and its corrections: by id, or by its place in a log. */

import { EvidentError } from '@evident/core/errors.ts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { SoughtEvent } from '../query/ports.ts';
import { showEvent } from '../query/show.ts';
import { type ShownJson, shownJson } from '../query/shown-event.ts';
import { findLog, findPartition, type HttpContext } from './context.ts';
import { EventSchema, readerOf, WHY } from './event-filter.ts';
import { READ_ROUTE, TURN_PROBLEMS } from './event-search-routes.ts';
import { NEEDS_KEY } from './open-api.ts';
import { AskedPosition, jsonAnswer, PartitionParams, problems } from './schemas.ts';

const IdParams = Type.Object({
  id: Type.String({ description: 'UUID of the event: its event_id, and the id of its record' }),
});
const PlaceParams = Type.Object({ ...PartitionParams.properties, position: AskedPosition });
const Query = Type.Object(
  {
    tenant: Type.Optional(
      Type.String({
        description: 'Whose event, for a credential of all tenants: an id may stand in several',
      }),
    ),
    why: WHY,
  },
  { additionalProperties: false },
);
const ShownSchema = Type.Object(
  {
    event: Type.Union([EventSchema, Type.Null()], {
      description: 'Its row; null: the view has not read it, or it is a dead letter or a repeat',
    }),
    leaf: Type.String({ description: 'The leaf line: the bytes that the tree hashes' }),
    leaf_hash: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256(0x00 ‖ leaf)' }),
    corrections: Type.Array(EventSchema, {
      description: 'The event that this one corrects, if it does, then those that correct it, oldest first',
    }),
  },
  { additionalProperties: false },
);
const ANSWERS = {
  ...problems(
    'credential',
    'field-invalid',
    'field-unknown',
    'field-reserved',
    'log-unknown',
    'tenant-forbidden',
    'not-found',
    'query-too-slow',
    'read-unrecorded',
    ...TURN_PROBLEMS,
  ),
  200: jsonAnswer('The event', ShownSchema),
};

export function eventShowRoutes(app: FastifyInstance, context: HttpContext): void {
  const byId = {
    operationId: 'showEvent',
    summary: 'An event: its record, its row, and what corrects it',
    security: NEEDS_KEY,
    params: IdParams,
    querystring: Query,
    response: ANSWERS,
  };
  app.get<{ Params: Static<typeof IdParams>; Querystring: Static<typeof Query> }>(
    '/v1/events/:id',
    { schema: byId, ...READ_ROUTE },
    (request) => show(context, request, { id: request.params.id }, request.query),
  );
  const byPlace = {
    operationId: 'showRecord',
    summary: 'A record of a log by its place, as an event',
    security: NEEDS_KEY,
    params: PlaceParams,
    querystring: Query,
    response: ANSWERS,
  };
  app.get<{ Params: Static<typeof PlaceParams>; Querystring: Static<typeof Query> }>(
    '/v1/logs/:log/partitions/:partition/records/:position',
    { schema: byPlace, ...READ_ROUTE },
    (request) => {
      const log = findLog(context, request.params.log);
      const partition = findPartition(log, request.params.partition);
      const position = BigInt(request.params.position);
      return show(context, request, { log: log.name, partition, position }, request.query);
    },
  );
}

async function show(
  { deps }: HttpContext,
  request: FastifyRequest,
  what: SoughtEvent,
  { tenant, why }: Static<typeof Query>,
): Promise<ShownJson> {
  const sought = { ...what, ...(tenant === undefined ? {} : { tenant }) };
  const shown = await showEvent(deps.query, readerOf(request, why), sought);
  if (shown === null) {
    const name = 'id' in what ? what.id : `${what.log}/${what.partition}/${what.position}`;
    throw new EvidentError('not-found', `there is no event ${name} that you may see`);
  }
  return shownJson(shown);
}
