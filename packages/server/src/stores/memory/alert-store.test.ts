import { randomUUID } from 'node:crypto';
import { describeAlertStore } from '../../../contract/alert-store-contract.ts';
import { MemoryAlertStore, MemoryRuleStore, MemoryWebhookStore } from './alert-store.ts';

const TREES = [1, 2];

describeAlertStore('memory', async ({ groupsMax, ruleVersionsMax } = {}) => {
  let now = 1_800_000_000_000_000n;
  const heads = async () => TREES.map((tree) => ({ tree, next: 0n }));
  const alerts = new MemoryAlertStore({
    source: { heads },
    clock: () => ++now,
    newId: randomUUID,
    groupsMax,
  });
  const rules = new MemoryRuleStore(alerts, ruleVersionsMax);
  return { alerts, rules, webhooks: new MemoryWebhookStore(alerts), trees: TREES };
});
