/** Alerts: listed, and acknowledged. An alert says who did what, so a page of them is recorded as any other read. */

import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import { checkId } from '@evident/core/record.ts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static, type TSchema } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import { acknowledgeAlert, type Changer } from '../alerts/changes.ts';
import type { Alert } from '../alerts/ports.ts';
import { SEVERITIES } from '../alerts/rule.ts';
import { shownAlert } from '../alerts/webhook.ts';
import { tenantOfRead } from '../query/scope.ts';
import type { HttpContext } from './context.ts';
import { actorOf } from './denied-access.ts';
import { readerOf } from './event-filter.ts';
import { CHANGE_FAULTS, takeJson } from './json-body.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, Position, problems } from './schemas.ts';

export const ALERTS_PAGE_MAX = 1_000;
const PAGE_DEFAULT = 100;

const orNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const Count = Type.String({ pattern: '^[0-9]{1,19}$', description: 'Decimal' });
const EventPlace = Type.Object(
  { log: Type.String(), partition: Type.Integer({ minimum: 0 }), position: Position },
  { additionalProperties: false },
);
const AlertSchema = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    tenant: Type.String({ description: '_system: nobody in particular' }),
    rule: orNull(
      Type.Object({ id: Type.String(), version: Type.Integer() }, { additionalProperties: false }),
    ),
    name: Type.String(),
    severity: Type.Enum([...SEVERITIES]),
    group_by: orNull(Type.String()),
    subject: orNull(Type.String({ description: 'Whose events these are, by what the rule groups by' })),
    others: Type.Boolean({ description: 'Of the groups beyond the bound, together' }),
    window_start: orNull(Instant),
    window_end: orNull(Instant),
    threshold: orNull(Count),
    count: Count,
    events: Type.Array(EventPlace, { description: 'The first of them' }),
    detail: Type.String(),
    opened_at: Instant,
    closed_at: orNull(Instant),
    acknowledged_at: orNull(Instant),
    acknowledged_by: orNull(Type.String()),
    note: orNull(Type.String()),
  },
  { additionalProperties: false },
);
const PageSchema = Type.Object(
  {
    alerts: Type.Array(AlertSchema, { maxItems: ALERTS_PAGE_MAX }),
    cursor: orNull(Type.String({ description: 'What to give as cursor for older ones' })),
  },
  { additionalProperties: false },
);
const ListQuery = Type.Object(
  {
    tenant: Type.Optional(Type.String({ description: 'Only of this tenant' })),
    state: Type.Optional(Type.Enum(['all', 'unacknowledged'])),
    cursor: Type.Optional(Type.String({ maxLength: 128 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: ALERTS_PAGE_MAX })),
  },
  { additionalProperties: false },
);
export const IdParams = Type.Object({ id: Type.String({ description: 'A UUID' }) });
const Acknowledgement = Type.Object(
  { note: Type.Optional(orNull(Type.String())) },
  { additionalProperties: false },
);
const AcknowledgedSchema = Type.Object(
  {
    outcome: Type.Enum(['acknowledged', 'already'], {
      description: 'already: somebody had said so before; theirs stands, and nothing was done',
    }),
    acknowledged_at: Instant,
    acknowledged_by: Type.String(),
    note: orNull(Type.String()),
  },
  { additionalProperties: false },
);

/** Whose rule or webhook is meant: the caller's, or the one that a caller for all names. */
export const OwnerQuery = Type.Object(
  {
    tenant: Type.Optional(
      Type.String({ description: 'Whose; without it, with a credential for all, everybody’s' }),
    ),
  },
  { additionalProperties: false },
);

export function changerOf(request: FastifyRequest): Changer {
  const { tenant } = request.principal as Principal;
  return { actor: actorOf(request), tenant, requestId: request.id };
}

export function alertRoutes(app: FastifyInstance, context: HttpContext): void {
  takeJson(app);
  listAlerts(app, context);
  acknowledge(app, context);
}

const cursorOf = ({ openedAt, id }: Alert): string => `${openedAt}.${id}`;

function parseCursor(text: string): { openedAt: bigint; id: string } {
  const match = /^([0-9]{1,18})\.([0-9a-f-]{36})$/.exec(text);
  if (match !== null) return { openedAt: BigInt(match[1]), id: checkId(match[2], 'cursor') };
  throw new EvidentError('cursor-invalid', 'cursor: it is none that a list of alerts gave', {
    context: { field: 'cursor' },
  });
}

function listAlerts(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listAlerts',
    summary: 'Alerts, newest first',
    security: NEEDS_KEY,
    querystring: ListQuery,
    response: {
      ...problems(
        'credential',
        'field-invalid',
        'field-unknown',
        'tenant-forbidden',
        'cursor-invalid',
        'read-unrecorded',
      ),
      200: jsonAnswer('A page of alerts', PageSchema),
    },
  };
  app.get<{ Querystring: Static<typeof ListQuery> }>(
    '/v1/alerts',
    { schema, config: { access: MAY.investigate } },
    async (request) => {
      const { tenant: named, state = 'all', cursor, limit = PAGE_DEFAULT } = request.query;
      const reader = readerOf(request);
      const tenant = tenantOfRead(reader, named);
      const before = cursor === undefined ? null : parseCursor(cursor);
      const alerts = await deps.alerts.board.list({ tenant, state, before, limit });
      await deps.query.recorder.record(reader, {
        action: 'audit.read',
        resource: { type: 'alerts', id: state },
        tenant,
        details: { returned: alerts.length },
      });
      const last = alerts.length < limit ? undefined : alerts.at(-1);
      return { alerts: alerts.map(shownAlert), cursor: last === undefined ? null : cursorOf(last) };
    },
  );
}

function acknowledge(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'acknowledgeAlert',
    summary: 'Say that somebody has seen to an alert; the first to say so stays',
    security: NEEDS_KEY,
    params: IdParams,
    body: { content: { 'application/json': { schema: Acknowledgement } } },
    response: {
      ...problems('credential', ...CHANGE_FAULTS, 'not-found'),
      200: jsonAnswer('The acknowledgement that stands', AcknowledgedSchema),
    },
  };
  app.post<{ Params: Static<typeof IdParams>; Body: Static<typeof Acknowledgement> }>(
    '/v1/alerts/:id/acknowledge',
    { schema, config: { access: MAY.resolve } },
    async (request) => {
      const id = checkId(request.params.id);
      const note = request.body.note ?? null;
      const made = await acknowledgeAlert(deps.alerts, changerOf(request), id, note);
      return {
        outcome: made.isNew ? ('acknowledged' as const) : ('already' as const),
        acknowledged_at: formatInstant(made.at),
        acknowledged_by: made.by,
        note: made.note,
      };
    },
  );
}
