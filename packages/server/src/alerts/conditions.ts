/** Conditions of the server that are alerts while they hold, though no function of the log. */

import type { Condition } from './ports.ts';

/** A stage that has not reached a record of this age has something wrong with it; milliseconds. */
export const LAG_MS_MAX = 60_000;

export interface StageState {
  /** `seal`, `alerts`, or a view's name. */
  readonly stage: string;
  readonly records: bigint;
  /** Age of the first record that it has not reached, milliseconds. */
  readonly ms: number;
}

/** What is to be raised, by key; null: it does not hold, and is settled. */
export function conditionsOf(
  stages: readonly StageState[],
  deadLetters: readonly { readonly view: string; readonly open: number }[],
): Map<string, Condition | null> {
  const conditions = new Map<string, Condition | null>();
  for (const { stage, records, ms } of stages) {
    const key = `lag:${stage}`;
    const detail = `${records} records are not reached, the first of them for over ${LAG_MS_MAX / 1_000} s`;
    conditions.set(
      key,
      ms <= LAG_MS_MAX
        ? null
        : { key, tenant: null, name: `${stage} lags`, severity: 'high', subject: stage, detail },
    );
  }
  for (const { view, open } of deadLetters) {
    const key = `dead-letters:${view}`;
    const detail = `${open} records are not in the view until somebody resolves them: evident dlq list`;
    conditions.set(
      key,
      open === 0
        ? null
        : { key, tenant: null, name: 'dead letters', severity: 'medium', subject: view, detail },
    );
  }
  return conditions;
}
