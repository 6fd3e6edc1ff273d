/** What alerts need of others: where rules, counts and alerts are kept, the log, and a way to send. */

import type { LogRecord } from '@evident/core/record.ts';
import type { Increment } from './evaluate.ts';
import type { AlertRule, RuleDefinition, Severity } from './rule.ts';

/** Subjects of one rule, tenant and period that are told apart; those beyond are counted together, and the alert says so. */
export const GROUPS_MAX = 1_000;
/** Versions of rules that one tenant may have made: a reader holds them all. */
export const RULE_VERSIONS_MAX = 1_000;
/** Webhooks of one tenant. */
export const WEBHOOKS_MAX = 20;

/** How far the reader of alerts has read a partition. `tree` is the database's number of (log, partition). */
export interface AlertCheckpoint {
  readonly tree: number;
  readonly next: bigint;
}

export interface AlertState {
  /** Rises with every change of a rule. */
  readonly rulesVersion: bigint;
  /** Every version of every rule. */
  readonly rules: readonly AlertRule[];
  readonly checkpoints: readonly AlertCheckpoint[];
}

/** How far a step moves a checkpoint. */
export interface AlertSpan {
  readonly tree: number;
  readonly from: bigint;
  readonly to: bigint;
  /** `appended_at` of the last record. */
  readonly seen: bigint;
}

export type Advance =
  | { readonly kind: 'advanced' /** Alerts that are new, by id. */; readonly raised: readonly string[] }
  /** A rule was changed: nothing was done. Load the state anew. */
  | { readonly kind: 'stale' }
  /** Another reader has moved a checkpoint: nothing was done. Load the state anew. */
  | { readonly kind: 'overtaken' };

/** Counts and checkpoints. Implemented in `stores/postgres` and `stores/memory`. @throws log-unavailable, outcome-unknown */
export interface AlertStream {
  /** Makes what is missing (first rules, checkpoints of new logs), and reads all. */
  load(): Promise<AlertState>;
  /** Counts, alerts and checkpoints of one step, all or nothing. */
  advance(
    rulesVersion: bigint,
    spans: readonly AlertSpan[],
    increments: readonly Increment[],
  ): Promise<Advance>;
  /** Forgets slices of which no window can get another event. @returns how many counts went */
  prune(): Promise<number>;
}

/** A condition of the server that is no function of the log. */
export interface Condition {
  /** One alert is open per key. */
  readonly key: string;
  /** Whom it concerns; null: the operator. */
  readonly tenant: string | null;
  readonly name: string;
  readonly severity: Severity;
  readonly subject: string | null;
  readonly detail: string;
  /** A webhook that is not told: one that can't be reached is not told of that. */
  readonly exceptWebhook?: string;
}

export interface Alert {
  readonly id: string;
  /** `_system`: nobody's in particular. */
  readonly tenant: string;
  /** Null: a condition of the server. */
  readonly rule: { readonly id: string; readonly version: number } | null;
  readonly name: string;
  readonly severity: Severity;
  readonly groupBy: string | null;
  readonly subject: string | null;
  /** True: of the groups beyond the bound, together. */
  readonly others: boolean;
  /** First and last instant (not in it) of the window that reached the threshold, in microseconds since the Unix epoch; null for a condition. */
  readonly windowStart: bigint | null;
  readonly windowEnd: bigint | null;
  readonly threshold: bigint | null;
  /** Matching events of the window so far. */
  readonly count: bigint;
  readonly places: readonly string[];
  readonly detail: string;
  readonly openedAt: bigint;
  /** Of conditions: when it no longer held. */
  readonly closedAt: bigint | null;
  readonly acknowledgedAt: bigint | null;
  readonly acknowledgedBy: string | null;
  readonly note: string | null;
}

export interface AlertQuery {
  /** Whose; null: everybody's. */
  readonly tenant: string | null;
  readonly state: 'all' | 'unacknowledged';
  /** Older than this one. */
  readonly before: { readonly openedAt: bigint; readonly id: string } | null;
  readonly limit: number;
}

/** Alerts as they were raised. @throws log-unavailable, outcome-unknown */
export interface AlertBoard {
  /** @returns the id of the alert, or null while one of this key is open: then its detail is brought up to date */
  raise(condition: Condition): Promise<string | null>;
  /** The condition no longer holds. @returns whether an alert was open */
  settle(key: string): Promise<boolean>;
  /** Newest first. */
  list(query: AlertQuery): Promise<readonly Alert[]>;
  find(ids: readonly string[]): Promise<readonly Alert[]>;
  /** The first one stays: `before` says that there was one. */
  acknowledge(
    id: string,
    tenant: string | null,
    by: string,
    note: string | null,
  ): Promise<'acknowledged' | 'before' | 'unknown'>;
}

/** Alerts that are old enough to go. @throws log-unavailable, outcome-unknown */
export interface AlertRetention {
  /**
   * Oldest first: opened before that time and over a day ago, acknowledged, not open, on their way to nobody, and of a
   * period that can get no event any more.
   */
  removable(beforeUs: bigint, most: number): Promise<readonly string[]>;
  /** Removes those of them (1,000 at most) that may still go. @returns how many went */
  remove(ids: readonly string[], beforeUs: bigint): Promise<number>;
}

/** Rules. A tenant's are its own; those for all tenants (null) belong to who speaks for all. @throws log-unavailable, outcome-unknown */
export interface RuleStore {
  /** Today's, by name. */
  list(tenant: string | null): Promise<readonly AlertRule[]>;
  /**
   * Makes a rule (`version` 0), makes another version of it (the version that is replaced), or ends it (null).
   * It takes effect with the records that are appended from then on.
   * @returns `conflict`: it is not that version any more; `exists`: another rule has the name; `full`
   */
  put(
    id: string,
    tenant: string | null,
    version: number,
    rule: RuleDefinition | null,
    by: string,
  ): Promise<'done' | 'conflict' | 'exists' | 'full'>;
}

export const PAYLOADS = ['alert', 'cloudevents', 'ocsf'] as const;
/** What is sent: the alert as a CloudEvent, or the first events that raised it. */
export type Payload = (typeof PAYLOADS)[number];

export interface Webhook {
  readonly id: string;
  /** Whose alerts; null: everybody's, and those of the server. */
  readonly tenant: string | null;
  readonly name: string;
  readonly url: string;
  readonly payload: Payload;
  readonly madeBy: string;
  readonly madeAt: bigint;
}

/** How what was to be sent to a webhook stands. */
export interface WebhookCounts {
  readonly pending: number;
  readonly delivered: number;
  readonly failed: number;
  readonly lastError: string | null;
}

/** @throws log-unavailable, outcome-unknown */
export interface WebhookStore {
  list(tenant: string | null): Promise<readonly (Webhook & WebhookCounts)[]>;
  add(webhook: Omit<Webhook, 'madeAt'>, secret: Uint8Array): Promise<'done' | 'exists' | 'full'>;
  /** What waits for it is given up. @param tenant whose it may be; null: anybody's */
  remove(id: string, tenant: string | null): Promise<boolean>;
  /** Sends again what was given up. @returns how many */
  retry(id: string, tenant: string | null): Promise<number>;
}

/** An alert that one attempt is to bring to one webhook. */
export interface Delivery {
  /** The same for every attempt: by it a receiver knows a repeat. */
  readonly id: string;
  /** This attempt, counted from 1. */
  readonly attempt: number;
  readonly webhook: Webhook;
  /** Null: the key of this data directory does not open it. */
  readonly secret: Uint8Array | null;
  /** As it was when it was raised. */
  readonly alert: Alert;
}

export type DeliveryMark =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'again'; readonly afterUs: bigint; readonly error: string }
  | { readonly kind: 'failed'; readonly error: string };

/** Seals the secrets of webhooks, so that the database alone does not tell them. */
export interface SecretBox {
  /** @param id of the webhook: what is sealed for one does not open for another */
  seal(id: string, secret: Uint8Array): Uint8Array;
  /** A secret that was stored before secrets were sealed opens as it is. @returns null when this key did not seal it */
  open(id: string, stored: Uint8Array): Uint8Array | null;
  isSealed(stored: Uint8Array): boolean;
}

/** What is on its way, durable. @throws log-unavailable, outcome-unknown */
export interface DeliveryQueue {
  /**
   * Takes one that is due. Nobody else gets it for `leaseUs`; if this process dies, somebody does after that.
   * @param busy webhooks that are not to be given
   */
  claim(busy: readonly string[], leaseUs: bigint): Promise<Delivery | null>;
  mark(delivery: Delivery, mark: DeliveryMark): Promise<void>;
  /** Not delivered yet, and given up. */
  backlog(): Promise<{ readonly pending: number; readonly failed: number }>;
}

/** The records at these places, with their bodies; those that the log has no more are left out. @throws log-unavailable */
export type ReadPlaces = (
  places: readonly string[],
) => Promise<readonly { readonly record: LogRecord; readonly body: Uint8Array }[]>;

/** What came back, or why nothing did. Never throws. */
export type PostAnswer =
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'unreachable'; readonly reason: string };

export interface Post {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** Addresses of private networks may be reached. */
  readonly allowPrivate: boolean;
  readonly timeoutMs: number;
}

/** Sends one request; follows no redirect; reads a bounded part of the answer. */
export type Send = (post: Post, signal: AbortSignal) => Promise<PostAnswer>;
