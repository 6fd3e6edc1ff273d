/** What the contracts of the alert ports work on: events, a rule, and a reader that feeds them. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { evaluate, type MappedRecord } from '../src/alerts/evaluate.ts';
import type {
  AlertBoard,
  AlertRetention,
  AlertStream,
  DeliveryQueue,
  Payload,
  RuleStore,
  WebhookStore,
} from '../src/alerts/ports.ts';
import { checkRule } from '../src/alerts/rule.ts';

export interface AlertsUnderTest {
  readonly alerts: AlertStream & AlertBoard & AlertRetention;
  readonly rules: RuleStore;
  readonly webhooks: WebhookStore & DeliveryQueue;
  /** Trees of one empty log. */
  readonly trees: readonly number[];
  /** Lets so many microseconds pass for what was raised. */
  age(microseconds: bigint): Promise<void>;
}

export interface AlertLimits {
  readonly groupsMax?: number;
  readonly ruleVersionsMax?: number;
}

export const SECOND = 1_000_000n;
/** The year 2096: after every rule that is made now. */
export const BASE = 4_000_000_000_000_000n;
export const secret = new Uint8Array(32).fill(9);

export function makeEvent(
  partition: number,
  position: number,
  seconds: number,
  over: Partial<EventRow> = {},
  record: Partial<LogRecord> = {},
): MappedRecord {
  const appendedAt = BASE + BigInt(Math.round(seconds * 1_000_000));
  const row = {
    eventTime: appendedAt,
    actorId: 'usr_1',
    actorType: 'user',
    action: 'document.read',
    resourceType: 'document',
    resourceId: 'doc_1',
    result: 'success' as const,
    correlationId: null,
    ip: null,
    corrects: null,
    mapper: 'audit.event/1',
    ...over,
  };
  const plain = {
    id: randomUUID(),
    source: 'key-1',
    sourceSeq: null,
    type: 'audit.event',
    schema: 1,
    meta: null,
  };
  const body = { form: 'json' as const, bytes: new Uint8Array() };
  const place = { log: 'audit', partition, position: BigInt(position), appendedAt };
  return { row, record: { ...plain, tenant: 'acme', key: 'acme/usr_1', body, ...place, ...record } };
}

export const READS = checkRule(
  {
    name: 'many reads',
    filter: { action: 'document.read' },
    threshold: 3,
    window_seconds: 60,
    group_by: 'actor',
  },
  null,
);
export const READS_ID = '11111111-1111-8111-8111-111111111111';

export async function begin(under: AlertsUnderTest, rule = READS): Promise<void> {
  await under.alerts.load();
  assert.equal(await under.rules.put(READS_ID, null, 0, rule, 'key:a'), 'done');
}

/** Feeds events of partitions in the order given, `size` at a time. @returns ids of the alerts that were raised */
export async function feed(
  { alerts, trees }: AlertsUnderTest,
  events: readonly MappedRecord[],
  size: number,
): Promise<string[]> {
  const raised: string[] = [];
  for (let at = 0; at < events.length; at += size) {
    const batch = events.slice(at, at + size);
    const { rulesVersion, rules, checkpoints } = await alerts.load();
    const spans = trees.flatMap((tree, partition) => {
      const own = batch.filter(({ record }) => record.partition === partition);
      const from = checkpoints.find((one) => one.tree === tree)!.next;
      const last = own.at(-1);
      return last === undefined
        ? []
        : [{ tree, from, to: from + BigInt(own.length), seen: last.record.appendedAt }];
    });
    const advance = await alerts.advance(rulesVersion, spans, evaluate(rules, batch));
    assert.equal(advance.kind, 'advanced');
    if (advance.kind === 'advanced') raised.push(...advance.raised);
  }
  return raised;
}

export const webhookOf = (over: { tenant?: string | null; name?: string; payload?: Payload } = {}) => ({
  id: randomUUID(),
  tenant: 'acme',
  name: 'w',
  url: 'https://example.com/',
  payload: 'alert' as const,
  madeBy: 'key:a',
  ...over,
});
export const raise = ({ alerts }: AlertsUnderTest, tenant: string | null, exceptWebhook?: string) =>
  alerts.raise({
    key: randomUUID(),
    tenant,
    name: 'n',
    severity: 'low',
    subject: null,
    detail: '',
    exceptWebhook,
  });
