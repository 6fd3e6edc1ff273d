/** What an operator asks: metrics; and without a credential, whether the process lives and is ready, keys, errors, the document itself. */

import { ERRORS, type ErrorCode, EvidentError } from '@evident/core/errors.ts';
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { HttpContext } from './context.ts';
import { NEEDS_KEY_OR_METRICS_TOKEN } from './open-api.ts';
import { STATUS_OF } from './problem.ts';
import { answer, jsonAnswer, Position, problems } from './schemas.ts';

const CatalogueEntry = Type.Object(
  {
    code: Type.String(),
    status: Type.Integer(),
    sentence: Type.String(),
    retryable: Type.Boolean(),
    action: Type.String(),
  },
  { additionalProperties: false },
);
const PUBLIC = { config: { access: 'public' } } as const;

export function operateRoutes(app: FastifyInstance, context: HttpContext): void {
  showHealth(app, context);
  showMetrics(app, context);
  showKeys(app, context);
  showErrors(app);
  showDocument(app);
}

function showHealth(app: FastifyInstance, { deps }: HttpContext): void {
  const Alive = Type.Object({ status: Type.Literal('alive') }, { additionalProperties: false });
  const Ready = Type.Object(
    { ready: Type.Boolean(), reasons: Type.Array(Type.String()) },
    { additionalProperties: false },
  );
  const health = {
    operationId: 'isAlive',
    summary: 'Whether the process lives',
    response: { ...problems('public'), 200: jsonAnswer('It lives', Alive) },
  };
  app.get('/healthz', { ...PUBLIC, schema: health }, async () => ({ status: 'alive' }));
  const readiness = {
    operationId: 'isReady',
    summary: 'Whether the server takes records now',
    response: {
      ...problems('public'),
      200: jsonAnswer('It does', Ready),
      503: jsonAnswer('It does not, and why', Ready),
    },
  };
  app.get('/readyz', { ...PUBLIC, schema: readiness }, async (_request, reply) => {
    const { ready, reasons } = await deps.ready();
    return reply.code(ready ? 200 : 503).send({ ready, reasons });
  });
}

function showMetrics(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'readMetrics',
    summary: 'Metrics in the text format of Prometheus',
    security: NEEDS_KEY_OR_METRICS_TOKEN,
    response: { ...problems('credential'), 200: answer('Metrics', 'text/plain', Type.String()) },
  };
  app.get('/metrics', { schema, config: { access: 'scraper' } }, async (request, reply) => {
    // They count all tenants together, and name outboxes.
    if (request.principal !== null && request.principal.tenant !== null)
      throw new EvidentError(
        'forbidden',
        'The key speaks for one tenant; this needs one that speaks for all, or the metrics token.',
      );
    reply.header('content-type', deps.metrics.contentType);
    return deps.metrics.metrics();
  });
}

function showKeys(app: FastifyInstance, { deps }: HttpContext): void {
  const Keys = Type.Object(
    {
      keys: Type.Array(
        Type.Object(
          {
            origin: Type.String(),
            vkey: Type.String(),
            from: Position,
            to: Type.Union([Position, Type.Null()]),
          },
          { additionalProperties: false },
        ),
      ),
    },
    { additionalProperties: false },
  );
  const schema = {
    operationId: 'listVerifierKeys',
    summary: 'The keys that signed heads verify with, and the tree sizes that each signs',
    response: { ...problems('public', 'log-unavailable'), 200: jsonAnswer('Verifier keys', Keys) },
  };
  app.get('/v1/keys', { ...PUBLIC, schema }, async () => ({
    keys: (await deps.heads.keys()).map(({ origin, vkey, from, to }) => ({
      origin,
      vkey,
      from: from.toString(),
      to: to === null ? null : to.toString(),
    })),
  }));
}

function showErrors(app: FastifyInstance): void {
  const entryOf = (code: ErrorCode) => ({ code, status: STATUS_OF[code], ...ERRORS[code] });
  const list = {
    operationId: 'listErrors',
    summary: 'Every code that Evident can answer with',
    response: {
      ...problems('public'),
      200: jsonAnswer(
        'The catalogue',
        Type.Object({ errors: Type.Array(CatalogueEntry) }, { additionalProperties: false }),
      ),
    },
  };
  app.get('/v1/errors', { ...PUBLIC, schema: list }, async () => ({
    errors: (Object.keys(ERRORS) as ErrorCode[]).map(entryOf),
  }));
  const one = {
    operationId: 'readError',
    summary: 'What a code means: the type of a problem document leads here',
    params: Type.Object({ code: Type.String() }),
    response: { ...problems('public', 'not-found'), 200: jsonAnswer('The entry', CatalogueEntry) },
  };
  app.get<{ Params: { code: string } }>('/errors/:code', { ...PUBLIC, schema: one }, async (request) => {
    const { code } = request.params;
    if (!Object.hasOwn(ERRORS, code))
      throw new EvidentError('not-found', `code: there is no error ${code}`, { context: { field: 'code' } });
    return entryOf(code as ErrorCode);
  });
}

function showDocument(app: FastifyInstance): void {
  let document: string | undefined;
  const schema = {
    operationId: 'readDocument',
    summary: 'This document (OpenAPI 3.1)',
    response: {
      ...problems('public'),
      200: jsonAnswer('The document', Type.Object({ openapi: Type.String() })),
    },
  };
  app.get('/openapi.json', { ...PUBLIC, schema }, async (_request, reply) => {
    document ??= JSON.stringify(app.swagger());
    reply.header('content-type', 'application/json; charset=utf-8');
    return document;
  });
}
