import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BREAKER_BOUNDS, Breaker, BreakerTripped } from './breaker.ts';

function fail(
  breaker: Breaker,
  count: number,
  source = 'outbox:bank',
  isExpected = true,
  type = 'note',
): void {
  for (let n = 0; n < count; n++) breaker.letter(type, source, isExpected, 'why');
}

describe('Breaker', () => {
  it('opens after a hundred failures in a row that no mapper foresees', () => {
    const breaker = new Breaker();
    fail(breaker, 99, 'import:a', false);
    assert.throws(() => fail(breaker, 1, 'import:a', false), BreakerTripped);
  });

  it('lets an import pass that is bad from its first to its last line', () => {
    const breaker = new Breaker();
    fail(breaker, BREAKER_BOUNDS.oneSourceInARow - 1, 'import:a');
    assert.throws(() => fail(breaker, 1, 'import:a'), /100000 dead letters in a row/);
  });

  it('takes all imports for one source', () => {
    const breaker = new Breaker();
    for (let n = 0; n < 5_000; n++) fail(breaker, 1, `import:${n % 3}`);
    assert.ok(true);
  });

  it('opens after a thousand in a row from several sources, because one bad source makes no such run', () => {
    const breaker = new Breaker();
    fail(breaker, 500, 'outbox:bank');
    fail(breaker, 499, 'outbox:shop');
    assert.throws(() => fail(breaker, 1, 'outbox:bank'), BreakerTripped);
  });

  it('begins anew with each row', () => {
    const breaker = new Breaker();
    for (let n = 0; n < 50; n++) {
      fail(breaker, 90, `s${n}`, false);
      for (let rows = 0; rows < 200; rows++) breaker.row('note');
    }
    assert.ok(true);
  });

  it('looks at each type by itself: rows of another type hide nothing', () => {
    const breaker = new Breaker();
    assert.throws(() => {
      for (let n = 0; n < 200; n++) {
        breaker.row('fine');
        fail(breaker, 1, 'outbox:bank', false, 'broken');
      }
    }, BreakerTripped);
  });

  it('opens when most records of several sources fail, though some do not', () => {
    const breaker = new Breaker();
    assert.throws(() => {
      for (let n = 0; n < 2_000; n++) {
        fail(breaker, 9, n % 2 === 0 ? 'outbox:bank' : 'outbox:shop');
        breaker.row('note');
      }
    }, /among the last/);
  });

  it('lets what an operator has looked at pass, and no more', () => {
    const breaker = new Breaker();
    breaker.reset(1_000);
    fail(breaker, 1_000, 'import:a', false);
    assert.throws(() => fail(breaker, 100, 'import:a', false), BreakerTripped);
    assert.throws(() => breaker.reset(-1), /whole number/);
  });

  it('counts a batch in a draft, which changes nothing', () => {
    const breaker = new Breaker();
    fail(breaker, 99, 'import:a', false);
    assert.throws(() => fail(breaker.draft(), 1, 'import:a', false), BreakerTripped);
    breaker.row('note');
    fail(breaker, 99, 'import:a', false);
  });
});
