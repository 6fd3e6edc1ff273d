/** Proofs: of a record in its tree and in the log heads, and of how one size of a tree follows from another. */

import { toBase64 } from '@evident/core/bytes.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { epochOrigin } from '@evident/core/origin.ts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { proveConsistency } from '../evidence/inclusion.ts';
import { type ProofJson, proofJson } from '../evidence/proof-json.ts';
import { proveRecord } from '../evidence/prove-record.ts';
import type { SoughtEvent } from '../query/ports.ts';
import { findLog, findPartition, type HttpContext } from './context.ts';
import { readerOf, WHY } from './event-filter.ts';
import { READ_PROBLEMS, READ_ROUTE } from './event-search-routes.ts';
import { NEEDS_KEY } from './open-api.ts';
import { AskedPosition, jsonAnswer, PartitionParams, Position, problems } from './schemas.ts';

const IdParams = Type.Object({
  id: Type.String({ description: 'UUID of the event: its event_id, and the id of its record' }),
});
const PlaceParams = Type.Object({ ...PartitionParams.properties, position: AskedPosition });
const ProofQuery = Type.Object(
  {
    tenant: Type.Optional(
      Type.String({
        description: 'Whose event, for a credential of all tenants: an id may stand in several',
      }),
    ),
    why: WHY,
  },
  { additionalProperties: false },
);

const TlogProof = Type.String({
  description: 'C2SP tlog-proof: the proof and the signed head that it leads to',
});
const Vkey = Type.String({ description: 'Verifier key of that tree at that size' });
const ProofSchema = Type.Object(
  {
    log: Type.String(),
    partition: Type.Integer(),
    position: Position,
    leaf: Type.String({ description: 'The leaf line: the bytes that the tree hashes' }),
    leaf_hash: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256(0x00 ‖ leaf)' }),
    origin: Type.String(),
    size: { ...Position, description: 'Size of the tree under which it is proven' },
    vkey: Vkey,
    proof: TlogProof,
    anchored: Type.Union(
      [
        Type.Object(
          {
            leaf: Type.String({ description: 'The record of heads/0 that lists the head above' }),
            origin: Type.String(),
            size: Position,
            vkey: Vkey,
            proof: TlogProof,
          },
          { additionalProperties: false },
        ),
        Type.Null(),
      ],
      {
        description:
          'The proof of that head in heads/0; null: not anchored yet, ask again after ten seconds (of a record of heads/0 itself always)',
      },
    ),
  },
  { additionalProperties: false },
);
const ANSWERS = {
  ...problems(
    'credential',
    ...READ_PROBLEMS,
    'field-reserved',
    'not-sealed',
    'position-lost',
    'position-trimmed',
    'evidence-broken',
  ),
  200: jsonAnswer('The record and its proofs', ProofSchema),
};

const ConsistencyQuery = Type.Object(
  {
    from: { ...AskedPosition, description: 'The smaller size, at least 1' },
    to: Type.Optional({
      ...AskedPosition,
      description: 'The larger size; without it that of the newest head',
    }),
    epoch: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 9_999,
        description: 'Which tree, where it began anew; without it the newest',
      }),
    ),
  },
  { additionalProperties: false },
);
const Root = Type.String({
  pattern: '^[A-Za-z0-9+/]{43}=$',
  description: 'RFC 6962 root at that size, base64',
});
const ConsistencySchema = Type.Object(
  {
    origin: Type.String(),
    from: Type.Object({ size: Position, root: Root }, { additionalProperties: false }),
    to: Type.Object({ size: Position, root: Root }, { additionalProperties: false }),
    proof: Type.Array(Root, { description: 'Hashes in the order of RFC 9162 §2.1.4, base64' }),
  },
  { additionalProperties: false },
);

export function proofRoutes(app: FastifyInstance, context: HttpContext): void {
  const byId = {
    operationId: 'proveEvent',
    summary: 'The proof of an event: its record in its tree, and that tree in the log heads',
    description: 'It is recorded before it is sent, as every read of a record is.',
    security: NEEDS_KEY,
    params: IdParams,
    querystring: ProofQuery,
    response: ANSWERS,
  };
  app.get<{ Params: Static<typeof IdParams>; Querystring: Static<typeof ProofQuery> }>(
    '/v1/events/:id/proof',
    { schema: byId, ...READ_ROUTE },
    (request) => prove(context, request, { id: request.params.id }, request.query),
  );
  const byPlace = {
    operationId: 'proveRecord',
    summary: 'The proof of a record of a log by its place',
    description: byId.description,
    security: NEEDS_KEY,
    params: PlaceParams,
    querystring: ProofQuery,
    response: ANSWERS,
  };
  app.get<{ Params: Static<typeof PlaceParams>; Querystring: Static<typeof ProofQuery> }>(
    '/v1/logs/:log/partitions/:partition/records/:position/proof',
    { schema: byPlace, ...READ_ROUTE },
    (request) => {
      const log = findLog(context, request.params.log);
      const partition = findPartition(log, request.params.partition);
      const position = BigInt(request.params.position);
      return prove(context, request, { log: log.name, partition, position }, request.query);
    },
  );
  consistencyRoute(app, context);
}

async function prove(
  { deps }: HttpContext,
  request: FastifyRequest,
  what: SoughtEvent,
  { tenant, why }: Static<typeof ProofQuery>,
): Promise<ProofJson> {
  const sought = { ...what, ...(tenant === undefined ? {} : { tenant }) };
  const proven = await proveRecord(deps.evidence, readerOf(request, why), sought);
  return proofJson(deps.evidence, proven);
}

function consistencyRoute(app: FastifyInstance, context: HttpContext): void {
  const schema = {
    operationId: 'proveConsistency',
    summary: 'The proof that a tree of one size begins with the tree of a smaller one',
    description:
      'Sizes need not be those of stored heads: whoever kept a head can ask how the newest follows from it.',
    security: NEEDS_KEY,
    params: PartitionParams,
    querystring: ConsistencyQuery,
    response: {
      ...problems(
        'credential',
        'field-invalid',
        'field-unknown',
        'log-unknown',
        'not-found',
        'evidence-broken',
      ),
      200: jsonAnswer('Both roots and the proof', ConsistencySchema),
    },
  };
  app.get<{ Params: Static<typeof PartitionParams>; Querystring: Static<typeof ConsistencyQuery> }>(
    '/v1/logs/:log/partitions/:partition/consistency',
    { schema, config: { access: MAY.look } },
    async (request) => {
      const { evidence } = context.deps;
      const log = findLog(context, request.params.log);
      const partition = findPartition(log, request.params.partition);
      const { epoch = null } = request.query;
      const newest = await evidence.heads.newest(log.name, partition, epoch);
      if (newest === null)
        throw new EvidentError('not-found', `${log.name}/${partition} has no signed head of this tree`);
      const from = BigInt(request.query.from);
      const to = request.query.to === undefined ? newest.size : BigInt(request.query.to);
      checkSizes(from, to, newest.size);
      const tree = { log: log.name, partition, epoch: newest.epoch };
      const { root1, root2, proof } = await proveConsistency(evidence, tree, from, to);
      return {
        origin: epochOrigin(evidence.name, log.name, partition, newest.epoch),
        from: { size: from.toString(), root: toBase64(root1) },
        to: { size: to.toString(), root: toBase64(root2) },
        proof: proof.map(toBase64),
      };
    },
  );
}

function checkSizes(from: bigint, to: bigint, newest: bigint): void {
  if (from < 1n)
    throw new EvidentError('field-invalid', 'from: every tree follows from the empty one: it is at least 1', {
      context: { field: 'from' },
    });
  if (to < from)
    throw new EvidentError('field-invalid', 'to: it is smaller than from', { context: { field: 'to' } });
  if (to > newest)
    throw new EvidentError('not-found', `to: the newest signed head has the size ${newest}`, {
      context: { field: 'to' },
    });
}
