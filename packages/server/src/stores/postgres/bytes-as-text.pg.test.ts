import assert from 'node:assert/strict';
import { before, it } from 'node:test';
import { openTestDatabase, type TestDatabase } from '../../../test/database.ts';

let database: TestDatabase;

before(async () => {
  database = await openTestDatabase();
});

it('has one character for each byte, U+0001 for a zero byte, and backslashes as they stand', async () => {
  const every = Array.from({ length: 256 }, (_, byte) => byte);
  const backslashes = ['\\000', '\\\\000\0', '\\\0\\', '\\134\\\\\0'].map((text) => [...Buffer.from(text)]);
  for (const bytes of [every, every.toReversed(), every.slice(1), ...backslashes]) {
    const { rows } = await database.owner.query<{ text: string }>(
      'SELECT evident.bytes_as_text($1) AS text',
      [Buffer.from(bytes)],
    );
    assert.equal(rows[0].text, String.fromCharCode(...bytes.map((byte) => Math.max(byte, 1))));
  }
});
