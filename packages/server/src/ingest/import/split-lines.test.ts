import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Piece } from './piece.ts';
import { splitLines } from './split-lines.ts';

async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

async function split(text: string | Uint8Array, size = 1 << 20, max?: number): Promise<Piece[]> {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  return (await Array.fromAsync(splitLines(chunksOf(bytes, size), max))).flat();
}

const texts = (pieces: Piece[]): string[] =>
  pieces.map((piece) => (piece.tooLong ? `!${piece.size}` : Buffer.from(piece.bytes).toString('latin1')));

describe('splitLines', () => {
  it('gives every line without its LF and with its CR; an empty line is a line, nothing after the last LF is none', async () => {
    assert.deepEqual(texts(await split('a\r\n\nb\n')), ['a\r', '', 'b']);
    assert.deepEqual(texts(await split('a\nb')), ['a', 'b']);
    assert.deepEqual(texts(await split('\n\n')), ['', '']);
    assert.deepEqual(texts(await split('')), []);
    assert.deepEqual(texts(await split('\r')), ['\r']);
  });

  it('joins to the same file, whatever the chunks, and numbers lines and offsets', async () => {
    const bytes = fc
      .array(fc.constantFrom(0x0a, 0x0d, 0x61, 0xff, 0x00), { maxLength: 60 })
      .map((a) => Uint8Array.from(a));
    await fc.assert(
      fc.asyncProperty(bytes, fc.integer({ min: 1, max: 7 }), async (file, size) => {
        const pieces = await split(file, size);
        assert.deepEqual(pieces, await split(file));
        assert.deepEqual(
          pieces.map((piece) => piece.number),
          pieces.map((_, i) => i + 1),
        );
        const joined = texts(pieces).join('\n');
        const whole = Buffer.from(file).toString('latin1');
        assert.equal(whole.endsWith('\n') ? `${joined}\n` : joined, whole);
        for (const piece of pieces) assert.equal(piece.offset === 0 || file[piece.offset - 1] === 0x0a, true);
      }),
    );
  });

  it('passes over a line over the limit, reports its size, and goes on after it', async () => {
    for (const size of [1, 2, 3, 100]) {
      assert.deepEqual(texts(await split('abc\nabcd\nabcdefgh\nx\nabcdef', size, 4)), [
        'abc',
        'abcd',
        '!8',
        'x',
        '!6',
      ]);
    }
  });

  it('gives a bounded number of lines at once', async () => {
    for await (const pieces of splitLines(chunksOf(new Uint8Array(5_500).fill(0x0a), 1 << 20))) {
      assert.ok(pieces.length <= 1_000);
    }
    assert.equal((await split(new Uint8Array(5_500).fill(0x0a))).length, 5_500);
  });

  it('gives the complete lines before the source fails, and not the torn one', async () => {
    const seen: Piece[] = [];
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a\nb\nto');
      throw new Error('the disk is gone');
    }
    await assert.rejects(async () => {
      for await (const pieces of splitLines(failing())) seen.push(...pieces);
    }, /the disk is gone/);
    assert.deepEqual(texts(seen), ['a', 'b']);
  });
});
