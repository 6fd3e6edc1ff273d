import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ROW_TEXT_BYTES_MAX } from './row.ts';
import { rowId, rowText } from './row-text.ts';

const bytes = (text: string): number => new TextEncoder().encode(text).length;

describe('rowText', () => {
  it('keeps an ordinary text, and gives null for an empty one and for what is none', () => {
    assert.equal(rowText('Zoë/1'), 'Zoë/1');
    for (const value of ['', null, undefined, 7, true, {}, ['a'], () => 'a'])
      assert.equal(rowText(value), null);
  });

  it('shows U+0000 and halves of surrogate pairs as U+FFFD', () => {
    assert.equal(rowText('a\0b\ud800c\udc00'), 'a\ufffdb\ufffdc\ufffd');
    assert.equal(rowText('\0'), '\ufffd');
  });

  it('cuts before the code point that crosses the limit', () => {
    assert.equal(rowText('x'.repeat(9_999)), 'x'.repeat(512));
    assert.equal(rowText('x'.repeat(512)), 'x'.repeat(512));
    assert.equal(rowText(`${'x'.repeat(510)}é!`), `${'x'.repeat(510)}é`);
    assert.equal(rowText(`${'x'.repeat(511)}é`), 'x'.repeat(511));
    assert.equal(rowText(`${'x'.repeat(509)}😀`), 'x'.repeat(509));
    assert.equal(rowText(`${'x'.repeat(508)}😀`), `${'x'.repeat(508)}😀`);
  });

  it('gives of any text what PostgreSQL takes: bounded, well-formed, the longest beginning of it', () => {
    const anyText = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.string({ unit: fc.constantFrom('a', 'é', '€', '😀', '\ud800', '\udc00', '\0'), maxLength: 300 }),
    );
    fc.assert(
      fc.property(anyText, (text) => {
        const row = rowText(text) ?? '';
        const whole = text.toWellFormed().replaceAll('\0', '\ufffd');
        assert.ok(row.isWellFormed() && !row.includes('\0') && bytes(row) <= ROW_TEXT_BYTES_MAX);
        assert.ok(whole.startsWith(row));
        const next = whole.codePointAt(row.length);
        if (next !== undefined) assert.ok(bytes(row + String.fromCodePoint(next)) > ROW_TEXT_BYTES_MAX);
      }),
      { numRuns: 30 },
    );
  });
});

it('takes numbers as ids', () => {
  assert.deepEqual([0, 17, -1.5, Number.NaN, 'a', false].map(rowId), ['0', '17', '-1.5', null, 'a', null]);
});
