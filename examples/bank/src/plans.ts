/** What an organisation pays the bank. */

import { AccessDenied } from '@evident/sdk/access-denied';
import type { Bank } from './accounts.ts';
import type { Plan, User } from './books.ts';
import { NotFound } from './errors.ts';

export const PLANS = { basic: 0n, business: 990n, premium: 2_990n } as const;
export type PlanName = keyof typeof PLANS;

/** Admins change the plan of their organisation; the event shows what changed, field by field. */
export function changePlan<Tx>({ audit, books }: Bank<Tx>, user: User, name: PlanName): Promise<Plan> {
  return audit.capture(
    { action: 'plan.change', resource: { type: 'plan', id: user.organisation } },
    async (tx, outcome) => {
      if (user.role !== 'admin') throw new AccessDenied('only an admin changes the plan');
      const before = await books.lockPlan(tx, user.organisation);
      if (before === null) throw new NotFound('such plan');
      const after: Plan = { name, monthlyFee: PLANS[name], revision: before.revision + 1 };
      await books.changePlan(tx, user, before, after);
      outcome.changes(before, after, { ignore: ['revision'] });
      outcome.details({ revision: after.revision });
      return after;
    },
  );
}
