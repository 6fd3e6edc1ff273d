/**
 * Runs the seeds of some entries of `directed.ts` in a process of its own, each until all of it was reached:
 *
 *   node run-directed.ts NAME…          prints one line of JSON
 *   node run-directed.ts --seed=N NAME  prints the trace of one seed
 */

import { Coverage } from './coverage.ts';
import { DIRECTED, type Direction } from './directed.ts';
import type { SeedResult } from './run-seed.ts';
import { replaceSource, SMALL_BOUNDS } from './source.ts';

/** Seeds in which something must happen. Most take fewer than ten: whatever the traces become, these suffice. */
const SEEDS_MAX = 400;
const TRACE_LINES_MAX = 100_000;

/** Answer for one entry. */
export interface DirectedResult {
  readonly name: string;
  readonly seeds: number;
  readonly turns: number;
  /** What did not happen in all its seeds. */
  readonly missing: readonly string[];
  /** The first seed that failed, with the end of its trace; the entry ends there. */
  readonly failed: SeedResult | null;
}

replaceSource(SMALL_BOUNDS);
const { runSeed } = await import('./run-seed.ts');

function directionOf(name = ''): Direction {
  const direction = DIRECTED[name];
  if (direction === undefined) throw new Error(`directed.ts has no ${name}`);
  return direction;
}

async function runUntilReached(name: string): Promise<DirectedResult> {
  const { focus, reach } = directionOf(name);
  const coverage = new Coverage();
  let turns = 0;
  for (let seed = 1; ; seed++) {
    const result = await runSeed(seed, undefined, focus);
    turns += result.turns;
    coverage.add(result.coverage);
    const missing = reach.filter((what) => !coverage.counts.has(what));
    if (result.violation !== null) return { name, seeds: seed, turns, missing, failed: result };
    if (missing.length === 0 || seed === SEEDS_MAX)
      return { name, seeds: seed, turns, missing, failed: null };
  }
}

const [first = '', ...others] = process.argv.slice(2);
if (first.startsWith('--seed=')) {
  const { trace, violation } = await runSeed(
    Number(first.slice('--seed='.length)),
    TRACE_LINES_MAX,
    directionOf(others[0]).focus,
  );
  process.stdout.write(`${trace.join('\n')}\n${violation ?? 'every promise held'}\n`);
  process.exitCode = violation === null ? 0 : 1;
} else {
  const results: DirectedResult[] = [];
  for (const name of [first, ...others]) results.push(await runUntilReached(name));
  process.stdout.write(`${JSON.stringify(results)}\n`);
}
