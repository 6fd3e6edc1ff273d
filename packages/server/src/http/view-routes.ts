/** Views: which generation is shown, what is built beside it, how far each has read, and what it lacks. */

import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { ViewStatus } from '../project/view-status.ts';
import type { HttpContext } from './context.ts';
import { actorOf } from './denied-access.ts';
import { CHANGE_FAULTS, takeJson } from './json-body.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, Position, problems } from './schemas.ts';

const ViewSchema = Type.Object(
  {
    view: Type.String(),
    live: Type.Union([Type.Integer(), Type.Null()], { description: 'The generation that is shown' }),
    definition: Type.String({ description: 'What this server makes rows by' }),
    breaker: Type.Union([Type.String(), Type.Null()], {
      description:
        'Why the view stands still: too many records failed. Null: it does not, or another process feeds it',
    }),
    current: Type.Boolean({ description: 'Whether every row that is shown was made by it' }),
    open_dead_letters: Type.Object(
      { validation: Type.Integer(), poison: Type.Integer() },
      {
        additionalProperties: false,
        description: 'Records that the view lacks, of the tenant of the credential',
      },
    ),
    generations: Type.Array(
      Type.Object(
        {
          generation: Type.Integer(),
          state: Type.Enum(['building', 'live', 'retired']),
          definition: Type.String({
            description: 'What its rows were made by; several, in order, joined by "then"',
          }),
          made_at: Instant,
          behind: Type.String({ pattern: '^[0-9]+$', description: 'Records that it has not read yet' }),
          reach: Type.Array(
            Type.Object(
              { log: Type.String(), partition: Type.Integer(), next: Position },
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

/** Most dead letters that one reset lets pass. */
const ALLOWANCE_MAX = 10_000_000;

const Reset = Type.Object(
  {
    allow: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: ALLOWANCE_MAX,
        description: 'Dead letters that were looked at, and pass uncounted; default 0',
      }),
    ),
    reason: Type.String({ minLength: 1, maxLength: 1_000, description: 'Why; it is recorded' }),
  },
  { additionalProperties: false },
);
const ViewParams = Type.Object({ view: Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }) });

export function viewRoutes(app: FastifyInstance, context: HttpContext): void {
  takeJson(app);
  listViews(app, context);
  resetBreaker(app, context);
}

function listViews(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listViews',
    summary: 'Views, and how they stand',
    security: NEEDS_KEY,
    response: {
      ...problems('credential'),
      200: jsonAnswer(
        'Views',
        Type.Object({ views: Type.Array(ViewSchema) }, { additionalProperties: false }),
      ),
    },
  };
  app.get('/v1/views', { schema, config: { access: MAY.investigate } }, async (request) => {
    const statuses = await deps.viewStatuses((request.principal as Principal).tenant);
    return {
      views: statuses.map((status) =>
        shownView(status, deps.breaker?.view === status.view ? deps.breaker.reason() : null),
      ),
    };
  });
}

function resetBreaker(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'resetBreaker',
    summary: 'Let a view go on that stands still because too many records failed',
    security: NEEDS_KEY,
    params: ViewParams,
    body: { content: { 'application/json': { schema: Reset } } },
    response: {
      ...problems('credential', ...CHANGE_FAULTS, 'not-found'),
      200: jsonAnswer(
        'Whether it stood still',
        Type.Object({ was_open: Type.Boolean() }, { additionalProperties: false }),
      ),
    },
  };
  app.post<{ Params: Static<typeof ViewParams>; Body: Static<typeof Reset> }>(
    '/v1/views/:view/reset-breaker',
    { schema, config: { access: MAY.administer } },
    async (request) => {
      const { view } = request.params;
      if ((request.principal as Principal).tenant !== null)
        throw new EvidentError(
          'forbidden',
          'A view holds records of all tenants: this needs a credential for all.',
          {
            context: { field: 'tenant' },
          },
        );
      const { breaker } = deps;
      if (breaker === null || breaker.view !== view)
        throw new EvidentError('not-found', `this server feeds no view ${view}`);
      const error = breaker.reason();
      if (error === null) return { was_open: false };
      const { allow = 0, reason } = request.body;
      await deps.recordOwn([
        {
          actor: actorOf(request),
          action: 'view.reset_breaker',
          resource: { type: 'view', id: view },
          result: 'success',
          tenant: null,
          reason,
          details: { allow, stood_still: error },
          requestId: request.id,
        },
      ]);
      breaker.reset(allow);
      return { was_open: true };
    },
  );
}

function shownView(status: ViewStatus, breaker: string | null): Static<typeof ViewSchema> {
  const { view, live, definition, isCurrent, openDeadLetters, generations } = status;
  return {
    view,
    live,
    definition,
    breaker,
    current: isCurrent,
    open_dead_letters: { ...openDeadLetters },
    generations: generations.map((one) => ({
      generation: one.generation,
      state: one.state,
      definition: one.definition,
      made_at: formatInstant(one.madeAt),
      behind: one.behind.toString(),
      reach: one.reach.map(({ log, partition, next }) => ({ log, partition, next: next.toString() })),
    })),
  };
}
