import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeUtf8, encodeUtf8 } from '../bytes.ts';
import { LineCutter } from './line-cutter.ts';

const LENGTH_MAX = 8;

async function cut(pieces: readonly string[]): Promise<{ lines: string[]; isUnended: boolean }> {
  const memory = new Uint8Array(64);
  const lines: string[] = [];
  const cutter = new LineCutter(
    {
      memory,
      room: (length) => (length % 2 === 0 ? 3 : Promise.resolve(5)),
      line: (offset, length) => {
        lines.push(decodeUtf8(memory.subarray(offset, offset + length))!);
      },
      tooLong: () => {
        lines.push('too long');
      },
    },
    LENGTH_MAX,
  );
  for (const piece of pieces) await cutter.take(encodeUtf8(piece));
  return { lines, isUnended: cutter.isUnended };
}

test('lines are the same wherever the pieces are cut', async () => {
  const line = fc.string({ unit: fc.constantFrom('a', 'b', ' '), maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { maxLength: 6 }),
      fc.boolean(),
      fc.array(fc.nat(80)),
      async (lines, ends, cuts) => {
        const whole = lines.join('\n') + (ends && lines.length > 0 ? '\n' : '');
        const at = [0, ...cuts.map((cutAt) => cutAt % (whole.length + 1)), whole.length].sort(
          (a, b) => a - b,
        );
        const pieces = at.slice(1).map((end, i) => whole.slice(at[i], end));
        const ended = whole.split('\n').slice(0, -1);
        const rest = whole.split('\n').at(-1)!;
        const shown = ended.map((one) => (one.length > LENGTH_MAX ? 'too long' : one));
        const result = await cut(pieces);
        assert.deepEqual(result.lines, rest.length > LENGTH_MAX ? [...shown, 'too long'] : shown);
        assert.equal(result.isUnended, rest.length > 0);
      },
    ),
  );
});
