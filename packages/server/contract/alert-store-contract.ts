/**
 * The promises of the ports of alerts, run over memory and over PostgreSQL. Events are made up, far in the future: a
 * store counts what it is given and holds it against nothing in the log.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import type { EventRow } from '@evident/core/mapping/row.ts';
import type { LogRecord } from '@evident/core/record.ts';
import { evaluate, type MappedRecord, placeText } from '../src/alerts/evaluate.ts';
import type {
  Alert,
  AlertBoard,
  AlertStream,
  DeliveryQueue,
  Payload,
  RuleStore,
  WebhookStore,
} from '../src/alerts/ports.ts';
import { checkRule, FIRST_RULES } from '../src/alerts/rule.ts';

export interface AlertsUnderTest {
  readonly alerts: AlertStream & AlertBoard;
  readonly rules: RuleStore;
  readonly webhooks: WebhookStore & DeliveryQueue;
  /** Trees of one empty log. */
  readonly trees: readonly number[];
}

export interface AlertLimits {
  readonly groupsMax?: number;
  readonly ruleVersionsMax?: number;
}

const SECOND = 1_000_000n;
/** The year 2096: after every rule that is made now. */
const BASE = 4_000_000_000_000_000n;
const secret = new Uint8Array(32).fill(9);

export function makeEvent(
  partition: number,
  position: number,
  seconds: number,
  over: Partial<EventRow> = {},
  record: Partial<LogRecord> = {},
): MappedRecord {
  const appendedAt = BASE + BigInt(seconds) * SECOND;
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

const READS = checkRule(
  {
    name: 'many reads',
    filter: { action: 'document.read' },
    threshold: 3,
    window_seconds: 60,
    group_by: 'actor',
  },
  null,
);
const READS_ID = '11111111-1111-8111-8111-111111111111';

/** What every order has to agree on. */
const told = (alerts: readonly Alert[]) =>
  alerts.map(({ openedAt: _, ...alert }) => alert).sort((a, b) => (a.id < b.id ? -1 : 1));

async function begin(under: AlertsUnderTest, rule = READS): Promise<void> {
  await under.alerts.load();
  assert.equal(await under.rules.put(READS_ID, null, 0, rule, 'key:a'), 'done');
}

/** Feeds events of partitions in the order given, `size` at a time. @returns ids of the alerts that were raised */
async function feed(
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

/** Three actors over two partitions, two windows. */
function someEvents(): MappedRecord[][] {
  const partition = (number: number) =>
    Array.from({ length: 30 }, (_, at) =>
      makeEvent(number, at, at * 4, {
        actorId: `usr_${(at + number) % 3}`,
        action: at % 5 === 0 ? 'x' : 'document.read',
      }),
    );
  return [partition(0), partition(1)];
}

/** One order of two partitions that keeps each one's own; `step` decides who comes next. */
function interleave([a, b]: MappedRecord[][], step: number): MappedRecord[] {
  const queues = [[...a], [...b]];
  const all: MappedRecord[] = [];
  for (let at = 0; queues[0].length + queues[1].length > 0; at++) {
    const first = (at * step) % 7 < 3 ? 0 : 1;
    all.push((queues[first].shift() ?? queues[1 - first].shift())!);
  }
  return all;
}

export function describeAlertStore(
  name: string,
  open: (limits?: AlertLimits) => Promise<AlertsUnderTest>,
): void {
  describe(`alerts: ${name}`, () => {
    it('begins with the first rules, once', async () => {
      const { alerts, rules, trees } = await open();
      const first = await alerts.load();
      assert.deepEqual(
        first.rules.map(({ id }) => id).sort(),
        FIRST_RULES.map(({ id }) => id),
      );
      assert.deepEqual(
        first.checkpoints,
        trees.map((tree) => ({ tree, next: 0n })),
      );
      const [rule] = first.rules;
      assert.equal(await rules.put(rule.id, null, rule.version, null, 'key:a'), 'done');
      assert.equal((await rules.list(null)).length, FIRST_RULES.length - 1);
      assert.equal((await alerts.load()).rules.filter(({ activeTo }) => activeTo === null).length, 1);
    });

    it('raises the same alerts for any batching and any interleaving, each once', async () => {
      let expected: ReturnType<typeof told> | undefined;
      for (const [step, size] of [
        [1, 60],
        [2, 1],
        [3, 7],
        [5, 13],
        [0, 60],
      ]) {
        const under = await open();
        await begin(under);
        const raised = await feed(under, interleave(someEvents(), step), size);
        const alerts = await under.alerts.list({ tenant: null, state: 'all', before: null, limit: 100 });
        assert.equal(new Set(raised).size, raised.length);
        assert.deepEqual([...raised].sort(), alerts.map(({ id }) => id).sort());
        expected ??= told(alerts);
        assert.deepEqual(told(alerts), expected);
      }
      const groups = Map.groupBy(
        someEvents()
          .flat()
          .filter(({ row }) => row.action === 'document.read'),
        ({ row, record }) => `${row.actorId} ${record.appendedAt / (60n * SECOND)}`,
      );
      const enough = [...groups.values()].map(({ length }) => length).filter((count) => count >= 3);
      assert.deepEqual(expected?.map(({ count }) => Number(count)).sort(), enough.sort());
      assert.ok(enough.length > 2 && enough.length < groups.size);
      const [one] = expected ?? [];
      assert.equal(one.places.length, Math.min(10, Number(one.count)));
      assert.deepEqual([...one.places].sort(), one.places);
    });

    it('names the first ten events, and counts on after the alert', async () => {
      const under = await open();
      await begin(under);
      const events = Array.from({ length: 40 }, (_, at) => makeEvent(0, at, 0));
      const [id] = await feed(under, [...events].reverse(), 9);
      const [alert] = await under.alerts.find([id]);
      assert.equal(alert.count, 40n);
      assert.deepEqual(
        alert.places,
        events.slice(0, 10).map(({ record }) => placeText(record)),
      );
      assert.deepEqual(
        [alert.windowStart, alert.windowEnd],
        [BASE - (BASE % (60n * SECOND)), BASE - (BASE % (60n * SECOND)) + 60n * SECOND],
      );
    });

    it('does nothing with a step that was judged by rules that changed, or whose checkpoint moved', async () => {
      const under = await open();
      await begin(under);
      const { alerts, trees, rules } = under;
      const before = await alerts.load();
      const events = [0, 1, 2].map((at) => makeEvent(0, at, 0));
      const increments = evaluate(before.rules, events);
      const span = { tree: trees[0], from: 0n, to: 3n, seen: BASE };
      const other = { ...span, from: 1n };
      assert.equal((await alerts.advance(before.rulesVersion, [other], increments)).kind, 'overtaken');
      assert.equal(await rules.put(READS_ID, null, 1, { ...READS, threshold: 4n }, 'key:a'), 'done');
      assert.equal((await alerts.advance(before.rulesVersion, [span], increments)).kind, 'stale');
      const after = await alerts.load();
      assert.deepEqual(after.checkpoints, before.checkpoints);
      assert.deepEqual(await alerts.list({ tenant: null, state: 'all', before: null, limit: 9 }), []);
      assert.equal(
        (await alerts.advance(after.rulesVersion, [span], evaluate(after.rules, events))).kind,
        'advanced',
      );
      assert.equal((await alerts.advance(after.rulesVersion, [span], [])).kind, 'overtaken');
    });

    it('counts the groups beyond the bound together, per tenant, and says so', async () => {
      const under = await open({ groupsMax: 2 });
      await begin(under);
      const events = ['a', 'b', 'c', 'd', 'e', 'a', 'c'].map((actorId, at) =>
        makeEvent(0, at, 0, { actorId }),
      );
      const elsewhere = ['c', 'c', 'c'].map((actorId, at) =>
        makeEvent(1, at, 0, { actorId }, { tenant: 'other' }),
      );
      await feed(under, [...events, ...elsewhere], 1);
      const alerts = await under.alerts.list({ tenant: null, state: 'all', before: null, limit: 9 });
      assert.deepEqual(
        alerts
          .map(({ tenant, subject, others, count }) => ({ tenant, subject, others, count }))
          .sort((a, b) => (a.tenant < b.tenant ? -1 : 1)),
        [
          { tenant: 'acme', subject: null, others: true, count: 4n },
          { tenant: 'other', subject: 'c', others: false, count: 3n },
        ],
      );
    });

    it('lets a change of a rule take effect behind what was read', async () => {
      const under = await open();
      await begin(under);
      await feed(under, [makeEvent(0, 0, 30)], 1);
      assert.equal(await under.rules.put(READS_ID, null, 1, { ...READS, threshold: 1n }, 'key:a'), 'done');
      const { rules } = await under.alerts.load();
      const [first, second] = rules.filter(({ id }) => id === READS_ID);
      assert.equal(second.activeFrom, BASE + 30n * SECOND + 1n);
      assert.equal(first.activeTo, second.activeFrom);
      // The other partition is behind: its old records are judged by the old version still.
      assert.deepEqual(await feed(under, [makeEvent(1, 0, 20)], 1), []);
      assert.equal((await feed(under, [makeEvent(1, 1, 31)], 1)).length, 1);
    });

    it('refuses a version that is gone, a name that is taken, and too many', async () => {
      const { alerts, rules } = await open({ ruleVersionsMax: 4 });
      await alerts.load();
      const [a, b] = [randomUUID(), randomUUID()];
      assert.equal(await rules.put(a, 'acme', 0, READS, 'key:a'), 'done');
      assert.equal(await rules.put(b, 'acme', 0, READS, 'key:a'), 'exists');
      assert.equal(await rules.put(b, 'other', 0, READS, 'key:a'), 'done');
      assert.equal(await rules.put(a, 'acme', 2, READS, 'key:a'), 'conflict');
      assert.equal(await rules.put(a, 'other', 1, READS, 'key:a'), 'conflict');
      assert.equal(await rules.put(a, 'acme', 1, { ...READS, name: 'renamed' }, 'key:b'), 'done');
      assert.deepEqual(
        (await rules.list('acme')).map(({ name, version, madeBy }) => [name, version, madeBy]),
        [['renamed', 2, 'key:b']],
      );
      assert.equal(await rules.put(a, 'acme', 2, READS, 'key:a'), 'done');
      assert.equal(await rules.put(a, 'acme', 3, READS, 'key:a'), 'done');
      assert.equal(await rules.put(a, 'acme', 4, READS, 'key:a'), 'full');
      assert.equal((await rules.list('acme'))[0].version, 4);
      assert.equal(await rules.put(a, 'acme', 4, null, 'key:a'), 'done');
      assert.deepEqual(await rules.list('acme'), []);
    });

    it('has one open alert a condition', async () => {
      const { alerts } = await open();
      const condition = {
        key: 'lag:seal',
        tenant: null,
        name: 'lag',
        severity: 'high' as const,
        subject: 'seal',
        detail: '61 s',
      };
      const id = await alerts.raise(condition);
      assert.ok(id !== null);
      assert.equal(await alerts.raise({ ...condition, detail: '90 s' }), null);
      assert.equal((await alerts.find([id]))[0].detail, '90 s');
      assert.equal(await alerts.settle('lag:seal'), true);
      assert.equal(await alerts.settle('lag:seal'), false);
      assert.ok((await alerts.find([id]))[0].closedAt !== null);
      assert.notEqual(await alerts.raise(condition), id);
    });

    it('lists newest first in pages, and shows a tenant its own', async () => {
      const { alerts } = await open();
      for (const tenant of ['acme', 'other', 'acme', null])
        await alerts.raise({
          key: randomUUID(),
          tenant,
          name: 'n',
          severity: 'low',
          subject: null,
          detail: '',
        });
      const query = { state: 'all' as const, before: null, limit: 3 };
      const page = await alerts.list({ ...query, tenant: null });
      const last = page[2];
      const rest = await alerts.list({
        ...query,
        tenant: null,
        before: { openedAt: last.openedAt, id: last.id },
      });
      assert.equal(new Set([...page, ...rest].map(({ id }) => id)).size, 4);
      const own = await alerts.list({ ...query, tenant: 'acme' });
      assert.deepEqual(
        own.map(({ tenant }) => tenant),
        ['acme', 'acme'],
      );
      assert.equal(await alerts.acknowledge(own[0].id, 'other', 'key:b', null), 'unknown');
      assert.equal(await alerts.acknowledge(own[0].id, 'acme', 'key:a', 'seen'), 'acknowledged');
      assert.equal(await alerts.acknowledge(own[0].id, null, 'key:b', null), 'before');
      const open2 = await alerts.list({ ...query, tenant: 'acme', state: 'unacknowledged' });
      assert.deepEqual(
        open2.map(({ id }) => id),
        [own[1].id],
      );
      const [seen] = await alerts.find([own[0].id]);
      assert.deepEqual([seen.acknowledgedBy, seen.note], ['key:a', 'seen']);
    });

    const webhookOf = (over: { tenant?: string | null; name?: string; payload?: Payload } = {}) => ({
      id: randomUUID(),
      tenant: 'acme',
      name: 'w',
      url: 'https://example.com/',
      payload: 'alert' as const,
      madeBy: 'key:a',
      ...over,
    });
    const raise = ({ alerts }: AlertsUnderTest, tenant: string | null, exceptWebhook?: string) =>
      alerts.raise({
        key: randomUUID(),
        tenant,
        name: 'n',
        severity: 'low',
        subject: null,
        detail: '',
        exceptWebhook,
      });

    it('sends an alert to the webhooks of its tenant and to those for all', async () => {
      const under = await open();
      const { webhooks } = under;
      const own = webhookOf();
      const all = webhookOf({ tenant: null });
      const events = webhookOf({ name: 'events', payload: 'ocsf' });
      for (const webhook of [own, all, events, webhookOf({ tenant: 'other' })])
        assert.equal(await webhooks.add(webhook, secret), 'done');
      assert.equal(await webhooks.add(webhookOf(), secret), 'exists');
      const id = await raise(under, 'acme');
      await raise(under, null);
      await raise(under, null, all.id);
      const got = new Map<string, string[]>();
      for (;;) {
        const delivery = await webhooks.claim([], 3_600n * SECOND);
        if (delivery === null) break;
        assert.deepEqual(delivery.secret, secret);
        got.set(delivery.webhook.id, [...(got.get(delivery.webhook.id) ?? []), delivery.alert.tenant]);
      }
      assert.deepEqual(got.get(own.id), ['acme']);
      assert.deepEqual(got.get(all.id)?.sort(), ['_system', 'acme']);
      assert.equal(got.size, 2);
      assert.ok(id !== null);
      await begin(under);
      await feed(
        under,
        [0, 1, 2].map((at) => makeEvent(0, at, 0)),
        3,
      );
      const delivery = await webhooks.claim([own.id, all.id], SECOND);
      assert.equal(delivery?.webhook.id, events.id);
      assert.equal(delivery?.alert.places.length, 3);
      assert.deepEqual(
        (await webhooks.list('other')).map(({ tenant, pending }) => [tenant, pending]),
        [['other', 0]],
      );
      assert.equal((await webhooks.list(null)).length, 4);
    });

    it('gives a delivery to one at a time, the same id again after its lease, and keeps what was delivered', async () => {
      const under = await open();
      const { webhooks } = under;
      await webhooks.add(webhookOf(), secret);
      await raise(under, 'acme');
      const first = await webhooks.claim([], 0n);
      assert.ok(first !== null);
      const second = await webhooks.claim([], 3_600n * SECOND);
      assert.deepEqual([second?.id, first.attempt, second?.attempt], [first.id, 1, 2]);
      assert.equal(await webhooks.claim([], 0n), null);
      // The first attempt lasted longer than its lease: that it failed says nothing of the second.
      await webhooks.mark(first, { kind: 'failed', error: 'late' });
      assert.deepEqual(await webhooks.backlog(), { pending: 1, failed: 0 });
      await webhooks.mark(second!, { kind: 'again', afterUs: 0n, error: '500' });
      const third = await webhooks.claim([], 3_600n * SECOND);
      assert.equal(third?.attempt, 3);
      await webhooks.mark(first, { kind: 'delivered' });
      await webhooks.mark(third!, { kind: 'again', afterUs: 0n, error: '500' });
      assert.equal(await webhooks.claim([], 0n), null);
      assert.deepEqual(await webhooks.backlog(), { pending: 0, failed: 0 });
    });

    it('gives up, sends again when asked, and drops what waits for a webhook that is removed', async () => {
      const under = await open();
      const { webhooks } = under;
      const webhook = webhookOf();
      await webhooks.add(webhook, secret);
      await raise(under, 'acme');
      await webhooks.mark((await webhooks.claim([], SECOND))!, { kind: 'failed', error: '404' });
      assert.equal(await webhooks.claim([], 0n), null);
      const [listed] = await webhooks.list('acme');
      assert.deepEqual([listed.failed, listed.lastError], [1, '404']);
      assert.equal(await webhooks.retry(webhook.id, 'other'), 0);
      assert.equal(await webhooks.retry(webhook.id, 'acme'), 1);
      assert.equal((await webhooks.claim([], 0n))?.attempt, 1);
      assert.equal(await webhooks.remove(webhook.id, 'other'), false);
      assert.equal(await webhooks.remove(webhook.id, 'acme'), true);
      assert.equal(await webhooks.claim([], 0n), null);
      assert.deepEqual(await webhooks.list(null), []);
      assert.equal(await webhooks.add(webhookOf(), secret), 'done');
    });

    it('forgets windows that are over, and no others', async () => {
      const under = await open();
      await begin(under);
      const past = 1_000_000_000_000_000n;
      const over = { ruleId: READS_ID, version: 1, tenant: 'acme', subject: 'a', count: 1n, places: [] };
      const { rulesVersion } = await under.alerts.load();
      const increments = [past, BASE].map((windowStart) => ({ ...over, windowStart }));
      await under.alerts.advance(rulesVersion, [], increments);
      assert.equal(await under.alerts.prune(), 1);
      assert.equal(await under.alerts.prune(), 0);
    });
  });
}
