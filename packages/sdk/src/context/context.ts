/**
 * The context of a request: who acts, for which tenant, in which request. Middleware sets it; `audit.log` and
 * `audit.capture` read it; an application carries it over where Node cannot know to whom a callback belongs.
 *
 * Guaranteed: a promise, an await, a one-shot timer, an immediate, a microtask, a file or DNS callback and a stream
 * made in a request see the context of that request. After its request has ended a context is an error, never an
 * actor. In a callback of a shared handle (socket, message port, worker, interval) it is an error too.
 *
 * NOT detected, because from inside it looks exactly like the request's own work: a loop of promises or of
 * one-shot timers that request A started and that calls functions which request B queued, for as long as A is still
 * being served. They run as A. Bind at the queue (`bindContext`), or start the loop in `withoutContext`. The
 * README.md of this folder says which function is for which case.
 */

import { EvidentError } from '@evident/core/errors.ts';
import { checkTenant } from '@evident/core/record.ts';
import { type Actor, type AuditContext, checkActor, checkContext } from './check-context.ts';
import { type Entry, enter, entryAround, refusal, usableEntry } from './frame.ts';

export type { AuditContext } from './check-context.ts';

/** A context by value: plain data for JSON or structured clone, complete, so that nothing around it is mixed in. */
export interface CapturedContext extends AuditContext {
  readonly whole: true;
}

function view(entry: Entry): AuditContext {
  const { actor, tenant, context } = entry;
  return Object.freeze({
    ...(tenant.value === undefined ? {} : { tenant: tenant.value }),
    ...(actor.value === undefined ? {} : { actor: actor.value }),
    context,
  });
}

function standingAlone(given: AuditContext): Entry {
  return {
    actor: { value: given.actor },
    tenant: { value: given.tenant },
    context: Object.freeze({ ...given.context }),
    client: {},
    request: null,
  };
}

function isOfAnotherRequest(given: AuditContext, outer: Entry): boolean {
  const [inner, around] = [given.context?.request_id, outer.context.request_id];
  return inner !== undefined && around !== undefined && inner !== around;
}

function entryFor(given: AuditContext, isWhole: boolean): Entry {
  const outer = entryAround();
  if (outer === null || isWhole || isOfAnotherRequest(given, outer)) return standingAlone(given);
  const reason = refusal();
  if (reason !== null) {
    // Nothing may be taken from around here: a context that says who acts needs nothing, any other is not known.
    if (given.actor !== undefined) return standingAlone(given);
    throw reason;
  }
  return {
    actor: given.actor === undefined ? outer.actor : { value: given.actor },
    tenant: given.tenant === undefined ? outer.tenant : { value: given.tenant },
    context:
      given.context === undefined ? outer.context : Object.freeze({ ...outer.context, ...given.context }),
    client: outer.client,
    request: outer.request,
  };
}

/**
 * Runs `fn`, and all that it starts, in a context. Nested in another, inner members win and the others are taken
 * over; it ends with the request around it. A captured context, or one that names another request_id, stands
 * alone: it takes nothing from around it, and no request ends it. So does one around which the context has ended.
 * @throws field-invalid, field-unknown or field-reserved, naming the member; context-ended or context-missing when
 *   the actor would have to be taken from a context that may not be used
 */
export function runWithContext<T>(context: AuditContext | CapturedContext, fn: () => T): T {
  const given = checkContext(context);
  return enter(entryFor(given, (context as Partial<CapturedContext>).whole === true), fn);
}

/**
 * The context around the caller, or null outside of any.
 * @throws context-ended when its request has ended; context-missing in a callback of a shared handle or interval
 *   that was opened in a context, because whose call it is cannot be known there
 */
export function currentContext(): AuditContext | null {
  const entry = usableEntry();
  return entry === null ? null : view(entry);
}

/** Sets actor and tenant of an entry; what the middleware saw of the client fills what the actor leaves out. */
export function identify(entry: Entry, actor: Actor | null | undefined, tenant?: string | null): void {
  // Both are checked before either is set: half of an identity is worse than none.
  const checkedActor =
    actor === undefined || actor === null ? null : checkActor({ ...entry.client, ...actor });
  const checkedTenant = tenant === undefined || tenant === null ? null : checkTenant(tenant);
  if (checkedActor !== null) entry.actor.value = checkedActor;
  if (checkedTenant !== null) entry.tenant.value = checkedTenant;
}

/**
 * Says who acts in the context around the caller, once that is known. It holds for the whole request from now on;
 * within a `runWithContext` that named an actor of its own, for that part alone. A function bound earlier keeps
 * the actor that it was bound with.
 * @throws context-missing outside of a context; context-ended; field-invalid or field-unknown, naming the member
 */
export function setActor(actor: Actor, tenant?: string): void {
  const entry = usableEntry();
  if (entry === null) {
    throw new EvidentError(
      'context-missing',
      'setActor was called outside of a request: register the middleware before what authenticates, or use runWithContext',
    );
  }
  identify(entry, actor, tenant);
}

/**
 * A function that runs later with the context of now, whoever calls it: for a queue, a pool, a listener, a callback
 * of a shared connection. It is counted as meant, so it still holds when its request has ended: a background job
 * of that request. Bound outside of any context it runs in none. A later setActor does not reach it.
 * @throws context-ended, context-missing when the context of now may not be used
 */
export function bindContext<F extends (...args: never[]) => unknown>(fn: F): F {
  const entry = usableEntry();
  const bound =
    entry === null
      ? null
      : {
          ...entry,
          actor: { value: entry.actor.value },
          tenant: { value: entry.tenant.value },
          request: null,
        };
  return function (this: unknown, ...args: never[]) {
    // A copy for each call: setActor in one call does not reach the next.
    const own = bound && { ...bound, actor: { ...bound.actor }, tenant: { ...bound.tenant } };
    return enter(own, () => fn.apply(this, args));
  } as F;
}

/** Runs `fn` in no context: for what outlives the request that happens to start it, a pool or a loop. */
export function withoutContext<T>(fn: () => T): T {
  return enter(null, fn);
}

/**
 * The context of now by value, for what AsyncLocalStorage does not cross: a worker thread, a child process, a queue
 * on disk. Give it to `runWithContext` on the other side. It holds personal data if the actor does.
 * @throws context-ended, context-missing when the context of now may not be used
 */
export function captureContext(): CapturedContext | null {
  const entry = usableEntry();
  if (entry === null) return null;
  const { actor, tenant, context } = view(entry);
  return {
    whole: true,
    ...(tenant === undefined ? {} : { tenant }),
    ...(actor === undefined ? {} : { actor: { ...actor } }),
    context: { ...context },
  };
}
