/** From what the caller gave to the row of the outbox: context, check, serialisation. Nothing is sent from here. */

import { type AuditEvent, checkAuditEvent } from '@evident/core/audit-event.ts';
import { EvidentError } from '@evident/core/errors.ts';
import { BODY_BYTES_MAX, checkId, checkKey, checkTenant, serialiseMeta } from '@evident/core/record.ts';
import { type AuditContext, currentContext } from '../context/context.ts';
import type { OutboxRow } from '../outbox/driver.ts';
import { SDK_VERSION } from '../version.ts';
import { type Changes, changesBetween, type State } from './changes.ts';
import { type DeclaredAction, declareActions, hasPersonalField } from './declared-actions.ts';
import type { Actions, AnyInput, Undeclared } from './event-input.ts';
import { plainValue } from './plain-value.ts';
import { refuseField } from './refuse.ts';
import { createUuidv7 } from './uuidv7.ts';

export interface BuilderOptions {
  readonly service: string;
  readonly tenant?: string;
  readonly actions?: Actions;
  readonly undeclaredActions?: Undeclared;
  readonly emailLikeIds?: 'warn' | 'refuse' | 'allow';
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number;
  warn(message: string): void;
}

/** An event with everything that only the moment of the call knows: who, for whom, in which request. */
export interface BoundEvent {
  readonly id: string;
  readonly input: AnyInput;
  readonly tenant: unknown;
  readonly actor: unknown;
  readonly context: unknown;
  readonly declared: DeclaredAction;
  readonly isCritical: boolean;
  /** Names the event in errors: `event`, or `events[3]`. */
  readonly path: string;
}

/** What only the end of the action knows; it wins over the input. */
export interface Ending {
  readonly result?: AuditEvent['result'];
  readonly error?: string;
  readonly resource?: object;
  readonly details?: object;
  /** null: none, whatever the input says. */
  readonly changes?: Changes | null;
  readonly reason?: string;
  readonly intentId?: string;
  /** Whether details must be all that the action declares; not so while the action has not succeeded. */
  readonly detailsComplete: boolean;
}

export interface EventBuilder {
  /** @throws context-missing, context-ended, field-invalid */
  bind(input: unknown, path: string): BoundEvent;
  /** @throws field-invalid, field-unknown, body-too-large; the field is named from the path of the event */
  eventRow(event: BoundEvent, ending: Ending): OutboxRow;
  /** The intent to do what the event says: the same body without result, under an id of its own. */
  intentRow(event: BoundEvent, ending: Ending): OutboxRow;
}

/** What stands for the id of a resource that does not exist yet when its creation fails. */
export const RESOURCE_ID_UNKNOWN = 'unknown';

export function createEventBuilder(options: BuilderOptions): EventBuilder {
  const lookUp = declareActions(options.actions ?? {}, options.undeclaredActions ?? 'allow');
  const nextId = createUuidv7(options.now);
  const metaOf = createMeta(options.service);
  const checkActorId = createActorCheck(options);

  function serialise(event: BoundEvent, ending: Ending, id: string): { body: AuditEvent; meta: string } {
    const { path, declared } = event;
    const body = plainValue(bodyOf(event, ending, id, options.now), path) as Record<string, unknown>;
    if (ending.detailsComplete) declared.checkDetails(body.details, `${path}.details`);
    const checked = checkAuditEvent(body, path, 'well-formed');
    checkTenant(checked.tenant, `${path}.tenant`);
    checkActorId(checked, path);
    return { body: checked, meta: metaOf(checked, declared) };
  }

  return {
    bind(input, path) {
      if (typeof input !== 'object' || input === null) refuseField(path, 'an event is an object');
      const given = input as AnyInput;
      const declared = lookUp(given.action, path);
      const id = given.event_id === undefined ? nextId() : checkId(given.event_id, `${path}.event_id`);
      const isCritical = declared.isCritical || given.criticality === 'critical';
      const named = { actor: given.actor, tenant: given.tenant ?? options.tenant };
      const context = contextAround(named);
      return { id, input: given, declared, isCritical, path, ...whoActs(given, named, context, path) };
    },
    eventRow(event, ending) {
      const { body, meta } = serialise(event, ending, event.id);
      return rowOf(body, meta, {
        type: 'audit.event',
        schema: 1,
        path: event.path,
        text: toText(body, event.path),
      });
    },
    intentRow(event, ending) {
      const { body, meta } = serialise(event, ending, nextId());
      const { result: _, ...intended } = body;
      const text = toText({ ...intended, intent: true }, event.path, body);
      return rowOf(body, meta, { type: 'audit.intent', schema: 0, path: event.path, text });
    },
  };
}

/** Members of an input that are read one by one; any other goes into the body, for the check to take or refuse. */
const READ = new Set(
  `event_id event_time tenant actor action resource result before after changes reason error details context
  intent_id criticality`.split(/\s+/),
);

function bodyOf(event: BoundEvent, ending: Ending, id: string, now: () => number): Record<string, unknown> {
  const { input, path } = event;
  if (input.criticality !== undefined && input.criticality !== 'critical' && input.criticality !== 'normal') {
    refuseField(`${path}.criticality`, 'one of critical, normal is expected');
  }
  const body: Record<string, unknown> = {
    event_id: id,
    event_time: input.event_time ?? new Date(now()).toISOString(),
    tenant: event.tenant,
    actor: event.actor,
    action: input.action,
    resource: joined(input.resource, ending.resource),
    result: ending.result ?? input.result ?? 'success',
  };
  const changes = ending.changes === undefined ? changesOf(event) : ending.changes;
  if (changes !== undefined && changes !== null) body.changes = changes;
  const reason = ending.reason ?? input.reason;
  if (reason !== undefined) body.reason = reason;
  const error = ending.error ?? input.error;
  if (error !== undefined) body.error = error;
  const details = joined(input.details, ending.details);
  if (details !== undefined) body.details = details;
  if (event.context !== undefined) body.context = event.context;
  for (const name of Object.keys(input)) if (!READ.has(name)) body[name] = input[name];
  if (ending.intentId !== undefined) body.intent_id = ending.intentId;
  body.criticality = event.isCritical ? 'critical' : 'normal';
  return body;
}

function joined(given: unknown, told: object | undefined): unknown {
  return told === undefined ? given : { ...(given as object | undefined), ...told };
}

function changesOf(event: BoundEvent): unknown {
  const { before, after, changes } = event.input;
  const isCompared = isState(before, `${event.path}.before`) || isState(after, `${event.path}.after`);
  if (changes === undefined) {
    if (!isCompared) return undefined;
    return namedChanges(event, () => changesBetween(before as State, after as State, event.declared.changes));
  }
  if (isCompared) refuseField(`${event.path}.changes`, 'give changes, or before and after, not both');
  if (typeof changes !== 'object' || changes === null) return changes;
  // A member that is undefined would vanish, and the change with it: absent and null are one here.
  const whole: Record<string, unknown> = {};
  for (const [field, change] of Object.entries(changes)) {
    const isPair = typeof change === 'object' && change !== null && ('old' in change || 'new' in change);
    whole[field] = isPair ? { ...change, old: change.old ?? null, new: change.new ?? null } : change;
  }
  return whole;
}

/** Compares for an event: its action's declaration holds, and errors carry its path. */
export function namedChanges(event: BoundEvent, compare: () => Changes): Changes {
  try {
    return compare();
  } catch (error) {
    if (!(error instanceof EvidentError)) throw error;
    throw new EvidentError(error.code, `${event.path}.${error.message}`, {
      cause: error,
      context: { ...error.context, field: `${event.path}.${error.context.field}` },
    });
  }
}

function isState(value: unknown, field: string): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== 'object' || Array.isArray(value)) refuseField(field, 'an object is expected');
  return true;
}

interface Named {
  readonly actor: unknown;
  readonly tenant: unknown;
}

/** Actor, tenant and request: the event's own word, then the service's setting, then the context. */
function whoActs(
  input: AnyInput,
  named: Named,
  around: AuditContext | null,
  path: string,
): Pick<BoundEvent, 'tenant' | 'actor' | 'context'> {
  const actor = named.actor ?? around?.actor;
  const tenant = named.tenant ?? around?.tenant;
  if (actor === undefined) {
    throw missing(`${path}.actor`, 'the event names no actor and there is no context that does');
  }
  if (tenant === undefined) {
    throw missing(`${path}.tenant`, 'neither the event nor the service nor a context names the tenant');
  }
  const own = input.context;
  const ofRequest = around?.context;
  const isBare = ofRequest === undefined || Object.keys(ofRequest).length === 0;
  if (isBare || own === null) return { actor, tenant, context: own };
  if (own !== undefined && typeof own !== 'object') return { actor, tenant, context: own };
  return { actor, tenant, context: own === undefined ? ofRequest : { ...ofRequest, ...own } };
}

/** A context that has ended matters only to an event that needs it. */
function contextAround(named: Named): AuditContext | null {
  try {
    return currentContext();
  } catch (error) {
    if (named.actor === undefined || named.tenant === undefined) throw error;
    return null;
  }
}

function missing(field: string, what: string): EvidentError {
  return new EvidentError(
    'context-missing',
    `${field}: ${what}. Name it in the event, or call this inside the request: through the middleware, or in runWithContext`,
    { context: { field } },
  );
}

/** What key and views need of actor.id, beside what the schema says. */
function createActorCheck(options: BuilderOptions): (body: AuditEvent, path: string) => void {
  const { emailLikeIds = 'warn', service } = options;
  return ({ actor, tenant }, path) => {
    const field = `${path}.actor.id`;
    checkKeyOf(tenant, actor.id, field);
    if (emailLikeIds === 'allow' || !actor.id.includes('@') || !EMAIL.test(actor.id)) return;
    if (emailLikeIds === 'refuse') {
      refuseField(
        field,
        'it looks like an e-mail address; an id is a pseudonym that says nothing of the person',
      );
    }
    if (warned.has(service) || warned.size >= WARNED_MAX) return;
    warned.add(service);
    options.warn(
      `${field} of service ${service} looks like an e-mail address. It becomes part of the key, which is never erased: use a pseudonym, and put the address into actor.email`,
    );
  };
}

const EMAIL = /^[^\s@/]+@[^\s@/]+\.[^\s@/]+$/;
const WARNED_MAX = 1_000;
/** Services that were warned of: once in a process, however many instances they make. */
const warned = new Set<string>();

function checkKeyOf(tenant: string, actorId: string, field: string): void {
  try {
    checkKey(`${tenant}/${actorId}`, field);
  } catch (error) {
    if (!(error instanceof EvidentError)) throw error;
    throw new EvidentError(error.code, `${error.message} (the key of the record is tenant/actor.id)`, {
      context: error.context,
    });
  }
}

/** One text per set of personal fields that are present; they are few. */
function createMeta(service: string): (body: AuditEvent, declared: DeclaredAction) => string {
  const known = new Map<string, string>();
  return (body, declared) => {
    let personal = '';
    for (const { path, steps } of declared.personal) {
      if (hasPersonalField(body, steps)) personal += personal === '' ? path : `,${path}`;
    }
    let meta = known.get(personal);
    if (meta === undefined) {
      const facts = { sdk: SDK_VERSION, service };
      meta = serialiseMeta(personal === '' ? facts : { ...facts, personal })!;
      if (known.size < KNOWN_META_MAX) known.set(personal, meta);
    }
    return meta;
  };
}

const KNOWN_META_MAX = 1_000;

/** An escaped lone surrogate, or the same characters escaped in the original: only then every string is looked at. */
const MAYBE_SURROGATE = /\\ud[89a-f]/;

function toText(body: object, path: string, event: unknown = body): string {
  const text = JSON.stringify(body);
  if (MAYBE_SURROGATE.test(text)) checkAuditEvent(event, path, 'unchecked');
  if (text.length * 3 > BODY_BYTES_MAX && Buffer.byteLength(text) > BODY_BYTES_MAX) {
    throw new EvidentError('body-too-large', `${path}: its JSON is larger than ${BODY_BYTES_MAX} bytes`, {
      context: { field: path, limit: BODY_BYTES_MAX },
    });
  }
  return text;
}

function rowOf(
  body: AuditEvent,
  meta: string,
  form: Pick<OutboxRow, 'type' | 'schema'> & { path: string; text: string },
): OutboxRow {
  return {
    eventId: body.event_id,
    tenant: body.tenant,
    type: form.type,
    key: `${body.tenant}/${body.actor.id}`,
    schema: form.schema,
    meta,
    body: form.text,
  };
}
