import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isEvidentError } from '@evident/core/errors.ts';
import fc from 'fast-check';
import { TenantTurns, type TurnBounds } from './tenant-turns.ts';

const BOUNDS: TurnBounds = {
  runningMax: 6,
  tenantRunningMax: 3,
  tenantWaitingMax: 4,
  waitingMax: 8,
  waitMsMax: 1_000,
};

/** Turns whose clock is moved by hand, and queries that run until they are told to end. */
function open(over: Partial<TurnBounds> = {}) {
  const clocks = new Set<() => void>();
  const turns = new TenantTurns({ ...BOUNDS, ...over }, (_ms, run) => {
    clocks.add(run);
    return () => clocks.delete(run);
  });
  const running: { tenant: string | null; end: () => void }[] = [];
  /** The code of its refusal, or `done`. */
  const ask = (tenant: string | null): Promise<string> =>
    turns
      .run(tenant, 'counting', async () => {
        const { promise, resolve } = Promise.withResolvers<void>();
        running.push({ tenant, end: resolve });
        await promise;
        return 'done';
      })
      .catch((error: unknown) => (isEvidentError(error) ? error.code : Promise.reject(error)));
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const runningOf = (tenant: string | null) => running.filter((one) => one.tenant === tenant).length;
  const endOne = async (tenant: string | null) => {
    const at = running.findIndex((one) => one.tenant === tenant);
    running.splice(at, 1)[0].end();
    await settle();
  };
  const endAll = async () => {
    while (running.length > 0) await endOne(running[0].tenant);
  };
  /** Every wait is over. */
  const expire = async () => {
    for (const run of [...clocks]) {
      clocks.delete(run);
      run();
    }
    await settle();
  };
  return { turns, ask, settle, running, runningOf, endOne, endAll, expire, clocks };
}

const times = (count: number, ask: () => Promise<string>) => Array.from({ length: count }, ask);

describe('TenantTurns', () => {
  it('let another tenant be answered while one tenant’s slow queries fill its share', async () => {
    const { ask, settle, runningOf, endOne, endAll, turns } = open();
    const slow = times(7, () => ask('acme'));
    await settle();
    assert.deepEqual([runningOf('acme'), turns.waiting], [3, 4]);
    const other = ask('beta');
    await settle();
    assert.equal(runningOf('beta'), 1);
    await endOne('beta');
    assert.equal(await other, 'done');
    assert.equal(runningOf('acme'), 3, 'not one of them has ended');
    await endAll();
    assert.deepEqual(await Promise.all(slow), Array(7).fill('done'));
  });

  it('without a share of its own, the other waits until one of them has ended', async () => {
    const { ask, settle, runningOf, endOne, endAll, turns } = open({ tenantRunningMax: 6 });
    const slow = times(6, () => ask('acme'));
    const other = ask('beta');
    await settle();
    assert.deepEqual([runningOf('acme'), runningOf('beta'), turns.waiting], [6, 0, 1]);
    await endOne('acme');
    assert.equal(runningOf('beta'), 1);
    await endAll();
    assert.deepEqual(await Promise.all([...slow, other]), Array(7).fill('done'));
  });

  it('refuse the one that a tenant asks beyond its queue, and go on with those that wait', async () => {
    const { ask, settle, endAll, turns } = open();
    const taken = times(7, () => ask('acme'));
    assert.deepEqual(await Promise.all(times(3, () => ask('acme'))), Array(3).fill('tenant-busy'));
    const other = ask('beta');
    await settle();
    await endAll();
    assert.deepEqual(await Promise.all([...taken, other]), Array(8).fill('done'));
    assert.equal(turns.waiting, 0);
  });

  it('serve who waits tenant by tenant, and each in the order in which it asked', async () => {
    const { ask, settle, running, endAll } = open({ runningMax: 1, tenantRunningMax: 1 });
    const order: string[] = [];
    const all = ['acme', 'acme', 'acme', 'beta', 'beta', null].map((tenant, number) =>
      ask(tenant).then(() => order.push(`${tenant} ${number}`)),
    );
    await settle();
    assert.equal(running.length, 1);
    await endAll();
    await Promise.all(all);
    assert.deepEqual(order, ['acme 0', 'beta 3', 'null 5', 'acme 1', 'beta 4', 'acme 2']);
  });

  it('give up after the wait, and say whether the tenant itself or others kept it waiting', async () => {
    const { ask, settle, endAll, expire, clocks } = open({ runningMax: 4 });
    const running = [...times(3, () => ask('acme')), ask('beta')];
    await settle();
    const late = [ask('acme'), ask('gamma')];
    await settle();
    await expire();
    assert.deepEqual(await Promise.all(late), ['tenant-busy', 'overloaded']);
    await endAll();
    assert.deepEqual(await Promise.all(running), Array(4).fill('done'));
    assert.equal(clocks.size, 0);
  });

  it('bound what waits over all tenants, whatever their number', async () => {
    const { ask, settle, endAll } = open({ runningMax: 1, tenantRunningMax: 1 });
    const running = ask('first');
    const waiting = Array.from({ length: 8 }, (_, number) => ask(`t${number}`));
    assert.equal(await ask('last'), 'overloaded');
    await settle();
    await endAll();
    assert.deepEqual(await Promise.all([running, ...waiting]), Array(9).fill('done'));
  });

  it('give a turn back when the query fails', async () => {
    const { turns, ask, settle, endAll } = open({ runningMax: 1, tenantRunningMax: 1 });
    await assert.rejects(
      turns.run('acme', 'counting', () => Promise.reject(new Error('gone'))),
      /gone/,
    );
    const next = ask('acme');
    await settle();
    await endAll();
    assert.equal(await next, 'done');
  });

  it('never exceed a bound, never leave a turn unused that somebody waits for, and answer everybody', async () => {
    const steps = fc.array(fc.oneof(fc.constantFrom('a', 'b', 'c'), fc.nat(5)), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const { ask, settle, running, runningOf, endAll, turns, clocks } = open();
        const answers: Promise<string>[] = [];
        const asked = new Map<string, number>();
        for (const step of list) {
          if (typeof step === 'string') {
            answers.push(ask(step));
            asked.set(step, (asked.get(step) ?? 0) + 1);
          } else if (running.length > 0) running.splice(step % running.length, 1)[0].end();
          await settle();
          assert.ok(running.length <= 6);
          for (const tenant of asked.keys()) assert.ok(runningOf(tenant) <= 3);
          const isFull = [...asked.keys()].some((tenant) => runningOf(tenant) === 3);
          if (turns.waiting > 0) assert.ok(running.length === 6 || isFull);
        }
        await endAll();
        const found = await Promise.all(answers);
        assert.ok(found.every((one) => one === 'done' || one === 'tenant-busy' || one === 'overloaded'));
        assert.deepEqual([turns.waiting, clocks.size], [0, 0]);
      }),
      { numRuns: 100 },
    );
  });
});
