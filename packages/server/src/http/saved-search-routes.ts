/** Saved searches: a filter under a name, for everybody who reads a tenant. They run as `GET /v1/events?saved=NAME`. */

import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { filterOfNames, namesOfFilter } from '../query/filter-names.ts';
import { SAVED_SEARCHES_MAX, type SavedSearch } from '../query/ports.ts';
import { dropSearch, listSearches, saveSearch } from '../query/saved-searches.ts';
import type { HttpContext } from './context.ts';
import { FilterSchema, findSearch, readerOf } from './event-filter.ts';
import { TURN_PROBLEMS } from './event-search-routes.ts';
import { takeJson } from './json-body.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, problems } from './schemas.ts';

const NameParams = Type.Object({ name: Type.String({ description: 'Name of the search' }) });
const Query = Type.Object(
  {
    tenant: Type.Optional(
      Type.String({
        description: 'Whose searches, for a credential of all tenants; without it those of its like',
      }),
    ),
  },
  { additionalProperties: false },
);
const Wanted = Type.Object({ filter: FilterSchema }, { additionalProperties: false });
const SearchSchema = Type.Object(
  { name: Type.String(), filter: FilterSchema, made_by: Type.String(), made_at: Instant },
  { additionalProperties: false },
);
const ListSchema = Type.Object(
  { searches: Type.Array(SearchSchema, { maxItems: SAVED_SEARCHES_MAX }) },
  { additionalProperties: false },
);

function shown({ name, filter, madeBy, madeAt }: SavedSearch): Static<typeof SearchSchema> {
  return { name, filter: namesOfFilter(filter), made_by: madeBy, made_at: formatInstant(madeAt) };
}

export function savedSearchRoutes(app: FastifyInstance, context: HttpContext): void {
  takeJson(app);
  list(app, context);
  read(app, context);
  keep(app, context);
  drop(app, context);
}

function list(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listSavedSearches',
    summary: 'Saved searches by name',
    security: NEEDS_KEY,
    querystring: Query,
    response: {
      ...problems('credential', ...TURN_PROBLEMS, 'field-invalid', 'field-unknown', 'tenant-forbidden'),
      200: jsonAnswer('All of them', ListSchema),
    },
  };
  app.get<{ Querystring: Static<typeof Query> }>(
    '/v1/saved-searches',
    { schema, config: { access: MAY.investigate } },
    async (request) => ({
      searches: (await listSearches(deps.query, readerOf(request), request.query.tenant)).map(shown),
    }),
  );
}

function read(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'readSavedSearch',
    summary: 'One saved search',
    security: NEEDS_KEY,
    params: NameParams,
    querystring: Query,
    response: {
      ...problems(
        'credential',
        ...TURN_PROBLEMS,
        'field-invalid',
        'field-unknown',
        'tenant-forbidden',
        'not-found',
      ),
      200: jsonAnswer('The search', SearchSchema),
    },
  };
  app.get<{ Params: Static<typeof NameParams>; Querystring: Static<typeof Query> }>(
    '/v1/saved-searches/:name',
    { schema, config: { access: MAY.investigate } },
    async (request) =>
      shown(await findSearch(context, readerOf(request), request.params.name, request.query.tenant)),
  );
}

function keep(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'saveSearch',
    summary: 'Keep a search under a name, or replace the one of that name',
    security: NEEDS_KEY,
    params: NameParams,
    querystring: Query,
    body: { content: { 'application/json': { schema: Wanted } } },
    response: {
      ...problems(
        'credential',
        ...TURN_PROBLEMS,
        'field-invalid',
        'field-unknown',
        'json-invalid',
        'json-duplicate-member',
        'json-too-deep',
        'body-too-large',
        'media-type-unsupported',
        'tenant-forbidden',
        'read-unrecorded',
      ),
      204: Type.Null({ description: 'It is kept' }),
    },
  };
  app.put<{
    Params: Static<typeof NameParams>;
    Querystring: Static<typeof Query>;
    Body: Static<typeof Wanted>;
  }>('/v1/saved-searches/:name', { schema, config: { access: MAY.resolve } }, async (request, reply) => {
    const { tenant } = request.query;
    const filter = filterOfNames(request.body.filter);
    const search = { name: request.params.name, filter, ...(tenant === undefined ? {} : { tenant }) };
    await saveSearch(deps.query, readerOf(request), search);
    return reply.code(204).send();
  });
}

function drop(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'dropSavedSearch',
    summary: 'Remove a saved search',
    security: NEEDS_KEY,
    params: NameParams,
    querystring: Query,
    response: {
      ...problems(
        'credential',
        ...TURN_PROBLEMS,
        'field-invalid',
        'field-unknown',
        'tenant-forbidden',
        'not-found',
        'read-unrecorded',
      ),
      204: Type.Null({ description: 'It is gone' }),
    },
  };
  app.delete<{ Params: Static<typeof NameParams>; Querystring: Static<typeof Query> }>(
    '/v1/saved-searches/:name',
    { schema, config: { access: MAY.resolve } },
    async (request, reply) => {
      const { name } = request.params;
      if (!(await dropSearch(deps.query, readerOf(request), name, request.query.tenant)))
        throw new EvidentError('not-found', `name: there is no saved search ${name.slice(0, 64)}`, {
          context: { field: 'name' },
        });
      return reply.code(204).send();
    },
  );
}
