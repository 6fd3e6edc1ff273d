/** `GET /v1/export`: everything that a filter finds, as a stream. */

import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import Type, { type Static } from 'typebox';
import type { Principal } from '../access/authorise.ts';
import { EXPORT_FORMATS, EXPORT_MEDIA_TYPES, exportEvents } from '../query/export.ts';
import { Hold } from './admission.ts';
import { type HttpContext, overloaded, shuttingDown } from './context.ts';
import { filterOf, readerOf, searchQuery } from './event-filter.ts';
import { READ_PROBLEMS, READ_ROUTE } from './event-search-routes.ts';
import { NEEDS_KEY } from './open-api.ts';
import { problems } from './schemas.ts';

const ExportQuery = searchQuery({
  format: Type.Enum([...EXPORT_FORMATS], {
    description: 'csv, or one JSON object a line in one of three shapes',
  }),
});
const SCHEMA = {
  operationId: 'exportEvents',
  summary: 'All events that match, newest first, as a stream',
  description:
    'ndjson: row and leaf of each event; ocsf: OCSF 1.x; cloudevents: CloudEvents 1.0. An answer that ends as HTTP says is whole; one whose connection breaks is not. Begin, every 10,000 events and end are recorded.',
  security: NEEDS_KEY,
  querystring: ExportQuery,
  response: {
    ...problems('credential', ...READ_PROBLEMS, 'overloaded'),
    200: {
      description: 'Lines',
      content: Object.fromEntries(
        [...new Set(Object.values(EXPORT_MEDIA_TYPES))].map((type) => [type, { schema: Type.String() }]),
      ),
    },
  },
};

export function exportRoutes(app: FastifyInstance, context: HttpContext): void {
  app.get<{ Querystring: Static<typeof ExportQuery> }>(
    '/v1/export',
    { schema: SCHEMA, ...READ_ROUTE },
    async (request, reply) => {
      const { format, why, ...given } = request.query;
      const ticket = context.exports.admit(1, (request.principal as Principal).tenant);
      if (ticket === null)
        throw overloaded(
          `At most ${context.limits.exportsMax} exports run at once, three quarters of them of one tenant.`,
        );
      new Hold(ticket, reply.raw);
      const reader = readerOf(request, why);
      const filter = await filterOf(context, reader, given);
      const pieces = exportEvents(context.deps.query, reader, filter, format);
      const stream = await openStream(context, reply, pieces);
      reply
        .header('content-type', EXPORT_MEDIA_TYPES[format])
        .header(
          'content-disposition',
          `attachment; filename="evident-events.${format === 'csv' ? 'csv' : 'ndjson'}"`,
        )
        .header('x-accel-buffering', 'no');
      return reply.send(stream);
    },
  );
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
