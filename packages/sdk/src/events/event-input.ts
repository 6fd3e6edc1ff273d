/** What a caller gives to audit.log and audit.capture: the audit event, less what the SDK knows itself. */

import type { AuditEvent } from '@evident/core/audit-event.ts';
import type { Static, TSchema } from 'typebox';
import type { ChangesOptions, State } from './changes.ts';

/** What a service says about one of its actions, once. */
export interface ActionDeclaration {
  /** Capture of it never pauses, and audit.capture commits an intent before it runs the function. Default false. */
  readonly critical?: boolean;
  /** Schema of `details`: gives their type, and what does not fit is refused. It describes their JSON form. */
  readonly details?: TSchema;
  /** Dotted paths of personal fields beside those of the core, such as `details.iban` or `changes.email`. */
  readonly personal?: readonly string[];
  /** Holds for every comparison of before and after under this action. */
  readonly changes?: ChangesOptions;
}

export type Actions = Readonly<Record<string, ActionDeclaration>>;
export type Undeclared = 'allow' | 'refuse';

/** The names that may stand in `action`. */
export type ActionName<A extends Actions, U extends Undeclared> = U extends 'refuse'
  ? keyof A & string
  : (keyof A & string) | (string & {});

type Anything = NonNullable<AuditEvent['details']>;

/** Details as the action declares them: required when the schema requires a member, and typed by it. */
export type DetailsOf<A extends Actions, N> = N extends keyof A
  ? A[N] extends { readonly details: infer S extends TSchema }
    ? Static<S>
    : Anything
  : Anything;

type DetailsMember<A extends Actions, N> =
  Record<never, never> extends DetailsOf<A, N>
    ? { readonly details?: DetailsOf<A, N> }
    : { readonly details: DetailsOf<A, N> };

type CoreMembers = Partial<
  Pick<
    AuditEvent,
    'event_id' | 'tenant' | 'actor' | 'reason' | 'context' | 'access' | 'clock' | 'sampling' | 'criticality'
  >
>;

interface CommonMembers extends Readonly<CoreMembers> {
  /** When it happened; default now. */
  readonly event_time?: string | Date;
  readonly changes?: Readonly<Record<string, { readonly old: unknown; readonly new: unknown }>>;
  /** Instead of `changes`: the state before. Missing or null for what was created. */
  readonly before?: State;
  /** Instead of `changes`: the state after. Missing or null for what was deleted. */
  readonly after?: State;
}

/**
 * One event. Without `actor` and `tenant` those of the context hold; a criticality of `critical` raises that of the
 * action, and `normal` does not lower it.
 */
export type EventInput<
  A extends Actions = Actions,
  U extends Undeclared = Undeclared,
  N extends ActionName<A, U> = ActionName<A, U>,
> = CommonMembers &
  DetailsMember<A, N> & {
    readonly action: N;
    readonly resource: AuditEvent['resource'];
    /** Default success. */
    readonly result?: AuditEvent['result'];
    /** What went wrong. */
    readonly error?: string;
  };

/**
 * The event of a capture: how it ends is not known yet, and details, changes and the id of the resource may be told
 * by the function.
 */
export type CaptureInput<
  A extends Actions = Actions,
  U extends Undeclared = Undeclared,
  N extends ActionName<A, U> = ActionName<A, U>,
> = CommonMembers & {
  readonly action: N;
  readonly resource: Omit<AuditEvent['resource'], 'id'> & { readonly id?: string };
  readonly details?: Partial<DetailsOf<A, N>>;
};

/** Any event, as the code behind the types sees it. */
export type AnyInput = Readonly<Record<string, unknown>>;
