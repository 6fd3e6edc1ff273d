/** The demo keeps its word: every attack it shows is found, or not found, as it says. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';

const DEMO = join(import.meta.dirname, 'demo.ts');
const DEMO_MS_MAX = 300_000;

function runDemo(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { ...process.env, NO_COLOR: '1' };
  return spawnSync(process.execPath, [DEMO, ...args], { encoding: 'utf8', env, timeout: DEMO_MS_MAX });
}

/** Letter, answer of verify, check, earlier head, later head. */
const SAID: readonly (readonly [string, string, string, ...string[]])[] = [
  ['a', 'caught', 'record at audit/0/'],
  ['b', 'caught', 'record-missing at audit/0/'],
  ['c', 'caught', 'record at audit/0/'],
  ['d', 'caught', 'head at audit/0/'],
  ['e', 'caught', 'signer at audit/0/'],
  ['e+', 'NO', '', 'no', 'caught'],
  ['f', 'caught', 'signer at audit/0/'],
  ['g', 'NO', '', 'no', 'caught'],
  ['g+', 'NO', '', 'no', 'caught'],
  ['h', 'NO', '', 'caught', 'caught'],
  ['i', 'NO', '', 'no', 'no'],
];

it('finds each attack, or does not, as it says, and cleans up', () => {
  const { status, stdout, stderr } = runDemo('1000');
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  const table = stdout.slice(stdout.indexOf('check and place')).split('\n');
  for (const [letter, answer, check, ...heads] of SAID) {
    const row = table.find((line) => line.startsWith(`  (${letter}) `));
    assert.ok(row, `a row for (${letter})`);
    const cells = row.trim().split(/\s{2,}/);
    assert.equal(cells[2], answer, row);
    assert.ok(check === '' ? true : cells[3].startsWith(check), row);
    if (heads.length > 0) assert.deepEqual(cells.slice(3, 5), heads, row);
    assert.equal(cells.at(-1), 'yes', row);
  }
  assert.match(stdout, /verify +verified\n/);
  assert.match(stdout, /K +evident\.invalid\/[0-9a-f]{16}\/heads\/0\+[0-9a-f]{8}\+\S+\n/);
  assert.match(stdout, /11 attacks, 11 as said, 0 not as said/);
  assert.doesNotMatch(stdout, /tamper-?proof/i);
  const folder = /ready after .* in (\S+)/.exec(stdout)?.[1];
  assert.ok(folder !== undefined && !existsSync(folder), 'its folder is removed');
});

it('refuses a number of events that it can’t show anything with', () => {
  for (const args of [['10'], ['many'], ['1000', '2']]) assert.equal(runDemo(...args).status, 64);
});
