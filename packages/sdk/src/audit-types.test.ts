/** What the compiler refuses. `tsc` is the test: a line marked as an error that is none fails it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Type from 'typebox';
import { createTestAudit } from './testing.ts';

const actor = { id: 'usr_1', type: 'user' } as const;
const resource = { type: 'transfer', id: 't1' };

const actions = {
  'transfer.create': {
    critical: true,
    details: Type.Object({ amount: Type.Integer(), note: Type.Optional(Type.String()) }),
  },
  'transfer.note': { details: Type.Object({ note: Type.Optional(Type.String()) }) },
  'account.close': {},
} as const;

const closed = createTestAudit({ tenant: 'acme', actions, undeclaredActions: 'refuse' });
const open = createTestAudit({ tenant: 'acme', actions });
const plain = createTestAudit({ tenant: 'acme' });

/** Never called: it is compiled. */
export async function compiled(): Promise<void> {
  const { audit } = closed;
  await audit.log(null, { action: 'transfer.create', actor, resource, details: { amount: 1 } });
  await audit.log(null, { action: 'transfer.note', actor, resource });
  await audit.log(null, {
    action: 'account.close',
    actor,
    resource,
    details: { anything: new Date(), n: 1n },
  });
  // @ts-expect-error details are required by the declaration
  await audit.log(null, { action: 'transfer.create', actor, resource });
  // @ts-expect-error amount is a number
  await audit.log(null, { action: 'transfer.create', actor, resource, details: { amount: '1' } });
  // @ts-expect-error the action is not declared
  await audit.log(null, { action: 'transfer.delete', actor, resource });
  // @ts-expect-error a resource has an id
  await audit.log(null, { action: 'account.close', actor, resource: { type: 'account' } });
  // @ts-expect-error there is no such result
  await audit.log(null, { action: 'account.close', actor, resource, result: 'maybe' });
  // @ts-expect-error there is no such member
  await audit.log(null, { action: 'account.close', actor, resource, colour: 'red' });
  // @ts-expect-error there is no such kind of actor
  await audit.log(null, { action: 'account.close', actor: { id: 'a', type: 'robot' }, resource });

  await audit.logMany(null, [
    { action: 'transfer.create', actor, resource, details: { amount: 1 } },
    { action: 'account.close', actor, resource },
  ]);
  // @ts-expect-error amount is a number, in a list too
  await audit.logMany(null, [{ action: 'transfer.create', actor, resource, details: { amount: '1' } }]);
  const many = [1, 2].map((amount) => ({
    action: 'transfer.create' as const,
    actor,
    resource,
    details: { amount },
  }));
  await audit.logMany(null, many);

  const length: number = await audit.capture(
    { action: 'transfer.create', actor, resource: { type: 'transfer' } },
    async (_tx, outcome) => {
      outcome.resource({ id: 't2' });
      outcome.details({ amount: 2 });
      // @ts-expect-error amount is a number
      outcome.details({ amount: '2' });
      return 3;
    },
  );
  assert.ok(length);
  // @ts-expect-error how a capture ends is not for the caller to say
  await audit.capture({ action: 'account.close', actor, resource, result: 'success' }, () => 1);

  await open.audit.log(null, { action: 'something.else', actor, resource, details: { a: 1 } });
  // @ts-expect-error a declared action keeps its details where others are allowed too
  await open.audit.log(null, { action: 'transfer.create', actor, resource, details: { amount: '1' } });
  await plain.audit.log(null, { action: 'any.thing', actor, resource, before: { a: 1 }, after: { a: 2 } });

  const receipt = await plain.audit.log(null, { action: 'any.thing', actor, resource });
  // @ts-expect-error a paused capture has no id
  assert.ok(receipt.id);
  if (receipt.captured) assert.ok((await receipt.inLog()).position >= 0n);
}

test('what the types refuse is refused at run time too', async () => {
  const bad = { action: 'transfer.create', actor, resource, details: { amount: '1' } } as never;
  await assert.rejects(closed.audit.log(null, bad), { code: 'field-invalid' });
  await closed.audit.log(null, { action: 'transfer.create', actor, resource, details: { amount: 1 } });
});
