/**
 * The promises of the ports of alerts, run over memory and over PostgreSQL. Events are made up, far in the future: a
 * store counts what it is given and holds it against nothing in the log.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { evaluate, type MappedRecord, placeText } from '../src/alerts/evaluate.ts';
import type { Alert } from '../src/alerts/ports.ts';
import { FIRST_RULES } from '../src/alerts/rule.ts';
import { byTime, expectedAlerts, mostWithin, type Occurrence } from './alert-bursts.ts';
import {
  type AlertLimits,
  type AlertsUnderTest,
  BASE,
  begin,
  feed,
  makeEvent,
  READS,
  READS_ID,
  SECOND,
  secret,
  webhookOf,
} from './alert-scene.ts';

/** What every order has to agree on. */
const told = (alerts: readonly Alert[]) =>
  alerts.map(({ openedAt: _, ...alert }) => alert).sort((a, b) => (a.id < b.id ? -1 : 1));

const occurrenceOf = ({ record, row }: MappedRecord): Occurrence => ({
  subject: row.actorId,
  at: record.appendedAt,
});
const windowsOf = (alerts: readonly Pick<Alert, 'subject' | 'windowStart' | 'count'>[]) =>
  alerts
    .map(({ subject, windowStart, count }) => ({ subject, windowStart: windowStart!, count }))
    .sort(byTime);

/** Bursts of a few actors at any place of time, over two partitions. */
const someBursts = fc
  .array(
    fc.record({
      actor: fc.constantFrom('a', 'b', 'c'),
      start: fc.integer({ min: 0, max: 400_000 }),
      gaps: fc.array(fc.integer({ min: 0, max: 25_000 }), { maxLength: 6 }),
      partition: fc.integer({ min: 0, max: 1 }),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((bursts) => {
    const queues: { actorId: string; milliseconds: number }[][] = [[], []];
    for (const { actor: actorId, start, gaps, partition } of bursts) {
      let milliseconds = start;
      for (const gap of [0, ...gaps])
        queues[partition].push({ actorId, milliseconds: (milliseconds += gap) });
    }
    return queues.map((queue, partition) =>
      queue
        .sort((a, b) => a.milliseconds - b.milliseconds)
        .map(({ actorId, milliseconds }, at) => makeEvent(partition, at, milliseconds / 1_000, { actorId })),
    );
  });

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

/** @param runs of the property; fewer where each takes a database */
export function describeAlertStore(
  name: string,
  open: (limits?: AlertLimits) => Promise<AlertsUnderTest>,
  runs = 150,
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
      const reads = someEvents()
        .flat()
        .filter(({ row }) => row.action === 'document.read');
      assert.deepEqual(windowsOf(expected ?? []), expectedAlerts(reads.map(occurrenceOf), READS));
      assert.ok(expected !== undefined && expected.length > 2);
      const [one] = expected;
      assert.equal(one.places.length, Math.min(10, Number(one.count)));
      assert.deepEqual([...one.places].sort(), one.places);
    });

    it('finds every burst wherever it lies, and nothing that needs more than a tenth beyond the window', async () => {
      let [raised, quiet] = [0, 0];
      await fc.assert(
        fc.asyncProperty(
          someBursts,
          fc.integer({ min: 0, max: 6 }),
          fc.integer({ min: 1, max: 40 }),
          async (queues, step, size) => {
            const under = await open();
            await begin(under);
            await feed(under, interleave(queues, step), size);
            const alerts = await under.alerts.list({
              tenant: null,
              state: 'all',
              before: null,
              limit: 1_000,
            });
            const found = windowsOf(alerts.filter(({ name }) => name === READS.name));
            const events = queues.flat().map(occurrenceOf);
            for (const [subject, most] of mostWithin(events, READS.windowUs))
              if (most >= READS.threshold)
                assert.ok(
                  found.some((alert) => alert.subject === subject),
                  String(subject),
                );
            const loose = mostWithin(events, (READS.windowUs * 11n) / 10n);
            for (const { subject } of found)
              assert.ok(loose.get(subject)! >= READS.threshold, String(subject));
            assert.deepEqual(found, expectedAlerts(events, READS));
            if (found.length > 0) raised++;
            else quiet++;
          },
        ),
        { numRuns: runs },
      );
      assert.ok(raised > 0 && quiet > 0, `${raised} with alerts, ${quiet} without`);
    });

    it('finds a burst over the edge of two periods, which counting by periods misses', async () => {
      const under = await open();
      await begin(under);
      // BASE lies 40 s behind the beginning of a period: 19 and 21 s behind it lie on both sides of the next.
      const events = [18, 19, 21].map((seconds, at) => makeEvent(0, at, seconds));
      const periods = Map.groupBy(events, ({ record }) => record.appendedAt / READS.windowUs);
      assert.deepEqual(
        [...periods.values()].map(({ length }) => length),
        [2, 1],
      );
      assert.equal((await feed(under, events, 1)).length, 1);
    });

    it('removes what was acknowledged long ago, and nothing that somebody may still want', async () => {
      const under = await open();
      const { alerts, webhooks } = under;
      await begin(under);
      const condition = { tenant: null, name: 'n', severity: 'low' as const, subject: null, detail: '' };
      for (const key of ['over', 'open', 'unseen']) await alerts.raise({ ...condition, key });
      for (const key of ['over', 'unseen']) await alerts.settle(key);
      await feed(
        under,
        [0, 1, 2].map((at) => makeEvent(0, at, 0)),
        3,
      );
      await webhooks.add(webhookOf({ tenant: null }), secret);
      await alerts.raise({ ...condition, key: 'on its way' });
      await alerts.settle('on its way');
      const all = await alerts.list({ tenant: null, state: 'all', before: null, limit: 9 });
      assert.equal(all.length, 5);
      const ids = all.map(({ id }) => id);
      // The last raised is the first listed; of the four before, the conditions in turn, then that of the rule.
      const [, ofRule, unseen] = ids;
      for (const id of ids) if (id !== unseen) await alerts.acknowledge(id, null, 'key:a', null);
      const later = 5_000_000_000_000_000n;
      assert.deepEqual(await alerts.removable(later, 9), [], 'nothing is a day old');
      await under.age(2n * 86_400n * SECOND);
      const mayGo = await alerts.removable(later, 9);
      assert.deepEqual(
        [mayGo.length, mayGo.includes(ofRule)],
        [1, false],
        'the window of the rule lies ahead',
      );
      assert.equal(await alerts.remove(ids, later), 1);
      assert.equal(await alerts.remove(ids, later), 0);
      const left = (await alerts.list({ tenant: null, state: 'all', before: null, limit: 9 })).map(
        ({ id }) => id,
      );
      assert.deepEqual(
        left,
        ids.filter((id) => id !== mayGo[0]),
      );
      await webhooks.mark((await webhooks.claim([], SECOND))!, { kind: 'delivered' });
      assert.equal(await alerts.remove(ids, later), 1);
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
        [BASE - (BASE % (6n * SECOND)), BASE - (BASE % (6n * SECOND)) + 66n * SECOND],
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

    it('forgets windows that are over, and no others', async () => {
      const under = await open();
      await begin(under);
      const past = 1_000_000_000_000_000n;
      const over = { ruleId: READS_ID, version: 1, tenant: 'acme', subject: 'a', count: 1n, places: [] };
      const { rulesVersion } = await under.alerts.load();
      const increments = [past, BASE].map((sliceStart) => ({ ...over, sliceStart }));
      await under.alerts.advance(rulesVersion, [], increments);
      assert.equal(await under.alerts.prune(), 1);
      assert.equal(await under.alerts.prune(), 0);
    });
  });
}
