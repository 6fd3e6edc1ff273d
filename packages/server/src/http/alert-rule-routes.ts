/** Alert rules: listed by who may investigate, changed by who may resolve. Every change is recorded first. */

import { formatInstant } from '@evident/core/leaf.ts';
import { checkId } from '@evident/core/record.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { changeRule, createRule, removeRule } from '../alerts/changes.ts';
import {
  type AlertRule,
  GROUPINGS,
  SEVERITIES,
  shownDefinition,
  THRESHOLD_MAX,
  WINDOW_SECONDS_MAX,
} from '../alerts/rule.ts';
import { tenantOfRead } from '../query/scope.ts';
import { changerOf, IdParams, OwnerQuery } from './alert-routes.ts';
import type { HttpContext } from './context.ts';
import { FilterSchema, readerOf } from './event-filter.ts';
import { CHANGE_FAULTS, takeJson } from './json-body.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, problems } from './schemas.ts';

const MEMBERS = {
  name: Type.String({ description: 'At most 128 bytes' }),
  filter: FilterSchema,
  drift_over_ms: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], {
    description: 'Only events appended so much later than they happened, or earlier; imports left out',
  }),
  threshold: Type.Integer({ minimum: 1, maximum: THRESHOLD_MAX }),
  window_seconds: Type.Integer({ minimum: 1, maximum: WINDOW_SECONDS_MAX }),
  group_by: Type.Enum([...GROUPINGS]),
  severity: Type.Enum([...SEVERITIES]),
  enabled: Type.Boolean(),
};
const Change = Type.Partial(Type.Object(MEMBERS), { additionalProperties: false });
const RuleSchema = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    version: Type.Integer({ minimum: 1 }),
    tenant: Type.Union([Type.String(), Type.Null()], { description: 'Null: every tenant, each by itself' }),
    ...MEMBERS,
    made_by: Type.String(),
    active_from: Instant,
  },
  { additionalProperties: false },
);

function shown(rule: AlertRule) {
  const { id, version, tenant, madeBy, activeFrom } = rule;
  const active_from = formatInstant(activeFrom);
  return { id, version, tenant, ...shownDefinition(rule), made_by: madeBy, active_from };
}

export function alertRuleRoutes(app: FastifyInstance, context: HttpContext): void {
  takeJson(app);
  list(app, context);
  create(app, context);
  change(app, context);
  remove(app, context);
}

function list(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listAlertRules',
    summary: 'Alert rules as they are now',
    security: NEEDS_KEY,
    querystring: OwnerQuery,
    response: {
      ...problems('credential', 'field-invalid', 'field-unknown', 'tenant-forbidden'),
      200: jsonAnswer(
        'Rules by name',
        Type.Object({ rules: Type.Array(RuleSchema) }, { additionalProperties: false }),
      ),
    },
  };
  app.get<{ Querystring: Static<typeof OwnerQuery> }>(
    '/v1/alert-rules',
    { schema, config: { access: MAY.investigate } },
    async (request) => {
      const tenant = tenantOfRead(readerOf(request), request.query.tenant);
      return { rules: (await deps.alerts.rules.list(tenant)).map(shown) };
    },
  );
}

function create(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'createAlertRule',
    summary: 'Make an alert rule',
    description: 'It sees the records that are appended from then on.',
    security: NEEDS_KEY,
    querystring: OwnerQuery,
    body: { content: { 'application/json': { schema: Change } } },
    response: { ...problems('credential', ...CHANGE_FAULTS), 201: jsonAnswer('The rule', RuleSchema) },
  };
  app.post<{ Querystring: Static<typeof OwnerQuery>; Body: Static<typeof Change> }>(
    '/v1/alert-rules',
    { schema, config: { access: MAY.resolve } },
    async (request, reply) => {
      const tenant = tenantOfRead(readerOf(request), request.query.tenant);
      const rule = await createRule(deps.alerts, changerOf(request), tenant, request.body);
      return reply.code(201).send(shown(rule));
    },
  );
}

function change(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'changeAlertRule',
    summary: 'Change the members of an alert rule that are given',
    security: NEEDS_KEY,
    params: IdParams,
    body: { content: { 'application/json': { schema: Change } } },
    response: {
      ...problems('credential', ...CHANGE_FAULTS, 'not-found', 'alert-rule-changed'),
      200: jsonAnswer('The rule as it is now', RuleSchema),
    },
  };
  app.patch<{ Params: Static<typeof IdParams>; Body: Static<typeof Change> }>(
    '/v1/alert-rules/:id',
    { schema, config: { access: MAY.resolve } },
    async (request) =>
      shown(await changeRule(deps.alerts, changerOf(request), checkId(request.params.id), request.body)),
  );
}

function remove(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'removeAlertRule',
    summary: 'End an alert rule; alerts that it raised stay',
    security: NEEDS_KEY,
    params: IdParams,
    response: {
      ...problems('credential', ...CHANGE_FAULTS, 'not-found', 'alert-rule-changed'),
      204: Type.Null({ description: 'It has ended' }),
    },
  };
  app.delete<{ Params: Static<typeof IdParams> }>(
    '/v1/alert-rules/:id',
    { schema, config: { access: MAY.resolve } },
    async (request, reply) => {
      await removeRule(deps.alerts, changerOf(request), checkId(request.params.id));
      return reply.code(204).send();
    },
  );
}
