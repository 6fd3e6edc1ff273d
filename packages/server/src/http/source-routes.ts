/** Sources: outboxes that relays bring into the log, and how they stand. */

import { EvidentError } from '@evident/core/errors.ts';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import type { Principal } from '../access/authorise.ts';
import type { HttpContext } from './context.ts';
import type { SourceReport } from './deps.ts';
import { NEEDS_KEY } from './open-api.ts';
import { jsonAnswer, problems } from './schemas.ts';

const Decimal = Type.String({ pattern: '^[0-9]{1,20}$' });
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const SourceSchema = Type.Object(
  {
    source: Type.String(),
    log: Type.String(),
    tenants: Nullable(Type.Array(Type.String(), { description: 'For whom it may write' })),
    wanted_mode: Type.Enum(['polling', 'wal']),
    mode: Nullable(
      Type.Enum(['sweep', 'polling', 'wal'], {
        description: 'How it is read now; null before the first connection',
      }),
    ),
    epoch: Nullable(
      Type.Integer({ description: 'How often its database was another one than before, from 1' }),
    ),
    depth: Nullable(Type.String({ description: 'Rows that are not in the log yet, at most; decimal' })),
    bytes: Nullable(Type.String({ description: 'Bytes that its outbox takes on disk; decimal' })),
    oldest_ms: Nullable(Type.Number({ description: 'Age of the oldest row that is not in the log yet' })),
    slot_lag_bytes: Nullable(Decimal),
    alerts: Type.Array(Type.String()),
    error: Nullable(Type.String({ description: 'What its relay failed with last, until it works again' })),
  },
  { additionalProperties: false },
);

export function sourceRoutes(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'listSources',
    summary: 'Outboxes that are relayed, and how they stand',
    security: NEEDS_KEY,
    response: {
      ...problems('credential', 'log-unavailable'),
      200: jsonAnswer(
        'Sources',
        Type.Object({ sources: Type.Array(SourceSchema) }, { additionalProperties: false }),
      ),
    },
  };
  app.get('/v1/sources', { schema, config: { access: MAY.examine } }, async (request) => {
    // What other tenants' databases are, and how busy, is no business of a tenant's.
    if ((request.principal as Principal).tenant !== null)
      throw new EvidentError(
        'forbidden',
        'The key speaks for one tenant; this needs one that speaks for all.',
      );
    return { sources: (await deps.sources()).map(shownSource) };
  });
}

function shownSource(report: SourceReport): Static<typeof SourceSchema> {
  const { source, log, tenants, wantedMode, mode, epoch, depth, bytes, oldestMs, slotLagBytes } = report;
  return {
    source,
    log,
    tenants: tenants === null ? null : [...tenants],
    wanted_mode: wantedMode,
    mode,
    epoch,
    depth: depth === null ? null : depth.toString(),
    bytes: bytes === null ? null : bytes.toString(),
    oldest_ms: oldestMs,
    slot_lag_bytes: slotLagBytes === null ? null : slotLagBytes.toString(),
    alerts: [...report.alerts],
    error: report.error,
  };
}
