import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CHANGES_MAX, changesBetween, MASKED } from './changes.ts';

describe('changes between two states', () => {
  it('names each field that changed, by its dotted path, with both values', () => {
    const before = { name: 'a', plan: 'basic', address: { city: 'Bern', zip: '3000' }, tags: ['x'] };
    const after = { name: 'a', plan: 'pro', address: { city: 'Basel', zip: '3000' }, tags: ['x', 'y'] };
    assert.deepEqual(changesBetween(before, after), {
      plan: { old: 'basic', new: 'pro' },
      'address.city': { old: 'Bern', new: 'Basel' },
      tags: { old: ['x'], new: ['x', 'y'] },
    });
  });

  it('takes a missing member, undefined and null for the same', () => {
    assert.deepEqual(changesBetween({ a: null, b: undefined, c: 1 }, { b: null, c: undefined }), {
      c: { old: 1, new: null },
    });
  });

  it('reads a created object from nothing and a deleted one to nothing', () => {
    assert.deepEqual(changesBetween(null, { a: 1, b: { c: 2 } }), {
      a: { old: null, new: 1 },
      'b.c': { old: null, new: 2 },
    });
    assert.deepEqual(changesBetween({ a: 1 }, undefined), { a: { old: 1, new: null } });
  });

  it('compares dates, bigints, bytes and what has toJSON by their values', () => {
    const state = (ms: number, n: bigint, text: string) => ({
      when: new Date(ms),
      n,
      bytes: Buffer.from(text),
      url: new URL(`https://example.invalid/${text}`),
    });
    assert.deepEqual(changesBetween(state(0, 1n, 'a'), state(0, 1n, 'a')), {});
    const changes = changesBetween(state(0, 1n, 'a'), state(1, 2n, 'b'));
    assert.deepEqual(Object.keys(changes), ['when', 'n', 'bytes', 'url']);
    assert.deepEqual(changes.when, { old: '1970-01-01T00:00:00.000Z', new: '1970-01-01T00:00:00.001Z' });
    assert.deepEqual(changes.n, { old: '1', new: '2' });
  });

  it('records a field that became another kind of thing as a whole', () => {
    assert.deepEqual(changesBetween({ a: { b: 1 }, c: {} }, { a: 'x' }), {
      a: { old: { b: 1 }, new: 'x' },
      c: { old: {}, new: null },
    });
  });

  it('leaves out what is ignored, and shows of masked fields only that they changed', () => {
    const before = { updated_at: 1, password: 'a', card: { number: '1', holder: 'x' }, same: 's' };
    const after = { updated_at: 2, password: 'b', card: { number: '2', holder: 'x' }, same: 's' };
    const changes = changesBetween(before, after, {
      ignore: ['updated_at'],
      mask: ['password', 'card', 'same'],
    });
    assert.deepEqual(changes, {
      password: { old: MASKED, new: MASKED },
      card: { old: MASKED, new: MASKED },
    });
    assert.doesNotMatch(JSON.stringify(changes), /"[ab12]"/);
  });

  it('compares by form: prototypes, order of members and minus zero do not count', () => {
    const before = { a: [{ x: 0, y: 1 }], b: JSON.parse('{}') as object };
    const after = {
      a: [Object.assign(Object.create(null), { y: 1, x: -0 })],
      b: Object.create(null) as object,
    };
    assert.deepEqual(changesBetween(before, after), {});
  });

  it('refuses more fields than anybody reads, and two members of one path', () => {
    const wide = Object.fromEntries(Array.from({ length: CHANGES_MAX + 1 }, (_, i) => [`f${i}`, i]));
    assert.throws(() => changesBetween({}, wide), { code: 'field-invalid', context: { field: 'changes' } });
    assert.throws(() => changesBetween({}, { a: { b: 1 }, 'a.b': 2 }), {
      code: 'field-invalid',
      context: { field: 'changes.a.b' },
    });
  });

  it('compares what is nested deeper than its limit, or in a cycle, as values', () => {
    let [a, b]: [unknown, unknown] = [1, 2];
    for (let i = 0; i < 12; i++) [a, b] = [{ x: a }, { x: b }];
    const changes = changesBetween({ deep: a }, { deep: b });
    assert.deepEqual(Object.keys(changes), ['deep.x.x.x.x.x.x.x']);
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    assert.throws(() => changesBetween({}, { cycle }), { code: 'field-invalid' });
  });

  it('finds nothing between equal states, and the same fields both ways', () => {
    const name = fc.stringMatching(/^[a-z]{1,3}$/);
    const value = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 3 },
        fc.jsonValue({ maxDepth: 1 }),
        // Bounded: without it one state in many thousands took a quarter of an hour to compare.
        fc.dictionary(name, tie('node'), { maxKeys: 4 }),
      ),
    })).node;
    const state = fc.dictionary(name, value, { maxKeys: 6 });
    fc.assert(
      fc.property(state, state, (before, after) => {
        assert.deepEqual(changesBetween(before, structuredClone(before)), {});
        const forth = changesBetween(before, after);
        const back = changesBetween(after, before);
        assert.deepEqual(Object.keys(forth).sort(), Object.keys(back).sort());
        for (const [field, change] of Object.entries(forth)) {
          assert.deepEqual(back[field], { old: change.new, new: change.old });
        }
      }),
      { numRuns: 200 },
    );
  });
});
