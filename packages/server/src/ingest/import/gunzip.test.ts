import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { gunzipIfPacked } from './gunzip.ts';

async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

async function unpack(bytes: Uint8Array, size: number): Promise<{ text: string; error: unknown }> {
  const parts: Uint8Array[] = [];
  try {
    for await (const part of gunzipIfPacked(chunksOf(bytes, size), 'events.json.gz')) parts.push(part);
    return { text: Buffer.concat(parts).toString('latin1'), error: null };
  } catch (error) {
    return { text: Buffer.concat(parts).toString('latin1'), error };
  }
}

/** Text that packs badly, so that the packed file has many slices. */
const LINES = Array.from({ length: 5_000 }, (_, n) => `${n} ${Math.sin(n)}\n`).join('');
const SIZES = [1, 2, 1_000, 1 << 20];

function assertRefusal(error: unknown): void {
  assert.equal((error as { code: string }).code, 'field-invalid');
  assert.match((error as Error).message, /events\.json\.gz/);
}

describe('gunzipIfPacked', () => {
  it('passes through what is not gzip, one-byte and empty files too', async () => {
    for (const text of ['', '\x1f', 'x', '\x1f\x8a', 'plain text\n']) {
      for (const size of SIZES)
        assert.deepEqual(await unpack(Buffer.from(text, 'latin1'), size), { text, error: null });
    }
  });

  it('unpacks one member, several, none with content, and padding of zero bytes after them', async () => {
    const one = gzipSync(LINES);
    const zeros = Buffer.alloc(3_000);
    for (const size of SIZES) {
      assert.deepEqual(await unpack(one, size), { text: LINES, error: null });
      assert.deepEqual(await unpack(Buffer.concat([one, gzipSync('more'), gzipSync('')]), size), {
        text: `${LINES}more`,
        error: null,
      });
      assert.deepEqual(await unpack(Buffer.concat([one, zeros]), size), { text: LINES, error: null });
    }
  });

  it('gives what it could unpack of a truncated file, then names the file', async () => {
    const packed = gzipSync(LINES);
    for (const size of SIZES) {
      for (const cut of [3, 12, packed.length >> 1, packed.length - 9, packed.length - 1]) {
        const { text, error } = await unpack(packed.subarray(0, cut), size);
        assertRefusal(error);
        assert.ok(LINES.startsWith(text));
        if (cut >= packed.length - 9) assert.ok(text.length > LINES.length - 1_000);
      }
    }
  });

  it('gives what it unpacked before a fault, up to what zlib keeps back, then names the file', async () => {
    const packed = Buffer.from(gzipSync(LINES));
    packed[packed.length - 6]! ^= 1;
    for (const size of SIZES) {
      const { text, error } = await unpack(packed, size);
      assertRefusal(error);
      assert.ok(LINES.startsWith(text));
      assert.ok(text.length > LINES.length - 16_384, `${text.length} of ${LINES.length}`);
    }
  });

  it('refuses other bytes after the last member: they would be lost', async () => {
    for (const rest of ['garbage', '\0garbage', `${'\0'.repeat(5_000)}g`]) {
      for (const size of SIZES) {
        const { text, error } = await unpack(Buffer.concat([gzipSync('ab'), Buffer.from(rest)]), size);
        assertRefusal(error);
        assert.equal(text, rest.startsWith('\0') ? 'ab' : '', JSON.stringify(rest));
      }
    }
  });

  it('stops when its reader stops', async () => {
    for await (const part of gunzipIfPacked(chunksOf(gzipSync(LINES), 100), 'f')) {
      assert.ok(part.length > 0);
      break;
    }
  });
});
