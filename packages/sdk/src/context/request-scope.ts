import { type Actor, type AuditContext, checkContext } from './check-context.ts';
import { identify } from './context.ts';
import { type Entry, enter, entryAround, hasEnded, type RequestState } from './frame.ts';

/** What of an EventEmitter is needed to carry a context into its events. */
export interface Emitter {
  emit(event: string | symbol, ...args: never[]): boolean;
}

/** The context of one request, from its begin to its end: for middleware, and for consumers of messages. */
export interface RequestScope {
  readonly requestId: string | undefined;
  /** Runs `fn`, and all that it starts, in the context of the request. */
  run<T>(fn: () => T): T;
  /** Says who acts, from outside of the context; null and undefined leave what is there. */
  identify(actor: Actor | null | undefined, tenant?: string | null): void;
  /** Lets the listeners of an object that belongs to this request alone run in its context. */
  carry(emitter: Emitter): void;
  /** From now on the context is an error. Calling it again does nothing. */
  end(): void;
  /** The context ends as soon as this holds; asked at each use, so it must be cheap. */
  endWhen(isOver: () => boolean): void;
  readonly hasEnded: boolean;
}

/**
 * Begins a request. It takes nothing from a context around it: a server that was started within a request serves
 * others.
 * @param client network address and user agent, which go into the actor once it is set
 * @throws field-invalid, field-unknown or field-reserved, naming the member
 */
export function beginRequest(context: AuditContext, client: Entry['client'] = {}): RequestScope {
  const { tenant, context: identifiers } = checkContext({ ...context, actor: undefined });
  const request: RequestState = { ended: false, isOver: null };
  const entry: Entry = {
    actor: { value: undefined },
    tenant: { value: tenant },
    context: Object.freeze({ ...identifiers }),
    client,
    request,
  };
  identify(entry, context.actor);
  return {
    requestId: entry.context.request_id,
    run: (fn) => enter(entry, fn),
    identify: (actor, tenant) => identify(entry, actor, tenant),
    carry: (emitter) => carry(emitter, entry),
    end() {
      request.ended = true;
      request.isOver = null;
    },
    endWhen(isOver) {
      if (!request.ended) request.isOver = isOver;
    },
    get hasEnded() {
      return hasEnded(request);
    },
  };
}

/**
 * The events of a request and its response are emitted by the parser and the socket, which live as long as the
 * connection and know no request: without this, `request.on('data')` would find no context. A listener that is
 * called within the request already keeps what it has, so that an inner context still wins.
 */
function carry(emitter: Emitter, entry: Entry): void {
  const emit = emitter.emit;
  emitter.emit = function (this: Emitter, ...args: Parameters<Emitter['emit']>) {
    if (entryAround()?.request === entry.request) return emit.apply(this, args);
    return enter(entry, () => emit.apply(this, args));
  };
}
