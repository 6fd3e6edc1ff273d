/** `GET /v1/export`: everything that a filter finds, as a stream, or as an evidence bundle. */

import { Readable } from 'node:stream';
import { EvidentError } from '@evident/core/errors.ts';
import type { FastifyInstance, FastifyReply } from 'fastify';
import Type, { type Static } from 'typebox';
import type { Principal } from '../access/authorise.ts';
import { bundleFiles, type PlannedBundle } from '../evidence/bundle.ts';
import { bundleRequestOf } from '../evidence/bundle-request.ts';
import { headersOfPlanned, PLANNED_HEADERS } from '../evidence/planned-headers.ts';
import { zipOf } from '../evidence/write-folder.ts';
import { EXPORT_FORMATS, EXPORT_MEDIA_TYPES, type ExportFormat, exportEvents } from '../query/export.ts';
import type { Reader } from '../query/ports.ts';
import { Hold } from './admission.ts';
import { type HttpContext, overloaded, shuttingDown } from './context.ts';
import { filterOf, readerOf, searchQuery } from './event-filter.ts';
import { READ_PROBLEMS, READ_ROUTE } from './event-search-routes.ts';
import { NEEDS_KEY } from './open-api.ts';
import { problems } from './schemas.ts';

const ExportQuery = searchQuery({
  format: Type.Enum([...EXPORT_FORMATS, 'bundle'], {
    description:
      'csv, one JSON object a line in one of three shapes, or bundle: the zip of an evidence bundle',
  }),
  hours: Type.Optional(
    Type.String({
      maxLength: 64,
      description:
        'Of a bundle: all records of the tenant in whole hours of the append, such as 2026-11-20T10..2026-11-20T12, instead of a filter; takes tenant and log beside it',
    }),
  ),
  id: Type.Optional(
    Type.String({ maxLength: 64, description: 'Of a bundle: one record by its id, instead of a filter' }),
  ),
  head: Type.Optional(
    Type.String({
      pattern: '^(with-anchor|0|[1-9][0-9]{0,17})$',
      description:
        'Of a bundle: size of the head of heads/0 that it ends in, or with-anchor: the newest with every kind of anchor that the configuration wants (else with a timestamp, else with a cosignature); without it the newest, once it covers what the log holds now, for which the answer waits up to 15 s',
    }),
  ),
  proofs: Type.Optional(
    Type.Enum(['each', 'tiles'], {
      description: 'Of a bundle: a proof a record, or the hash tiles; without it each up to 1,000 records',
    }),
  ),
  allow_empty: Type.Optional(
    Type.Enum(['true', 'false'], {
      description: 'Of a bundle: true: a selection that nothing matches is written, too, and not refused',
    }),
  ),
});
type Asked = Static<typeof ExportQuery>;
const ZIP = 'application/zip';
const SCHEMA = {
  operationId: 'exportEvents',
  summary: 'All events that match, newest first, as a stream',
  description:
    'ndjson: row and leaf of each event; ocsf: OCSF 1.x; cloudevents: CloudEvents 1.0; bundle: what evident check takes. An answer that ends as HTTP says is whole; one whose connection breaks is not. Begin, every 10,000 events and end are recorded.',
  security: NEEDS_KEY,
  querystring: ExportQuery,
  response: {
    ...problems(
      'credential',
      ...READ_PROBLEMS,
      'not-anchored',
      'windows-missing',
      'view-behind',
      'position-lost',
      'position-trimmed',
      'evidence-broken',
    ),
    200: {
      description: 'Lines, or a zip',
      headers: Object.fromEntries(
        Object.entries(PLANNED_HEADERS).map(([name, description]) => [
          name,
          { description: `Of a bundle. ${description}`, schema: { type: 'string' } },
        ]),
      ),
      content: Object.fromEntries(
        [...new Set([...Object.values(EXPORT_MEDIA_TYPES), ZIP])].map((type) => [
          type,
          { schema: Type.String() },
        ]),
      ),
    },
  },
};

export function exportRoutes(app: FastifyInstance, context: HttpContext): void {
  app.get<{ Querystring: Asked }>('/v1/export', { schema: SCHEMA, ...READ_ROUTE }, async (request, reply) => {
    const ticket = context.exports.admit(1, (request.principal as Principal).tenant);
    if (ticket === null)
      throw overloaded(
        `At most ${context.limits.exportsMax} exports run at once, three quarters of them of one tenant.`,
      );
    new Hold(ticket, reply.raw);
    const reader = readerOf(request, request.query.why);
    // Called while the first piece is made, so before headers go out.
    const tell = (planned: PlannedBundle) => void reply.headers(headersOfPlanned(planned));
    const stream = await openStream(context, reply, await piecesOf(context, reader, request.query, tell));
    const [type, name] = shapeOf(request.query.format);
    reply
      .header('content-type', type)
      .header('content-disposition', `attachment; filename="${name}"`)
      .header('x-accel-buffering', 'no');
    return reply.send(stream);
  });
}

function shapeOf(format: Asked['format']): readonly [mediaType: string, file: string] {
  if (format === 'bundle') return [ZIP, 'evident-bundle.zip'];
  return [EXPORT_MEDIA_TYPES[format], `evident-events.${format === 'csv' ? 'csv' : 'ndjson'}`];
}

type Pieces = AsyncGenerator<Uint8Array, void, undefined>;

async function piecesOf(
  context: HttpContext,
  reader: Reader,
  asked: Asked,
  tell: (planned: PlannedBundle) => void,
): Promise<Pieces> {
  const { format, hours, id, head, proofs, allow_empty, why: _why, ...given } = asked;
  if (format === 'bundle') {
    const more = { hours, id, head, proofs, allowEmpty: allow_empty === 'true' };
    const request = await bundleRequestOf(reader, more, given, (members) =>
      filterOf(context, reader, members),
    );
    return zipOf(bundleFiles(context.deps.evidence, reader, request, tell));
  }
  for (const [field, value] of Object.entries({ hours, id, head, proofs, allow_empty }))
    if (value !== undefined)
      throw new EvidentError('field-invalid', `${field}: only a bundle has it`, { context: { field } });
  const filter = await filterOf(context, reader, given);
  return exportEvents(context.deps.query, reader, filter, format as ExportFormat);
}

/**
 * The pieces as a stream that makes the next one when the client has room for it. The first is made here: what is
 * refused, or fails at once, is answered with a problem. However the answer ends, the generator does, and so records it.
 */
async function openStream(
  { stopping }: HttpContext,
  reply: FastifyReply,
  pieces: AsyncGenerator<Uint8Array, void, undefined>,
): Promise<Readable> {
  const leave = () => void pieces.return();
  reply.raw.once('close', leave);
  const first = await pieces.next();
  if (reply.raw.destroyed) leave();
  let isFirst = true;
  const stream = Readable.from(
    {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          if (!isFirst) return pieces.next();
          isFirst = false;
          return first;
        },
        return: () => pieces.return(),
        // With its error: the outcome says why the export ended.
        throw: (error: unknown) => pieces.throw(error),
      }),
    },
    { objectMode: true, highWaterMark: 1 },
  );
  const stop = () => stream.destroy(shuttingDown());
  stopping.addEventListener('abort', stop);
  stream.once('close', () => stopping.removeEventListener('abort', stop));
  if (stopping.aborted) stop();
  return stream;
}
