/** What was not captured during a pause: counted by tenant and action, and recorded in the log itself. */

import type { OnProblem } from './problems.ts';

/** Tenants that are counted one by one in a pause; of others only the totals are known. */
export const TENANTS_MAX = 1_000;
/** Actions that are counted one by one; others together. */
export const ACTIONS_MAX = 100;
const OTHER_ACTIONS = '(other)';

export type PauseAction = 'audit.capture_paused' | 'audit.capture_resumed';

/** Writes one critical event of the service itself in a transaction of its own; whether it was taken. */
export type RecordPause = (
  tenant: string,
  action: PauseAction,
  details: Record<string, unknown>,
) => Promise<boolean>;

/** The state in which a pause began. */
export interface PauseBegin {
  readonly from: number;
  readonly bytes: number | null;
  readonly bytesMax: number;
}

export interface MissedEvents {
  /** Counts an event. The first of a tenant in a pause records the pause. */
  count(tenant: string, action: string, pause: PauseBegin): void;
  /** The pause is over: what was counted waits to be recorded. */
  end(now: number): void;
  /** Records what waits, each after the record of its begin; what is not taken goes on waiting. */
  recordEnds(): Promise<void>;
  unrecorded(): number;
  totals(): { readonly notCaptured: number; readonly notCapturedByAction: Readonly<Record<string, number>> };
}

interface OfTenant {
  readonly counts: Map<string, number>;
  readonly from: number;
  /** Settles when the record of the begin is decided. */
  readonly announced: Promise<unknown>;
}

interface Ended extends OfTenant {
  readonly tenant: string;
  readonly until: number;
}

export function createMissedEvents(deps: { record: RecordPause; onProblem: OnProblem }): MissedEvents {
  const byAction = new Map<string, number>();
  const byTenant = new Map<string, OfTenant>();
  let waiting: Ended[] = [];
  let notCaptured = 0;
  let isOverflowTold = false;

  function announce(tenant: string, { from, bytes, bytesMax }: PauseBegin): OfTenant {
    const details = { paused_from: instant(from), bytes, bytes_max: bytesMax };
    return { counts: new Map(), from, announced: deps.record(tenant, 'audit.capture_paused', details) };
  }

  return {
    count(tenant, action, pause) {
      notCaptured += 1;
      increment(byAction, action);
      let missed = byTenant.get(tenant);
      if (missed === undefined && byTenant.size < TENANTS_MAX) {
        missed = announce(tenant, pause);
        byTenant.set(tenant, missed);
      }
      if (missed !== undefined) increment(missed.counts, action);
      else if (!isOverflowTold) {
        isOverflowTold = true;
        deps.onProblem({
          what: `capture is paused for more than ${TENANTS_MAX} tenants; metrics alone count on`,
        });
      }
    },
    end(now) {
      for (const [tenant, missed] of byTenant) waiting.push({ ...missed, tenant, until: now });
      byTenant.clear();
      isOverflowTold = false;
    },
    async recordEnds() {
      const ended = waiting;
      waiting = [];
      for (const missed of ended) {
        await missed.announced;
        const taken = await deps.record(missed.tenant, 'audit.capture_resumed', {
          paused_from: instant(missed.from),
          paused_until: instant(missed.until),
          not_captured: Object.fromEntries(missed.counts),
        });
        if (taken) continue;
        // A database that takes nothing for long, and pauses again and again, must not fill the memory either.
        if (waiting.length < TENANTS_MAX) waiting.push(missed);
        else deps.onProblem({ what: `the end of a pause of tenant ${missed.tenant} was not recorded` });
      }
    },
    unrecorded: () => waiting.length,
    totals: () => ({ notCaptured, notCapturedByAction: Object.fromEntries(byAction) }),
  };
}

/** Counts under a name, or under a common one when there are too many. */
function increment(counts: Map<string, number>, action: string): void {
  const name = counts.has(action) || counts.size < ACTIONS_MAX ? action : OTHER_ACTIONS;
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function instant(ms: number): string {
  return new Date(ms).toISOString();
}
