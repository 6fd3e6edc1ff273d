/**
 * Runs a range of seeds in a process of its own, over the source with small bounds, and perhaps a mutant:
 *
 *   node run-seeds.ts FROM TO [MUTANT]      prints one line of JSON
 *   node run-seeds.ts SEED                  prints the trace of one seed
 */

import { Coverage } from './coverage.ts';
import { MUTANTS } from './mutants.ts';
import type { SeedResult } from './run-seed.ts';
import { replaceSource, SMALL_BOUNDS } from './source.ts';

const [from, to, mutant] = process.argv.slice(2);
const TRACE_LINES_MAX = 100_000;

/** Answer for a range. */
export interface RangeResult {
  readonly seeds: number;
  readonly turns: number;
  readonly coverage: readonly (readonly [string, number])[];
  /** The first seed that failed, with the end of its trace; the range ends there. */
  readonly failed: SeedResult | null;
  /** Of the first seeds, run twice: whether the traces were the same. */
  readonly repeatable: boolean;
}

const REPEATED = 5;

const change = mutant === undefined ? [] : MUTANTS[mutant]?.replacements;
if (change === undefined) throw new Error(`there is no mutant ${mutant}`);
replaceSource([...SMALL_BOUNDS, ...change]);
const { runSeed } = await import('./run-seed.ts');

async function runRange(first: number, last: number): Promise<RangeResult> {
  const coverage = new Coverage();
  let turns = 0;
  let repeatable = true;
  const focus = MUTANTS[mutant ?? '']?.focus;
  for (let seed = first; seed <= last; seed++) {
    const result = await runSeed(seed, undefined, focus);
    turns += result.turns;
    coverage.add(result.coverage);
    if (mutant === undefined && seed < first + REPEATED)
      repeatable &&= (await runSeed(seed)).hash === result.hash;
    if (result.violation !== null)
      return { seeds: seed - first + 1, turns, coverage: [...coverage.counts], failed: result, repeatable };
  }
  return { seeds: last - first + 1, turns, coverage: [...coverage.counts], failed: null, repeatable };
}

if (to === undefined) {
  const { trace, violation, hash } = await runSeed(Number(from), TRACE_LINES_MAX);
  process.stdout.write(`${trace.join('\n')}\n${violation ?? 'every promise held'} (trace ${hash})\n`);
  process.exitCode = violation === null ? 0 : 1;
} else {
  process.stdout.write(`${JSON.stringify(await runRange(Number(from), Number(to)))}\n`);
}
