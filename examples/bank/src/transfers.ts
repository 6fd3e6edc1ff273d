/** Moving money: one transfer, or many at once. */

import { AccessDenied } from '@evident/sdk/access-denied';
import type { Bank } from './accounts.ts';
import type { Account, Payout, Transfer, User } from './books.ts';
import { AlreadyBooked, Conflict, CurrencyMismatch, InsufficientFunds, NotFound } from './errors.ts';

export interface TransferOrder {
  /** Chosen by the client: it may send the order again without moving money twice. */
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly amount: bigint;
  readonly purpose: string | null;
}

export interface PayoutOrder {
  readonly id: string;
  readonly from: string;
  readonly payments: readonly Omit<TransferOrder, 'from'>[];
}

export interface Booked {
  /** False: this very order had been booked before; nothing was done, and nothing is recorded again. */
  readonly isNew: boolean;
}

/** @throws AccessDenied, NotFound, InsufficientFunds, CurrencyMismatch, Conflict: all of them recorded */
export async function transfer<Tx>(bank: Bank<Tx>, user: User, order: TransferOrder): Promise<Booked> {
  const { audit, books } = bank;
  return once(
    async () => {
      const known = await books.findTransfer(order.id);
      return known === null ? null : isSameTransfer(known, user, order);
    },
    () => {
      const { id, from, to, amount, purpose } = order;
      const details = { from, to, amount: amount.toString(), ...(purpose === null ? {} : { purpose }) };
      return audit.capture(
        { action: 'transfer.create', resource: { type: 'transfer', id }, details },
        async (tx, outcome) => {
          const accounts = await books.lockAccounts(tx, [from, to]);
          const currency = checkTransfer(accounts, user, order);
          outcome.details({ currency });
          await books.book(tx, [transferOf(order, from, user, currency, null)]);
        },
      );
    },
  );
}

/** Pays many from one account: all or none, an event for the payout and one for each transfer of it. */
export async function payOut<Tx>(bank: Bank<Tx>, user: User, order: PayoutOrder): Promise<Booked> {
  const { audit, books } = bank;
  const total = order.payments.reduce((sum, { amount }) => sum + amount, 0n);
  const { id, from, payments } = order;
  return once(
    async () => {
      const known = await books.findPayout(id);
      return known === null ? null : isSamePayout(known, user, order, total);
    },
    () =>
      audit.capture(
        {
          action: 'payout.create',
          resource: { type: 'payout', id },
          details: { from, total: total.toString(), payments: payments.length },
        },
        async (tx, outcome) => {
          const accounts = await books.lockAccounts(tx, [from, ...payments.map(({ to }) => to)]);
          const currencies = payments.map(({ to }) =>
            checkTransfer(accounts, user, { from, to, amount: total }),
          );
          const [currency] = currencies;
          outcome.details({ currency });
          const transfers = payments.map((payment) => transferOf(payment, from, user, currency, id));
          await books.book(tx, transfers, {
            id,
            organisation: user.organisation,
            from,
            total,
            currency,
            payments: payments.length,
            orderedBy: user.id,
          });
          await audit.logMany(tx, transfers.map(eventOf));
        },
      ),
  );
}

/** Answers an order that was booked before, and one that is booked by another request at this moment. */
async function once(findSame: () => Promise<boolean | null>, book: () => Promise<void>): Promise<Booked> {
  const before = await findSame();
  if (before !== null) return repeated(before);
  try {
    await book();
    return { isNew: true };
  } catch (error) {
    if (!(error instanceof AlreadyBooked)) throw error;
    const meanwhile = await findSame();
    if (meanwhile === null) throw error;
    return repeated(meanwhile);
  }
}

function repeated(isSame: boolean): Booked {
  if (!isSame) throw new Conflict('this id was used for another order');
  return { isNew: false };
}

/** @returns the currency */
function checkTransfer(
  accounts: ReadonlyMap<string, Account>,
  user: User,
  { from, to, amount }: Pick<TransferOrder, 'from' | 'to' | 'amount'>,
): string {
  const [source, target] = [accounts.get(from), accounts.get(to)];
  if (source === undefined || target === undefined) throw new NotFound('such account');
  if (source.owner !== user.id || source.organisation !== user.organisation)
    throw new AccessDenied("it is somebody else's account");
  if (source.currency !== target.currency) throw new CurrencyMismatch();
  if (source.balance < amount) throw new InsufficientFunds();
  return source.currency;
}

function transferOf(
  { id, to, amount, purpose }: Omit<TransferOrder, 'from'>,
  from: string,
  { id: orderedBy, organisation }: User,
  currency: string,
  payout: string | null,
): Transfer {
  return { id, organisation, from, to, amount, currency, purpose, orderedBy, payout };
}

function eventOf({ id, from, to, amount, currency, purpose, payout }: Transfer) {
  const optional = { ...(purpose === null ? {} : { purpose }), ...(payout === null ? {} : { payout }) };
  return {
    action: 'transfer.create' as const,
    resource: { type: 'transfer', id },
    details: { from, to, amount: amount.toString(), currency, ...optional },
  };
}

function isSameTransfer(known: Transfer, user: User, { from, to, amount, purpose }: TransferOrder): boolean {
  return (
    known.orderedBy === user.id &&
    known.organisation === user.organisation &&
    known.from === from &&
    known.to === to &&
    known.amount === amount &&
    known.purpose === purpose
  );
}

function isSamePayout(known: Payout, user: User, { from, payments }: PayoutOrder, total: bigint): boolean {
  return (
    known.orderedBy === user.id &&
    known.organisation === user.organisation &&
    known.from === from &&
    known.total === total &&
    known.payments === payments.length
  );
}
