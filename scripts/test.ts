/**
 * Runs the tests by Node's own runner and closes with one line: `N passed, N failed, N skipped`.
 *
 *   node scripts/test.ts            everything
 *   node scripts/test.ts race tidy  the files whose path holds one of these words
 *
 * EVIDENT_CI=1 turns every skip into a failure: what a check needs is there in CI.
 */

import { globSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

/** A file that hangs is a failure, not a hung run. */
const FILE_MS_MAX = 15 * 60 * 1_000;
const FOLDERS = [
  'packages/*/{src,contract,faults,simulation,bench,generate,test}/**/*.test.ts',
  'demo/**/*.test.ts',
  'examples/*/{src,test}/**/*.test.ts',
  '*.test.ts',
];

const words = process.argv.slice(2);
const files = globSync(FOLDERS)
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort();
if (files.length === 0) {
  process.stderr.write(`no test file matches ${words.join(', ')}\n`);
  process.exit(64);
}

const counts = { passed: 0, failed: 0, skipped: 0 };
const skips: string[] = [];
const tests = run({ files, concurrency: 2, timeout: FILE_MS_MAX });
tests.on('test:pass', ({ name, skip, details, file }) => {
  if (details.type === 'suite') return;
  if (skip === undefined) counts.passed++;
  else {
    counts.skipped++;
    skips.push(`${file}: ${name}${typeof skip === 'string' ? ` (${skip})` : ''}`);
  }
});
tests.on('test:fail', ({ details }) => {
  if (details.type !== 'suite') counts.failed++;
});
tests.compose(new spec()).pipe(process.stdout);
await new Promise((resolve) => tests.on('end', resolve));
// The reporter's own summary comes first; this line is the last.
process.on('exit', (code) => {
  for (const skip of skips) process.stdout.write(`SKIPPED ${skip}\n`);
  if (skips.length > 0 && process.env.EVIDENT_CI === '1') counts.failed += skips.length;
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  if (code === 0 && counts.failed > 0) process.exitCode = 1;
});
