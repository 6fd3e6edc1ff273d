import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseTreeHead } from '@evident/core/checkpoint.ts';
import { parseNote } from '@evident/core/note.ts';
import { formatMemory, LOGS_MAX, parseMemory } from './memory.ts';
import type { WitnessedHead } from './ports.ts';
import { ScriptedLog } from './witness-fixture.ts';

function headOf(log: ScriptedLog, size: number): WitnessedHead {
  const bytes = log.head(size);
  const note = parseNote(bytes);
  const head = parseTreeHead(note.ok ? note.value.text : '');
  assert.ok(head.ok);
  return { size: head.value.size, root: head.value.root, at: 1_795_000_000n, note: bytes };
}

const LOGS = ['b.example/heads/0', 'a.example/heads/0'].map(
  (origin, seed) => new ScriptedLog(origin, seed + 1),
);
const HEADS = new Map(LOGS.map((log, index) => [log.origin, headOf(log, 5 + index)]));

describe('the memory of a witness', () => {
  it('is read as it was written, in one order', () => {
    const text = formatMemory(HEADS);
    const read = parseMemory(text);
    assert.ok(read.ok);
    assert.deepEqual(new Map(read.value), new Map([...HEADS].reverse()));
    assert.equal(formatMemory(new Map([...HEADS].reverse())), text);
    const none = parseMemory(formatMemory(new Map()));
    assert.ok(none.ok && none.value.size === 0);
  });

  it('is refused when it was cut or changed anywhere', () => {
    const text = formatMemory(HEADS);
    for (let length = 0; length < text.length; length++)
      assert.equal(parseMemory(text.slice(0, length)).ok, false, `cut at ${length}`);
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === 'x' ? 'y' : 'x';
      assert.equal(parseMemory(text.slice(0, at) + other + text.slice(at + 1)).ok, false, `changed at ${at}`);
    }
    assert.equal(parseMemory(`${text}x`).ok, false);
  });

  it('is refused with a log twice, or more logs than there may be', () => {
    const [log] = LOGS;
    const twice = new Map([
      ['one', headOf(log, 5)],
      ['two', headOf(log, 6)],
    ]);
    assert.equal(parseMemory(formatMemory(twice)).ok, false);
    const many = Array.from({ length: LOGS_MAX + 1 }, (_, index) => {
      const one = new ScriptedLog(`${index}.example/heads/0`, 1);
      return [one.origin, headOf(one, 1)] as const;
    });
    assert.equal(parseMemory(formatMemory(new Map(many))).ok, false);
    assert.ok(parseMemory(formatMemory(new Map(many.slice(1)))).ok);
  });
});
