import assert from 'node:assert/strict';
import { it } from 'node:test';
import { agrees, compareKind, type Facts } from './compare.ts';

const ROWS = new Map<string, Facts>([
  ['t1', { amount: '5', from: 'a' }],
  ['t2', { amount: '7', from: 'b' }],
]);
const EVENTS = [
  { key: 't2', facts: { from: 'b', amount: '7' } },
  { key: 't1', facts: { from: 'a', amount: '5' } },
];

const compare = (events: typeof EVENTS) => compareKind({ name: 'transfers', rows: ROWS, events });

it('agrees when every row has one event that says the same', () => {
  assert.ok(agrees(compare(EVENTS)));
});

it('finds a row without event, an event without row, a second event, and another amount', () => {
  assert.deepEqual(compare(EVENTS.slice(1)).missing, ['t2']);
  assert.deepEqual(compare([...EVENTS, { key: 't3', facts: { from: 'c', amount: '1' } }]).orphans, ['t3']);
  assert.deepEqual(compare([...EVENTS, EVENTS[0]]).twice, ['t2']);
  const forged = compare([EVENTS[0], { key: 't1', facts: { from: 'a', amount: '6' } }]);
  assert.equal(forged.different.length, 1);
  for (const events of [EVENTS.slice(1), [...EVENTS, EVENTS[0]]]) assert.ok(!agrees(compare(events)));
  assert.ok(!agrees(forged));
});
