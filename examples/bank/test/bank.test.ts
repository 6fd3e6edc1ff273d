/** What the bank records, without a database: the real SDK over a driver in memory. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createTestAudit } from '@evident/sdk/testing';
import { openAccount, readAccount } from '../src/accounts.ts';
import { ACTIONS } from '../src/audit.ts';
import type { Account, User } from '../src/books.ts';
import { changePlan } from '../src/plans.ts';
import { payOut, transfer } from '../src/transfers.ts';
import { memoryBooks } from './memory-books-fixture.ts';

const OWNER: User = { id: 'usr_1', organisation: 'acme', role: 'customer' };
const OTHER: User = { id: 'usr_2', organisation: 'acme', role: 'customer' };
const CLERK: User = { id: 'usr_clerk', organisation: 'acme', role: 'clerk' };
const ADMIN: User = { id: 'usr_admin', organisation: 'acme', role: 'admin' };
const [FROM, TO] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'];
const ID = '33333333-3333-4333-8333-333333333333';

/** A bank with two accounts; in these tests the actor is the service's word, in life it is the request's. */
function makeBank(user: User) {
  const books = memoryBooks();
  const account = { organisation: 'acme', holder: 'the holder', currency: 'EUR' };
  books.accounts.set(FROM, { ...account, id: FROM, owner: OWNER.id, balance: 1_000n });
  books.accounts.set(TO, { ...account, id: TO, owner: OTHER.id, balance: 0n });
  books.plans.set('acme', { name: 'basic', monthlyFee: 0n, revision: 0 });
  const kit = createTestAudit({ actions: ACTIONS, undeclaredActions: 'refuse', tenant: 'acme' });
  const actor = { id: user.id, type: 'user' as const };
  const audit: typeof kit.audit = {
    ...kit.audit,
    capture: (event, fn) => kit.audit.capture({ actor, ...event }, fn),
    logMany: (tx, events) =>
      kit.audit.logMany(tx, events.map((event) => ({ actor, ...event })) as unknown as typeof events),
  };
  return { kit, books, bank: { audit, books } };
}

const order = (amount: bigint) => ({ id: ID, from: FROM, to: TO, amount, purpose: 'rent' });

it('records a transfer with its amount, after an intent', async () => {
  const { kit, books, bank } = makeBank(OWNER);
  assert.deepEqual(await transfer(bank, OWNER, order(250n)), { isNew: true });
  const event = kit.assertCaptured({
    action: 'transfer.create',
    result: 'success',
    resource: { type: 'transfer', id: ID },
    details: { from: FROM, to: TO, amount: '250', currency: 'EUR', purpose: 'rent' },
    criticality: 'critical',
  });
  assert.equal(kit.intents().length, 1);
  assert.equal(event.intent_id, kit.intents()[0].event_id);
  assert.equal(books.accounts.get(FROM)?.balance, 750n);
});

it('records a transfer that is sent again once, and refuses another one under its id', async () => {
  const { kit, bank } = makeBank(OWNER);
  await transfer(bank, OWNER, order(250n));
  assert.deepEqual(await transfer(bank, OWNER, order(250n)), { isNew: false });
  await assert.rejects(transfer(bank, OWNER, order(251n)), { statusCode: 409 });
  assert.equal(kit.captured().length, 1);
});

it('records a transfer that fails as a failure, with the reason and without a success', async () => {
  const { kit, books, bank } = makeBank(OWNER);
  await assert.rejects(transfer(bank, OWNER, order(5_000n)), { statusCode: 422 });
  kit.assertCaptured({
    action: 'transfer.create',
    result: 'failure',
    error: 'InsufficientFunds: the balance is smaller than the amount',
  });
  kit.assertNotCaptured({ result: 'success' });
  assert.equal(books.transfers.size, 0);
});

it("records who wanted to read or to empty somebody else's account as denied", async () => {
  const { kit, bank } = makeBank(OTHER);
  await assert.rejects(readAccount(bank, OTHER, FROM), { statusCode: 403 });
  kit.assertCaptured({ action: 'account.read', result: 'denied', resource: { type: 'account', id: FROM } });
  await assert.rejects(transfer(bank, OTHER, order(1n)), { statusCode: 403 });
  kit.assertCaptured({ action: 'transfer.create', result: 'denied', actor: { id: OTHER.id } });
});

it('records a read by the owner and by a clerk of the organisation, and none for another organisation', async () => {
  for (const user of [OWNER, CLERK]) {
    const { kit, bank } = makeBank(user);
    await readAccount(bank, user, FROM);
    kit.assertCaptured({ action: 'account.read', result: 'success' });
  }
  const foreign: User = { ...CLERK, organisation: 'globex' };
  await assert.rejects(readAccount(makeBank(foreign).bank, foreign, FROM), { statusCode: 403 });
});

it('records a change of plan field by field', async () => {
  const { kit, bank } = makeBank(ADMIN);
  await changePlan(bank, ADMIN, 'premium');
  const { changes } = kit.assertCaptured({ action: 'plan.change', details: { revision: 1 } });
  assert.deepEqual(changes, {
    name: { old: 'basic', new: 'premium' },
    monthlyFee: { old: '0', new: '2990' },
  });
  await assert.rejects(changePlan(makeBank(OWNER).bank, OWNER, 'premium'), { statusCode: 403 });
});

it('records a payout and each transfer of it', async () => {
  const { kit, bank } = makeBank(OWNER);
  const payments = [1n, 2n, 3n].map((amount) => ({
    id: ID.replace(/^3/, String(amount)),
    to: TO,
    amount,
    purpose: null,
  }));
  await payOut(bank, OWNER, { id: ID, from: FROM, payments });
  kit.assertCaptured({ action: 'payout.create', details: { total: '6', payments: 3 } });
  const paid = kit.captured().filter(({ action }) => action === 'transfer.create');
  assert.deepEqual(
    paid.map(({ details }) => details?.amount),
    ['1', '2', '3'],
  );
  assert.ok(paid.every(({ details }) => details?.payout === ID));
});

it('names the new account in the event', async () => {
  const { kit, bank } = makeBank(CLERK);
  const account: Account = await openAccount(bank, CLERK, {
    owner: OTHER.id,
    holder: 'the holder',
    currency: 'EUR',
    deposit: 100n,
  });
  kit.assertCaptured({ action: 'account.open', resource: { type: 'account', id: account.id } });
});
