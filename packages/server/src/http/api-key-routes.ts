/** API keys: made, listed and revoked by admins. An admin of one tenant handles the keys of that tenant alone. */

import { EvidentError } from '@evident/core/errors.ts';
import { scanDocument } from '@evident/core/json/scan.ts';
import { formatInstant } from '@evident/core/leaf.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { type ApiKey, createApiKey, ROLES, revokeApiKey } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { HttpContext } from './context.ts';
import { API_KEYS_PAGE_MAX, SMALL_BODY_BYTES_MAX } from './limits.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, problems } from './schemas.ts';

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
};
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
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer', bodyLimit: SMALL_BODY_BYTES_MAX },
    (_request, body, done) => {
      try {
        done(null, parseStrict(body as Buffer));
      } catch (error) {
        done(error as Error);
      }
    },
  );
  makeKey(app, context);
  listKeys(app, context);
  revokeKey(app, context);
}

function parseStrict(body: Buffer): unknown {
  scanDocument(body, 0, body.length, { duplicates: 'refuse' });
  return JSON.parse(body.toString());
}

function shownKey({ keyId, role, tenant, note, madeAt, revokedAt }: ApiKey): Static<typeof KeySchema> {
  const revoked_at = revokedAt === null ? null : formatInstant(revokedAt);
  return { id: keyId, role, tenant, note, made_at: formatInstant(madeAt), revoked_at };
}

function makeKey(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'createApiKey',
    summary: 'Make an API key',
    security: NEEDS_KEY,
    body: { content: { 'application/json': { schema: NewKey } } },
    response: {
      ...problems(
        'credential',
        'field-invalid',
        'field-reserved',
        'field-unknown',
        'json-invalid',
        'json-duplicate-member',
        'json-too-deep',
        'body-too-large',
        'media-type-unsupported',
        'tenant-forbidden',
        'outcome-unknown',
        'disk-full',
      ),
      201: jsonAnswer('The key, with its text', MadeKey),
    },
  };
  app.post<{ Body: Static<typeof NewKey> }>(
    '/v1/api-keys',
    { schema, config: { access: ['admin'] } },
    async (request, reply) => {
      const own = (request.principal as Principal).tenant;
      const { role, tenant = own, note = null } = request.body;
      if (own !== null && tenant !== own) {
        throw new EvidentError('tenant-forbidden', `tenant: an admin of ${own} makes keys of ${own} alone`, {
          context: { field: 'tenant' },
        });
      }
      const { text, key } = await createApiKey(deps.apiKeys, { role, tenant, note });
      deps.logger.info(
        { requestId: request.id, by: request.principal?.keyId, keyId: key.keyId, role, tenant },
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
    { schema, config: { access: ['admin'] } },
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

function revokeKey(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'revokeApiKey',
    summary: 'Revoke an API key',
    description:
      'Holds at once in this process, in any other after 5 s at the latest. Revoking it again changes nothing.',
    security: NEEDS_KEY,
    params: KeyParams,
    response: {
      ...problems('credential', 'not-found', 'outcome-unknown', 'disk-full', 'media-type-unsupported'),
      204: Type.Null({ description: 'The key is revoked' }),
    },
  };
  app.delete<{ Params: Static<typeof KeyParams> }>(
    '/v1/api-keys/:id',
    { schema, config: { access: ['admin'] } },
    async (request, reply) => {
      const { id } = request.params;
      const revoked = await revokeApiKey(deps.apiKeys, id, (request.principal as Principal).tenant);
      if (!revoked)
        throw new EvidentError('not-found', `id: there is no API key ${id}`, { context: { field: 'id' } });
      deps.logger.info(
        { requestId: request.id, by: request.principal?.keyId, keyId: id },
        'an API key was revoked',
      );
      return reply.code(204).send();
    },
  );
}
