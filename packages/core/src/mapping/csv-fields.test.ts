import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CSV_FIELDS_MAX, csvFields } from './csv-fields.ts';

describe('csvFields', () => {
  it('reads plain and quoted fields, commas, quotes and line breaks in them, and empty ones', () => {
    const records: [string, string[]][] = [
      ['a,b,c', ['a', 'b', 'c']],
      ['a,,', ['a', '', '']],
      ['', ['']],
      ['""', ['']],
      ['"a,b","say ""yes""","two\r\nlines"', ['a,b', 'say "yes"', 'two\r\nlines']],
      ['a,b\r', ['a', 'b']],
      ['"b"\r', ['b']],
      ['\ufeff"time",actor', ['time', 'actor']],
      [' a , b ', [' a ', ' b ']],
    ];
    for (const [text, fields] of records) assert.deepEqual(csvFields(text), fields, text);
  });

  it('says why a text is no record', () => {
    const faults: [string, RegExp][] = [
      ['a,b"c', /field 2 holds a quote and is not quoted/],
      ['a,"b', /the quote that opens field 2 is not closed/],
      ['"a"b,c', /something follows the quote that closes field 1/],
      ['"a" ,c', /something follows/],
      ['a\nb', /field 1 holds a line break/],
      [','.repeat(CSV_FIELDS_MAX), /more than 4096 fields/],
    ];
    for (const [text, fault] of faults) assert.match(String(csvFields(text)), fault, text.slice(0, 20));
  });

  it('reads what any writer that follows the RFC writes', () => {
    const field = fc.string({ unit: fc.constantFrom('a', 'é', ',', '"', '\n', '\r', ' '), maxLength: 8 });
    const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    fc.assert(
      fc.property(fc.array(field, { minLength: 1, maxLength: 8 }), fc.boolean(), (fields, always) => {
        const written = fields
          .map((text) => (always || /[",\r\n]/.test(text) ? quote(text) : text))
          .join(',');
        assert.deepEqual(csvFields(written), fields);
      }),
    );
  });
});
