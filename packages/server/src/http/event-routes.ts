/** `GET /v1/logs/{log}/events/{id}`: whether a log holds an identity, and where; waits for it if asked to. */

import { EvidentError } from '@evident/core/errors.ts';
import { checkId } from '@evident/core/record.ts';
import type { FastifyInstance, FastifyReply } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { type Principal, tenantOf } from '../access/authorise.ts';
import { Hold } from './admission.ts';
import { findLog, type HttpContext, overloaded, shuttingDown } from './context.ts';
import { IdentityWatch } from './identity-watch.ts';
import { HTTP_LIMITS } from './limits.ts';
import { NEEDS_KEY } from './open-api.ts';
import { jsonAnswer, LogParams, Position, problems, TenantQuery } from './schemas.ts';

const Params = Type.Object({
  ...LogParams.properties,
  id: Type.String({ description: 'UUID of the event: its event_id, and the id of its record' }),
});

const Query = Type.Object(
  {
    tenant: Type.Optional(TenantQuery),
    wait_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: HTTP_LIMITS.waitMsMax,
        description: 'How long to wait for it, milliseconds; without it the answer comes at once',
      }),
    ),
  },
  { additionalProperties: false },
);

const EventPlaceSchema = Type.Object(
  {
    log: Type.String(),
    id: Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' }),
    tenant: Type.String(),
    partition: Type.Integer(),
    position: Position,
  },
  { additionalProperties: false },
);

const SCHEMA = {
  operationId: 'findEvent',
  summary: 'Where the log holds an event, as soon as it does',
  description:
    'The place of the first record of this identity (log, tenant of the credential, id). 404: the log does not hold it, or did not within wait_ms.',
  security: NEEDS_KEY,
  params: Params,
  querystring: Query,
  response: {
    ...problems(
      'credential',
      'field-invalid',
      'field-reserved',
      'field-unknown',
      'tenant-forbidden',
      'log-unknown',
      'not-found',
      'overloaded',
    ),
    200: jsonAnswer('The log holds it, durably', EventPlaceSchema),
  },
};

export function eventRoutes(app: FastifyInstance, context: HttpContext): void {
  const { deps, limits, waits } = context;
  const { identities, now } = deps;
  const watch = new IdentityWatch({ identities, now, pollMs: limits.waitPollMs });
  app.get<{ Params: Static<typeof Params>; Querystring: Static<typeof Query> }>(
    '/v1/logs/:log/events/:id',
    // A HEAD would wait as long, for nothing.
    { schema: SCHEMA, exposeHeadRoute: false, config: { access: MAY.look, isCapture: true } },
    async (request, reply): Promise<Static<typeof EventPlaceSchema>> => {
      const { tenant: named, wait_ms: waitMs = 0 } = request.query;
      const log = findLog(context, request.params.log).name;
      const tenant = tenantOf(request.principal as Principal, named);
      const id = checkId(request.params.id);
      const ticket = waits.admit(1, tenant);
      if (ticket === null)
        throw overloaded(
          `At most ${limits.waitsMax} requests wait for events at once, three quarters of them of one tenant.`,
        );
      new Hold(ticket, reply.raw);
      const signal = AbortSignal.any([context.stopping, goneSignal(reply)]);
      const place = await watch.find({ log, tenant, id }, waitMs, signal).catch((error: unknown) => {
        throw context.stopping.aborted ? shuttingDown() : error;
      });
      if (place === null) {
        throw new EvidentError('not-found', `${log} holds no event ${id} of ${tenant}`, {
          context: { log, field: 'id' },
        });
      }
      return { log, id, tenant, partition: place.partition, position: place.position.toString() };
    },
  );
}

/** Aborted when the client goes away: nobody looks for what nobody waits for. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  const leave = () => gone.abort(new EvidentError('request-timeout', 'The client has gone.'));
  if (reply.raw.destroyed) leave();
  else reply.raw.once('close', leave);
  return gone.signal;
}
