import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { csvFields } from '@evident/core/mapping/csv-fields.ts';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import type { Piece, TakenPiece } from './piece.ts';
import { splitCsv } from './split-csv.ts';

async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

async function split(text: string | Uint8Array, chunkBytes = 7, recordBytesMax?: number): Promise<Piece[]> {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  return (await Array.fromAsync(splitCsv(chunksOf(bytes, chunkBytes), recordBytesMax))).flat();
}

const taken = (pieces: Piece[]): TakenPiece[] => pieces.filter((piece) => !piece.tooLong);
const textOf = (piece: TakenPiece): string => Buffer.from(piece.bytes).toString();
const texts = (pieces: Piece[]): string[] => taken(pieces).map(textOf);

describe('splitCsv', () => {
  it('cuts records verbatim, line breaks in quotes included, and numbers them by line', async () => {
    const pieces = await split('\ufeffid,note\r\n1,"two\r\nlines, ""q"""\r\n2,\n"3",last');
    assert.deepEqual(texts(pieces), ['\ufeffid,note\r', '1,"two\r\nlines, ""q"""\r', '2,', '"3",last']);
    assert.deepEqual(
      pieces.map(({ number, offset }) => [number, offset]),
      [
        [1, 0],
        [2, 12],
        [4, 35],
        [5, 38],
      ],
    );
    assert.ok(taken(pieces).every(({ broken }) => broken === null));
  });

  it('gives each record the header, and marks the header itself', async () => {
    const [header, record] = taken(await split('\ufeff"a",b\r\n1,2\n'));
    assert.deepEqual(header!.meta, { part: 'header' });
    assert.equal(header!.heading, undefined);
    assert.deepEqual(record!.meta, { header: '"a",b' });
    assert.equal(Buffer.from(record!.heading!).toString(), '\ufeff"a",b\r');
  });

  it('leaves out a header that meta can not hold', async () => {
    const long = `a,${'b'.repeat(1_021)}`;
    for (const header of [long, '"a\nb",c', 'a\tb,c', Buffer.from([0x61, 0x2c, 0xff])]) {
      const [first, record] = taken(await split(Buffer.concat([Buffer.from(header), Buffer.from('\n1,2')])));
      assert.deepEqual([first!.meta, record!.meta, record!.broken], [{ part: 'header' }, undefined, null]);
      assert.ok(record!.heading !== undefined);
    }
    const [, record] = taken(await split(`${long.slice(0, -1)}\n1,2`));
    assert.equal(record!.meta!.header!.length, 1_022);
  });

  it('says which record has another number of fields', async () => {
    const pieces = taken(await split('a,b\n1\n1,2,3\n\n"x,y",2\n'));
    assert.deepEqual(
      pieces.map(({ broken }) => broken),
      [
        null,
        'it has 1 fields, and there are 2 columns',
        'it has 3 fields, and there are 2 columns',
        'it has 1 fields, and there are 2 columns',
        null,
      ],
    );
  });

  it('loses one line to a quote too many, and nothing else', async () => {
    for (const bad of ['x"y,2', '"x"y,2', '"x,2', 'x,y,"2']) {
      const pieces = taken(await split(`a,b\n1,2\n${bad}\n3,4\n5,"6\n7"\n`));
      assert.deepEqual(pieces.map(textOf), ['a,b', '1,2', bad, '3,4', '5,"6\n7"'], bad);
      assert.deepEqual(
        pieces.map(({ number, broken }) => [number, broken === null]),
        [
          [1, true],
          [2, true],
          [3, false],
          [4, true],
          [5, true],
        ],
      );
    }
    const [header, record] = taken(await split('a,"b\n1,2\n'));
    assert.match(String(header!.broken), /a quote is opened on this line/);
    assert.deepEqual([header!.meta, record!.meta, record!.broken], [undefined, undefined, null]);
  });

  it('passes over a line over the limit, and cuts a record over it at its first line', async () => {
    const pieces = await split(`a,b\n${'x'.repeat(40)},1\n1,"2\n${'y'.repeat(40)}"\n3,4`, 7, 20);
    assert.deepEqual(
      pieces.map((piece) => (piece.tooLong ? piece.size : textOf(piece))),
      ['a,b', 42, '1,"2', 41, '3,4'],
    );
    assert.deepEqual(
      pieces.map(({ number }) => number),
      [1, 2, 3, 4, 5],
    );
  });

  it('gives the complete records before the source fails, and not the torn one', async () => {
    const source = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a,b\n1,2\n3,');
      throw new Error('torn');
    };
    const seen: Piece[] = [];
    await assert.rejects(async () => {
      for await (const pieces of splitCsv(source())) seen.push(...pieces);
    }, /torn/);
    assert.deepEqual(texts(seen), ['a,b', '1,2']);
  });
});

describe('splitCsv over any file', () => {
  const bytes = fc
    .string({ unit: fc.constantFrom('"', '"', ',', '\n', '\n', '\r', 'a', 'é', '\ufeff'), maxLength: 60 })
    .map((text) => Buffer.from(text));

  it('gives the same pieces for any chunks, and every byte but the line ends between them', async () => {
    await fc.assert(
      fc.asyncProperty(
        bytes,
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 4, max: 60 }),
        async (file, chunk, max) => {
          const whole = await split(file, 1_000, max);
          assert.deepEqual(await split(file, chunk, max), whole);
          let at = 0;
          for (const piece of whole) {
            assert.equal(piece.offset, at);
            assert.equal(piece.number, 1 + file.subarray(0, at).filter((byte) => byte === 0x0a).length);
            at += (piece.tooLong ? piece.size : piece.bytes.length) + 1;
            if (piece.tooLong) assert.ok(piece.size > max);
            else if (piece.broken !== null) assert.ok(!piece.bytes.includes(0x0a));
            else if (piece.heading !== undefined) assert.ok(typeof csvFields(textOf(piece)) !== 'string');
          }
          assert.ok(at === file.length || at === file.length + 1 || file.length === 0);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('reads what csv-parse reads of files that follow the RFC', async () => {
    const field = fc.string({ unit: fc.constantFrom('a', 'é', ',', '"', '\n', ' '), maxLength: 6 });
    const rows = fc
      .integer({ min: 2, max: 4 })
      .chain((columns) =>
        fc.array(fc.array(field, { minLength: columns, maxLength: columns }), { minLength: 1, maxLength: 8 }),
      );
    const quote = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    await fc.assert(
      fc.asyncProperty(rows, fc.constantFrom('\n', '\r\n'), async (table, lineEnd) => {
        const file = table.map((row) => row.map(quote).join(',')).join(lineEnd);
        const pieces = taken(await split(file));
        assert.ok(pieces.every(({ broken }) => broken === null));
        assert.deepEqual(
          pieces.map((piece) => csvFields(textOf(piece))),
          parse(file),
        );
        assert.deepEqual(parse(file), table);
      }),
    );
  });

  it('needs a time in proportion to the file, also for hostile ones', async () => {
    const open = Buffer.from('a"b,"c\n'.repeat(60_000));
    const stray = Buffer.concat([Buffer.from('"'), Buffer.from('1,2\n'.repeat(100_000))]);
    for (const file of [open, stray]) {
      const pieces = await split(file, 65_536);
      assert.ok(pieces.length >= 60_000);
    }
  });
});
