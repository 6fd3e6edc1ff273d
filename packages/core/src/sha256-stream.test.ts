import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { toHex } from './bytes.ts';
import { Sha256Stream } from './sha256-stream.ts';

test('a hash in pieces is the hash of the whole, whatever the cuts', () => {
  const lengths = fc.array(
    fc.oneof(fc.nat(200), fc.constantFrom(55, 56, 63, 64, 65, 65_535, 65_536, 70_000)),
    {
      maxLength: 6,
    },
  );
  fc.assert(
    fc.property(lengths, fc.nat(255), (pieces, seed) => {
      const stream = new Sha256Stream();
      const expected = createHash('sha256');
      for (const [i, length] of pieces.entries()) {
        const piece = Uint8Array.from({ length }, (_, at) => (at * 31 + i + seed) & 0xff);
        stream.update(piece);
        expected.update(piece);
      }
      assert.equal(toHex(stream.digest()), expected.digest('hex'));
    }),
    { numRuns: 60 },
  );
});

test('two streams at once do not mix', () => {
  const [one, other] = [new Sha256Stream(), new Sha256Stream()];
  const piece = new Uint8Array(100).fill(7);
  one.update(piece);
  other.update(piece.subarray(0, 99));
  one.update(piece);
  assert.equal(toHex(one.digest()), createHash('sha256').update(piece).update(piece).digest('hex'));
  assert.notEqual(toHex(other.digest()), createHash('sha256').update(piece).digest('hex'));
});
