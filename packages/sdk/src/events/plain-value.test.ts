import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { plainValue } from './plain-value.ts';

const refusedAt = (field: string) => ({ code: 'field-invalid', context: { field } });

describe('the JSON form of a value', () => {
  it('is the value itself where nothing needs a change', () => {
    const value = { a: [1, 'x', null, { b: true }] };
    assert.equal(plainValue(value, 'details'), value);
  });

  it('writes dates, bigints, bytes, errors and what has toJSON, and leaves the original alone', () => {
    const value = {
      when: new Date(0),
      amount: 12345678901234567890n,
      file: Buffer.from('abc'),
      url: new URL('https://example.invalid/x'),
      why: new TypeError('no'),
      gone: undefined,
      list: [undefined, 1n],
    };
    assert.deepEqual(plainValue(value, 'details'), {
      when: '1970-01-01T00:00:00.000Z',
      amount: '12345678901234567890',
      file: { bytes: 3, sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' },
      url: 'https://example.invalid/x',
      why: { name: 'TypeError', message: 'no' },
      list: [null, '1'],
    });
    assert.ok(value.when instanceof Date);
    assert.equal(value.list[1], 1n);
  });

  it('takes one object in two places: that is no cycle', () => {
    const shared = { a: 1 };
    assert.deepEqual(plainValue({ x: shared, y: shared }, 'd'), { x: { a: 1 }, y: { a: 1 } });
  });

  it('keeps a member named __proto__ a member', () => {
    const value = JSON.parse('{"__proto__":{"a":1},"n":0}') as Record<string, unknown>;
    value.n = 1n;
    assert.equal(JSON.stringify(plainValue(value, 'd')), '{"__proto__":{"a":1},"n":"1"}');
  });

  it('refuses what JSON would lose, by its path', () => {
    const cycle: Record<string, unknown> = { name: 'x' };
    cycle.self = { list: [cycle] };
    let deep: unknown = 1;
    for (let i = 0; i < 200; i++) deep = { a: deep };
    const cases: [unknown, string][] = [
      [{ a: { b: () => 1 } }, 'd.a.b'],
      [[{ x: Symbol('s') }], 'd[0].x'],
      [{ rate: Number.NaN }, 'd.rate'],
      [{ m: new Map([['a', 1]]) }, 'd.m'],
      [{ s: new Set() }, 'd.s'],
      [{ late: Promise.resolve(1) }, 'd.late'],
      [{ when: new Date('never') }, 'd.when'],
      [cycle, 'd.self.list[0]'],
      [{ toJSON: () => ({ f: () => 1 }) }, 'd.f'],
    ];
    for (const [value, field] of cases) assert.throws(() => plainValue(value, 'd'), refusedAt(field));
    assert.throws(() => plainValue(deep, 'd'), { code: 'field-invalid', message: /nested deeper/ });
  });

  it('ends when toJSON answers another of its kind for ever', () => {
    class Endless {
      toJSON(): unknown {
        return new Endless();
      }
    }
    assert.throws(() => plainValue(new Endless(), 'd'), { code: 'field-invalid' });
  });
});
