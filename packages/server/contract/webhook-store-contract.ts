/** The promises of the ports of webhooks, run over memory and over PostgreSQL. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type AlertsUnderTest,
  begin,
  feed,
  makeEvent,
  raise,
  SECOND,
  secret,
  webhookOf,
} from './alert-scene.ts';

export function describeWebhookStore(name: string, open: () => Promise<AlertsUnderTest>): void {
  describe(`webhooks: ${name}`, () => {
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
  });
}
