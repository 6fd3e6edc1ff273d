import { randomUUID } from 'node:crypto';
import type { AlertLimits } from '../../../contract/alert-scene.ts';
import { describeAlertStore } from '../../../contract/alert-store-contract.ts';
import { describeWebhookStore } from '../../../contract/webhook-store-contract.ts';
import { MemoryAlertStore, MemoryRuleStore, MemoryWebhookStore } from './alert-store.ts';

const TREES = [1, 2];

async function open({ groupsMax, ruleVersionsMax }: AlertLimits = {}) {
  let now = 1_800_000_000_000_000n;
  const heads = async () => TREES.map((tree) => ({ tree, next: 0n }));
  const alerts = new MemoryAlertStore({
    source: { heads },
    clock: () => ++now,
    newId: randomUUID,
    groupsMax,
  });
  const rules = new MemoryRuleStore(alerts, ruleVersionsMax);
  const age = async (microseconds: bigint) => {
    now += microseconds;
  };
  return { alerts, rules, webhooks: new MemoryWebhookStore(alerts), trees: TREES, age };
}

describeAlertStore('memory', open);
describeWebhookStore('memory', open);
