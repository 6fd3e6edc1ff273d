import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type ErrorCode, EvidentError } from '../errors.ts';
import {
  arrayElements,
  INCOMPLETE,
  INVALID,
  isStrictJson,
  JSON_DEPTH_MAX,
  jsonBodyForm,
  objectMembers,
  type ScanOptions,
  scanDocument,
  scanValue,
  valueEnd,
} from './scan.ts';

const encoder = new TextEncoder();
const bytesOf = (text: string): Uint8Array => encoder.encode(text);
const latin = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function assertRefused(
  input: string | Uint8Array,
  code: ErrorCode,
  offset: number,
  options?: ScanOptions,
): void {
  const bytes = typeof input === 'string' ? bytesOf(input) : input;
  assert.throws(
    () => scanDocument(bytes, 0, bytes.length, options),
    (error) => {
      assert.ok(error instanceof EvidentError, String(error));
      assert.equal(error.code, code);
      assert.equal(error.context.offset, offset, error.message);
      assert.match(error.message, new RegExp(`byte ${offset}\\b`));
      return true;
    },
  );
}

/** Text that is JSON or nearly: real JSON with one edit, and strings of JSON's own characters. */
const nearlyJson = fc.oneof(
  fc.json(),
  fc
    .tuple(fc.json(), fc.nat(), fc.constantFrom(...'{}[]",:\\u0eE+-.1tfn \n\t\u0001é😀'), fc.nat(2))
    .map(([text, at, char, drop]) => {
      const place = at % (text.length + 1);
      return (text.slice(0, place) + char + text.slice(place + drop)).toWellFormed();
    }),
  fc
    .array(fc.constantFrom(...'{}[]",:\\u0eE+-.12', 'true', 'null', '"a"', ' ', '\\ud83d', '\\ude00'))
    .map((a) => a.join('')),
);

describe('isStrictJson', () => {
  it('accepts exactly what JSON.parse accepts', () => {
    fc.assert(
      fc.property(nearlyJson, (text) => {
        assert.equal(isStrictJson(bytesOf(text)), parses(text), text);
      }),
      { numRuns: 5_000 },
    );
  });

  it('accepts what JSON.parse accepts of arbitrary bytes that are UTF-8, and no other bytes', () => {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 6 }), (content) => {
        const bytes = Uint8Array.of(0x22, ...content, 0x22);
        let expected = false;
        try {
          expected = parses(strict.decode(bytes));
        } catch {}
        assert.equal(isStrictJson(bytes), expected);
      }),
      { numRuns: 20_000 },
    );
  });

  it('refuses overlong forms, encoded surrogates, and code points past U+10FFFF', () => {
    const bad = ['\xc0\xaf', '\xc1\xbf', '\xe0\x80\xaf', '\xe0\x9f\xbf', '\xed\xa0\x80', '\xed\xbf\xbf'];
    bad.push(
      '\xf0\x80\x80\xaf',
      '\xf0\x8f\xbf\xbf',
      '\xf4\x90\x80\x80',
      '\xf5\x80\x80\x80',
      '\xff',
      '\x80',
      '\xc3',
      '\xe2\x82',
    );
    for (const part of bad) assert.equal(isStrictJson(latin(`"${part}"`)), false, JSON.stringify(part));
    const good = [
      '\xc2\x80',
      '\xe0\xa0\x80',
      '\xed\x9f\xbf',
      '\xee\x80\x80',
      '\xf0\x90\x80\x80',
      '\xf4\x8f\xbf\xbf',
      '\x7f',
    ];
    for (const part of good) assert.equal(isStrictJson(latin(`"${part}"`)), true, JSON.stringify(part));
  });

  it('never reads outside a view, and takes a Buffer as it takes a Uint8Array', () => {
    const whole = bytesOf('x{"a":1}x');
    assert.equal(isStrictJson(whole.subarray(1, -1)), true);
    assert.equal(isStrictJson(Buffer.from('{"a":1}')), true);
    assert.equal(isStrictJson(bytesOf('[1]').subarray(0, 2)), false);
    assert.equal(isStrictJson(new Uint8Array()), false);
  });

  it('answers at once for 100,000 brackets, and for 10,000 times any one byte', () => {
    for (const text of ['[', '{"a":', '[[],', '{"":{"":['])
      assert.equal(isStrictJson(bytesOf(text.repeat(100_000))), false);
    const begin = performance.now();
    for (let byte = 0; byte < 256; byte++) isStrictJson(new Uint8Array(10_000).fill(byte));
    assert.ok(performance.now() - begin < 1_000);
  });
});

describe('jsonBodyForm', () => {
  it('answers json for strict JSON without a byte below 0x20, else base64', () => {
    const json = ['{"a": [1, 2]} ', ' null', '"\\ud800"', '{"a":1,"a":2}', '1e5'];
    for (const text of json) assert.equal(jsonBodyForm(bytesOf(text)), 'json', text);
    const base64 = ['', '{"a":\n1}', '[1,\t2]', '1\r', '{', 'plain', '\ufeff1', '"\u0000"', '"a" x'];
    for (const text of base64) assert.equal(jsonBodyForm(bytesOf(text)), 'base64', text);
    assert.equal(jsonBodyForm(latin('"\xff"')), 'base64');
  });

  it('answers base64 for what nests deeper than the limit', () => {
    const nested = (depth: number): Uint8Array => bytesOf('['.repeat(depth) + ']'.repeat(depth));
    assert.equal(jsonBodyForm(nested(JSON_DEPTH_MAX)), 'json');
    assert.equal(jsonBodyForm(nested(JSON_DEPTH_MAX + 1)), 'base64');
  });

  it('is json exactly where the text parses and holds nothing below 0x20', () => {
    fc.assert(
      fc.property(nearlyJson, (text) => {
        const bytes = bytesOf(text);
        const expected = parses(text) && bytes.every((byte) => byte >= 0x20);
        assert.equal(jsonBodyForm(bytes), expected ? 'json' : 'base64', text);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('scanValue', () => {
  it('names the byte where the fault is', () => {
    assertRefused('', 'json-invalid', 0);
    assertRefused('{"a":1', 'json-invalid', 6);
    assertRefused('{"a":1,}', 'json-invalid', 7);
    assertRefused('{a:1}', 'json-invalid', 1);
    assertRefused('{"é" 1}', 'json-invalid', 6);
    assertRefused('[1 2]', 'json-invalid', 3);
    assertRefused('[1,]', 'json-invalid', 3);
    assertRefused('[1}', 'json-invalid', 2);
    assertRefused('[NaN]', 'json-invalid', 1);
    assertRefused('[Infinity]', 'json-invalid', 1);
    assertRefused('[01]', 'json-invalid', 1);
    assertRefused('[-]', 'json-invalid', 1);
    assertRefused('[+1]', 'json-invalid', 1);
    assertRefused('[1.]', 'json-invalid', 1);
    assertRefused('[.5]', 'json-invalid', 1);
    assertRefused('[1e]', 'json-invalid', 1);
    assertRefused('["a\nb"]', 'json-invalid', 3);
    assertRefused('["\\x"]', 'json-invalid', 2);
    assertRefused('["\\u12g4"]', 'json-invalid', 2);
    assertRefused("['a']", 'json-invalid', 1);
    assertRefused('\ufeff{}', 'json-invalid', 0);
    assertRefused('{} {}', 'json-invalid', 3);
    assertRefused('nul', 'json-invalid', 3);
    assertRefused('nulL', 'json-invalid', 0);
    assertRefused('[1] // done', 'json-invalid', 4);
    assertRefused(latin('["ab\xff"]'), 'json-invalid', 4);
  });

  it('returns the offset past the value and looks no further', () => {
    const bytes = bytesOf('xx  {"a":[1,{}]} rest');
    assert.equal(scanValue(bytes, 2, bytes.length), 16);
    assert.equal(scanValue(bytesOf('12,'), 0, 3), 2);
  });

  it('refuses half of a surrogate pair unless told to keep it', () => {
    for (const text of [
      '"\\ud800"',
      '"\\udc00"',
      '"\\ud800\\ud800"',
      '"\\ud800x"',
      '"\\ud800\\n"',
      '"\\uDBFF\\u0041"',
    ]) {
      assertRefused(text, 'json-invalid', 1);
      assert.equal(isStrictJson(bytesOf(text)), true);
    }
    scanDocument(bytesOf('"\\ud83d\\ude00"'), 0, 14);
    assertRefused('{"\\udfff":1}', 'json-invalid', 2);
  });

  it('refuses nesting over the limit and names the limit', () => {
    const nested = (depth: number): Uint8Array =>
      bytesOf('[{"a":'.repeat(depth / 2) + 1 + '}]'.repeat(depth / 2));
    const atLimit = nested(JSON_DEPTH_MAX);
    scanDocument(atLimit, 0, atLimit.length);
    assertRefused(nested(JSON_DEPTH_MAX + 2), 'json-too-deep', (JSON_DEPTH_MAX / 2) * 6);
    assertRefused('[[]]', 'json-too-deep', 1, { depthMax: 1 });
    assertRefused('[]', 'json-too-deep', 0, { depthMax: 0 });
    scanDocument(bytesOf('1'), 0, 1, { depthMax: 0 });
  });

  it('does not overflow the call stack at any depth that a caller allows', () => {
    const deep = bytesOf('['.repeat(100_000) + ']'.repeat(100_000));
    scanDocument(deep, 0, deep.length, { depthMax: 100_000, duplicates: 'refuse' });
    assertRefused(deep, 'json-too-deep', JSON_DEPTH_MAX);
  });
});

describe('duplicate members', () => {
  const refuse: ScanOptions = { duplicates: 'refuse' };

  it('are refused at every depth, also when one of the names is escaped', () => {
    assertRefused('{"a":1,"a":2}', 'json-duplicate-member', 7, refuse);
    assertRefused('{"a":1,"\\u0061":2}', 'json-duplicate-member', 7, refuse);
    assertRefused('{"\\u00e9":1,"é":2}', 'json-duplicate-member', 12, refuse);
    assertRefused('[{"x":[{"b":1,"c":{},"b":0}]}]', 'json-duplicate-member', 21, refuse);
    assertRefused('{"a":{"a":{}},"b":[],"a":0}', 'json-duplicate-member', 21, refuse);
    scanDocument(bytesOf('{"a":{"a":{}},"b":[{"a":1},{"a":1}]}'), 0, 36, refuse);
    scanDocument(bytesOf('{"a":1,"a":2}'), 0, 13);
  });

  it('are found wherever JSON.parse would drop one', () => {
    const name = fc.constantFrom(
      'a',
      'b',
      'é',
      '\\u0061',
      '\\u00e9',
      '',
      '"',
      'constructor',
      '__proto__',
      '1',
      '01',
    );
    const member = fc.tuple(name, fc.integer()).map(([n, v]) => `${n === '"' ? '"\\""' : `"${n}"`}:${v}`);
    fc.assert(
      fc.property(fc.array(member, { maxLength: 40 }), (members) => {
        const bytes = bytesOf(`{${members.join(',')}}`);
        const names = members.map((text) => JSON.parse(text.slice(0, text.lastIndexOf(':'))));
        const expected = new Set(names).size < names.length;
        let refused = false;
        try {
          scanDocument(bytes, 0, bytes.length, refuse);
        } catch (error) {
          assert.equal((error as EvidentError).code, 'json-duplicate-member');
          refused = true;
        }
        assert.equal(refused, expected);
      }),
    );
  });

  it('cost a bounded time among 300,000 names, numbers and long equal beginnings included', () => {
    const begin = performance.now();
    for (const nameOf of [(n: number) => `${n}`, (n: number) => `${'p'.repeat(40)}${n}`]) {
      const members = Array.from({ length: 150_000 }, (_, n) => `"${nameOf(n)}":0`);
      const text = `{${members.join(',')},"${nameOf(149_999)}":1}`;
      assertRefused(text, 'json-duplicate-member', text.lastIndexOf(',') + 1, refuse);
    }
    assert.ok(performance.now() - begin < 3_000);
  });
});

describe('valueEnd', () => {
  it('tells what more bytes may complete from what they cannot', () => {
    const text = '{"a":[1.5e+3,"é😀\\u00e9\\n",true,null,{"b":{}}]}';
    const bytes = bytesOf(text);
    for (let end = 0; end < bytes.length; end++) assert.equal(valueEnd(bytes, 0, end), INCOMPLETE, `${end}`);
    assert.equal(valueEnd(bytes, 0, bytes.length), bytes.length);
    for (const bad of ['{"a"x', '[1,,', '{1', '"\u0001', ']', 'nux', '{"a":1\n{']) {
      assert.equal(valueEnd(bytesOf(bad), 0, bad.length), INVALID, bad);
    }
  });
});

describe('objectMembers and arrayElements', () => {
  const text = (bytes: Uint8Array, start: number, end: number): string =>
    new TextDecoder().decode(bytes.subarray(start, end));

  it('report names decoded and values byte for byte', () => {
    const bytes = bytesOf(' { "id" : "x" ,"b\\u006fdy": { "k" : [ 1 , 2 ] } , "n":-0.50}\n');
    const seen: [string, string][] = [];
    objectMembers(bytes, 0, bytes.length, (name, start, end) => seen.push([name, text(bytes, start, end)]));
    assert.deepEqual(seen, [
      ['id', '"x"'],
      ['body', '{ "k" : [ 1 , 2 ] }'],
      ['n', '-0.50'],
    ]);
  });

  it('cut an array into elements that join to the same array', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.constantFrom('', ' ', '\n\t'), (values, space) => {
        const parts = values.map((value) => JSON.stringify(value));
        const bytes = bytesOf(`${space}[${space}${parts.join(`${space},${space}`)}${space}]${space}`);
        const seen: string[] = [];
        arrayElements(bytes, 0, bytes.length, (start, end, index) => {
          assert.equal(index, seen.length);
          seen.push(text(bytes, start, end));
        });
        assert.deepEqual(seen, parts);
      }),
    );
  });

  it('cut an object into the members that JSON.parse sees', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()), (value) => {
        const bytes = bytesOf(JSON.stringify(value));
        const seen: [string, unknown][] = [];
        const note = (name: string, start: number, end: number): void => {
          seen.push([name, JSON.parse(text(bytes, start, end))]);
        };
        objectMembers(bytes, 0, bytes.length, note, { duplicates: 'refuse' });
        assert.deepEqual(Object.fromEntries(seen), JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('refuse other values, trailing bytes, faults within, duplicates and depth as a scan does', () => {
    const members = (input: string, options?: ScanOptions): void =>
      objectMembers(bytesOf(input), 0, bytesOf(input).length, () => {}, options);
    const elements = (input: string, options?: ScanOptions): void =>
      arrayElements(bytesOf(input), 0, bytesOf(input).length, () => {}, options);
    for (const bad of [
      '[]',
      '1',
      '',
      '{',
      '{"a"',
      '{"a":1',
      '{"a":1,',
      '{"a":1} x',
      '{"a":1 "b":2}',
      '{,}',
      '{"a":01}',
    ]) {
      assert.throws(() => members(bad), { code: 'json-invalid' }, bad);
    }
    for (const bad of ['{}', '"a"', '', '[', '[1', '[1,', '[1]]', '[1 2]', '[,]', '[1,]']) {
      assert.throws(() => elements(bad), { code: 'json-invalid' }, bad);
    }
    assert.throws(() => members('{"a":1,"\\u0061":1}', { duplicates: 'refuse' }), {
      code: 'json-duplicate-member',
    });
    assert.throws(() => members('{"a":[]}', { depthMax: 1 }), { code: 'json-too-deep' });
    assert.throws(() => elements('[[]]', { depthMax: 1 }), { code: 'json-too-deep' });
    members('{"a":[]}', { depthMax: 2 });
    members('{}');
    elements('[ ]');
  });

  it('let a callback scan on its own', () => {
    const bytes = bytesOf('[[1,[2]],{"a":[3]}]');
    let inner = 0;
    arrayElements(bytes, 0, bytes.length, (start, end) => {
      scanDocument(bytes, start, end);
      inner++;
    });
    assert.equal(inner, 2);
  });
});
