/** Books in memory, for tests of the rules: no transaction, no rollback; whoever needs those uses PostgreSQL. */

import type { Account, Books, Payout, Plan, Transfer } from '../src/books.ts';

export interface MemoryBooks extends Books<unknown> {
  readonly accounts: Map<string, Account>;
  readonly transfers: Map<string, Transfer>;
  readonly plans: Map<string, Plan>;
}

export function memoryBooks(): MemoryBooks {
  const accounts = new Map<string, Account>();
  const transfers = new Map<string, Transfer>();
  const payouts = new Map<string, Payout>();
  const plans = new Map<string, Plan>();
  const add = (id: string, amount: bigint): void => {
    const account = accounts.get(id) as Account;
    accounts.set(id, { ...account, balance: account.balance + amount });
  };
  return {
    accounts,
    transfers,
    plans,
    findTransfer: async (id) => transfers.get(id) ?? null,
    findPayout: async (id) => payouts.get(id) ?? null,
    findAccount: async (_tx, id) => accounts.get(id) ?? null,
    openAccount: async (_tx, account) => void accounts.set(account.id, account),
    lockAccounts: async (_tx, ids) => new Map([...accounts].filter(([id]) => ids.includes(id))),
    async book(_tx, orders, payout) {
      if (payout !== undefined) payouts.set(payout.id, payout);
      for (const order of orders) {
        transfers.set(order.id, order);
        add(order.from, -order.amount);
        add(order.to, order.amount);
      }
    },
    lockPlan: async (_tx, organisation) => plans.get(organisation) ?? null,
    changePlan: async (_tx, { organisation }, _before, after) => void plans.set(organisation, after),
  };
}
