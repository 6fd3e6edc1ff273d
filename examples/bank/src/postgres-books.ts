/** The books in PostgreSQL, in plain SQL. */

import type { PgClient } from '@evident/sdk/drivers';
import type pg from 'pg';
import type { Account, Books, Payout, Plan, Transfer, User } from './books.ts';
import { AlreadyBooked } from './errors.ts';

const UNIQUE_VIOLATION = '23505';
const TRANSFER = `id, organisation, from_account AS from, to_account AS to, amount, currency, purpose,
  ordered_by AS "orderedBy", payout`;
const PAYOUT = `id, organisation, from_account AS from, total, currency, payments, ordered_by AS "orderedBy"`;
const ACCOUNT = 'id, organisation, owner, holder, currency, balance';

/** As `pg` gives it: a bigint is a text. */
type Row<T> = { readonly [K in keyof T]: T[K] extends bigint ? string : T[K] };

async function rowsOf<T>(client: PgClient, text: string, values: unknown[]): Promise<readonly Row<T>[]> {
  return ((await client.query(text, values)) as { rows: Row<T>[] }).rows;
}

const accountOf = (row: Row<Account>): Account => ({ ...row, balance: BigInt(row.balance) });
const planOf = (row: Row<Plan> | undefined): Plan | null =>
  row === undefined ? null : { ...row, monthlyFee: BigInt(row.monthlyFee) };

export function postgresBooks(pool: pg.Pool): Books<PgClient> {
  return {
    async findTransfer(id) {
      const [row] = await rowsOf<Transfer>(pool, `SELECT ${TRANSFER} FROM transfers WHERE id = $1`, [id]);
      return row === undefined ? null : { ...row, amount: BigInt(row.amount) };
    },
    async findPayout(id) {
      const [row] = await rowsOf<Payout>(pool, `SELECT ${PAYOUT} FROM payouts WHERE id = $1`, [id]);
      return row === undefined ? null : { ...row, total: BigInt(row.total) };
    },
    async findAccount(tx, id) {
      const [row] = await rowsOf<Account>(tx, `SELECT ${ACCOUNT} FROM accounts WHERE id = $1`, [id]);
      return row === undefined ? null : accountOf(row);
    },
    async openAccount(tx, { id, organisation, owner, holder, currency, balance }) {
      await tx.query(
        'INSERT INTO accounts (id, organisation, owner, holder, currency, opened_with, balance) VALUES ($1, $2, $3, $4, $5, $6, $6)',
        [id, organisation, owner, holder, currency, balance],
      );
    },
    async lockAccounts(tx, ids) {
      const rows = await rowsOf<Account>(
        tx,
        `SELECT ${ACCOUNT} FROM accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE`,
        [ids],
      );
      return new Map(rows.map((row) => [row.id, accountOf(row)]));
    },
    async book(tx, transfers, payout) {
      try {
        if (payout !== undefined) await insertPayout(tx, payout);
        for (const transfer of transfers) await bookTransfer(tx, transfer);
      } catch (error) {
        if ((error as { code?: unknown }).code === UNIQUE_VIOLATION) throw new AlreadyBooked();
        throw error;
      }
    },
    lockPlan: (tx, organisation) => selectPlan(tx, organisation, 'FOR UPDATE'),
    changePlan,
  };
}

async function selectPlan(
  client: PgClient,
  organisation: string,
  lock: '' | 'FOR UPDATE',
): Promise<Plan | null> {
  const text = `SELECT name, monthly_fee AS "monthlyFee", revision FROM plans WHERE organisation = $1 ${lock}`;
  return planOf((await rowsOf<Plan>(client, text, [organisation]))[0]);
}

async function insertPayout(
  tx: PgClient,
  { id, organisation, from, total, currency, payments, orderedBy }: Payout,
): Promise<void> {
  await tx.query(
    'INSERT INTO payouts (id, organisation, from_account, total, currency, payments, ordered_by) VALUES ($1, $2, $3, $4, $5, $6, $7)',
    [id, organisation, from, total, currency, payments, orderedBy],
  );
}

async function bookTransfer(tx: PgClient, transfer: Transfer): Promise<void> {
  const { id, organisation, from, to, amount, currency, purpose, orderedBy, payout } = transfer;
  await tx.query(
    'INSERT INTO transfers (id, organisation, from_account, to_account, amount, currency, purpose, ordered_by, payout) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)',
    [id, organisation, from, to, amount, currency, purpose, orderedBy, payout],
  );
  await tx.query('UPDATE accounts SET balance = balance - $2 WHERE id = $1', [from, amount]);
  await tx.query('UPDATE accounts SET balance = balance + $2 WHERE id = $1', [to, amount]);
}

async function changePlan(
  tx: PgClient,
  { id, organisation }: User,
  before: Plan,
  { name, monthlyFee, revision }: Plan,
): Promise<void> {
  await tx.query('UPDATE plans SET name = $2, monthly_fee = $3, revision = $4 WHERE organisation = $1', [
    organisation,
    name,
    monthlyFee,
    revision,
  ]);
  await tx.query(
    'INSERT INTO plan_changes (organisation, revision, old_name, new_name, changed_by) VALUES ($1, $2, $3, $4, $5)',
    [organisation, revision, before.name, name, id],
  );
}
