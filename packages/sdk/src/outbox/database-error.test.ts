import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { leavesCommitOpen, outboxError, sqlState } from './database-error.ts';

describe('errors of the database', () => {
  it('become codes of ours, with the database’s own as cause', () => {
    for (const [state, code] of [
      ['42P01', 'outbox-missing'],
      ['3F000', 'outbox-missing'],
      ['42501', 'outbox-missing'],
      ['53100', 'disk-full'],
      ['25P02', 'outbox-unavailable'],
      ['40001', 'outbox-unavailable'],
      ['22021', 'outbox-refused'],
    ]) {
      const cause = Object.assign(new Error('x'), { code: state });
      const error = outboxError(cause);
      assert.deepEqual([error.code, error.cause, error.context.sqlstate], [code, cause, state]);
    }
    assert.equal(outboxError(new Error('socket hang up')).code, 'outbox-unavailable');
    assert.match(outboxError('odd').message, /odd/);
  });

  it('name the field of a check, wherever the library keeps it', () => {
    const message = 'new row for relation "events_3" violates check constraint "key"';
    for (const error of [
      { code: '23514', constraint: 'key' },
      { code: '23514', constraint_name: 'key' },
      { message: 'Failed query', cause: { code: '23514', constraint: 'key' } },
      { code: 'P2010', meta: { driverAdapterError: { cause: { originalCode: '23514', message } } } },
    ]) {
      const { code, context } = outboxError(error);
      assert.deepEqual([code, context.field], ['outbox-refused', 'key']);
    }
    assert.equal(outboxError({ code: '23514', constraint: 'business_rule' }).context.field, undefined);
  });

  it('are found through a chain of causes, cycles included, and not confused with other codes', () => {
    const cycle: { cause?: unknown } = {};
    cycle.cause = cycle;
    assert.equal(sqlState(cycle), undefined);
    assert.equal(sqlState({ code: 'EPIPE' }), undefined);
    assert.equal(sqlState({ code: 'P2010' }), undefined);
    assert.equal(sqlState({ code: 'P0001' }), 'P0001');
  });

  it('tell what a lost COMMIT leaves open', () => {
    for (const state of ['08006', '57P01', '58000', '40003'])
      assert.ok(leavesCommitOpen({ code: state }), state);
    assert.ok(leavesCommitOpen(new Error('Connection terminated')));
    for (const state of ['40001', '23505', '25P02']) assert.ok(!leavesCommitOpen({ code: state }), state);
  });
});
