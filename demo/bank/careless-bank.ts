/**
 * The classic mistake, for comparison: the same bank, whose events are written after the commit, on another
 * connection. While nothing dies, nobody sees the difference.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { PgClient } from '@evident/sdk/drivers';
import { pgDriver } from '@evident/sdk/drivers';
import type pg from 'pg';
import { type BankAudit, createBankAudit } from '../../examples/bank/src/audit.ts';
import { openPool, reportProblem, serveBank } from '../../examples/bank/src/serve.ts';

/** How long a request to an audit service takes, in milliseconds. */
const AUDIT_SERVICE_MS = 25;

type AnyEvent = Record<string, unknown>;
type Capture = (
  event: AnyEvent,
  fn: (tx: PgClient, outcome: unknown) => Promise<unknown>,
) => Promise<unknown>;

/** What the function of a capture tells, kept until after the commit. */
function makeOutcome(told: AnyEvent) {
  const add = (member: string, more: object) => {
    told[member] = { ...(told[member] as object | undefined), ...more };
  };
  return {
    id: '',
    changes: (before: object, after: object) => Object.assign(told, { before, after }),
    details: (more: object) => add('details', more),
    resource: (more: object) => add('resource', more),
    reason: (reason: string) => Object.assign(told, { reason }),
  };
}

/** @param auditPool the other connection */
function auditAfterCommit(pool: pg.Pool, auditPool: pg.Pool): BankAudit<PgClient> {
  const audit = createBankAudit(auditPool, reportProblem);
  const { transaction } = pgDriver(pool);
  const record = (event: AnyEvent): Promise<unknown> =>
    (audit.logAlone as unknown as (event: AnyEvent) => Promise<unknown>)(event).catch((error: unknown) =>
      reportProblem({ what: `${event.action} was not recorded`, error }),
    );
  const later = new WeakMap<object, AnyEvent[]>();
  const capture: Capture = async (event, fn) => {
    const told: AnyEvent = { ...event };
    const rest: AnyEvent[] = [];
    let value: unknown;
    try {
      value = await transaction?.(async (tx) => {
        later.set(tx, rest);
        return fn(tx, makeOutcome(told));
      });
    } catch (error) {
      // What fails or is denied is not the mistake here: it is recorded as the example records it.
      return (audit.capture as unknown as Capture)(event, () => Promise.reject(error));
    }
    // Committed: whoever dies here leaves a change that nobody recorded. An audit service across a network takes as long.
    await sleep(AUDIT_SERVICE_MS);
    for (const one of [told, ...rest]) await record(one);
    return value;
  };
  const logMany = async (tx: PgClient, events: readonly AnyEvent[]) => {
    later.get(tx)?.push(...events);
    return [];
  };
  return { ...audit, capture, logMany } as unknown as BankAudit<PgClient>;
}

const connectionString = process.env.DATABASE_URL;
const pool = openPool({ connectionString });
const auditPool = openPool({ connectionString, max: 1 });
await serveBank(pool, auditAfterCommit(pool, auditPool), 0);
await auditPool.end();
