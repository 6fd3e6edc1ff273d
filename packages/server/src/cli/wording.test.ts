import assert from 'node:assert/strict';
import { it } from 'node:test';
import { countOf, driftText } from './wording.ts';

it('counts one in the singular, and groups digits', () => {
  assert.deepEqual(
    [countOf(0, 'record'), countOf(1, 'record'), countOf(1n, 'record'), countOf(2_000n, 'record')],
    ['0 records', '1 record', '1 record', '2,000 records'],
  );
  assert.deepEqual(
    [countOf(1, 'entry', 'entries'), countOf(2, 'entry', 'entries')],
    ['1 entry', '2 entries'],
  );
});

it('says how far apart two times lie in units that people read', () => {
  const cases: [string, string][] = [
    ['0', 'none'],
    ['1', '1 µs'],
    ['999', '999 µs'],
    ['1000', '1 ms'],
    ['999999', '999.9 ms'],
    ['1000000', '1 s'],
    ['59999999', '59.9 s'],
    ['60000000', '1 min'],
    ['303000000', '5 min 3 s'],
    ['7500000000', '2 h 5 min'],
    ['86400000000', '1 d'],
    ['27993600000000000', '324,000 d'],
    ['-4200000', '4.2 s ahead of the log'],
    ['9223372036854775807', '106,751,991 d 4 h'],
  ];
  for (const [us, expected] of cases) assert.equal(driftText(us), expected);
});
