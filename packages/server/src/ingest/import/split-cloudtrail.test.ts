import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Piece } from './piece.ts';
import { REMAINDER_BYTES_MAX, splitCloudTrail } from './split-cloudtrail.ts';

async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield Uint8Array.from(bytes.subarray(i, i + size));
}

async function split(text: string | Uint8Array, size = 1 << 22, max?: number): Promise<Piece[]> {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  return (await Array.fromAsync(splitCloudTrail(chunksOf(bytes, size), max))).flat();
}

/** Elements as they are, what was broken in angle brackets, what was too long as its size. */
const shown = (pieces: Piece[]): string[] =>
  pieces.map((piece) => {
    if (piece.tooLong) return `!${piece.size}`;
    const text = Buffer.from(piece.bytes).toString();
    return piece.broken === null ? text : `<${text}>`;
  });

async function assertSplit(text: string, expected: string[], max?: number): Promise<void> {
  for (const size of [1 << 22, 1, 2, 7]) {
    const pieces = await split(text, size, max);
    assert.deepEqual(shown(pieces), expected, `in chunks of ${size}`);
    assert.deepEqual(
      pieces.map((piece) => piece.number),
      pieces.map((_, i) => i + 1),
    );
    for (const piece of pieces) {
      if (piece.tooLong) continue;
      const there = Buffer.from(text).subarray(piece.offset, piece.offset + piece.bytes.length);
      assert.deepEqual(Buffer.from(piece.bytes), there, 'the offset is where the bytes stand');
    }
  }
}

describe('splitCloudTrail', () => {
  it('cuts the elements of Records verbatim, with any white space and other members around', async () => {
    await assertSplit('{"Records":[{"a":1},{"b":[2]}]}', ['{"a":1}', '{"b":[2]}']);
    await assertSplit(
      ' {\n "x" : {"Records":[1]} ,\t"Records" :\r\n[ { "a" : 1.0 }\n,\n{ } ] , "y":[{}], "z":1 }\n',
      ['{ "a" : 1.0 }', '{ }'],
    );
    await assertSplit('{"Records":[]}', []);
    await assertSplit('{"Records":[1,"]}",null,[[]],-2.5e3]}', ['1', '"]}"', 'null', '[[]]', '-2.5e3']);
    await assertSplit('{"Records":[1],"Records":[2]}', ['1', '2']);
    await assertSplit('', []);
    await assertSplit(' \n', []);
    await assertSplit('\ufeff{"Records":[{}]}', ['{}']);
  });

  it('takes concatenated documents, one event a line, and a bare array', async () => {
    await assertSplit('{"Records":[{"a":1}]}{"Records":[{"a":2}]}\n{"Records":[{"a":3}]}', [
      '{"a":1}',
      '{"a":2}',
      '{"a":3}',
    ]);
    await assertSplit('{"a":1}\n\n{"a":2}\r\n{}\n{"Records":[{"a":3}]}\n{"a":4,"Records":null}', [
      '{"a":1}',
      '{"a":2}',
      '{}',
      '{"a":3}',
      '{"a":4,"Records":null}',
    ]);
    await assertSplit('[{"a":1},\n{"a":2}]\n', ['{"a":1}', '{"a":2}']);
    await assertSplit('{"a":\n{\n"b":1}\n}', ['{"a":\n{\n"b":1}\n}']);
  });

  it('takes what is complete in a document that breaks off, and the rest as it is', async () => {
    await assertSplit('{"Records":[{"a":1},{"a":', ['{"a":1}', '<{"a":>']);
    await assertSplit('{"Records":[{"a":1},{"a":"x\n', ['{"a":1}', '<{"a":"x>']);
    await assertSplit('{"Records":[{"a":1},', ['{"a":1}', '<>']);
    await assertSplit('{"Records":[{"a":1}', ['{"a":1}', '<>']);
    await assertSplit('{"Records":[{"a":1}]', ['{"a":1}', '<>']);
    await assertSplit('{"Records":[{"a":1}],"x":"y', ['{"a":1}', '<"x":"y>']);
    await assertSplit('{"Rec', ['<{"Rec>']);
    await assertSplit('{"Records":[1,2', ['1', '<2>']);
    await assertSplit('{', ['<{>']);
  });

  it('cuts an element that is not JSON from its neighbours when its brackets match', async () => {
    await assertSplit('{"Records":[{"a":1,},{bad},nope,{"c":"\t"},{"d":1}]}', [
      '<{"a":1,}>',
      '<{bad}>',
      '<nope>',
      '<{"c":"\t"}>',
      '{"d":1}',
    ]);
    const pieces = await split('{"Records":[{bad}]}');
    assert.equal(
      !pieces[0]!.tooLong && pieces[0]!.broken,
      'byte 1: a member name in double quotes is expected here',
    );
  });

  it('takes the rest of a malformed document as it is, up to a line from which events can be taken again', async () => {
    await assertSplit('{"Records":[{"a":1}{"a":2}]}', ['{"a":1}', '<{"a":2}]}>']);
    await assertSplit('{"Records":[\n{"a":1},\n{"a":[},\n{"a":3},\n{"a":4}\n]}\n', [
      '{"a":1}',
      '<{"a":[},>',
      '{"a":3}',
      '{"a":4}',
    ]);
    await assertSplit('{"Records":[{"a":[}]}\n x\n{"Records":[{"b":1}]}\n', ['<{"a":[}]}\n x>', '{"b":1}']);
    await assertSplit('{"Records":[1,]}', ['1', '<]}>']);
    await assertSplit('{"Records":[1]} x\n{"a":1}', ['1', '<x>', '{"a":1}']);
  });

  it('loses no other line to a line that is torn or is not JSON', async () => {
    await assertSplit('{"a":1}\n{"a":"torn\n{"a":2}\n', ['{"a":1}', '<{"a":"torn>', '{"a":2}']);
    await assertSplit('{"a":\n{"a":1}\n{"a":2}\n', ['<{"a":>', '{"a":1}', '{"a":2}']);
    await assertSplit('{"a":\n{"a":1}\n', ['<{"a":>', '{"a":1}']);
    await assertSplit('plain\n\n{"a":1}\n42\r\n{"a":1} tail\n{"a":2,}\n}\n', [
      '<plain>',
      '{"a":1}',
      '<42\r>',
      '{"a":1}',
      '<tail>',
      '<{"a":2,}>',
      '<}>',
    ]);
  });

  it('passes over elements and events over the limit without losing the next', async () => {
    const long = JSON.stringify({ long: ['"]}\\', 'x'.repeat(60)] });
    await assertSplit(`{"Records":[{"a":1},${long},{"b":2}]}`, ['{"a":1}', `!${long.length}`, '{"b":2}'], 50);
    await assertSplit(`{"a":1}\n${long}\n{"b":2}`, ['{"a":1}', `!${long.length}`, '{"b":2}'], 50);
    await assertSplit(`{"Records":[{"a":1}],"x":${long}} {"b":2}`, ['{"a":1}', '{"b":2}'], 50);
    await assertSplit(`{"Records":[${long.slice(0, 70)}`, ['!70', '<>'], 50);
    await assertSplit(`{"Records":[${long.slice(0, 70)}\n{"b":2}]}`, ['!70', '<>', '{"b":2}'], 50);
  });

  it('cuts a long remainder into bounded pieces that join to it', async () => {
    const rest = `{"a":[}${'x\n'.repeat(REMAINDER_BYTES_MAX)}end`;
    for (const size of [1 << 22, 60_000]) {
      const pieces = await split(`{"Records":[1,${rest}`, size);
      const parts = pieces
        .slice(1)
        .map((piece) => (piece.tooLong ? '' : Buffer.from(piece.bytes).toString()));
      assert.equal(parts.length, 3);
      assert.equal(parts.join(''), rest);
    }
  });

  it('gives the same pieces for any chunks of any bytes, and every byte that is not structure in them', async () => {
    const part = fc.constantFrom(
      '{"Records":[',
      '{"a":1}',
      '{"a":',
      ',',
      ']',
      '}',
      '{',
      '[',
      '\n',
      ' ',
      '"x',
      '"',
      '1',
      'é',
      '\\',
      '{"b":[2,"}"]}',
    );
    const text = fc.array(part, { maxLength: 24 }).map((parts) => parts.join(''));
    await fc.assert(
      fc.asyncProperty(
        text,
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom(8, 1000),
        async (file, size, max) => {
          const pieces = await split(file, size, max);
          assert.deepEqual(pieces, await split(file, 1 << 22, max), file);
          const bytes = Buffer.from(file);
          let at = 0;
          for (const piece of [...pieces, null]) {
            const gap = bytes.subarray(at, piece?.offset ?? bytes.length).toString();
            assert.match(gap, /^([\s,[\]{}]|"Records":)*$/, `${JSON.stringify(file)} lost ${gap}`);
            if (piece !== null) at = piece.offset + (piece.tooLong ? piece.size : piece.bytes.length);
          }
        },
      ),
      { numRuns: 10_000 },
    );
  });

  it('gives the elements that JSON.parse sees of every document', async () => {
    const space = fc.constantFrom(undefined, 1, '\n', '\t');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.jsonValue()),
        space,
        fc.integer({ min: 1, max: 9 }),
        async (records, indent, size) => {
          const text = JSON.stringify(
            { first: { Records: [0] }, Records: records, last: null },
            null,
            indent,
          );
          const pieces = await split(text, size);
          const values = pieces.map(
            (piece) => !piece.tooLong && JSON.parse(Buffer.from(piece.bytes).toString()),
          );
          assert.deepEqual(values, JSON.parse(text).Records);
        },
      ),
    );
  });

  it('keeps offsets and bytes right in a file much larger than what it holds', async () => {
    const elements = Array.from({ length: 4_000 }, (_, n) =>
      JSON.stringify({ n, pad: 'é'.repeat((n * 7) % 300) }),
    );
    for (const text of [`{"Records":[${elements.join(', ')}]}`, elements.join('\n')]) {
      const bytes = Buffer.from(text);
      for (const size of [1_000, 100_000]) {
        const pieces = await split(bytes, size);
        assert.deepEqual(shown(pieces), elements);
        for (const piece of pieces) {
          const at = piece.tooLong ? assert.fail() : bytes.indexOf(piece.bytes, piece.offset);
          assert.equal(at, piece.offset);
        }
      }
    }
  });

  it('needs a time in proportion to the file, also for hostile ones', async () => {
    const begin = performance.now();
    for (const unit of [
      '{"a":\n',
      '{"Records":[',
      '[',
      '{"a":[1,\n',
      '{"a":"x",\n',
      '{"a":1}x',
      ',',
      '{"Records":[{]\n',
    ]) {
      await split(unit.repeat(40_000), 16_384);
    }
    await split(`{"Records":["${'x'.repeat(2_000_000)}"]}`, 64);
    await split(`{"Records":[${' '.repeat(2_000_000)}`, 64);
    assert.ok(performance.now() - begin < 8_000, `${performance.now() - begin}`);
  });

  it('gives the complete elements before the source fails, and not the torn one', async () => {
    const seen: Piece[] = [];
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('{"Records":[{"a":1},{"a":"x');
      yield Buffer.from('"},{"torn');
      throw new Error('the disk is gone');
    }
    await assert.rejects(async () => {
      for await (const pieces of splitCloudTrail(failing())) seen.push(...pieces);
    }, /the disk is gone/);
    assert.deepEqual(shown(seen), ['{"a":1}', '{"a":"x"}']);
  });
});
