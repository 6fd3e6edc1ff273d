import { AuditEvent } from '@evident/core/audit-event.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant } from '@evident/core/record.ts';
import { Compile } from 'typebox/compile';
import { refuseField } from '../events/refuse.ts';

export type Actor = AuditEvent['actor'];

/** Who acts, for whom, and in which request: what every event that is captured around it takes over. */
export interface AuditContext {
  readonly tenant?: string;
  readonly actor?: Actor;
  /** request_id, session_id, correlation_id, traceparent, and further identifiers of the request. */
  readonly context?: Readonly<Record<string, string>>;
}

const actorSchema = Compile(AuditEvent.properties.actor);
const identifiersSchema = Compile(AuditEvent.properties.context);

interface Checked {
  Check(value: unknown): boolean;
  Errors(value: unknown): { keyword: string; instancePath: string; message: string; params: unknown }[];
}

function withoutUndefined(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuseField(field, 'an object is expected');
  }
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined));
}

function checkMembers(schema: Checked, value: unknown, field: string): object {
  const members = withoutUndefined(value, field);
  if (schema.Check(members)) return Object.freeze(members);
  const errors = schema.Errors(members);
  const unknown = errors.find((error) => error.keyword === 'additionalProperties');
  if (unknown !== undefined) {
    const name = `${field}.${(unknown.params as { additionalProperties: string[] }).additionalProperties[0]}`;
    throw new EvidentError('field-unknown', `${name}: the schema knows no such member`, {
      context: { field: name },
    });
  }
  const missing = errors.find((error) => error.keyword === 'required');
  if (missing !== undefined) {
    const name = (missing.params as { requiredProperties: string[] }).requiredProperties[0];
    refuseField(`${field}.${name}`, 'it is missing');
  }
  const first = errors[0];
  refuseField(`${field}${first.instancePath.replaceAll('/', '.')}`, first.message);
}

/**
 * Checked when it is set, not only when an event is built: the mistake is then heard of where it was made, and a
 * whole row of a users table, given as an actor by mistake, is refused by the name of its first column.
 * The result is a frozen copy: what the caller does with its object later changes no context.
 */
export function checkActor(actor: unknown, field = 'actor'): Actor {
  return checkMembers(actorSchema, actor, field) as Actor;
}

/** @throws field-invalid, field-unknown or field-reserved, naming the member */
export function checkContext(given: unknown): AuditContext {
  const { tenant, actor, context } = withoutUndefined(given, 'context') as Record<string, unknown>;
  return {
    ...(tenant === undefined ? {} : { tenant: checkTenant(tenant) }),
    ...(actor === undefined ? {} : { actor: checkActor(actor) }),
    ...(context === undefined
      ? {}
      : {
          context: checkMembers(identifiersSchema, context, 'context') as AuditContext['context'],
        }),
  };
}
