/**
 * `POST /v1/imports/{format}`: a file of a foreign format, of any size, as a stream. A client that goes away in the
 * middle leaves the batches that were appended; the whole file sent again counts them as repeated.
 */

import { PassThrough, type Readable } from 'node:stream';
import { EvidentError, isEvidentError } from '@evident/core/errors.ts';
import { checkWritableLog } from '@evident/core/record.ts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { type Principal, tenantOf } from '../access/authorise.ts';
import { FORMATS, type ImportFormatName, isImportFormatName } from '../ingest/import/formats.ts';
import { gunzipIfPacked } from '../ingest/import/gunzip.ts';
import { nodeHmacSha256 } from '../ingest/import/identity.ts';
import { type ImportCounts, noImportCounts } from '../ingest/import/import-records.ts';
import { type ImportReport, runImport } from '../ingest/import/run-import.ts';
import { findLog, type HttpContext, overloaded, shuttingDown } from './context.ts';
import { NEEDS_KEY } from './open-api.ts';
import { jsonAnswer, problems, TenantQuery } from './schemas.ts';

const LOG_OF_IMPORTS = 'audit';

const Params = Type.Object({
  format: Type.String({ description: `One of ${Object.keys(FORMATS).join(', ')}` }),
});
const Query = Type.Object(
  {
    tenant: Type.Optional(TenantQuery),
    log: Type.Optional(Type.String({ description: `Name of the log; default ${LOG_OF_IMPORTS}` })),
    file: Type.Optional(
      Type.String({ maxLength: 1024, description: 'Name of the file; its last part is recorded' }),
    ),
  },
  { additionalProperties: false },
);
const Count = Type.Integer({ minimum: 0 });
const Report = Type.Object(
  {
    run: Type.String({ description: 'The source of its records is import:<run>' }),
    log: Type.String(),
    counts: Type.Object(
      { taken: Count, repeated: Count, reused: Count, unparsed: Count, refused: Count },
      { additionalProperties: false },
    ),
    refused: Type.Array(
      Type.Object(
        { unit: Type.Enum(['line', 'element']), number: Count, size: Count },
        { additionalProperties: false },
      ),
      { description: 'The first pieces over 16 MiB; all are counted' },
    ),
  },
  { additionalProperties: false },
);

const SCHEMA = {
  operationId: 'importFile',
  summary: 'Import a file, packed with gzip or not',
  description:
    'Not one transaction: what was appended before an error or a broken connection stays. Send the whole file again; ids follow from its content.',
  security: NEEDS_KEY,
  params: Params,
  querystring: Query,
  body: { content: { 'application/octet-stream': { schema: Type.String({ format: 'binary' }) } } },
  response: {
    ...problems(
      'credential',
      'field-invalid',
      'field-reserved',
      'field-unknown',
      'tenant-forbidden',
      'log-unknown',
      'not-found',
      'media-type-unsupported',
      'overloaded',
      'outcome-unknown',
      'partition-stopped',
      'disk-full',
    ),
    200: jsonAnswer('The whole file was read', Report),
  },
};

interface ImportTarget {
  readonly format: ImportFormatName;
  readonly log: string;
  readonly tenant: string;
  readonly file: string | undefined;
}

export function importRoutes(app: FastifyInstance, context: HttpContext): void {
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
  app.post<{ Params: Static<typeof Params>; Querystring: Static<typeof Query> }>(
    '/v1/imports/:format',
    {
      schema: SCHEMA,
      config: { access: MAY.append, isCapture: true },
      onRequest: async (request) => {
        targetOf(context, request);
      },
    },
    async (request) => {
      const target = targetOf(context, request);
      const ticket = context.imports.admit(1);
      if (ticket === null)
        throw overloaded(`${context.limits.importsMax} imports run already. Nothing of this one was taken.`);
      try {
        const run = context.deps.randomId();
        const { counts, refused } = await importFile(context, target, run, request.body as Readable);
        return { run, log: target.log, counts, refused };
      } finally {
        ticket.release();
      }
    },
  );
}

/** @throws what the address of the request shows to be wrong */
function targetOf(context: HttpContext, request: FastifyRequest): ImportTarget {
  const { format } = request.params as { format: string };
  if (!isImportFormatName(format)) {
    throw new EvidentError('not-found', `format: one of ${Object.keys(FORMATS).join(', ')} is expected`, {
      context: { field: 'format' },
    });
  }
  const { tenant: named, log = LOG_OF_IMPORTS, file } = request.query as Static<typeof Query>;
  checkWritableLog(log);
  findLog(context, log);
  return { format, log, tenant: tenantOf(request.principal as Principal, named), file };
}

async function importFile(
  context: HttpContext,
  target: ImportTarget,
  runId: string,
  body: Readable,
): Promise<ImportReport> {
  const { deps, stopping } = context;
  const source = detach(body, stopping);
  let counts = noImportCounts();
  try {
    return await runImport(
      {
        log: findLog(context, target.log),
        objects: deps.objects,
        hmacSha256: nodeHmacSha256,
        tenantSecret: await deps.tenantSecret(target.tenant),
        openOccurrenceStore: deps.openOccurrenceStore,
      },
      {
        format: target.format,
        tenant: target.tenant,
        source: gunzipIfPacked(source, target.file ?? 'the request'),
        ...(target.file === undefined ? {} : { fileName: target.file }),
        runId,
      },
      (progress) => {
        counts = progress;
      },
    );
  } catch (error) {
    throw withCounts(error, counts);
  } finally {
    source.destroy();
    // What the client still sends is dropped, or the connection is closed: see sendProblem.
    body.resume();
  }
}

/**
 * The body behind a stream of its own: whoever reads it may break off without taking the connection down, on which
 * the answer has to go out; and a stop breaks it off.
 */
function detach(body: Readable, stopping: AbortSignal): PassThrough {
  const source = new PassThrough();
  const stop = () => source.destroy(shuttingDown());
  const broken = (cause?: Error) =>
    source.destroy(
      new EvidentError('request-malformed', 'The connection broke before the end of the file.', { cause }),
    );
  body.once('error', broken).once('close', () => {
    if (!body.readableEnded) broken();
  });
  stopping.addEventListener('abort', stop);
  source.once('close', () => {
    stopping.removeEventListener('abort', stop);
    body.unpipe(source);
  });
  if (stopping.aborted) stop();
  else body.pipe(source);
  return source;
}

/** Says with the error how far the import came, since what it appended stays. */
function withCounts(error: unknown, { taken, repeated }: ImportCounts): unknown {
  if (!isEvidentError(error)) return error;
  const detail = `${error.message} Before that ${taken} records were taken and ${repeated} were there already; they stay.`;
  return new EvidentError(error.code, detail, { cause: error, context: error.context });
}
