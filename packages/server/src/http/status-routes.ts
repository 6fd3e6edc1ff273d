/** Against whom what this log shows holds: tiers in force, and how long a change can stay unseen. */

import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { MAY } from '../access/api-keys.ts';
import { auditJson } from '../verify/self-audit-state.ts';
import { tierJson } from '../verify/tiers.ts';
import type { HttpContext } from './context.ts';
import { NEEDS_KEY } from './open-api.ts';
import { Instant, jsonAnswer, Position, problems } from './schemas.ts';

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const TierSchema = Type.Object(
  {
    tier: Type.Enum(['T0', 'T1', 'T2', 'T3', 'T4']),
    in_force: Type.Boolean(),
    covers_to: Nullable({
      ...Position,
      description: 'It covers what heads/0 lists below this size; null: nothing',
    }),
    basis: Type.String({ description: 'What it stands on, or why it is not in force' }),
    resists: Type.String(),
    cannot: Type.String({ description: 'What it does not cover' }),
  },
  { additionalProperties: false },
);

const AuditSchema = Type.Object(
  {
    records_per_second: Type.Integer(),
    last_full_pass: Nullable(
      Type.Object(
        { begun_at: Instant, ended_at: Instant, records: Type.Integer() },
        { additionalProperties: false },
      ),
    ),
    age_seconds: Nullable(Type.Number({ description: 'Since the last full pass ended' })),
    unseen_seconds_max: Nullable(
      Type.Number({
        description: 'Longest that a change of a sealed record stays unseen while the audit runs',
      }),
    ),
    progress: Nullable(Type.Number({ description: 'Of the pass that runs, 0 to 1' })),
    tampered: Type.Integer({ description: 'Findings of the last pass and of this one' }),
    incomplete: Type.Boolean({ description: 'Something could not be read' }),
  },
  { additionalProperties: false },
);

const StatusSchema = Type.Object(
  { name: Type.String(), tiers: Type.Array(TierSchema), self_audit: Nullable(AuditSchema) },
  { additionalProperties: false },
);

export function statusRoutes(app: FastifyInstance, { deps }: HttpContext): void {
  const schema = {
    operationId: 'readStatus',
    summary: 'Tiers in force with what they do not cover, and how long a change can stay unseen',
    security: NEEDS_KEY,
    response: {
      ...problems('credential', 'log-unavailable'),
      200: jsonAnswer('How it stands', StatusSchema),
    },
  };
  app.get('/v1/status', { schema, config: { access: MAY.look } }, async () => {
    const { tiers, selfAudit } = await deps.standing();
    return {
      name: deps.evidence.name,
      tiers: tiers.map(tierJson),
      self_audit: selfAudit === null ? null : auditJson(selfAudit),
    } satisfies Static<typeof StatusSchema>;
  });
}
