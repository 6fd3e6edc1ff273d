/**
 * The audit event: body of a record of type `audit.event`, schema 1. A strict core that queries can rely on,
 * and `details`, which takes anything (design §3). The schema evolves additively only.
 */

import Type, { type Static, type TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { EvidentError } from './errors.ts';
import { isTenant } from './record.ts';

const text = (maxLength: number, description: string) =>
  Type.String({ minLength: 1, maxLength, description });
/** A field that says something about a person: `personalPaths` lists them, capture declares them. */
const personal = (maxLength: number, description: string) =>
  Type.String({ minLength: 1, maxLength, description, personal: true });
const closed = { additionalProperties: false } as const;
const oneOf = <const T extends readonly string[]>(values: T, description: string) =>
  Type.Enum([...values] as unknown as [T[number], ...T[number][]], { description });

const Actor = Type.Object(
  {
    id: text(256, 'Pseudonymous identifier of who acted; not an e-mail address'),
    type: oneOf(['user', 'service', 'system'], 'What kind of actor it is'),
    email: Type.Optional(personal(320, 'E-mail address')),
    name: Type.Optional(personal(256, 'Display name')),
    role: Type.Optional(text(256, 'Role in which the actor acted')),
    department: Type.Optional(text(256, 'Department of the actor')),
    ip_address: Type.Optional(personal(64, 'Network address of the request')),
    user_agent: Type.Optional(text(1024, 'User agent of the request')),
  },
  { ...closed, description: 'Who acted' },
);

const Resource = Type.Object(
  {
    type: text(128, 'Kind of resource, such as document'),
    id: text(512, 'Identifier of the resource'),
    name: Type.Optional(text(512, 'Display name at the time')),
    section: Type.Optional(text(256, 'Part of the resource')),
  },
  { ...closed, description: 'What was acted upon' },
);

const Context = Type.Object(
  {
    request_id: Type.Optional(text(256, 'Identifier of the request')),
    session_id: Type.Optional(text(256, 'Identifier of the session')),
    correlation_id: Type.Optional(text(256, 'Identifier shared by related events')),
    traceparent: Type.Optional(text(256, 'W3C trace context')),
  },
  {
    additionalProperties: text(1024, 'Further identifiers of the request'),
    description: 'Where the event came from',
  },
);

const Access = Type.Object(
  {
    type: Type.Optional(text(128, 'Kind of access, such as break-glass')),
    level: Type.Optional(text(128, 'Level of access')),
    relationship: Type.Optional(text(256, 'Relationship that grants access')),
    assignment_id: Type.Optional(text(256, 'Assignment that grants access')),
    justification: Type.Optional(text(4096, 'Reason given by the actor')),
    witness: Type.Optional(text(256, 'Second person present')),
    fields: Type.Optional(Type.Array(text(256, 'Name of a field that was seen'), { maxItems: 1024 })),
    auto_review: Type.Optional(Type.Boolean({ description: 'Whether the access is reviewed automatically' })),
  },
  { ...closed, description: 'Circumstances of an access to protected data' },
);

export const AuditEvent = Type.Object(
  {
    event_id: text(36, 'UUID of the event; the id of the record'),
    event_time: text(40, 'RFC 3339 time at the producer'),
    tenant: text(128, 'Whose event it is'),
    actor: Actor,
    action: Type.String({
      minLength: 1,
      maxLength: 256,
      pattern: '^[A-Za-z0-9_:-]+(\\.[A-Za-z0-9_:-]+)*$',
      description: 'What was done, dotted, such as document.update',
    }),
    resource: Resource,
    result: oneOf(['success', 'failure', 'denied'], 'How it ended'),
    changes: Type.Optional(
      Type.Record(
        Type.String({ minLength: 1, maxLength: 256 }),
        Type.Object({ old: Type.Unknown(), new: Type.Unknown() }, closed),
        { description: 'Per field the old and the new value' },
      ),
    ),
    reason: Type.Optional(text(4096, 'Why it was done')),
    error: Type.Optional(text(4096, 'What went wrong')),
    details: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'Anything else' })),
    context: Type.Optional(Context),
    access: Type.Optional(Access),
    clock: Type.Optional(
      Type.Object(
        {
          source: text(128, 'Name of the clock'),
          ns: Type.String({
            pattern: '^[0-9]{1,20}$',
            description: 'Nanoseconds, decimal: they do not fit a number',
          }),
          sequence: Type.Integer({
            minimum: 0,
            maximum: Number.MAX_SAFE_INTEGER,
            description: 'Counter at that clock',
          }),
        },
        { ...closed, description: 'A finer clock of the producer' },
      ),
    ),
    sampling: Type.Optional(
      Type.Object(
        {
          policy: text(128, 'Name of the sampling policy'),
          rate: Type.Number({
            exclusiveMinimum: 0,
            maximum: 1,
            description: 'Share of events that were kept',
          }),
        },
        { ...closed, description: 'How events of this kind are sampled' },
      ),
    ),
    intent_id: Type.Optional(
      Type.String({
        pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
        description: 'UUID of the intent of which this event is the outcome',
      }),
    ),
    criticality: oneOf(['critical', 'normal'], 'Whether capture may ever pause for this event'),
  },
  {
    ...closed,
    $id: 'audit.event/1',
    title: 'AuditEvent',
    description: 'Who did what to which resource, and how it ended',
  },
);

export type AuditEvent = Static<typeof AuditEvent>;

/**
 * The dotted paths of the fields that a schema declares personal (`personal: true`), in the order of the schema.
 * Members of arrays are not looked into: a list is declared as a whole.
 */
export function personalPaths(schema: TSchema): string[] {
  const found: string[] = [];
  const visit = (node: unknown, path: string): void => {
    if (typeof node !== 'object' || node === null) return;
    const { personal: isPersonal, properties } = node as { personal?: unknown; properties?: object };
    if (isPersonal === true) found.push(path);
    else if (typeof properties === 'object' && properties !== null) {
      for (const [name, member] of Object.entries(properties))
        visit(member, path === '' ? name : `${path}.${name}`);
    }
  };
  visit(schema, '');
  return found;
}

const compiled = Compile(AuditEvent);
const RFC3339 = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.\d{1,9})?(?:Z|[+-](\d{2}):(\d{2}))$/;

/**
 * Whether a text is an RFC 3339 instant on a real calendar day, years 0001 to 9999. A leap second (:60) is
 * taken: producers do send it.
 */
export function isInstant(value: string): boolean {
  const match = RFC3339.exec(value);
  if (match === null) return false;
  const [year, month, day, hour, minute, second, offsetHour, offsetMinute] = match
    .slice(1)
    .map((part) => Number(part ?? 0));
  if (year < 1 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60) return false;
  if (offsetHour > 23 || offsetMinute > 59) return false;
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  return day <= days[month - 1];
}

function refuse(code: 'field-invalid' | 'field-unknown', field: string, reason: string): never {
  throw new EvidentError(code, `${field}: ${reason}`, { context: { field } });
}

function dotted(instancePath: string, prefix: string): string {
  const steps = instancePath
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  return [prefix, ...steps].join('.');
}

/** Strings of a value that are not well-formed Unicode, depth first; JSON escapes can smuggle them in. */
function findIllFormed(value: unknown, path: string): string | undefined {
  if (typeof value === 'string') return value.isWellFormed() ? undefined : path;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, member] of Object.entries(value)) {
    const step = `${path}.${name}`;
    if (!name.isWellFormed()) return path;
    const found = findIllFormed(member, step);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Checks a parsed body against the schema.
 * @param prefix the path of the body in what the caller sent, for messages
 * @param strings `well-formed` when the caller knows that no string holds a lone surrogate
 * @throws field-invalid or field-unknown, naming the first field at fault and why
 */
export function checkAuditEvent(
  body: unknown,
  prefix = 'body',
  strings: 'well-formed' | 'unchecked' = 'unchecked',
): AuditEvent {
  if (!compiled.Check(body)) throw firstError(body, prefix);
  if (!isTenant(body.tenant)) refuse('field-invalid', `${prefix}.tenant`, 'it is not a tenant name');
  if (!isInstant(body.event_time)) {
    refuse(
      'field-invalid',
      `${prefix}.event_time`,
      'an RFC 3339 instant on a real day of the years 0001 to 9999 is expected',
    );
  }
  const illFormed = strings === 'unchecked' ? findIllFormed(body, prefix) : undefined;
  if (illFormed !== undefined) refuse('field-invalid', illFormed, 'it holds a lone surrogate');
  return body;
}

/** Members that may hold any number of members, and how many of them are looked at in one go. */
const UNBOUNDED = ['changes', 'context'] as const;
const ERROR_MEMBERS_MAX = 100;

/**
 * The part of a refused body that holds an error. A list of all errors is made before the first can be read: of half a
 * million wrong `changes` that took seven seconds, in which nobody else was served.
 */
function partAtFault(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  const rest: Record<string, unknown> = { ...body };
  const large = UNBOUNDED.filter((name) => membersOf(rest[name]).length > ERROR_MEMBERS_MAX);
  for (const name of large) delete rest[name];
  if (large.length === 0 || !compiled.Check(rest)) return rest;
  for (const name of large) {
    const members = membersOf((body as Record<string, unknown>)[name]);
    for (let at = 0; at < members.length; at += ERROR_MEMBERS_MAX) {
      const part = { ...rest, [name]: Object.fromEntries(members.slice(at, at + ERROR_MEMBERS_MAX)) };
      if (!compiled.Check(part)) return part;
    }
  }
  return body;
}

function membersOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}

function firstError(body: unknown, prefix: string): EvidentError {
  const errors = compiled.Errors(partAtFault(body));
  const unknown = errors.find((error) => error.keyword === 'additionalProperties');
  if (unknown !== undefined) {
    const names = (unknown.params as { additionalProperties: string[] }).additionalProperties;
    const field = `${dotted(unknown.instancePath, prefix)}.${names[0]}`;
    return new EvidentError(
      'field-unknown',
      `${field}: the schema of audit.event has no such member; details takes anything`,
      {
        context: { field },
      },
    );
  }
  const missing = errors.find((error) => error.keyword === 'required');
  const first =
    missing ?? errors.find((error) => error.keyword !== 'anyOf' && error.keyword !== 'boolean') ?? errors[0];
  let field = dotted(first?.instancePath ?? '', prefix);
  if (first?.keyword === 'required') {
    field += `.${(first.params as { requiredProperties: string[] }).requiredProperties[0]}`;
    return new EvidentError('field-invalid', `${field}: it is missing`, { context: { field } });
  }
  const allowed = (first?.params as { allowedValues?: unknown[] } | undefined)?.allowedValues;
  const reason =
    allowed === undefined
      ? (first?.message ?? 'it does not match')
      : `one of ${allowed.join(', ')} is expected`;
  return new EvidentError('field-invalid', `${field}: ${reason}`, { context: { field } });
}
