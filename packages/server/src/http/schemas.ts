/** Schemas that several routes share: they validate requests, and are what `/openapi.json` shows. */

import { ERRORS, type ErrorCode } from '@evident/core/errors.ts';
import Type, { type TSchema } from 'typebox';
import { PROBLEM_TYPE, STATUS_OF } from './problem.ts';

const CODES = Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]];

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'Relative URI of the catalogue entry' }),
    title: Type.String({ description: 'What happened' }),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    code: Type.Enum(CODES, { description: 'Stable code: never renamed, never reused' }),
    detail: Type.String({ description: 'What was wrong here' }),
    field: Type.Optional(Type.String({ description: 'The field at fault, as a dotted path from the item' })),
    retryable: Type.Boolean({ description: 'Whether the same request may succeed later without a change' }),
    action: Type.String({ description: 'What the caller should do' }),
  },
  { $id: 'Problem', additionalProperties: false, description: 'Problem document (RFC 9457)' },
);

/** A reference to a schema that was added to the server under this id. */
export function reference(id: string): TSchema {
  return Type.Unsafe({ $ref: `${id}#` });
}

export const Position = Type.String({
  pattern: '^[0-9]{1,19}$',
  description: 'Place in the partition, decimal',
});
/** Eighteen digits: any number of them fits the 64 bits of a position. */
export const AskedPosition = Type.String({
  pattern: '^(0|[1-9][0-9]{0,17})$',
  description: 'Place in the partition, decimal',
});
export const Instant = Type.String({ pattern: '^[0-9T:.-]+Z$', description: 'UTC with six decimal places' });
export const TenantQuery = Type.String({ description: 'Tenant; needed with a key that is for all tenants' });
/** Not checked by pattern: core says what is wrong with a name, and which names are reserved. */
const LogParameter = Type.String({ description: 'Name of the log: [a-z0-9-]{1,32}' });
const PartitionParameter = Type.String({
  pattern: '^[0-9]{1,4}$',
  description: 'Number of the partition, from 0',
});

export const LogParams = Type.Object({ log: LogParameter });
export const PartitionParams = Type.Object({ log: LogParameter, partition: PartitionParameter });

interface Answer {
  readonly description: string;
  readonly content: Readonly<Record<string, { readonly schema: TSchema }>>;
}

export function answer(description: string, mediaType: string, schema: TSchema): Answer {
  return { description, content: { [mediaType]: { schema } } };
}

export function jsonAnswer(description: string, schema: TSchema): Answer {
  return answer(description, 'application/json', schema);
}

const EVERY_ROUTE: readonly ErrorCode[] = [
  'request-malformed',
  'request-timeout',
  'headers-too-large',
  'internal',
  'rate-limited',
];
const WITH_CREDENTIAL: readonly ErrorCode[] = [
  'unauthenticated',
  'credential-expired',
  'forbidden',
  'identity-unavailable',
  'shutting-down',
  'log-unavailable',
];

/** The refusals of a route by status. */
export function problems(access: 'public' | 'credential', ...codes: ErrorCode[]): Record<number, Answer> {
  const all = [...EVERY_ROUTE, ...(access === 'public' ? [] : WITH_CREDENTIAL), ...codes];
  const byStatus = Map.groupBy(new Set(all), (code) => STATUS_OF[code]);
  const answers: Record<number, Answer> = {};
  for (const [status, known] of byStatus)
    answers[status] = answer(known.join(', '), PROBLEM_TYPE, reference('Problem'));
  return answers;
}
