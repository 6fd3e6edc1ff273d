/** Rotation of the signing key: by an admin of all tenants. Which keys there are is public: operate-routes.ts. */

import { EvidentError } from '@evident/core/errors.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { HttpContext } from './context.ts';
import { actorOf } from './denied-access.ts';
import { CHANGE_FAULTS, takeJson } from './json-body.ts';
import { NEEDS_KEY } from './open-api.ts';
import { jsonAnswer, Position, problems } from './schemas.ts';

const Asked = Type.Object(
  { reason: Type.String({ minLength: 1, maxLength: 1_000, description: 'Recorded' }) },
  { additionalProperties: false },
);
const Rotated = Type.Object(
  {
    number: Type.Integer({ minimum: 1, description: 'Of the rotation, from 1' }),
    position: Type.Union([Position], { description: 'Of its record key.rotation in heads/0' }),
  },
  { additionalProperties: false },
);

export function keyRoutes(app: FastifyInstance, { deps }: HttpContext): void {
  takeJson(app);
  const schema = {
    operationId: 'rotateSigningKey',
    summary: 'Let the signer make a new key, and hand over to it',
    security: NEEDS_KEY,
    body: { content: { 'application/json': { schema: Asked } } },
    response: {
      ...problems(
        'credential',
        ...CHANGE_FAULTS,
        'signer-unreachable',
        'signer-refused',
        'seal-break',
        'not-found',
      ),
      200: jsonAnswer('The rotation that is over', Rotated),
    },
  };
  app.post<{ Body: Static<typeof Asked> }>(
    '/v1/keys/rotate',
    { schema, config: { access: MAY.administer } },
    async (request) => {
      if ((request.principal as Principal).tenant !== null)
        throw new EvidentError(
          'forbidden',
          'One key signs for all tenants: this needs a credential for all.',
          {
            context: { field: 'tenant' },
          },
        );
      const { rotateKey } = deps;
      if (rotateKey === undefined)
        throw new EvidentError('not-found', 'this server does not seal: ask the one that does');
      await deps.recordOwn([
        {
          actor: actorOf(request),
          action: 'signing_key.rotate',
          resource: { type: 'signing_key', id: 'heads/0' },
          result: 'success',
          tenant: null,
          reason: request.body.reason,
          details: {},
          requestId: request.id,
        },
      ]);
      const { number, position } = await rotateKey();
      return { number, position: position.toString() };
    },
  );
}
