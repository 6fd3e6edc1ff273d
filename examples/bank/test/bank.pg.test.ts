/** Business row and outbox row in a real PostgreSQL: both commit, or neither does. Over HTTP, as a client sees it. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import pg from 'pg';
import { initOutbox } from '../../../packages/server/src/stores/postgres/outbox/init.ts';
import { openTestDatabase } from '../../../packages/server/test/database.ts';
import { buildApp } from '../src/app.ts';
import { createBankAudit } from '../src/audit.ts';
import { postgresBooks } from '../src/postgres-books.ts';
import { openPool, userOfToken } from '../src/serve.ts';
import { setUpBank } from '../src/set-up.ts';

interface Body {
  action: string;
  result?: string;
  intent?: boolean;
  intent_id?: string;
  event_id: string;
  tenant: string;
  actor: Record<string, unknown>;
  context?: { request_id?: string };
  details?: Record<string, unknown>;
}

/** The same database, as the role of the service. */
function asBank(connection: pg.ClientConfig): pg.ClientConfig {
  if (connection.connectionString === undefined) return { ...connection, user: 'bank', password: 'bank' };
  const url = new URL(connection.connectionString);
  url.username = 'bank';
  url.password = 'bank';
  return { connectionString: url.href };
}

async function startBank(t: TestContext) {
  const { connection } = await openTestDatabase();
  const owner = new pg.Client(connection);
  await owner.connect();
  t.after(() => owner.end());
  // Roles belong to the cluster, which the tests of this file share.
  await owner.query(
    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bank') THEN CREATE ROLE bank LOGIN; END IF; END $$",
  );
  await owner.query("ALTER ROLE bank PASSWORD 'bank'");
  await setUpBank(connection);
  await initOutbox(owner, { writer: 'bank' });
  const pool = openPool(asBank(connection));
  t.after(() => pool.end());
  const problems: string[] = [];
  const audit = createBankAudit(pool, ({ what }) => problems.push(what));
  const app = await buildApp({
    bank: { audit, books: postgresBooks(pool) },
    authenticate: (token) => userOfToken(pool, token),
  });
  t.after(() => app.close());
  const ask = (token: string, method: 'GET' | 'POST' | 'PUT', url: string, payload?: object) =>
    app.inject({ method, url, headers: { authorization: `Bearer ${token}` }, ...(payload && { payload }) });
  return {
    owner,
    problems,
    ask,
    async open(who: string, deposit: string): Promise<string> {
      const answer = await ask('acme-clerk', 'POST', '/accounts', {
        owner: `usr_acme_${who}`,
        holder: 'the holder',
        currency: 'EUR',
        deposit,
      });
      assert.equal(answer.statusCode, 201, answer.body);
      return answer.json().id;
    },
    async events(action: string): Promise<Body[]> {
      const { rows } = await owner.query('SELECT body FROM evident_outbox.events ORDER BY id');
      return rows.map(({ body }) => JSON.parse(body) as Body).filter((body) => body.action === action);
    },
    async balances(): Promise<string[]> {
      return (await owner.query('SELECT balance FROM accounts ORDER BY balance')).rows.map(
        (row) => row.balance,
      );
    },
    async count(table: string): Promise<number> {
      return Number((await owner.query(`SELECT count(*) AS n FROM ${pg.escapeIdentifier(table)}`)).rows[0].n);
    },
  };
}

const shown = (events: readonly Body[]) =>
  events.map(({ intent, result }) => (intent === true ? 'intent' : result));

describe('a transfer', () => {
  it('commits with its event, which tells who did it, for whom and in which request', async (t) => {
    const bank = await startBank(t);
    const [from, to] = [await bank.open('1', '1000'), await bank.open('2', '0')];
    const id = randomUUID();
    const answer = await bank.ask('acme-1', 'PUT', `/transfers/${id}`, { from, to, amount: '400' });
    assert.equal(answer.statusCode, 201, answer.body);
    assert.deepEqual(await bank.balances(), ['400', '600']);
    const events = await bank.events('transfer.create');
    assert.deepEqual(shown(events), ['intent', 'success']);
    const [intent, event] = events;
    assert.equal(event.intent_id, intent.event_id);
    assert.equal(event.tenant, 'acme');
    assert.deepEqual(event.details, { from, to, amount: '400', currency: 'EUR' });
    assert.equal(event.actor.id, 'usr_acme_1');
    assert.equal(event.context?.request_id, answer.headers['x-request-id']);

    const again = await bank.ask('acme-1', 'PUT', `/transfers/${id}`, { from, to, amount: '400' });
    assert.equal(again.statusCode, 200);
    assert.deepEqual(await bank.balances(), ['400', '600']);
    assert.equal((await bank.events('transfer.create')).length, 2);
  });

  it('is rolled back when its event cannot be written, and nothing but the intent stands', async (t) => {
    const bank = await startBank(t);
    const [from, to] = [await bank.open('1', '1000'), await bank.open('2', '0')];
    await bank.owner.query(
      "ALTER TABLE evident_outbox.events ADD CONSTRAINT broken CHECK (type <> 'audit.event') NOT VALID",
    );
    const order = { from, to, amount: '400' };
    const answer = await bank.ask('acme-1', 'PUT', `/transfers/${randomUUID()}`, order);
    assert.equal(answer.statusCode, 500, answer.body);
    assert.deepEqual(await bank.balances(), ['0', '1000']);
    assert.equal(await bank.count('transfers'), 0);
    assert.deepEqual(shown(await bank.events('transfer.create')), ['intent']);
    assert.equal(bank.problems.length, 1, 'that the failure could not be recorded either is reported');
  });

  it('that fails leaves a failure event and no row', async (t) => {
    const bank = await startBank(t);
    const [from, to] = [await bank.open('1', '10'), await bank.open('2', '0')];
    const order = { from, to, amount: '400' };
    const answer = await bank.ask('acme-1', 'PUT', `/transfers/${randomUUID()}`, order);
    assert.equal(answer.statusCode, 422);
    assert.equal(await bank.count('transfers'), 0);
    assert.deepEqual(shown(await bank.events('transfer.create')), ['intent', 'failure']);
  });

  it('booked by two requests at once is booked once', async (t) => {
    const bank = await startBank(t);
    const [from, to] = [await bank.open('1', '1000'), await bank.open('2', '0')];
    const url = `/transfers/${randomUUID()}`;
    const order = { from, to, amount: '400' };
    const answers = await Promise.all([1, 2, 3].map(() => bank.ask('acme-1', 'PUT', url, order)));
    assert.deepEqual(answers.map(({ statusCode }) => statusCode).sort(), [200, 200, 201]);
    const results = shown(await bank.events('transfer.create'));
    assert.equal(results.filter((result) => result === 'success').length, 1);
  });
});

it('a payout books all or none, with an event for each transfer', async (t) => {
  const bank = await startBank(t);
  const [from, to] = [await bank.open('1', '1000'), await bank.open('2', '0')];
  const payments = ['1', '2'].map((amount) => ({ id: randomUUID(), to, amount }));
  const answer = await bank.ask('acme-1', 'PUT', `/payouts/${randomUUID()}`, { from, payments });
  assert.equal(answer.statusCode, 201, answer.body);
  assert.deepEqual(shown(await bank.events('payout.create')), ['intent', 'success']);
  assert.deepEqual(shown(await bank.events('transfer.create')), ['success', 'success']);
  const tooMuch = [
    { id: randomUUID(), to, amount: '1' },
    { id: randomUUID(), to, amount: '5000' },
  ];
  const refused = await bank.ask('acme-1', 'PUT', `/payouts/${randomUUID()}`, { from, payments: tooMuch });
  assert.equal(refused.statusCode, 422);
  assert.equal(await bank.count('transfers'), 2);
});

it("records as denied who reads somebody else's account, and nothing of whom nobody knows", async (t) => {
  const bank = await startBank(t);
  const account = await bank.open('1', '10');
  assert.equal((await bank.ask('acme-2', 'GET', `/accounts/${account}`)).statusCode, 403);
  assert.equal((await bank.ask('nobody', 'GET', `/accounts/${account}`)).statusCode, 401);
  const events = await bank.events('account.read');
  assert.deepEqual(shown(events), ['denied']);
  assert.equal(events[0].actor.id, 'usr_acme_2');
});

it('changes a plan for admins, and shows the change', async (t) => {
  const bank = await startBank(t);
  assert.equal((await bank.ask('acme-1', 'PUT', '/plan', { name: 'premium' })).statusCode, 403);
  const answer = await bank.ask('acme-admin', 'PUT', '/plan', { name: 'premium' });
  assert.deepEqual(answer.json(), { name: 'premium', monthly_fee: '2990', revision: 1 });
  assert.deepEqual(shown(await bank.events('plan.change')), ['denied', 'success']);
  assert.equal(await bank.count('plan_changes'), 1);
});

it('says which fields of an event are personal', async (t) => {
  const bank = await startBank(t);
  await bank.open('1', '10');
  const { rows } = await bank.owner.query('SELECT meta FROM evident_outbox.events');
  assert.match(JSON.parse(rows[0].meta).personal, /(^|,)details\.holder(,|$)/);
});
