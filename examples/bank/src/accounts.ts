/** Opening and reading accounts. */

import { randomUUID } from 'node:crypto';
import { AccessDenied } from '@evident/sdk/access-denied';
import type { BankAudit } from './audit.ts';
import type { Account, Books, User } from './books.ts';
import { NotFound } from './errors.ts';

/** What the rules of the bank work with. */
export interface Bank<Tx> {
  readonly audit: BankAudit<Tx>;
  readonly books: Books<Tx>;
}

export interface AccountOrder {
  readonly owner: string;
  readonly holder: string;
  readonly currency: string;
  readonly deposit: bigint;
}

/** Clerks open accounts, for users of their own organisation. */
export function openAccount<Tx>(
  { audit, books }: Bank<Tx>,
  user: User,
  order: AccountOrder,
): Promise<Account> {
  const { owner, holder, currency, deposit } = order;
  const details = { holder, currency, deposit: deposit.toString() };
  return audit.capture(
    { action: 'account.open', resource: { type: 'account' }, details },
    async (tx, outcome) => {
      if (user.role !== 'clerk') throw new AccessDenied('only a clerk opens accounts');
      const account: Account = {
        id: randomUUID(),
        organisation: user.organisation,
        owner,
        holder,
        currency,
        balance: deposit,
      };
      outcome.resource({ id: account.id });
      await books.openAccount(tx, account);
      return account;
    },
  );
}

/** A read is recorded, too: in its own transaction, and as denied when it was. */
export function readAccount<Tx>({ audit, books }: Bank<Tx>, user: User, id: string): Promise<Account> {
  return audit.capture({ action: 'account.read', resource: { type: 'account', id } }, async (tx) => {
    const account = await books.findAccount(tx, id);
    if (account === null) throw new NotFound('such account');
    const isOwn = account.owner === user.id && account.organisation === user.organisation;
    const isOfClerk = user.role === 'clerk' && account.organisation === user.organisation;
    if (!isOwn && !isOfClerk) throw new AccessDenied("it is somebody else's account");
    return account;
  });
}
