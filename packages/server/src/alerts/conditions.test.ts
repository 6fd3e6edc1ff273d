import assert from 'node:assert/strict';
import { it } from 'node:test';
import { conditionsOf, LAG_MS_MAX } from './conditions.ts';

const stage = (ms: number) => [{ stage: 'seal', records: 7n, ms }];

it('is a condition that a stage has not reached a record for too long, and no longer than that', () => {
  assert.equal(conditionsOf(stage(LAG_MS_MAX), []).get('lag:seal'), null);
  const found = conditionsOf(stage(LAG_MS_MAX + 1), []).get('lag:seal');
  assert.deepEqual([found?.severity, found?.subject, found?.tenant], ['high', 'seal', null]);
  assert.match(found?.detail ?? '', /7 records/);
});

it('is a condition that dead letters are open', () => {
  assert.equal(conditionsOf([], [{ view: 'hot/1', open: 0 }]).get('dead-letters:hot/1'), null);
  assert.match(
    conditionsOf([], [{ view: 'hot/1', open: 3 }]).get('dead-letters:hot/1')?.detail ?? '',
    /^3 records/,
  );
});
