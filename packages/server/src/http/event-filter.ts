/** Filters of requests, who reads, and the shapes that answers about events share. */

import { EvidentError } from '@evident/core/errors.ts';
import type { FastifyRequest } from 'fastify';
import Type, { type TObject } from 'typebox';
import type { Principal } from '../access/authorise.ts';
import type { EventFilter } from '../query/filter.ts';
import { FILTER_NAMES, filterOfNames } from '../query/filter-names.ts';
import type { Reader, SavedSearch } from '../query/ports.ts';
import { listSearches } from '../query/saved-searches.ts';
import type { HttpContext } from './context.ts';
import { actorOf } from './denied-access.ts';
import { Instant, Position } from './schemas.ts';

/** Longest reason that is taken, characters; it is recorded whole. */
const WHY_LENGTH_MAX = 1_000;
/** Longest value of a filter, characters: longer ones match nothing that a row can hold. */
const VALUE_LENGTH_MAX = 2_048;

const value = (description: string) =>
  Type.Optional(Type.String({ maxLength: VALUE_LENGTH_MAX, description }));
const TIME = 'RFC 3339, or a date';

/** The members of a filter but `log`; all that are given must hold. */
export const FOLLOW_MEMBERS = {
  tenant: value('Only this tenant; a credential of one tenant sees no other anyway'),
  type: value('Type of the record, such as cloudtrail'),
  actor: value('Who did it'),
  actor_type: value('What the actor is'),
  action: value('The whole action'),
  action_prefix: value('Actions that begin with this'),
  resource_type: value('What was acted on'),
  resource: value('Id of what was acted on'),
  result: value('success, failure or denied'),
  correlation_id: value('What ties events of one request together'),
  ip: value('Network address that it came from'),
  from: value(`Time of the event, inclusive: ${TIME}`),
  to: value('Time of the event, exclusive'),
  appended_from: value(`Time of the append, inclusive: ${TIME}`),
  appended_to: value('Time of the append, exclusive'),
  text: value('What the body holds, letters A-Z and a-z alike; searches need from and to beside it'),
};

export const WHY = Type.Optional(
  Type.String({
    maxLength: WHY_LENGTH_MAX,
    description: 'Why you look; it is recorded with who you are and what you ask',
  }),
);

/** Filter and reason of every route that searches. */
export const FILTER_MEMBERS = {
  log: value('Only this log'),
  ...FOLLOW_MEMBERS,
  saved: Type.Optional(
    Type.String({
      maxLength: 256,
      description: 'Name of a saved search; members given beside it replace those of the search',
    }),
  ),
  why: WHY,
};

/** A filter as JSON, in saved searches. */
export const FilterSchema = Type.Object(
  Object.fromEntries(FILTER_NAMES.map((name) => [name, Type.Optional(Type.String())])) as Record<
    string,
    ReturnType<typeof value>
  >,
  { additionalProperties: false, description: 'Members as the query parameters of GET /v1/events have them' },
);

const NullableText = Type.Union([Type.String(), Type.Null()]);
const Id = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });

export const EventSchema = Type.Object(
  {
    id: Id,
    tenant: Type.String(),
    log: Type.String(),
    partition: Type.Integer(),
    position: Position,
    appended_at: Instant,
    type: Type.String(),
    mapper: Type.String({
      description: 'What made the row, <type>/<version>; unmapped: nothing knows the type',
    }),
    event_time: { ...Instant, description: 'When it happened; the time of the append where timed is false' },
    timed: Type.Boolean(),
    drift_us: Type.Union([Type.String({ pattern: '^-?[0-9]+$' }), Type.Null()], {
      description: 'How much later it was appended than it says it happened, microseconds',
    }),
    actor_id: NullableText,
    actor_type: NullableText,
    action: NullableText,
    resource_type: NullableText,
    resource_id: NullableText,
    result: Type.Union([Type.Enum(['success', 'failure', 'denied']), Type.Null()]),
    correlation_id: NullableText,
    ip: NullableText,
    corrects: Type.Union([Id, Type.Null()], { description: 'Id of the event that this one corrects' }),
    corrected_by: Type.Array(Id),
  },
  { additionalProperties: false },
);

export const CompleteSchema = Type.Object(
  {
    generation: Type.Integer({ description: 'Generation of the view that answered' }),
    lacking: Type.Integer({ description: 'Open dead letters: records that the view could not take' }),
    behind: Type.String({ pattern: '^[0-9]+$', description: 'Records that the view has not read yet' }),
    partitions: Type.Array(
      Type.Object(
        { log: Type.String(), partition: Type.Integer(), read: Position, head: Position },
        { additionalProperties: false },
      ),
      { description: 'Per partition what the view reads next, and what the log writes next' },
    ),
  },
  { additionalProperties: false, description: 'How much of the log the answer covers' },
);

/** Query parameters of a route that searches. */
export function searchQuery<M extends Record<string, TObject['properties'][string]>>(members: M) {
  return Type.Object({ ...FILTER_MEMBERS, ...members }, { additionalProperties: false });
}

type Given = Readonly<Record<string, unknown>>;

function membersOf(query: Given): Given {
  return Object.fromEntries(
    FILTER_NAMES.filter((name) => query[name] !== undefined).map((name) => [name, query[name]]),
  );
}

/** The filter of a request without a saved search. @throws field-invalid */
export function plainFilterOf(query: Given): EventFilter {
  return filterOfNames(membersOf(query));
}

/** The filter of a request. @throws field-invalid, tenant-forbidden, not-found for an unknown saved search */
export async function filterOf(context: HttpContext, reader: Reader, query: Given): Promise<EventFilter> {
  const given = plainFilterOf(query);
  if (query.saved === undefined) return given;
  const search = await findSearch(context, reader, String(query.saved), given.tenant);
  // Checked together: a span of which one end is saved, and the other given, may be empty.
  const members = { ...search.filter, ...given };
  if (members.from !== undefined && members.to !== undefined && members.from >= members.to)
    throw new EvidentError('field-invalid', 'to: it is not later than from: the span is empty', {
      context: { field: 'to' },
    });
  return members;
}

/** @throws not-found, tenant-forbidden */
export async function findSearch(
  { deps }: HttpContext,
  reader: Reader,
  name: string,
  tenant: string | undefined,
): Promise<SavedSearch> {
  const searches = await listSearches(deps.query, reader, tenant);
  const search = searches.find((one) => one.name === name);
  if (search !== undefined) return search;
  throw new EvidentError('not-found', `saved: there is no saved search ${name.slice(0, 64)}`, {
    context: { field: 'saved' },
  });
}

/** Who reads, for what is recorded of it. */
export function readerOf(request: FastifyRequest, why?: string): Reader {
  const { tenant } = request.principal as Principal;
  return {
    actor: actorOf(request),
    tenant,
    requestId: request.id,
    ...(why === undefined ? {} : { why }),
  };
}
