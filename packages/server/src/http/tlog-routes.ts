/**
 * The static layout of every tree (C2SP tlog-tiles) under `/tlog/<log>/<partition>/`: what monitors and witnesses read.
 * `<log>.r<epoch>` names a tree that began anew.
 */

import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { EvidentError } from '@evident/core/errors.ts';
import { parseTilePath, type TilePath } from '@evident/core/merkle/tile.ts';
import { UNRECORDED_LOGS } from '@evident/core/record.ts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { TreeId } from '../evidence/hash-tiles.ts';
import { newestHead, parseTileLog, readLayout } from '../evidence/static-layout.ts';
import { Hold } from './admission.ts';
import { findLog, findPartition, type HttpContext, overloaded } from './context.ts';
import { readerOf } from './event-filter.ts';
import { NEEDS_KEY } from './open-api.ts';
import { answer, problems } from './schemas.ts';

const TreeParams = Type.Object({
  log: Type.String({ description: 'Name of the log; <log>.r<epoch> of a tree that began anew' }),
  partition: Type.String({
    pattern: '^(0|[1-9][0-9]{0,3})$',
    description: 'Number of the partition, from 0',
  }),
});
const TileParams = Type.Object({
  ...TreeParams.properties,
  level: Type.String({ pattern: '^(0|[1-9][0-9]?)$', description: 'Level of the tile' }),
});
type Wildcard = { readonly '*': string };

/** A tile never changes. Only for the caller: who may read them is decided at each request. */
const IMMUTABLE = 'private, max-age=31536000, immutable';
/** Entries below this are sent as they are. */
const GZIP_BYTES_MIN = 1_024;
/** Most bytes of a bundle of entries: 256 of 65,535 bytes, with their lengths. */
const BUNDLE_BYTES_MAX = 256 * 65_537;
const BYTES = 'application/octet-stream';
const compress = promisify(gzip);

export function tlogRoutes(app: FastifyInstance, context: HttpContext): void {
  checkpointRoute(app, context);
  entriesRoute(app, context);
  tileRoute(app, context);
}

function checkpointRoute(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'readCheckpoint',
    summary: 'The newest signed head of a tree',
    description: 'C2SP tlog-checkpoint, signed by the log alone.',
    security: NEEDS_KEY,
    params: TreeParams,
    response: {
      ...problems('credential', 'field-invalid', 'log-unknown', 'not-found'),
      200: answer('The note', 'text/plain; charset=utf-8', Type.String()),
    },
  };
  app.get<{ Params: Static<typeof TreeParams> }>(
    '/tlog/:log/:partition/checkpoint',
    { schema, config: { access: MAY.look } },
    async (request, reply) => {
      const { note } = await newestHead(context.deps.evidence, treeOf(context, request.params));
      reply.header('content-type', 'text/plain; charset=utf-8').header('cache-control', 'no-cache');
      return Buffer.from(note);
    },
  );
}

function tileRoute(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'readTile',
    summary: 'A tile of hashes',
    description: 'C2SP tlog-tiles: tile/<L>/<N>[.p/<W>], for every width that the tree has had.',
    security: NEEDS_KEY,
    params: TileParams,
    response: {
      ...problems('credential', 'field-invalid', 'log-unknown', 'not-found', 'evidence-broken'),
      200: answer('Hashes of 32 bytes each', BYTES, Type.String({ format: 'binary' })),
    },
  };
  app.get<{ Params: Static<typeof TileParams> & Wildcard }>(
    '/tlog/:log/:partition/tile/:level/*',
    { schema, config: { access: MAY.look } },
    async (request, reply) => {
      const { level, '*': index } = request.params;
      const path = parsePath(`tile/${level}/${index}`);
      const tile = await readLayout(context.deps.evidence, treeOf(context, request.params), path);
      reply.header('content-type', BYTES).header('cache-control', IMMUTABLE);
      return Buffer.from(tile);
    },
  );
}

function entriesRoute(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'readEntries',
    summary: 'A bundle of entries: leaf lines with their lengths',
    description:
      'C2SP tlog-tiles: tile/entries/<N>[.p/<W>]. It holds records of all tenants, so a credential of one is refused; but for the log heads it is recorded before it is sent.',
    security: NEEDS_KEY,
    params: TreeParams,
    response: {
      ...problems(
        'credential',
        'field-invalid',
        'log-unknown',
        'not-found',
        'position-trimmed',
        'position-lost',
        'evidence-broken',
        'overloaded',
        'read-unrecorded',
      ),
      200: answer('Entries', BYTES, Type.String({ format: 'binary' })),
    },
  };
  app.get<{ Params: Static<typeof TreeParams> & Wildcard }>(
    '/tlog/:log/:partition/tile/entries/*',
    { schema, exposeHeadRoute: false, config: { access: MAY.examine } },
    (request, reply) => sendEntries(context, request, reply, request.params),
  );
}

async function sendEntries(
  context: HttpContext,
  request: FastifyRequest,
  reply: FastifyReply,
  params: Static<typeof TreeParams> & Wildcard,
): Promise<Buffer> {
  const { tenant } = request.principal as Principal;
  if (tenant !== null)
    throw new EvidentError(
      'forbidden',
      `entries are of all tenants, and the credential is of ${tenant} alone`,
    );
  const tree = treeOf(context, params);
  const path = parsePath(`tile/entries/${params['*']}`);
  const ticket = context.pages.admit(2 * BUNDLE_BYTES_MAX);
  if (ticket === null)
    throw overloaded(`The server makes pages of ${context.pages.bytes} bytes; ask for these entries again.`);
  // Until the client has it all: one that reads slowly holds its bundle that long.
  const hold = new Hold(ticket, reply.raw);
  hold.begin();
  try {
    const bundle = await readLayout(context.deps.evidence, tree, path);
    ticket.shrink(2 * bundle.length);
    await recordEntries(context, request, tree, path);
    reply.header('content-type', BYTES).header('cache-control', 'private, no-store');
    return await encoded(request, reply, bundle);
  } finally {
    hold.end();
  }
}

async function recordEntries(
  { deps }: HttpContext,
  request: FastifyRequest,
  { log, partition }: TreeId,
  { index, width }: TilePath,
): Promise<void> {
  if (UNRECORDED_LOGS.includes(log)) return;
  await deps.query.recorder.record(readerOf(request), {
    action: 'audit.read',
    resource: { type: 'log', id: log },
    tenant: null,
    details: { question: 'entry bundle', partition, bundle: index.toString(), records: width },
  });
}

/** Compressed where the client takes that: the specification asks for it, and leaf lines shrink to a fifth. */
async function encoded(request: FastifyRequest, reply: FastifyReply, bundle: Uint8Array): Promise<Buffer> {
  reply.header('vary', 'accept-encoding');
  const accepted = String(request.headers['accept-encoding'] ?? '').split(',');
  const takesGzip = accepted.some((one) => /^\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*$)|$)/i.test(one));
  if (!takesGzip || bundle.length < GZIP_BYTES_MIN) return Buffer.from(bundle);
  reply.header('content-encoding', 'gzip');
  return compress(bundle);
}

/** @throws not-found for a spelling that no tile has: as a static file that is not there */
function parsePath(text: string): TilePath {
  const path = parseTilePath(text);
  if (path === null) throw new EvidentError('not-found', 'no tile is spelled like this');
  return path;
}

/** @throws log-unknown, not-found */
function treeOf(context: HttpContext, params: Static<typeof TreeParams>): TreeId {
  const named = parseTileLog(params.log);
  const log = findLog(context, named?.log ?? params.log);
  return { log: log.name, partition: findPartition(log, params.partition), epoch: named?.epoch ?? 0 };
}
