import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { AccessDenied } from './access-denied.ts';
import { createAudit } from './audit.ts';
import { type PgClient, pgDriver } from './drivers.ts';
import { startApplication } from './outbox/outbox-fixture.ts';
import type { Problem } from './outbox/problems.ts';

const event = {
  tenant: 'acme',
  actor: { id: 'usr_1', type: 'user' },
  action: 'account.open',
  resource: { type: 'account', id: 'a1' },
} as const;

test('audit.capture on PostgreSQL', async (t) => {
  const app = await startApplication(t);
  const problems: Problem[] = [];
  const audit = createAudit<PgClient>({
    service: 'bank',
    driver: pgDriver(app.pool),
    onProblem: (problem) => problems.push(problem),
  });
  const critical = { ...event, criticality: 'critical' } as const;
  const open = (tx: PgClient, balance = 0) =>
    tx.query('INSERT INTO account VALUES ($1, $2)', ['a1', balance]);
  const results = async () => (await app.bodies()).map(({ result }) => result);

  await t.test('success: the change and its event in one commit', async () => {
    await app.clear();
    const value = await audit.capture(event, async (tx, outcome) => {
      await open(tx);
      outcome.changes(null, { balance: 0n });
      return 7;
    });
    assert.equal(value, 7);
    const [body] = await app.bodies();
    assert.deepEqual([body.result, body.changes], ['success', { balance: { old: null, new: '0' } }]);
    assert.equal(await app.accounts(), 1);
    // xmin of both rows is the same transaction.
    const [{ same }] = await app.asOwner(
      'SELECT (SELECT xmin::text FROM account) = (SELECT xid::text FROM evident_outbox.events) AS same',
    );
    assert.equal(same, true);
  });

  await t.test('failure: the change is gone, the event says so, the error is the same object', async () => {
    await app.clear();
    const boom = new Error('no such account');
    const thrown = audit.capture(event, async (tx) => {
      await open(tx);
      throw boom;
    });
    await assert.rejects(thrown, (error) => error === boom);
    const [body] = await app.bodies();
    assert.deepEqual([body.result, body.error], ['failure', 'Error: no such account']);
    assert.equal(await app.accounts(), 0);
  });

  await t.test('failure by the database: its error comes through unchanged', async () => {
    await app.clear();
    await assert.rejects(
      audit.capture(event, (tx) => open(tx, -1)),
      { code: '23514', constraint: 'account_balance_check' },
    );
    assert.deepEqual(await results(), ['failure']);
  });

  await t.test('an error that the function swallows cannot be committed over', async () => {
    await app.clear();
    await assert.rejects(
      audit.capture(event, async (tx) => {
        await open(tx);
        await open(tx).then(undefined, () => undefined);
      }),
      { code: 'outbox-unavailable', message: /earlier statement/ },
    );
    assert.deepEqual([await app.accounts(), await results()], [0, ['failure']]);
  });

  await t.test('a transaction that the server rolled back at COMMIT is an error, not a success', async () => {
    await app.clear();
    const { transaction } = pgDriver(app.pool);
    const insert = transaction!(async (tx) => {
      await open(tx);
      await open(tx).then(undefined, () => undefined);
    });
    await assert.rejects(async () => await insert, { code: 'outbox-unavailable', message: /ROLLBACK/ });
    assert.equal(await app.accounts(), 0);
    await transaction!((tx) => Promise.resolve(open(tx)));
    assert.equal(await app.accounts(), 1);
  });

  await t.test('denied: by its class or by its status', async () => {
    await app.clear();
    for (const error of [new AccessDenied('not yours'), Object.assign(new Error('x'), { status: 401 })]) {
      await assert.rejects(
        audit.capture(event, () => {
          throw error;
        }),
        (thrown) => thrown === error,
      );
    }
    assert.deepEqual(await results(), ['denied', 'denied']);
  });

  await t.test('critical: the intent commits first, and the outcome names it', async () => {
    await app.clear();
    await audit.capture(critical, async (tx) => {
      // Committed already: another connection sees it.
      assert.deepEqual(
        (await app.rows()).map(({ type }) => type),
        ['audit.intent'],
      );
      await open(tx);
    });
    const [intent, outcome] = await app.rows();
    const [intended, done] = await app.bodies();
    assert.deepEqual(
      [intent.type, intent.schema, intended.intent, intended.result],
      ['audit.intent', 0, true, undefined],
    );
    assert.deepEqual(
      [outcome.type, done.result, done.intent_id],
      ['audit.event', 'success', intent.event_id],
    );
    assert.notEqual(intent.event_id, outcome.event_id);
    await assert.rejects(
      audit.capture(critical, () => Promise.reject(new Error('no'))),
      /no/,
    );
    const [, , second, failed] = await app.bodies();
    assert.deepEqual([failed.result, failed.intent_id], ['failure', second.event_id]);
  });

  await t.test('critical: without its intent the function does not run', async () => {
    await app.clear();
    await app.asOwner('REVOKE evident_outbox_writer FROM application');
    let ran = false;
    await assert.rejects(
      audit.capture(critical, () => {
        ran = true;
      }),
      { code: 'outbox-missing' },
    );
    await app.asOwner('GRANT evident_outbox_writer TO application');
    assert.equal(ran, false);
    await audit.capture(critical, () => {
      ran = true;
    });
    assert.equal(ran, true);
  });

  await t.test('captureIn: success in the caller’s transaction, failure beside it', async () => {
    await app.clear();
    const client = await app.pool.connect();
    await client.query('BEGIN');
    await audit.captureIn(client, event, (tx) => open(tx));
    assert.equal((await app.rows()).length, 0);
    await client.query('COMMIT');
    assert.deepEqual([await app.accounts(), await results()], [1, ['success']]);
    await client.query('BEGIN');
    await assert.rejects(
      audit.captureIn(client, event, (tx) => open(tx)),
      { code: '23505' },
    );
    await client.query('ROLLBACK');
    client.release();
    await audit.close();
    assert.deepEqual([await app.accounts(), await results()], [1, ['success', 'failure']]);
  });

  await t.test(
    'captureIn does not wait for a second connection that only its caller could free',
    async () => {
      await app.clear();
      const pool = new pg.Pool({ connectionString: app.url, max: 1 });
      const alone = createAudit<PgClient>({
        service: 'bank',
        driver: pgDriver(pool),
        ownTransactionMsMax: 50,
      });
      const client = await pool.connect();
      await client.query('BEGIN');
      await assert.rejects(
        alone.captureIn(client, event, () => Promise.reject(new Error('no'))),
        /no/,
      );
      // The intent of a critical action is waited for, but not for ever.
      await assert.rejects(
        alone.captureIn(client, critical, () => assert.fail('must not run')),
        { code: 'outbox-unavailable', message: /connection/ },
      );
      await client.query('ROLLBACK');
      client.release();
      assert.deepEqual(await alone.close(), { unfinished: 0 });
      assert.deepEqual(
        (await results()).filter((result) => result !== undefined),
        ['failure'],
      );
      await pool.end();
    },
  );

  await t.test('a best-effort write whose database dies is told, and never hides the error', async () => {
    await app.clear();
    problems.length = 0;
    const boom = new Error('the real one');
    await assert.rejects(
      audit.capture(event, async () => {
        await app.running.engine.stop();
        throw boom;
      }),
      (error) => error === boom,
    );
    assert.deepEqual(
      problems.map(({ what, event }) => [what, event?.tenant]),
      [['a failed account.open could not be recorded', 'acme']],
    );
    assert.equal((problems[0].error as { code: string }).code, 'outbox-unavailable');
    assert.equal(audit.metrics().failedBestEffort, 1);
    assert.deepEqual(await audit.close(), { unfinished: 0 });
  });
});
