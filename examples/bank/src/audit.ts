/**
 * What the bank records. Everything that a reader of the trail may rely on is declared here, once: the details of each
 * action, which of them say something about a person, and which actions may never go unrecorded.
 */

import { type Audit, type AuditOptions, createAudit } from '@evident/sdk';
import { type PgClient, pgDriver } from '@evident/sdk/drivers';
import type pg from 'pg';
import Type from 'typebox';

/** Minor units, decimal: an amount of money does not fit into a JavaScript number for ever. */
const Amount = Type.String({ pattern: '^[0-9]{1,18}$' });
const Currency = Type.String({ pattern: '^[A-Z]{3}$' });
const Id = Type.String();

export const ACTIONS = {
  'account.open': {
    details: Type.Object({ holder: Type.String({ personal: true }), currency: Currency, deposit: Amount }),
  },
  'account.read': {},
  'transfer.create': {
    // Money never moves without a trace: an intent is committed first, and capture of it never pauses.
    critical: true,
    details: Type.Object({
      from: Id,
      to: Id,
      amount: Amount,
      currency: Currency,
      // What people write there is theirs.
      purpose: Type.Optional(Type.String({ personal: true })),
      payout: Type.Optional(Id),
    }),
  },
  'payout.create': {
    critical: true,
    details: Type.Object({ from: Id, total: Amount, currency: Currency, payments: Type.Integer() }),
  },
  'plan.change': { details: Type.Object({ revision: Type.Integer() }) },
} as const;

export type BankAudit<Tx> = Audit<Tx, typeof ACTIONS, 'refuse'>;

type OnProblem = NonNullable<AuditOptions<PgClient>['onProblem']>;

/** @param onProblem hears of events that could not be written after their action had failed or was denied */
export function createBankAudit(pool: pg.Pool, onProblem: OnProblem): BankAudit<PgClient> {
  return createAudit({
    service: 'bank',
    driver: pgDriver(pool),
    actions: ACTIONS,
    // An action that somebody forgot to declare is found by the first test that runs it.
    undeclaredActions: 'refuse',
    emailLikeIds: 'refuse',
    onProblem,
  });
}
