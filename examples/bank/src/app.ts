/** HTTP: who asks, what they ask for, and what they are answered. */

import { evidentFastify } from '@evident/sdk/middleware/fastify';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type Bank, openAccount, readAccount } from './accounts.ts';
import type { User } from './books.ts';
import { Unauthenticated } from './errors.ts';
import { changePlan, PLANS, type PlanName } from './plans.ts';
import { payOut, transfer } from './transfers.ts';

export interface AppOptions<Tx> {
  readonly bank: Bank<Tx>;
  /** Whose token it is; null when nobody's. */
  readonly authenticate: (token: string) => Promise<User | null>;
}

declare module 'fastify' {
  interface FastifyRequest {
    user: User | null;
  }
}

const PAYMENTS_MAX = 100;
const UUID = { type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' };
const AMOUNT = { type: 'string', pattern: '^[1-9][0-9]{0,14}$' };
const PURPOSE = { type: 'string', minLength: 1, maxLength: 140 };

const objectOf = (properties: object, required: readonly string[]) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});
const PAYMENT = { to: UUID, amount: AMOUNT, purpose: PURPOSE };

export async function buildApp<Tx>({ bank, authenticate }: AppOptions<Tx>): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn', stream: process.stderr } });
  app.setErrorHandler(answerError);
  app.decorateRequest('user', null);
  app.get('/healthz', () => ({ status: 'alive' }));
  // Only what is registered below has a context, and needs a token.
  await app.register(async (routes) => {
    await routes.register(evidentFastify, {
      async actor(request) {
        const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1];
        request.user = token === undefined ? null : await authenticate(token);
        // Nobody is known, so there is no event either: of whom would it be?
        if (request.user === null) throw new Unauthenticated();
        return { id: request.user.id, type: 'user', role: request.user.role };
      },
      tenant: (request) => userOf(request).organisation,
      // Network address and user agent go into the actor; both are declared personal.
      client: true,
    });
    accountRoutes(routes, bank);
    orderRoutes(routes, bank);
    planRoutes(routes, bank);
  });
  return app;
}

function userOf({ user }: FastifyRequest): User {
  if (user === null) throw new Unauthenticated();
  return user;
}

function accountRoutes<Tx>(app: FastifyInstance, bank: Bank<Tx>): void {
  const body = objectOf(
    {
      owner: { type: 'string', minLength: 1, maxLength: 100 },
      holder: { type: 'string', minLength: 1, maxLength: 200 },
      currency: { type: 'string', pattern: '^[A-Z]{3}$' },
      deposit: { type: 'string', pattern: '^[0-9]{1,15}$' },
    },
    ['owner', 'holder', 'currency', 'deposit'],
  );
  app.post<{ Body: { owner: string; holder: string; currency: string; deposit: string } }>(
    '/accounts',
    { schema: { body } },
    async (request, reply) => {
      const order = { ...request.body, deposit: BigInt(request.body.deposit) };
      const account = await openAccount(bank, userOf(request), order);
      return reply.code(201).send({ ...account, balance: account.balance.toString() });
    },
  );
  app.get<{ Params: { id: string } }>(
    '/accounts/:id',
    { schema: { params: objectOf({ id: UUID }, ['id']) } },
    async (request) => {
      const account = await readAccount(bank, userOf(request), request.params.id);
      return { ...account, balance: account.balance.toString() };
    },
  );
}

interface PaymentBody {
  readonly to: string;
  readonly amount: string;
  readonly purpose?: string;
}

/** PUT, with an id of the client's: an order whose answer was lost is sent again, and done once. */
function orderRoutes<Tx>(app: FastifyInstance, bank: Bank<Tx>): void {
  const params = objectOf({ id: UUID }, ['id']);
  app.put<{ Params: { id: string }; Body: PaymentBody & { from: string } }>(
    '/transfers/:id',
    { schema: { params, body: objectOf({ from: UUID, ...PAYMENT }, ['from', 'to', 'amount']) } },
    async (request, reply) => {
      const { id } = request.params;
      const { from } = request.body;
      const { isNew } = await transfer(bank, userOf(request), { ...paymentOf(request.body), id, from });
      return reply.code(isNew ? 201 : 200).send({ id });
    },
  );
  const payment = objectOf({ id: UUID, ...PAYMENT }, ['id', 'to', 'amount']);
  const payments = { type: 'array', minItems: 1, maxItems: PAYMENTS_MAX, items: payment };
  app.put<{ Params: { id: string }; Body: { from: string; payments: (PaymentBody & { id: string })[] } }>(
    '/payouts/:id',
    { schema: { params, body: objectOf({ from: UUID, payments }, ['from', 'payments']) } },
    async (request, reply) => {
      const { id } = request.params;
      const { from } = request.body;
      const all = request.body.payments.map((one) => ({ ...paymentOf(one), id: one.id }));
      const { isNew } = await payOut(bank, userOf(request), { id, from, payments: all });
      return reply.code(isNew ? 201 : 200).send({ id });
    },
  );
}

function paymentOf({ to, amount, purpose }: PaymentBody) {
  return { to, amount: BigInt(amount), purpose: purpose ?? null };
}

function planRoutes<Tx>(app: FastifyInstance, bank: Bank<Tx>): void {
  const body = objectOf({ name: { type: 'string', enum: Object.keys(PLANS) } }, ['name']);
  app.put<{ Body: { name: PlanName } }>('/plan', { schema: { body } }, async (request) => {
    const { name, monthlyFee, revision } = await changePlan(bank, userOf(request), request.body.name);
    return { name, monthly_fee: monthlyFee.toString(), revision };
  });
}

/** SQLSTATE classes and errors of sockets after which the same request may succeed. */
const PASSING = /^(?:08|40|53|57)[0-9A-Z]{3}$|^E(?:CONN|PIPE)|^outbox-unavailable$/;

/** Refusals carry their status. Of everything else nobody outside learns more than that it failed. */
function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { statusCode, code, name, message } = error as Error & { statusCode?: number; code?: unknown };
  if (statusCode !== undefined && statusCode < 500)
    return reply.code(statusCode).send({ error: name, message });
  const isPassing = typeof code === 'string' ? PASSING.test(code) : /terminated|timeout/i.test(message);
  request.log.error({ err: error }, 'a request failed');
  return reply
    .code(isPassing ? 503 : 500)
    .send({ error: 'Failed', message: 'the request failed; try it again' });
}
