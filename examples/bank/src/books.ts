/** The books: what the bank keeps, and what its rules need of a database. */

export interface User {
  readonly id: string;
  /** The customer organisation for which they act; the tenant of their events. */
  readonly organisation: string;
  readonly role: 'customer' | 'clerk' | 'admin';
}

export interface Account {
  readonly id: string;
  readonly organisation: string;
  readonly owner: string;
  readonly holder: string;
  readonly currency: string;
  readonly balance: bigint;
}

export interface Transfer {
  readonly id: string;
  readonly organisation: string;
  readonly from: string;
  readonly to: string;
  /** Minor units of the currency. */
  readonly amount: bigint;
  readonly currency: string;
  readonly purpose: string | null;
  readonly orderedBy: string;
  readonly payout: string | null;
}

export interface Payout {
  readonly id: string;
  readonly organisation: string;
  readonly from: string;
  readonly total: bigint;
  readonly currency: string;
  readonly payments: number;
  readonly orderedBy: string;
}

export interface Plan {
  readonly name: string;
  readonly monthlyFee: bigint;
  /** How often it was changed. */
  readonly revision: number;
}

/** `Tx` is a transaction of the database; a method without one reads on its own. */
export interface Books<Tx> {
  findTransfer(id: string): Promise<Transfer | null>;
  findPayout(id: string): Promise<Payout | null>;
  findAccount(tx: Tx, id: string): Promise<Account | null>;
  openAccount(tx: Tx, account: Account): Promise<void>;
  /** Those that exist, locked in one order for all, so that two transfers never wait for each other. */
  lockAccounts(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, Account>>;
  /** Books rows and balances. @throws AlreadyBooked */
  book(tx: Tx, transfers: readonly Transfer[], payout?: Payout): Promise<void>;
  lockPlan(tx: Tx, organisation: string): Promise<Plan | null>;
  changePlan(tx: Tx, user: User, before: Plan, after: Plan): Promise<void>;
}
