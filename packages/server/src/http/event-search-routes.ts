/** `GET /v1/events`, `/count`, `/histogram`: who did what to which resource, newest first, and how often. */

import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { countEvents, DIMENSIONS, histogram, INTERVALS } from '../query/count.ts';
import { COUNT_VALUES_MAX, PAGE_EVENTS_MAX } from '../query/ports.ts';
import { search } from '../query/search.ts';
import { countsJson, histogramJson, pageJson } from '../query/shown-event.ts';
import type { HttpContext } from './context.ts';
import { CompleteSchema, EventSchema, filterOf, readerOf, searchQuery } from './event-filter.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, problems } from './schemas.ts';

const PAGE_DEFAULT = 100;
const VALUES_DEFAULT = 20;
const Count = Type.Integer({ minimum: 0 });

/** What is answered when it is not the tenant's turn. */
export const TURN_PROBLEMS = ['tenant-busy', 'overloaded'] as const;

/** What every route that asks the view may refuse. */
export const READ_PROBLEMS = [
  ...TURN_PROBLEMS,
  'field-invalid',
  'field-unknown',
  'tenant-forbidden',
  'log-unknown',
  'not-found',
  'query-too-slow',
  'read-unrecorded',
] as const;

const SearchQuery = searchQuery({
  cursor: Type.Optional(
    Type.String({ maxLength: 512, description: 'The cursor of the page before, of the same filter' }),
  ),
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: PAGE_EVENTS_MAX,
      description: `Most events of the page; ${PAGE_DEFAULT} without it`,
    }),
  ),
});
const PageSchema = Type.Object(
  {
    events: Type.Array(EventSchema),
    cursor: Type.Union([Type.String(), Type.Null()], {
      description: 'Where to go on; null: that was all. A page may be empty and have one',
    }),
    complete: CompleteSchema,
    scan: Type.Union(
      [
        Type.Object({ records: Count, bytes: Count, not_searched: Count }, { additionalProperties: false }),
        Type.Null(),
      ],
      {
        description:
          'What was looked at one by one, and how many bodies could not be; null: an index found all',
      },
    ),
  },
  { additionalProperties: false },
);
const CountQuery = searchQuery({
  by: Type.Enum([...DIMENSIONS], { description: 'What to count by' }),
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: COUNT_VALUES_MAX,
      description: `Most values, the most frequent; ${VALUES_DEFAULT} without it`,
    }),
  ),
});
const CountsSchema = Type.Object(
  {
    by: Type.Enum([...DIMENSIONS]),
    counts: Type.Array(
      Type.Object(
        {
          value: Type.Union([Type.String(), Type.Null()], { description: 'Null: the events that tell none' }),
          count: Count,
        },
        { additionalProperties: false },
      ),
      { description: 'Most frequent first' },
    ),
    complete: CompleteSchema,
  },
  { additionalProperties: false },
);
const HistogramQuery = searchQuery({
  interval: Type.Enum([...INTERVALS], { description: 'Length of a bucket, of UTC' }),
});
const HistogramSchema = Type.Object(
  {
    interval: Type.Enum([...INTERVALS]),
    buckets: Type.Array(Type.Object({ start: Instant, count: Count }, { additionalProperties: false }), {
      description: 'Buckets that hold events, ascending',
    }),
    complete: CompleteSchema,
  },
  { additionalProperties: false },
);

/** Reads are recorded before they are answered; a HEAD would be recorded, and answered with nothing. */
export const READ_ROUTE = { exposeHeadRoute: false, config: { access: MAY.investigate } } as const;

export function eventSearchRoutes(app: FastifyInstance, context: HttpContext): void {
  searchEvents(app, context);
  countByValue(app, context);
  countOverTime(app, context);
}

function searchEvents(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'searchEvents',
    summary: 'Events that match, newest first',
    description:
      'A credential of one tenant sees the events of that tenant. Every read is recorded before it is answered.',
    security: NEEDS_KEY,
    querystring: SearchQuery,
    response: {
      ...problems('credential', ...READ_PROBLEMS, 'cursor-invalid'),
      200: jsonAnswer('A page, and how much of the log it covers', PageSchema),
    },
  };
  app.get<{ Querystring: Static<typeof SearchQuery> }>(
    '/v1/events',
    { schema, ...READ_ROUTE },
    async (request) => {
      const { cursor, limit = PAGE_DEFAULT, why, ...given } = request.query;
      const reader = readerOf(request, why);
      const filter = await filterOf(context, reader, given);
      const page = { limit, ...(cursor === undefined ? {} : { cursor }) };
      return pageJson(await search(context.deps.query, reader, filter, page));
    },
  );
}

function countByValue(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'countEvents',
    summary: 'How many events there are of each actor, action, resource, result, type, hour or day',
    security: NEEDS_KEY,
    querystring: CountQuery,
    response: {
      ...problems('credential', ...READ_PROBLEMS),
      200: jsonAnswer('Counts', CountsSchema),
    },
  };
  app.get<{ Querystring: Static<typeof CountQuery> }>(
    '/v1/events/count',
    { schema, ...READ_ROUTE },
    async (request) => {
      const { by, limit = VALUES_DEFAULT, why, ...given } = request.query;
      const reader = readerOf(request, why);
      const filter = await filterOf(context, reader, given);
      return countsJson(by, await countEvents(context.deps.query, reader, filter, by, limit));
    },
  );
}

function countOverTime(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'histogramOfEvents',
    summary: 'How many events there are in each minute, hour or day',
    security: NEEDS_KEY,
    querystring: HistogramQuery,
    response: {
      ...problems('credential', ...READ_PROBLEMS),
      200: jsonAnswer('Buckets by the time of the event', HistogramSchema),
    },
  };
  app.get<{ Querystring: Static<typeof HistogramQuery> }>(
    '/v1/events/histogram',
    { schema, ...READ_ROUTE },
    async (request) => {
      const { interval, why, ...given } = request.query;
      const reader = readerOf(request, why);
      const filter = await filterOf(context, reader, given);
      return histogramJson(interval, await histogram(context.deps.query, reader, filter, interval));
    },
  );
}
