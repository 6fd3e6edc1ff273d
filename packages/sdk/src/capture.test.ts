import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import Type from 'typebox';
import { createAudit } from './audit.ts';
import { runWithContext } from './context/context.ts';
import type { OutboxDriver, OutboxRow } from './outbox/driver.ts';
import type { Problem } from './outbox/problems.ts';
import { createTestAudit } from './testing.ts';

const actor = { id: 'usr_1', type: 'user' } as const;
const event = {
  tenant: 'acme',
  actor,
  action: 'account.open',
  resource: { type: 'account', id: 'a1' },
} as const;
const fail = (error: unknown) => () => {
  throw error;
};

describe('audit.capture', () => {
  it('takes what the function tells: resource, details, changes, reason', async () => {
    const kit = createTestAudit();
    await kit.audit.capture(
      { ...event, resource: { type: 'account' }, details: { a: 1 } },
      (_tx, outcome) => {
        outcome.resource({ id: 'a7', name: 'Savings' });
        outcome.details({ b: 2n });
        outcome.changes({ x: 1 }, { x: 2 });
        outcome.changes({ y: 's' }, { y: 't' }, { mask: ['y'] });
        outcome.reason('asked for');
      },
    );
    kit.assertCaptured({
      resource: { type: 'account', id: 'a7', name: 'Savings' },
      details: { a: 1, b: '2' },
      changes: { x: { old: 1, new: 2 }, y: { old: '[masked]', new: '[masked]' } },
      reason: 'asked for',
      result: 'success',
    });
  });

  it('refuses a bad event before the function runs', async () => {
    const kit = createTestAudit();
    for (const criticality of ['normal', 'critical'] as const) {
      const bad = { ...event, criticality, resource: { type: '', id: 'a1' } };
      await assert.rejects(
        kit.audit.capture(bad, () => assert.fail('must not run')),
        { code: 'field-invalid', context: { field: 'event.resource.type' } },
      );
    }
    assert.deepEqual([kit.captured(), kit.intents()], [[], []]);
  });

  it('rolls back when what was told makes the event bad, and names the field', async () => {
    const actions = { 'account.open': { details: Type.Object({ plan: Type.String() }) } };
    const kit = createTestAudit({ actions });
    await assert.rejects(
      kit.audit.capture(event, () => undefined),
      { code: 'field-invalid', context: { field: 'event.details.plan' } },
    );
    await assert.rejects(
      kit.audit.capture({ ...event, resource: { type: 'account' } }, (_tx, o) => o.details({ plan: 'a' })),
      { code: 'field-invalid', context: { field: 'event.resource.id' } },
    );
    // The failures are known all the same, with what was known.
    assert.deepEqual(
      kit.captured().map(({ result, resource }) => [result, resource.id]),
      [
        ['failure', 'a1'],
        ['failure', 'unknown'],
      ],
    );
  });

  it('shows of a failure no changes: they were rolled back', async () => {
    const kit = createTestAudit();
    await assert.rejects(
      kit.audit.capture(event, (_tx, outcome) => {
        outcome.changes({ x: 1 }, { x: 2 });
        outcome.details({ step: 3 });
        throw new Error('no');
      }),
    );
    const { changes } = kit.assertCaptured({ result: 'failure', details: { step: 3 } });
    assert.equal(changes, undefined);
  });

  it('rethrows whatever was thrown, and finds a text for it', async () => {
    const odd: unknown[] = [
      undefined,
      null,
      '',
      'text',
      7,
      Object.create(null),
      new Error(''),
      'x'.repeat(9_999),
    ];
    const kit = createTestAudit();
    for (const error of odd) {
      const thrown = await kit.audit.capture(event, fail(error)).then(
        () => assert.fail('must throw'),
        (caught: unknown) => ({ caught }),
      );
      assert.equal((thrown as { caught: unknown }).caught, error);
    }
    assert.equal(kit.captured().length, odd.length);
    assert.ok(kit.captured().every(({ error }) => error !== undefined && error.length > 0));
  });

  it('asks the application what is a denial and how an error reads; its own errors change nothing', async () => {
    const boom = new Error('secret');
    const kit = createTestAudit({ isDenied: (error) => error === boom, errorText: () => 'hidden' });
    await assert.rejects(kit.audit.capture(event, fail(boom)), (error) => error === boom);
    kit.assertCaptured({ result: 'denied', error: 'hidden' });
    const broken = createTestAudit({ isDenied: fail(new Error('a')), errorText: fail(new Error('b')) });
    await assert.rejects(broken.audit.capture(event, fail(boom)), (error) => error === boom);
    broken.assertCaptured({ result: 'failure', error: 'Error: secret' });
  });

  it('keeps the actor of its begin, whatever the function does to the context', async () => {
    const kit = createTestAudit();
    const unnamed = { action: 'account.open', resource: event.resource };
    await runWithContext({ tenant: 'acme', actor }, () =>
      kit.audit.capture(unnamed, () =>
        runWithContext({ actor: { id: 'inner', type: 'service' } }, async () => undefined),
      ),
    );
    kit.assertCaptured({ actor, tenant: 'acme' });
    await assert.rejects(
      kit.audit.capture(unnamed, () => assert.fail('must not run')),
      { code: 'context-missing' },
    );
  });

  it('tells the story of the last run when the driver runs the function again', async () => {
    const rows: OutboxRow[] = [];
    const driver: OutboxDriver<object> = {
      query: async (_tx, statement) => rows.push(...statement.rows),
      async transaction(fn) {
        await fn({});
        rows.length = 0;
        return fn({});
      },
    };
    let run = 0;
    await createAudit({ service: 'bank', driver }).capture(event, (_tx, outcome) => {
      run += 1;
      outcome.details({ [`run_${run}`]: true });
    });
    assert.deepEqual(
      rows.map(({ body }) => (JSON.parse(body) as { details: object }).details),
      [{ run_2: true }],
    );
  });

  it('claims no failure when the answer to COMMIT was lost', async () => {
    for (const [code, results] of [
      ['08006', ['success']],
      ['40001', ['success', 'failure']],
    ] as const) {
      const rows: OutboxRow[] = [];
      const problems: Problem[] = [];
      let isFirst = true;
      const lost = Object.assign(new Error('gone'), { code });
      const driver: OutboxDriver<object> = {
        query: async (_tx, statement) => rows.push(...statement.rows),
        async transaction(fn) {
          const value = await fn({});
          if (isFirst) {
            isFirst = false;
            throw lost;
          }
          return value;
        },
      };
      const audit = createAudit({ service: 'bank', driver, onProblem: (problem) => problems.push(problem) });
      await assert.rejects(
        audit.capture(event, () => undefined),
        (error) => error === lost,
      );
      assert.deepEqual(
        rows.map(({ body }) => (JSON.parse(body) as { result: string }).result),
        results,
      );
      assert.equal(problems.length, code === '08006' ? 1 : 0);
    }
  });

  it('goes on when a callback of the application throws', async () => {
    const driver: OutboxDriver<object> = { query: fail(new Error('down')), transaction: (fn) => fn({}) };
    const audit = createAudit({ service: 'bank', driver, onProblem: fail(new Error('callback')) });
    const boom = new Error('the real one');
    await assert.rejects(audit.capture(event, fail(boom)), (error) => error === boom);
    assert.equal(audit.metrics().failedBestEffort, 1);
  });
});
