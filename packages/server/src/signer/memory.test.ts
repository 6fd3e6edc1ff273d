import assert from 'node:assert/strict';
import { it } from 'node:test';
import { formatVkey, verifierKey } from '@evident/core/note.ts';
import { sha256 } from '@evident/core/sha256.ts';
import fc from 'fast-check';
import { formatMemory, type InceptionMark, parseMemory, type SignerMemory } from './memory.ts';

const inception: InceptionMark = {
  name: 'test.invalid',
  vkey: formatVkey(verifierKey('test.invalid/heads/0', 'ed25519', new Uint8Array(32).fill(7))),
  begunAt: '2026-11-21T10:00:00.000001Z',
};
const memory: SignerMemory = {
  inception,
  last: new Map(
    ['heads/0', 'audit/0', 'r1/audit/0', 'audit/1'].map((tree, index) => [
      `test.invalid/${tree}`,
      { size: BigInt(index * 1_000), root: sha256(Buffer.from(tree)) },
    ]),
  ),
};
const text = formatMemory(memory);

it('reads what it has written', () => {
  const read = parseMemory(text);
  assert.ok(read.ok);
  assert.deepEqual(read.value.inception, inception);
  assert.deepEqual([...read.value.last].sort(), [...memory.last].sort());
  assert.equal(formatMemory(read.value), text);
  const empty = { inception: null, last: new Map() };
  assert.deepEqual(parseMemory(formatMemory(empty)), { ok: true, value: empty });
});

it('refuses a memory that was cut anywhere', () => {
  for (let length = 0; length < text.length; length++)
    assert.equal(parseMemory(text.slice(0, length)).ok, false, `cut at ${length}`);
});

it('refuses a memory in which one character is another', () => {
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.integer({ min: 0x0a, max: 0x7e }), (at, code) => {
      const changed = text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
      // A changed first line makes it another version: its lines are no heads of that.
      assert.equal(parseMemory(changed).ok, changed === text);
    }),
    { numRuns: 500 },
  );
});

it('reads the form that was written before there was a mark', () => {
  const lines = [...memory.last].map(([origin, { size, root }]) => `${origin} ${size} ${root.toBase64()}\n`);
  const read = parseMemory(lines.join(''));
  assert.ok(read.ok);
  assert.equal(read.value.inception, null);
  assert.deepEqual(read.value.last, memory.last);
  assert.equal(parseMemory(lines.join('').slice(0, -1)).ok, false);
  assert.equal(parseMemory(`${lines[0]}${lines[0]}`).ok, false);
});

it('refuses heads of another installation, and a mark that is none', () => {
  const strange = new Map([
    ...memory.last,
    ['other.invalid/audit/0', { size: 1n, root: new Uint8Array(32) }],
  ]);
  assert.equal(parseMemory(formatMemory({ inception, last: strange })).ok, false);
  assert.equal(parseMemory(formatMemory({ inception: null, last: memory.last })).ok, false);
  for (const wrong of [{ name: 'x' }, { begunAt: 'today' }, { vkey: 'none' }])
    assert.equal(
      parseMemory(formatMemory({ inception: { ...inception, ...wrong }, last: memory.last })).ok,
      false,
    );
});
