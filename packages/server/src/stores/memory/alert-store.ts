/** The ports of alerts in memory: what `stores/postgres` does, without its durability. */

import { derivedId } from '@evident/core/derived-id.ts';
import { SYSTEM_TENANT } from '@evident/core/record.ts';
import type { Increment } from '../../alerts/evaluate.ts';
import {
  type Advance,
  type Alert,
  type AlertBoard,
  type AlertQuery,
  type AlertRetention,
  type AlertSpan,
  type AlertState,
  type AlertStream,
  type Condition,
  type Delivery,
  type DeliveryMark,
  type DeliveryQueue,
  GROUPS_MAX,
  RULE_VERSIONS_MAX,
  type RuleStore,
  WEBHOOKS_MAX,
  type Webhook,
  type WebhookCounts,
  type WebhookStore,
} from '../../alerts/ports.ts';
import { type AlertRule, FIRST_RULES, periodOf, type RuleDefinition } from '../../alerts/rule.ts';
import type { RecordSource } from '../../project/ports.ts';
import { AlertWindows, type FullWindow } from './alert-windows.ts';

interface Queued {
  id: string;
  webhookId: string;
  alertId: string;
  count: bigint;
  places: readonly string[];
  state: 'pending' | 'delivered' | 'failed';
  attempts: number;
  nextUs: bigint;
  error: string | null;
}

interface Held extends Webhook {
  secret: Uint8Array;
}

export interface MemoryAlertDeps {
  /** Ends of the partitions. */
  readonly source: Pick<RecordSource, 'heads'>;
  /** Microseconds since the Unix epoch. */
  readonly clock: () => bigint;
  readonly newId: () => string;
  readonly groupsMax?: number;
  readonly ruleVersionsMax?: number;
}

const later = (a: bigint, b: bigint): bigint => (a > b ? a : b);
/** Bytes in order, as a "C" collation has them; the texts compared here are ASCII. */
const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export class MemoryAlertStore implements AlertStream, AlertBoard, AlertRetention {
  readonly #deps: MemoryAlertDeps;
  readonly #checkpoints = new Map<number, { next: bigint; seen: bigint }>();
  readonly #windows: AlertWindows;
  readonly #alerts = new Map<string, Alert & { key: string }>();
  readonly rules = new Map<string, AlertRule[]>();
  readonly webhooks = new Map<string, Held>();
  readonly queue = new Map<string, Queued>();
  rulesVersion = 1n;
  seen = 0n;
  #isOpen = false;

  constructor(deps: MemoryAlertDeps) {
    this.#deps = deps;
    this.#windows = new AlertWindows(deps.groupsMax ?? GROUPS_MAX);
  }

  get clock(): () => bigint {
    return this.#deps.clock;
  }

  async load(): Promise<AlertState> {
    const isFirst = !this.#isOpen;
    this.#isOpen = true;
    if (isFirst) {
      this.seen = this.#deps.clock();
      const over = { version: 1, tenant: null, madeBy: 'evident', activeFrom: this.seen, activeTo: null };
      for (const rule of FIRST_RULES) this.rules.set(rule.id, [{ ...rule, ...over }]);
    }
    for (const { tree, next } of await this.#deps.source.heads())
      if (!this.#checkpoints.has(tree)) this.#checkpoints.set(tree, { next: isFirst ? next : 0n, seen: 0n });
    return {
      rulesVersion: this.rulesVersion,
      rules: [...this.rules.values()].flat(),
      checkpoints: [...this.#checkpoints].map(([tree, { next }]) => ({ tree, next })),
    };
  }

  async advance(
    rulesVersion: bigint,
    spans: readonly AlertSpan[],
    increments: readonly Increment[],
  ): Promise<Advance> {
    if (rulesVersion !== this.rulesVersion) return { kind: 'stale' };
    if (spans.some(({ tree, from }) => this.#checkpoints.get(tree)?.next !== from))
      return { kind: 'overtaken' };
    for (const { tree, to, seen } of spans) {
      this.#checkpoints.set(tree, { next: to, seen: later(this.#checkpoints.get(tree)!.seen, seen) });
      this.seen = later(this.seen, seen);
    }
    const items = [...increments]
      .sort((a, b) => byText(a.subject, b.subject))
      .map((increment) => ({ rule: this.#rule(increment.ruleId, increment.version), increment }));
    const raised = this.#windows.add(items).flatMap((window) => this.#tell(window) ?? []);
    return { kind: 'advanced', raised };
  }

  #rule(id: string, version: number): AlertRule {
    return this.rules.get(id)!.find((rule) => rule.version === version)!;
  }

  #tell({ rule, tenant, period, others, subject, start, end, count, places }: FullWindow): string | null {
    const key = `alert:${rule.id}:${rule.version}:${tenant}:${period}:${others ? 'others' : 'one'}:${subject}`;
    const id = derivedId(key);
    const before = this.#alerts.get(id);
    const alert = before ?? {
      ...NO_ALERT,
      id,
      key,
      tenant,
      rule: { id: rule.id, version: rule.version },
      name: rule.name,
      severity: rule.severity,
      groupBy: rule.groupBy,
      subject: others || rule.groupBy === 'none' ? null : subject,
      others,
      threshold: rule.threshold,
      openedAt: this.#deps.clock(),
    };
    // The earliest window of the period: a later one may reach the threshold first, where partitions are behind.
    if (before?.windowStart != null && before.windowStart < start) return null;
    this.#alerts.set(id, { ...alert, windowStart: start, windowEnd: end, count, places });
    if (before !== undefined) return null;
    this.#enqueue(id, null);
    return id;
  }

  #enqueue(alertId: string, except: string | null): void {
    const { tenant, count, places } = this.#alerts.get(alertId)!;
    for (const webhook of this.webhooks.values()) {
      if (webhook.id === except || (webhook.tenant !== null && webhook.tenant !== tenant)) continue;
      if (webhook.payload !== 'alert' && places.length === 0) continue;
      const id = this.#deps.newId();
      const nextUs = this.#deps.clock();
      const queued = { id, webhookId: webhook.id, alertId, count, places, attempts: 0, nextUs, error: null };
      this.queue.set(id, { ...queued, state: 'pending' });
    }
  }

  async prune(): Promise<number> {
    const heads = new Map((await this.#deps.source.heads()).map(({ tree, next }) => [tree, next]));
    const now = this.#deps.clock();
    let past = now;
    for (const [tree, { next, seen }] of this.#checkpoints)
      if (heads.get(tree) !== next && seen < past) past = seen;
    return this.#windows.forget(past);
  }

  async raise(condition: Condition): Promise<string | null> {
    const { key, tenant, name, severity, subject, detail, exceptWebhook } = condition;
    const open = this.#open(key);
    if (open !== undefined) {
      this.#alerts.set(open.id, { ...open, detail });
      return null;
    }
    const id = this.#deps.newId();
    const openedAt = this.#deps.clock();
    const over = { id, key, tenant: tenant ?? SYSTEM_TENANT, name, severity, subject, detail, openedAt };
    this.#alerts.set(id, { ...NO_ALERT, ...over });
    this.#enqueue(id, exceptWebhook ?? null);
    return id;
  }

  #open(key: string) {
    return [...this.#alerts.values()].find(
      (alert) => alert.rule === null && alert.key === key && alert.closedAt === null,
    );
  }

  async settle(key: string): Promise<boolean> {
    const open = this.#open(key);
    if (open !== undefined) this.#alerts.set(open.id, { ...open, closedAt: this.#deps.clock() });
    return open !== undefined;
  }

  async list({ tenant, state, before, limit }: AlertQuery): Promise<readonly Alert[]> {
    const order = (a: Alert, b: Alert) =>
      a.openedAt === b.openedAt ? byText(a.id, b.id) : a.openedAt < b.openedAt ? -1 : 1;
    return [...this.#alerts.values()]
      .filter((alert) => tenant === null || alert.tenant === tenant)
      .filter((alert) => state === 'all' || alert.acknowledgedAt === null)
      .filter((alert) => before === null || order(alert, { ...alert, ...before }) < 0)
      .sort((a, b) => order(b, a))
      .slice(0, limit)
      .map(shown);
  }

  async find(ids: readonly string[]): Promise<readonly Alert[]> {
    return ids.flatMap((id) => this.#alerts.get(id) ?? []).map(shown);
  }

  async acknowledge(id: string, tenant: string | null, by: string, note: string | null) {
    const alert = this.#alerts.get(id);
    if (alert === undefined || (tenant !== null && alert.tenant !== tenant)) return 'unknown' as const;
    if (alert.acknowledgedAt !== null) return 'before' as const;
    const acknowledgedAt = this.#deps.clock();
    this.#alerts.set(id, { ...alert, acknowledgedAt, acknowledgedBy: by, note });
    return 'acknowledged' as const;
  }

  #mayGo(
    { id, tenant, rule, openedAt, acknowledgedAt, closedAt, windowStart }: Alert,
    before: bigint,
  ): boolean {
    const dayAgo = this.#deps.clock() - 86_400_000_000n;
    if (openedAt >= before || openedAt >= dayAgo || acknowledgedAt === null) return false;
    if ([...this.queue.values()].some(({ alertId, state }) => alertId === id && state === 'pending'))
      return false;
    if (rule === null || windowStart === null) return closedAt !== null;
    const made = this.#rule(rule.id, rule.version);
    return !this.#windows.isOpen(made, tenant, periodOf(made, windowStart));
  }

  async removable(beforeUs: bigint, most: number): Promise<readonly string[]> {
    return [...this.#alerts.values()]
      .filter((alert) => this.#mayGo(alert, beforeUs))
      .sort((a, b) => Number(a.openedAt - b.openedAt) || byText(a.id, b.id))
      .slice(0, most)
      .map(({ id }) => id);
  }

  async remove(ids: readonly string[], beforeUs: bigint): Promise<number> {
    const gone = (await this.find(ids)).filter((alert) => this.#mayGo(alert, beforeUs));
    for (const { id } of gone) {
      this.#alerts.delete(id);
      for (const [key, { alertId }] of this.queue) if (alertId === id) this.queue.delete(key);
    }
    return gone.length;
  }
}

const NO_ALERT = {
  rule: null,
  groupBy: null,
  subject: null,
  others: false,
  windowStart: null,
  windowEnd: null,
  threshold: null,
  count: 1n,
  places: [],
  detail: '',
  closedAt: null,
  acknowledgedAt: null,
  acknowledgedBy: null,
  note: null,
} as const;

function shown({ key: _key, ...alert }: Alert & { key: string }): Alert {
  return alert;
}

export class MemoryRuleStore implements RuleStore {
  readonly #alerts: MemoryAlertStore;
  readonly #versionsMax: number;

  constructor(alerts: MemoryAlertStore, versionsMax = RULE_VERSIONS_MAX) {
    this.#alerts = alerts;
    this.#versionsMax = versionsMax;
  }

  #current(): AlertRule[] {
    return [...this.#alerts.rules.values()].flat().filter(({ activeTo }) => activeTo === null);
  }

  async list(tenant: string | null): Promise<readonly AlertRule[]> {
    return this.#current()
      .filter((rule) => tenant === null || rule.tenant === tenant)
      .sort((a, b) => byText(a.tenant ?? SYSTEM_TENANT, b.tenant ?? SYSTEM_TENANT) || byText(a.name, b.name));
  }

  async put(id: string, tenant: string | null, version: number, rule: RuleDefinition | null, by: string) {
    const alerts = this.#alerts;
    const at = later(alerts.clock(), alerts.seen + 1n);
    const versions = alerts.rules.get(id) ?? [];
    const now = versions.find(({ activeTo }) => activeTo === null);
    if (version > 0 && (now?.version !== version || now.tenant !== tenant)) return 'conflict' as const;
    const own = [...alerts.rules.values()].flat().filter((one) => one.tenant === tenant);
    if (rule !== null) {
      const isNamed = this.#current().some(
        (one) => one.tenant === tenant && one.name === rule.name && one.id !== id,
      );
      if (isNamed) return 'exists' as const;
      if (own.length >= this.#versionsMax) return 'full' as const;
    }
    const kept = versions.map((one) => (one.activeTo === null ? { ...one, activeTo: at } : one));
    const over = { id, version: version + 1, tenant, madeBy: by, activeFrom: at, activeTo: null };
    alerts.rules.set(id, rule === null ? kept : [...kept, { ...rule, ...over }]);
    alerts.rulesVersion++;
    return 'done' as const;
  }
}

export class MemoryWebhookStore implements WebhookStore, DeliveryQueue {
  readonly #alerts: MemoryAlertStore;

  constructor(alerts: MemoryAlertStore) {
    this.#alerts = alerts;
  }

  async list(tenant: string | null): Promise<readonly (Webhook & WebhookCounts)[]> {
    return [...this.#alerts.webhooks.values()]
      .filter((webhook) => tenant === null || webhook.tenant === tenant)
      .map(({ secret: _secret, ...webhook }) => {
        const own = [...this.#alerts.queue.values()].filter(({ webhookId }) => webhookId === webhook.id);
        const count = (state: Queued['state']) => own.filter((one) => one.state === state).length;
        return {
          ...webhook,
          pending: count('pending'),
          delivered: count('delivered'),
          failed: count('failed'),
          lastError: own.findLast(({ error }) => error !== null)?.error ?? null,
        };
      });
  }

  async add(webhook: Omit<Webhook, 'madeAt'>, secret: Uint8Array) {
    const own = [...this.#alerts.webhooks.values()].filter(({ tenant }) => tenant === webhook.tenant);
    if (own.length >= WEBHOOKS_MAX) return 'full' as const;
    if (own.some(({ name }) => name === webhook.name)) return 'exists' as const;
    this.#alerts.webhooks.set(webhook.id, { ...webhook, secret, madeAt: this.#alerts.clock() });
    return 'done' as const;
  }

  async remove(id: string, tenant: string | null): Promise<boolean> {
    if (!this.#isOf(id, tenant)) return false;
    this.#alerts.webhooks.delete(id);
    for (const one of this.#alerts.queue.values())
      if (one.webhookId === id && one.state === 'pending') one.state = 'failed';
    return true;
  }

  #isOf(id: string, tenant: string | null): boolean {
    const webhook = this.#alerts.webhooks.get(id);
    return webhook !== undefined && (tenant === null || webhook.tenant === tenant);
  }

  async retry(id: string, tenant: string | null): Promise<number> {
    if (!this.#isOf(id, tenant)) return 0;
    const failed = [...this.#alerts.queue.values()].filter(
      (one) => one.webhookId === id && one.state === 'failed',
    );
    for (const one of failed)
      Object.assign(one, { state: 'pending', attempts: 0, nextUs: this.#alerts.clock() });
    return failed.length;
  }

  async claim(busy: readonly string[], leaseUs: bigint): Promise<Delivery | null> {
    const now = this.#alerts.clock();
    const [one] = [...this.#alerts.queue.values()]
      .filter(
        ({ state, nextUs, webhookId }) => state === 'pending' && nextUs <= now && !busy.includes(webhookId),
      )
      .sort((a, b) => Number(a.nextUs - b.nextUs));
    if (one === undefined) return null;
    one.attempts++;
    one.nextUs = now + leaseUs;
    const { secret, ...webhook } = this.#alerts.webhooks.get(one.webhookId)!;
    const [alert] = await this.#alerts.find([one.alertId]);
    const told = { ...alert, count: one.count, places: one.places };
    return { id: one.id, attempt: one.attempts, webhook, secret, alert: told };
  }

  async mark({ id, attempt }: Delivery, mark: DeliveryMark): Promise<void> {
    const one = this.#alerts.queue.get(id);
    if (one?.state !== 'pending' || (one.attempts !== attempt && mark.kind !== 'delivered')) return;
    one.state = mark.kind === 'again' ? 'pending' : mark.kind;
    one.error = mark.kind === 'delivered' ? null : mark.error;
    one.nextUs = this.#alerts.clock() + (mark.kind === 'again' ? mark.afterUs : 0n);
  }

  async backlog(): Promise<{ readonly pending: number; readonly failed: number }> {
    const states = [...this.#alerts.queue.values()].map(({ state }) => state);
    const count = (wanted: string) => states.filter((state) => state === wanted).length;
    return { pending: count('pending'), failed: count('failed') };
  }
}
