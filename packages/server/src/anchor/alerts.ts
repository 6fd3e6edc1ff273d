/** What an operator has to hear of authorities and witnesses: said when it begins, brought up to date, settled by a good answer. */

import type { Condition } from '../alerts/ports.ts';
import type { AnchorState } from './anchor-loop.ts';
import type { AnchorKind } from './ports.ts';

const WORDS: Readonly<Record<AnchorKind, { readonly name: string; readonly who: string }>> = {
  timestamp: { name: 'timestamps fail', who: 'the time stamp authority' },
  cosignature: { name: 'cosignatures fail', who: 'the witness' },
};

export interface ConditionChange {
  readonly condition: Condition;
  readonly holds: boolean;
}

/**
 * Two conditions of each anchorer: that it does not answer, and that it answered what must not be. The second stays until
 * a good answer: whoever answers badly and then not at all has not become better.
 */
export class AnchorAlerts {
  /** By key the detail that was told last; null: settled. */
  readonly #told = new Map<string, string | null>();

  /** @returns what there is to tell */
  look(state: AnchorState): readonly ConditionChange[] {
    const silent = conditionOf(state, 'high');
    const bad = conditionOf(state, 'critical');
    // At the first good look both are settled, whatever is known: alerts of a process before this one may be open.
    if (state.failures === 0) return [silent, bad].flatMap((one) => this.#settle(one));
    if (!state.isAlert) return [];
    return this.#raise(state.isBad ? bad : silent);
  }

  #raise(condition: Condition): readonly ConditionChange[] {
    if (this.#told.get(condition.key) === condition.detail) return [];
    this.#told.set(condition.key, condition.detail);
    return [{ condition, holds: true }];
  }

  #settle(condition: Condition): readonly ConditionChange[] {
    if (this.#told.get(condition.key) === null) return [];
    this.#told.set(condition.key, null);
    return [{ condition, holds: false }];
  }
}

function conditionOf(
  { anchorer, at, failures, reason }: AnchorState,
  severity: 'high' | 'critical',
): Condition {
  const { name, who } = WORDS[anchorer.kind];
  const since =
    at === null
      ? 'it has vouched for no head yet'
      : `its newest is of ${new Date(Number(at / 1_000n)).toISOString()}`;
  const times = `${failures} ${failures === 1 ? 'time' : 'times'} in a row`;
  return {
    key: `anchor:${anchorer.kind}:${anchorer.name}${severity === 'critical' ? ':refused' : ''}`,
    tenant: null,
    name,
    severity,
    subject: anchorer.name,
    detail: `${who} ${anchorer.name} failed ${times}: ${reason ?? ''}; ${since}. Capture, sealing and search go on, and the next head that it vouches for covers all before it`,
  };
}
