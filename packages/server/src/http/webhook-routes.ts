/** Webhooks: where alerts are sent. For admins alone: an address may be a secret. */

import { formatInstant } from '@evident/core/leaf.ts';
import { checkId } from '@evident/core/record.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { addWebhook, removeWebhook, retryWebhook } from '../alerts/changes.ts';
import { PAYLOADS, type Webhook, type WebhookCounts } from '../alerts/ports.ts';
import { tenantOfRead } from '../query/scope.ts';
import { changerOf, IdParams, OwnerQuery } from './alert-routes.ts';
import type { HttpContext } from './context.ts';
import { readerOf } from './event-filter.ts';
import { CHANGE_FAULTS, takeJson } from './json-body.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, problems } from './schemas.ts';

const Id = Type.String({ format: 'uuid' });
const NewWebhook = Type.Object(
  {
    name: Type.String({ description: 'At most 128 bytes' }),
    url: Type.String({ description: 'https, or http on a loopback address' }),
    payload: Type.Optional(
      Type.Enum([...PAYLOADS], {
        description: 'The alert as a CloudEvent, or the first events that raised it',
      }),
    ),
  },
  { additionalProperties: false },
);
const MadeWebhook = Type.Object(
  { id: Id, secret: Type.String({ description: 'Signs what is sent. It is never shown again' }) },
  { additionalProperties: false },
);
const WebhookSchema = Type.Object(
  {
    id: Id,
    tenant: Type.Union([Type.String(), Type.Null()], {
      description: 'Null: alerts of all, and of the server',
    }),
    name: Type.String(),
    url: Type.String(),
    payload: Type.Enum([...PAYLOADS]),
    made_by: Type.String(),
    made_at: Instant,
    pending: Type.Integer(),
    delivered: Type.Integer(),
    failed: Type.Integer({ description: 'Given up; retry sends them again' }),
    last_error: Type.Union([Type.String(), Type.Null()]),
  },
  { additionalProperties: false },
);

function shown(webhook: Webhook & WebhookCounts): Static<typeof WebhookSchema> {
  const { id, tenant, name, url, payload, madeBy, madeAt, pending, delivered, failed, lastError } = webhook;
  const made = { made_by: madeBy, made_at: formatInstant(madeAt) };
  return { id, tenant, name, url, payload, ...made, pending, delivered, failed, last_error: lastError };
}

export function webhookRoutes(app: FastifyInstance, context: HttpContext): void {
  takeJson(app);
  list(app, context);
  add(app, context);
  remove(app, context);
  retry(app, context);
}

function list(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listWebhooks',
    summary: 'Webhooks, and how what is sent to them stands',
    security: NEEDS_KEY,
    querystring: OwnerQuery,
    response: {
      ...problems('credential', 'field-invalid', 'field-unknown', 'tenant-forbidden'),
      200: jsonAnswer(
        'Webhooks by name',
        Type.Object({ webhooks: Type.Array(WebhookSchema) }, { additionalProperties: false }),
      ),
    },
  };
  app.get<{ Querystring: Static<typeof OwnerQuery> }>(
    '/v1/webhooks',
    { schema, config: { access: MAY.administer } },
    async (request) => {
      const tenant = tenantOfRead(readerOf(request), request.query.tenant);
      return { webhooks: (await deps.alerts.webhooks.list(tenant)).map(shown) };
    },
  );
}

function add(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'addWebhook',
    summary: 'Have alerts sent somewhere',
    description: 'At least once, in no promised order, signed as Standard Webhooks has it.',
    security: NEEDS_KEY,
    querystring: OwnerQuery,
    body: { content: { 'application/json': { schema: NewWebhook } } },
    response: {
      ...problems('credential', ...CHANGE_FAULTS),
      201: jsonAnswer('Its id and secret', MadeWebhook),
    },
  };
  app.post<{ Querystring: Static<typeof OwnerQuery>; Body: Static<typeof NewWebhook> }>(
    '/v1/webhooks',
    { schema, config: { access: MAY.administer } },
    async (request, reply) => {
      const tenant = tenantOfRead(readerOf(request), request.query.tenant);
      return reply.code(201).send(await addWebhook(deps.alerts, changerOf(request), tenant, request.body));
    },
  );
}

function remove(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'removeWebhook',
    summary: 'Send nothing there any more; what waits is given up',
    security: NEEDS_KEY,
    params: IdParams,
    response: {
      ...problems('credential', ...CHANGE_FAULTS, 'not-found'),
      204: Type.Null({ description: 'It is gone' }),
    },
  };
  app.delete<{ Params: Static<typeof IdParams> }>(
    '/v1/webhooks/:id',
    { schema, config: { access: MAY.administer } },
    async (request, reply) => {
      await removeWebhook(deps.alerts, changerOf(request), checkId(request.params.id));
      return reply.code(204).send();
    },
  );
}

function retry(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'retryWebhook',
    summary: 'Send again what was given up',
    security: NEEDS_KEY,
    params: IdParams,
    response: {
      ...problems('credential', ...CHANGE_FAULTS, 'not-found'),
      200: jsonAnswer('How many', Type.Object({ retried: Type.Integer() }, { additionalProperties: false })),
    },
  };
  app.post<{ Params: Static<typeof IdParams> }>(
    '/v1/webhooks/:id/retry',
    { schema, config: { access: MAY.administer } },
    async (request) => ({
      retried: await retryWebhook(deps.alerts, changerOf(request), checkId(request.params.id)),
    }),
  );
}
