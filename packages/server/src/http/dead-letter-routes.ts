/** Dead letters: records that a view could not take, for whoever may see their tenant; resolved by compliance and admins. */

import { decodeUtf8, toBase64 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import {
  type DeadLetterEntry,
  type DeadLetterPlace,
  deadLetterName,
  replayDeadLetter,
  replayDeadLetters,
  resolveDeadLetter,
  showDeadLetter,
} from '../project/dead-letters.ts';
import type { HttpContext } from './context.ts';
import {
  ListQuery,
  PAGE_DEFAULT,
  PageSchema,
  PlaceParams,
  parseAfter,
  REPLAYS_MAX,
  RESOLVE_PROBLEMS,
  Reason,
  ReplayFilter,
  ReplaysSchema,
  ResolvedSchema,
  ShownLetter,
  showAfter,
  shownLetter,
  shownResolved,
  textOf,
} from './dead-letter-schemas.ts';
import { actorOf } from './denied-access.ts';
import { readerOf } from './event-filter.ts';
import { takeJson } from './json-body.ts';
import { NEEDS_KEY } from './open-api.ts';
import { jsonAnswer, problems } from './schemas.ts';

type Place = Static<typeof PlaceParams>;

export function deadLetterRoutes(app: FastifyInstance, context: HttpContext): void {
  takeJson(app);
  listRoute(app, context);
  showRoute(app, context);
  replayRoute(app, context);
  replaysRoute(app, context);
  for (const [action, resolution] of [
    ['discard', 'discarded'],
    ['resolve', 'manual'],
  ] as const)
    reasonRoute(app, context, action, resolution);
}

function listRoute(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listDeadLetters',
    summary: 'Records that a view could not take, in (log, partition, position) order',
    description:
      'What is said of a record may quote it: a page with letters is recorded before it is answered.',
    security: NEEDS_KEY,
    querystring: ListQuery,
    response: {
      ...problems('credential', 'field-invalid', 'field-unknown', 'tenant-forbidden', 'read-unrecorded'),
      200: jsonAnswer('Dead letters', PageSchema),
    },
  };
  app.get<{ Querystring: Static<typeof ListQuery> }>(
    '/v1/dead-letters',
    { schema, config: { access: MAY.investigate } },
    async (request) => {
      const { view = 'hot', after, limit = PAGE_DEFAULT, state = 'open', tenant, ...filter } = request.query;
      const seen = seenTenant(request, tenant);
      const page = await deps.deadLetters.letters.list(
        { ...filter, view, state, ...(seen === null ? {} : { tenant: seen }) },
        after === undefined ? null : parseAfter(after),
        limit,
      );
      if (page.length > 0)
        await deps.query.recorder.record(readerOf(request), {
          action: 'audit.read',
          resource: { type: 'dead_letters', id: view },
          tenant: seen,
          details: { state, returned: page.length },
        });
      const last = page.at(-1);
      const next = last === undefined || page.length < limit ? null : showAfter(last);
      return { dead_letters: page.map(shownLetter), next };
    },
  );
}

function showRoute(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'showDeadLetter',
    summary: 'A dead letter with its record',
    description: 'The record is content of the log: that it was shown is recorded before the answer.',
    security: NEEDS_KEY,
    params: PlaceParams,
    response: {
      ...problems('credential', 'field-invalid', 'log-unknown', 'not-found', 'read-unrecorded'),
      200: jsonAnswer('The dead letter', ShownLetter),
    },
  };
  app.get<{ Params: Place }>(
    '/v1/dead-letters/:view/:log/:partition/:position',
    { schema, config: { access: MAY.investigate } },
    async (request) => {
      const place = placeOf(request.params);
      const shown = await showDeadLetter(deps.deadLetters, place);
      if (shown === null || !maySee(request, shown.letter)) throw notFound(place);
      await recordShown(deps, request, shown.letter);
      const head = shown.bodyHead;
      const isMissing = head !== null && 'missing' in head;
      const text = head === null || isMissing ? null : textOf(head);
      return {
        ...shownLetter(shown.letter),
        stack: shown.letter.stack,
        leaf: shown.leaf === null ? null : decodeUtf8(shown.leaf),
        body_bytes: shown.bodyBytes === null ? null : shown.bodyBytes.toString(),
        body_head: text,
        body_head_base64: head === null || isMissing || text !== null ? null : toBase64(head),
        body_missing: isMissing ? head.missing : null,
      };
    },
  );
}

function replayRoute(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'replayDeadLetter',
    summary: "Map a dead letter again with today's mapper",
    security: NEEDS_KEY,
    params: PlaceParams,
    response: {
      ...problems('credential', ...RESOLVE_PROBLEMS),
      200: jsonAnswer('What became of it', ResolvedSchema),
    },
  };
  app.post<{ Params: Place }>(
    '/v1/dead-letters/:view/:log/:partition/:position/replay',
    { schema, config: { access: MAY.resolve } },
    async (request) => {
      const place = await seenPlace(deps, request);
      return shownResolved(
        await replayDeadLetter(deps.deadLetters, place, { actor: actorOf(request), requestId: request.id }),
      );
    },
  );
}

function replaysRoute(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'replayDeadLetters',
    summary: `Map open dead letters again, up to ${REPLAYS_MAX} in a request`,
    description: 'Poison is passed over: a command maps it, in a process of its own.',
    security: NEEDS_KEY,
    body: { content: { 'application/json': { schema: ReplayFilter } } },
    response: {
      ...problems('credential', ...RESOLVE_PROBLEMS),
      200: jsonAnswer('What became of them', ReplaysSchema),
    },
  };
  app.post<{ Body: Static<typeof ReplayFilter> }>(
    '/v1/dead-letters/replay',
    { schema, config: { access: MAY.resolve } },
    async (request) => {
      const { view = 'hot', after, tenant, ...filter } = request.body;
      const seen = seenTenant(request, tenant);
      const { counts, next } = await replayDeadLetters(
        deps.deadLetters,
        { ...filter, view, ...(seen === null ? {} : { tenant: seen }) },
        after === undefined ? null : parseAfter(after),
        REPLAYS_MAX,
        { actor: actorOf(request), requestId: request.id },
      );
      return { ...counts, next: next === null ? null : showAfter(next) };
    },
  );
}

function reasonRoute(
  app: FastifyInstance,
  { deps }: HttpContext,
  action: 'discard' | 'resolve',
  resolution: 'discarded' | 'manual',
): void {
  const schema = {
    operationId: `${action}DeadLetter`,
    summary:
      action === 'discard'
        ? 'Leave a record out of the view for good'
        : 'Note that a dead letter was dealt with by hand',
    security: NEEDS_KEY,
    params: PlaceParams,
    body: { content: { 'application/json': { schema: Reason } } },
    response: {
      ...problems('credential', ...RESOLVE_PROBLEMS),
      200: jsonAnswer('What became of it', ResolvedSchema),
    },
  };
  app.post<{ Params: Place; Body: Static<typeof Reason> }>(
    `/v1/dead-letters/:view/:log/:partition/:position/${action}`,
    { schema, config: { access: MAY.resolve } },
    async (request) => {
      const place = await seenPlace(deps, request);
      const { reason } = request.body;
      const how = { resolution, reason, actor: actorOf(request), requestId: request.id };
      return shownResolved(await resolveDeadLetter(deps.deadLetters, place, how));
    },
  );
}

/** The record of a letter is content of the log: whoever is shown it is recorded first. @throws read-unrecorded */
async function recordShown(
  { recordOwn }: HttpContext['deps'],
  request: FastifyRequest,
  letter: DeadLetterEntry,
): Promise<void> {
  try {
    await recordOwn([
      {
        actor: actorOf(request),
        action: 'audit.read',
        resource: { type: 'dead_letter', id: deadLetterName(letter) },
        result: 'success',
        tenant: ownTenant(letter.tenant),
        details: { record: letter.id },
        requestId: request.id,
      },
    ]);
  } catch (cause) {
    throw new EvidentError('read-unrecorded', 'The log did not take the record of this read.', { cause });
  }
}

/** A letter of another tenant is one that does not exist. @throws not-found */
async function seenPlace(
  deps: HttpContext['deps'],
  request: FastifyRequest<{ Params: Place }>,
): Promise<DeadLetterPlace> {
  const place = placeOf(request.params);
  const letter = await deps.deadLetters.letters.find(place);
  if (letter === null || !maySee(request, letter)) throw notFound(place);
  return place;
}

function maySee(request: FastifyRequest, letter: DeadLetterEntry): boolean {
  const { tenant } = request.principal as Principal;
  return tenant === null || tenant === letter.tenant;
}

/** @throws tenant-forbidden */
function seenTenant(request: FastifyRequest, asked: string | undefined): string | null {
  const { tenant } = request.principal as Principal;
  if (tenant !== null && asked !== undefined && asked !== tenant) {
    throw new EvidentError(
      'tenant-forbidden',
      `tenant: the credential speaks for ${tenant}, and not for another`,
      {
        context: { field: 'tenant' },
      },
    );
  }
  return asked ?? tenant;
}

/** Reserved tenants have no events of their own. */
function ownTenant(tenant: string): string | null {
  return tenant.startsWith('_') ? null : tenant;
}

function placeOf({ view, log, partition, position }: Place): DeadLetterPlace {
  return { view, log, partition: Number(partition), position: BigInt(position) };
}

function notFound(place: DeadLetterPlace): EvidentError {
  return new EvidentError('not-found', `there is no dead letter ${deadLetterName(place)}`);
}
