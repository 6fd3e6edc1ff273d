/** API keys: made, listed and revoked by admins. An admin of one tenant handles the keys of that tenant alone. */

import { EvidentError } from '@evident/core/errors.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import {
  type ApiKey,
  createApiKey,
  GRACE_SECONDS_DEFAULT,
  GRACE_SECONDS_MAX,
  type KeyChange,
  MAY,
  ROLES,
  revokeApiKey,
  rotateApiKey,
} from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { HttpContext } from './context.ts';
import { actorOf } from './denied-access.ts';
import { CHANGE_FAULTS, takeJson } from './json-body.ts';
import { API_KEYS_PAGE_MAX } from './limits.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, problems } from './schemas.ts';

/** Ten years. */
const LIFETIME_SECONDS_MAX = 315_360_000;
const NullableText = Type.Union([Type.String(), Type.Null()]);
const KeyId = Type.String({ pattern: '^[a-z0-9]{1,32}$' });
const NewKey = Type.Object(
  {
    role: Type.Enum([...ROLES]),
    tenant: Type.Optional({
      ...NullableText,
      description: 'Whom it speaks for; a writer has one. Absent or null: all',
    }),
    note: Type.Optional({ ...NullableText, description: 'What it is for; at most 256 bytes' }),
    lifetime_seconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: LIFETIME_SECONDS_MAX,
        description: 'When it ends by itself, counted from now; absent: when it is revoked',
      }),
    ),
  },
  { additionalProperties: false },
);
const KEY_MEMBERS = {
  id: KeyId,
  role: Type.Enum([...ROLES]),
  tenant: NullableText,
  note: NullableText,
  made_at: Instant,
  revoked_at: Type.Union([Instant, Type.Null()]),
  expires_at: Type.Union([Instant, Type.Null()]),
  rotated_to: Type.Union([KeyId, Type.Null()], { description: 'The key that takes its place' }),
};
const Rotation = Type.Object(
  {
    grace_seconds: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: GRACE_SECONDS_MAX,
        description: `How long the key goes on beside the one that takes its place; absent: ${GRACE_SECONDS_DEFAULT}`,
      }),
    ),
  },
  { additionalProperties: false },
);
const KeySchema = Type.Object(KEY_MEMBERS, { additionalProperties: false });
const MadeKey = Type.Object(
  { ...KEY_MEMBERS, key: Type.String({ description: 'The text of the key. It is never shown again' }) },
  { additionalProperties: false },
);
const ListQuery = Type.Object(
  {
    after: Type.Optional(KeyId),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: API_KEYS_PAGE_MAX })),
  },
  { additionalProperties: false },
);
const KeyParams = Type.Object({
  id: Type.String({ description: 'Id of the key: the part between the underscores' }),
});

export function apiKeyRoutes(app: FastifyInstance, context: HttpContext): void {
  takeJson(app);
  makeKey(app, context);
  listKeys(app, context);
  rotateKey(app, context);
  revokeKey(app, context);
}

/** Who changes a key. */
function changeBy(request: FastifyRequest): KeyChange {
  return { actor: actorOf(request), requestId: request.id };
}

function shownKey(key: ApiKey): Static<typeof KeySchema> {
  const { keyId, role, tenant, note, madeAt, revokedAt, expiresAt, rotatedTo } = key;
  const instant = (micros: bigint | null) => (micros === null ? null : formatInstant(micros));
  return {
    id: keyId,
    role,
    tenant,
    note,
    made_at: formatInstant(madeAt),
    revoked_at: instant(revokedAt),
    expires_at: instant(expiresAt),
    rotated_to: rotatedTo,
  };
}

function makeKey(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'createApiKey',
    summary: 'Make an API key',
    security: NEEDS_KEY,
    body: { content: { 'application/json': { schema: NewKey } } },
    response: {
      ...problems('credential', ...CHANGE_FAULTS),
      201: jsonAnswer('The key, with its text', MadeKey),
    },
  };
  app.post<{ Body: Static<typeof NewKey> }>(
    '/v1/api-keys',
    { schema, config: { access: MAY.administer } },
    async (request, reply) => {
      const own = (request.principal as Principal).tenant;
      const { role, tenant = own, note = null, lifetime_seconds: seconds } = request.body;
      if (own !== null && tenant !== own) {
        throw new EvidentError('tenant-forbidden', `tenant: an admin of ${own} makes keys of ${own} alone`, {
          context: { field: 'tenant' },
        });
      }
      const now = deps.apiKeys.clock();
      const expiresAt = seconds === undefined ? null : now + BigInt(seconds) * 1_000_000n;
      const asked = { role, tenant, note, expiresAt };
      const { text, key } = await createApiKey(deps.apiKeys, asked, changeBy(request));
      deps.logger.info(
        { requestId: request.id, by: request.principal?.subject, keyId: key.keyId, role, tenant },
        'an API key was made',
      );
      return reply.code(201).send({ ...shownKey(key), key: text });
    },
  );
}

function listKeys(app: FastifyInstance, { deps }: HttpContext): void {
  const Page = Type.Object(
    {
      keys: Type.Array(KeySchema),
      next: Type.Union([KeyId, Type.Null()], { description: 'What to give as after for the next page' }),
    },
    { additionalProperties: false },
  );
  const schema = {
    operationId: 'listApiKeys',
    summary: 'API keys, revoked ones among them, without their secrets',
    security: NEEDS_KEY,
    querystring: ListQuery,
    response: {
      ...problems('credential', 'field-invalid', 'field-unknown'),
      200: jsonAnswer('Keys by id', Page),
    },
  };
  app.get<{ Querystring: Static<typeof ListQuery> }>(
    '/v1/api-keys',
    { schema, config: { access: MAY.administer } },
    async (request) => {
      const { after = null, limit = API_KEYS_PAGE_MAX } = request.query;
      const keys = await deps.apiKeys.store.list({
        tenant: (request.principal as Principal).tenant,
        after,
        limit,
      });
      return { keys: keys.map(shownKey), next: keys.length < limit ? null : (keys.at(-1)?.keyId ?? null) };
    },
  );
}

function rotateKey(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'rotateApiKey',
    summary: 'Make the key that takes the place of another, which ends after a time of grace',
    description:
      'The new key has role, tenant and note of the old one, and lives as long as that was made to.',
    security: NEEDS_KEY,
    params: KeyParams,
    body: { content: { 'application/json': { schema: Rotation } } },
    response: {
      ...problems(
        'credential',
        'field-invalid',
        'field-unknown',
        'json-invalid',
        'json-duplicate-member',
        'json-too-deep',
        'body-too-large',
        'media-type-unsupported',
        'not-found',
        'api-key-ended',
        'partition-stopped',
        'outcome-unknown',
        'disk-full',
      ),
      201: jsonAnswer('The new key, with its text', MadeKey),
    },
  };
  app.post<{ Params: Static<typeof KeyParams>; Body: Static<typeof Rotation> }>(
    '/v1/api-keys/:id/rotate',
    { schema, config: { access: MAY.administer } },
    async (request, reply) => {
      const { id } = request.params;
      const { tenant } = request.principal as Principal;
      const grace = request.body.grace_seconds ?? GRACE_SECONDS_DEFAULT;
      const made = await rotateApiKey(deps.apiKeys, id, grace, tenant, changeBy(request));
      if (made === null)
        throw new EvidentError('not-found', `id: there is no API key ${id}`, { context: { field: 'id' } });
      const { subject: by } = request.principal as Principal;
      const rotatedTo = made.key.keyId;
      deps.logger.info({ requestId: request.id, by, keyId: id, rotatedTo }, 'an API key was rotated');
      return reply.code(201).send({ ...shownKey(made.key), key: made.text });
    },
  );
}

function revokeKey(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'revokeApiKey',
    summary: 'Revoke an API key',
    description:
      'Holds at once in this process, in any other after 5 s at the latest. Revoking it again changes nothing.',
    security: NEEDS_KEY,
    params: KeyParams,
    response: {
      ...problems(
        'credential',
        'not-found',
        'partition-stopped',
        'outcome-unknown',
        'disk-full',
        'media-type-unsupported',
      ),
      204: Type.Null({ description: 'The key is revoked' }),
    },
  };
  app.delete<{ Params: Static<typeof KeyParams> }>(
    '/v1/api-keys/:id',
    { schema, config: { access: MAY.administer } },
    async (request, reply) => {
      const { id } = request.params;
      const { tenant } = request.principal as Principal;
      const revoked = await revokeApiKey(deps.apiKeys, id, tenant, changeBy(request));
      if (!revoked)
        throw new EvidentError('not-found', `id: there is no API key ${id}`, { context: { field: 'id' } });
      deps.logger.info(
        { requestId: request.id, by: request.principal?.subject, keyId: id },
        'an API key was revoked',
      );
      return reply.code(204).send();
    },
  );
}
