/** Views: which generation is shown, what is built beside it, how far each has read, and what it lacks. */

import { formatInstant } from '@evident/core/leaf.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { ViewStatus } from '../project/view-status.ts';
import type { HttpContext } from './context.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, Position, problems } from './schemas.ts';

const ViewSchema = Type.Object(
  {
    view: Type.String(),
    live: Type.Union([Type.Integer(), Type.Null()], { description: 'The generation that is shown' }),
    definition: Type.String({ description: 'What this server makes rows by' }),
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

export function viewRoutes(app: FastifyInstance, { deps }: HttpContext): void {
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
    return { views: statuses.map(shownView) };
  });
}

function shownView(status: ViewStatus): Static<typeof ViewSchema> {
  const { view, live, definition, isCurrent, openDeadLetters, generations } = status;
  return {
    view,
    live,
    definition,
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
