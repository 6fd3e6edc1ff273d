/** The bank's clients: many at once, who send again what got no answer, and remember what they were told. */

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

export const ORGANISATIONS = ['acme', 'globex', 'initech'] as const;
const CUSTOMERS = ['1', '2', '3'] as const;
const ACCOUNTS_EACH = 3;
const DEPOSIT = 100_000;
const AMOUNT_MAX = 500;
/** More than anybody has. */
const TOO_MUCH = '900000000000';
const PAYMENTS = 5;
const PLANS = ['basic', 'business', 'premium'] as const;
const RETRY_MS = 50;
const REQUEST_MS_MAX = 20_000;
/** Longer than anything that is killed takes to be back. */
const ANSWER_MS_MAX = 90_000;

interface OwnAccount {
  readonly id: string;
  readonly organisation: string;
  readonly customer: string;
}

/** What the clients were told, by the id of what they asked for or of the request. */
export interface Journal {
  /** Orders of which a client was told that they are booked, with the request that booked them; empty if an earlier one had. */
  readonly transfers: Map<string, string>;
  readonly payouts: Map<string, string>;
  readonly planChanges: Set<string>;
  readonly accounts: Set<string>;
  /** Requests that were answered as denied, and those that were refused for lack of money. */
  readonly denied: Set<string>;
  readonly failed: Set<string>;
  reads: number;
  /** Attempts that got no answer, or an answer that the bank was in trouble: sent again. */
  repeated: number;
}

interface Answer {
  readonly status: number;
  readonly requestId: string;
  readonly body: unknown;
}

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)];

export class Clients {
  readonly journal: Journal = {
    transfers: new Map(),
    payouts: new Map(),
    planChanges: new Set(),
    accounts: new Set(),
    denied: new Set(),
    failed: new Set(),
    reads: 0,
    repeated: 0,
  };
  readonly #bankUrl: () => string | null;
  readonly #accounts: OwnAccount[] = [];
  /** What the clients do, and how often in a hundred. */
  readonly #choices: readonly { readonly share: number; readonly act: () => Promise<void> }[] = [
    { share: 66, act: () => this.#transfer() },
    { share: 8, act: () => this.#overdraw() },
    { share: 8, act: () => this.#pry() },
    { share: 6, act: () => this.#read() },
    { share: 6, act: () => this.#payOut() },
    { share: 6, act: () => this.#changePlan() },
  ];
  #isOver = false;
  #isAbandoned = false;

  /** @param bankUrl where the bank listens at this moment, or null */
  constructor(bankUrl: () => string | null) {
    this.#bankUrl = bankUrl;
  }

  async openAccounts(): Promise<void> {
    for (const organisation of ORGANISATIONS)
      for (const customer of CUSTOMERS)
        for (let count = 0; count < ACCOUNTS_EACH; count++) {
          const order = {
            owner: `usr_${organisation}_${customer}`,
            holder: `customer ${customer} of ${organisation}`,
            currency: 'EUR',
            deposit: String(DEPOSIT),
          };
          const { body } = await this.#ask(`${organisation}-clerk`, 'POST', '/accounts', order, [201]);
          const { id } = body as { id: string };
          this.journal.accounts.add(id);
          this.#accounts.push({ id, organisation, customer });
        }
  }

  /** Runs so many clients until `finish`. @throws when the bank answers what it never should */
  async run(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.#client()));
  }

  /** What was begun is asked again until it is answered. */
  finish(): void {
    this.#isOver = true;
  }

  /** Whoever waits for an answer waits no longer. */
  abandon(): void {
    this.#isOver = true;
    this.#isAbandoned = true;
  }

  async #client(): Promise<void> {
    while (!this.#isOver) {
      let draw = Math.random() * 100;
      const choice = this.#choices.find(({ share }) => (draw -= share) < 0);
      await choice?.act();
    }
  }

  async #transfer(): Promise<void> {
    const [from, to] = [pick(this.#accounts), pick(this.#accounts)];
    const amount = String(1 + Math.floor(Math.random() * AMOUNT_MAX));
    await this.#transferOnce(from, to, amount);
  }

  async #overdraw(): Promise<void> {
    await this.#transferOnce(pick(this.#accounts), pick(this.#accounts), TOO_MUCH);
  }

  async #transferOnce(from: OwnAccount, to: OwnAccount, amount: string): Promise<void> {
    const id = randomUUID();
    const order = { from: from.id, to: to.id, amount };
    const { status, requestId } = await this.#ask(
      tokenOf(from),
      'PUT',
      `/transfers/${id}`,
      order,
      [200, 201, 422],
    );
    if (status === 422) this.journal.failed.add(requestId);
    else this.journal.transfers.set(id, status === 201 ? requestId : '');
  }

  /** Reads somebody else's account. */
  async #pry(): Promise<void> {
    const target = pick(this.#accounts);
    const others = this.#accounts.filter(
      ({ organisation, customer }) => organisation !== target.organisation || customer !== target.customer,
    );
    const { requestId } = await this.#ask(
      tokenOf(pick(others)),
      'GET',
      `/accounts/${target.id}`,
      null,
      [403],
    );
    this.journal.denied.add(requestId);
  }

  async #read(): Promise<void> {
    const own = pick(this.#accounts);
    await this.#ask(tokenOf(own), 'GET', `/accounts/${own.id}`, null, [200]);
    this.journal.reads++;
  }

  async #payOut(): Promise<void> {
    const from = pick(this.#accounts);
    const id = randomUUID();
    const payments = Array.from({ length: PAYMENTS }, () => ({
      id: randomUUID(),
      to: pick(this.#accounts).id,
      amount: String(1 + Math.floor(Math.random() * AMOUNT_MAX)),
    }));
    const order = { from: from.id, payments };
    const { status, requestId } = await this.#ask(
      tokenOf(from),
      'PUT',
      `/payouts/${id}`,
      order,
      [200, 201, 422],
    );
    if (status === 422) {
      this.journal.failed.add(requestId);
      return;
    }
    this.journal.payouts.set(id, status === 201 ? requestId : '');
    for (const payment of payments) this.journal.transfers.set(payment.id, '');
  }

  async #changePlan(): Promise<void> {
    const organisation = pick(ORGANISATIONS);
    const { body } = await this.#ask(`${organisation}-admin`, 'PUT', '/plan', { name: pick(PLANS) }, [200]);
    this.journal.planChanges.add(`${organisation}/${(body as { revision: number }).revision}`);
  }

  /** Asks until there is an answer: one that the bank is in trouble is none. */
  async #ask(
    token: string,
    method: string,
    path: string,
    body: object | null,
    expected: readonly number[],
  ): Promise<Answer> {
    const deadline = performance.now() + ANSWER_MS_MAX;
    let last = 'the bank does not run';
    while (performance.now() < deadline && !this.#isAbandoned) {
      const url = this.#bankUrl();
      const answer = url === null ? null : await askOnce(`${url}${path}`, token, method, body);
      if (answer !== null && !(answer instanceof Error)) {
        if (expected.includes(answer.status)) return answer;
        last = `${answer.status} ${JSON.stringify(answer.body)}`;
        if (answer.status < 500) break;
      } else if (answer !== null) last = String(answer);
      this.journal.repeated++;
      await sleep(RETRY_MS);
    }
    throw new Error(`${method} ${path} was not answered as expected; the last answer: ${last}`);
  }
}

const tokenOf = ({ organisation, customer }: OwnAccount) => `${organisation}-${customer}`;

async function askOnce(
  url: string,
  token: string,
  method: string,
  body: object | null,
): Promise<Answer | Error> {
  try {
    const answer = await fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === null ? {} : { 'content-type': 'application/json' }),
      },
      body: body === null ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_MS_MAX),
    });
    const requestId = answer.headers.get('x-request-id') ?? '';
    return { status: answer.status, requestId, body: await answer.json() };
  } catch (error) {
    return error as Error;
  }
}
